"""Requests to replay: signed Stripe deliveries in today's API shape, and the calls the sold software makes.

Everything is numbered: buyer number 7 has the same subscription, customer and e-mail in every spool, so that
renewals speak of the purchases that an earlier spool made. Ids are spread by a hash, as real ones are:
numbers that only grow would make every index insert an append, and the figures too good.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from benchmarks.wire import http_post

API_VERSION = "2026-10-28.endive"
PRICE_ID = "price_bench_pro"
UNIT_AMOUNT = 5000
MONTH_S = 30 * 86_400
WEBHOOK_PATH = "/api/webhooks/stripe"

_PRODUCT_ID = "prod_bench"
_encoder = msgspec.json.Encoder()

Json = dict[str, Any]


def identifier(prefix: str, kind: str, number: int) -> str:
    """A provider-like id, e.g. `sub_1` and 23 characters; the same for the same kind and number."""
    digest = hashlib.blake2b(f"{kind}:{number}".encode(), digest_size=12).hexdigest()
    return f"{prefix}_1{digest[:23]}"


def quantity_of(number: int) -> int:
    """How many units this buyer holds, 1 to 5."""
    return 1 + number % 5


def email_of(number: int) -> str:
    """The address of this buyer."""
    return f"buyer{number}@example.com"


def new_purchases(numbers: Iterable[int], *, secret: str, now: int) -> Iterator[bytes]:
    """`customer.subscription.created` for each buyer, bought a minute before `now` (unix seconds).

    The customer is expanded, which Stripe does not do in its own events: the address has to come from
    somewhere, or the mail that each purchase owes could not be delivered.
    """
    for number in numbers:
        bought_at = now - 60
        snapshot = _subscription(number, bought_at, period=0)
        snapshot["customer"] = {"id": snapshot["customer"], "object": "customer", "email": email_of(number)}
        yield _delivery("customer.subscription.created", number, bought_at, {"object": snapshot}, secret, now)


def renewals(
    first: int, count: int, *, after: int = 0, rounds: int, secret: str, now: int, bought_at: int
) -> Iterator[bytes]:
    """Renewals of buyers `first` to `first + count - 1`, in turn; the rest as `renewals_of`."""
    buyers = range(first, first + count)
    return renewals_of(buyers, after=after, rounds=rounds, secret=secret, now=now, bought_at=bought_at)


def renewals_of(
    buyers: Sequence[int], *, after: int = 0, rounds: int, secret: str, now: int, bought_at: int
) -> Iterator[bytes]:
    """Each round renews every buyer once: one `invoice.paid` and one `customer.subscription.updated` for
    each, taking turns; `after` rounds were sent before.

    The two events of one renewal are half a round apart, so that a batch holds different purchases and gains
    nothing from seeing one of them twice. Each round is a second younger than the one before: a tie would ask
    for a refetch.
    """
    count = len(buyers)
    for period in range(after + 1, after + rounds + 1):
        at = bought_at + period
        for position, payer in enumerate(buyers):
            invoice = _invoice(payer, bought_at, period)
            yield _delivery("invoice.paid", payer, at, {"object": invoice}, secret, now, period)
            number = buyers[(position + count // 2) % count]
            data = {
                "object": _subscription(number, bought_at, period),
                "previous_attributes": {
                    "items": {"data": [_item(number, bought_at, period - 1)]},
                    "latest_invoice": _invoice_id(number, period - 1),
                },
            }
            yield _delivery("customer.subscription.updated", number, at, data, secret, now, period)


def licensing_calls(
    path: str, pairs: Iterable[tuple[str, str]], *, with_signals: bool = False
) -> Iterator[bytes]:
    """Calls of `/api/license/validate` or `/activate`; a pair is a license key and a fingerprint."""
    for key, fingerprint in pairs:
        call: dict[str, object] = {"key": key, "fingerprint": fingerprint}
        if with_signals:
            call["signals"] = _signals_of(fingerprint)
        yield http_post(path, _encoder.encode(call))


def _signals_of(fingerprint: str) -> dict[str, str]:
    """What a client sends beside the fingerprint: a hash for each thing of the machine, and its kind."""
    hashes = {
        name: hashlib.blake2b(f"{name}:{fingerprint}".encode(), digest_size=16).digest()
        for name in ("machine", "board", "disk", "mac", "host", "cpu", "os")
    }
    told = {name: urlsafe_b64encode(value).decode().rstrip("=") for name, value in hashes.items()}
    return {**told, "kind": "metal"}


def signature_header(body: bytes, secret: str, now: int) -> str:
    """The `Stripe-Signature` of a delivery at `now` (unix seconds): HMAC-SHA256 of time, dot and raw body."""
    digest = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def _delivery(kind: str, number: int, at: int, data: Json, secret: str, now: int, period: int = 0) -> bytes:
    event = {
        "id": identifier("evt", f"{kind}:{period}", number),
        "object": "event",
        "api_version": API_VERSION,
        "created": at,
        "data": data,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }
    # Stripe sends its events indented, and a reader has to walk over that white space too
    body = msgspec.json.format(_encoder.encode(event), indent=2)
    return http_post(WEBHOOK_PATH, body, {"Stripe-Signature": signature_header(body, secret, now)})


def _invoice_id(number: int, period: int) -> str:
    return identifier("in", f"invoice:{period}", number)


def _price() -> Json:
    return {
        "id": PRICE_ID,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": 1_760_000_000,
        "currency": "usd",
        "livemode": False,
        "lookup_key": None,
        "metadata": {},
        "nickname": None,
        "product": _PRODUCT_ID,
        "recurring": {"interval": "month", "interval_count": 1, "meter": None, "usage_type": "licensed"},
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "type": "recurring",
        "unit_amount": UNIT_AMOUNT,
        "unit_amount_decimal": str(UNIT_AMOUNT),
    }


def _item(number: int, bought_at: int, period: int) -> Json:
    return {
        "id": identifier("si", "item", number),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": bought_at,
        "current_period_end": bought_at + (period + 1) * MONTH_S,
        "current_period_start": bought_at + period * MONTH_S,
        "discounts": [],
        "metadata": {},
        "price": _price(),
        "quantity": quantity_of(number),
        "subscription": identifier("sub", "subscription", number),
        "tax_rates": [],
    }


def _subscription(number: int, bought_at: int, period: int) -> Json:
    subscription_id = identifier("sub", "subscription", number)
    return {
        "id": subscription_id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": bought_at,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": bought_at,
        "currency": "usd",
        "customer": identifier("cus", "customer", number),
        "customer_account": None,
        "days_until_due": None,
        "default_payment_method": identifier("pm", "method", number),
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {
            "object": "list",
            "data": [_item(number, bought_at, period)],
            "has_more": False,
            "total_count": 1,
            "url": f"/v1/subscription_items?subscription={subscription_id}",
        },
        "latest_invoice": _invoice_id(number, period),
        "livemode": False,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": bought_at,
        "status": "active",
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
    }


def _invoice(number: int, bought_at: int, period: int) -> Json:
    invoice_id = _invoice_id(number, period)
    subscription_id = identifier("sub", "subscription", number)
    at = bought_at + period
    return {
        "id": invoice_id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Bench Software",
        **_totals(UNIT_AMOUNT * quantity_of(number)),
        "attempt_count": 1,
        "attempted": True,
        "auto_advance": False,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "status": None},
        "automatically_finalizes_at": None,
        "billing_reason": "subscription_cycle",
        "collection_method": "charge_automatically",
        "created": at,
        "currency": "usd",
        "custom_fields": None,
        "customer": identifier("cus", "customer", number),
        "customer_address": None,
        "customer_email": email_of(number),
        "customer_name": f"Buyer {number}",
        "customer_tax_exempt": "none",
        "default_payment_method": None,
        "discounts": [],
        "effective_at": at,
        "hosted_invoice_url": f"https://invoice.stripe.com/i/{invoice_id}",
        "invoice_pdf": f"https://pay.stripe.com/invoice/{invoice_id}/pdf",
        "lines": {
            "object": "list",
            "data": [_invoice_line(number, bought_at, period)],
            "has_more": False,
            "total_count": 1,
            "url": f"/v1/invoices/{invoice_id}/lines",
        },
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": f"BENCH-{number:07d}-{period:04d}",
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": subscription_id},
            "type": "subscription_details",
        },
        "payment_settings": {"payment_method_options": None, "payment_method_types": None},
        "period_end": bought_at + period * MONTH_S,
        "period_start": bought_at + (period - 1) * MONTH_S,
        "status": "paid",
        "status_transitions": {
            "finalized_at": at,
            "marked_uncollectible_at": None,
            "paid_at": at,
            "voided_at": None,
        },
        "test_clock": None,
        "webhooks_delivered_at": at,
    }


def _totals(amount: int) -> Json:
    return {
        "amount_due": amount,
        "amount_overpaid": 0,
        "amount_paid": amount,
        "amount_remaining": 0,
        "ending_balance": 0,
        "starting_balance": 0,
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_discount_amounts": [],
        "total_excluding_tax": amount,
        "total_taxes": [],
    }


def _invoice_line(number: int, bought_at: int, period: int) -> Json:
    amount = UNIT_AMOUNT * quantity_of(number)
    return {
        "id": identifier("il", f"line:{period}", number),
        "object": "line_item",
        "amount": amount,
        "currency": "usd",
        "description": f"{quantity_of(number)} x Pro (at $50.00 / month)",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": _invoice_id(number, period),
        "livemode": False,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": identifier("sub", "subscription", number),
                "subscription_item": identifier("si", "item", number),
            },
            "type": "subscription_item_details",
        },
        "period": {
            "end": bought_at + (period + 1) * MONTH_S,
            "start": bought_at + period * MONTH_S,
        },
        "pricing": {
            "price_details": {"price": PRICE_ID, "product": _PRODUCT_ID},
            "type": "price_details",
            "unit_amount_decimal": str(UNIT_AMOUNT),
        },
        "quantity": quantity_of(number),
        "subtotal": amount,
        "taxes": [],
    }
