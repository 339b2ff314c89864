"""PayPal as the bench plays it: signed `PAYMENT.SALE.COMPLETED` deliveries, and the answers of its API."""

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from benchmarks.buyers import email_of, name_of, stamp
from benchmarks.wire import http_post
from keywright.sandbox.paypal_signing import Authority

WEBHOOK_PATH = "/api/webhooks/paypal"
CERTIFICATES = "/v1/notifications/certs/"
PLAN_ID = "P-5BENCH1244454362WXNWU5NQ"
WEBHOOK_ID = "5GP028458E2496506"
CLIENT_ID = "bench-client-id"
CLIENT_SECRET = "bench-client-secret"

_SALES = "/v1/payments/sale/"
_SUBSCRIPTIONS = "/v1/billing/subscriptions/"
_API = "https://api.sandbox.paypal.com"  # as it stands in links; nobody follows them
_PRICE = {"currency_code": "USD", "value": "50.00"}
_MONTH_S = 30 * 86_400
_encode = msgspec.json.encode

Json = dict[str, Any]


def deliveries(numbers: Iterable[int], *, authority: Authority, base: str, now: int) -> Iterator[bytes]:
    """The first payment of a subscription, by each of these buyers, a minute before `now` (unix seconds).

    `base` is where the certificate of `authority` can be had.
    """
    for number in numbers:
        name, transmission = name_of(number), str(uuid.UUID(int=number, version=4))
        body = _encode(_event(name, now - 60))
        time = stamp(now)
        headers = {
            "PAYPAL-TRANSMISSION-ID": transmission,
            "PAYPAL-TRANSMISSION-TIME": time,
            "PAYPAL-TRANSMISSION-SIG": authority.sign(transmission, time, WEBHOOK_ID, body),
            "PAYPAL-AUTH-VERSION": "v2",
            "PAYPAL-CERT-URL": f"{base}{CERTIFICATES}{authority.certificate_id}",
            "PAYPAL-AUTH-ALGO": "SHA256withRSA",
        }
        yield http_post(WEBHOOK_PATH, body, headers)


def answer(path: str, bought_at: int) -> bytes | None:
    """What the API says, of buyers who all paid at that moment; None for what nobody asks for here."""
    if path == "/v1/oauth2/token":
        return _encode({"access_token": "A21AAbench", "token_type": "Bearer", "expires_in": 32_400})
    if path.startswith(_SALES):
        return _encode(
            _sale(path.removeprefix(_SALES).removeprefix("7D").removesuffix("BENCHR").lower(), bought_at)
        )
    if not path.startswith(_SUBSCRIPTIONS):
        return None
    id_, _, part = path.removeprefix(_SUBSCRIPTIONS).partition("/")
    name = id_.removeprefix("I-").lower()
    return _encode(_payments(name, bought_at) if part == "transactions" else _subscription(name, bought_at))


def _sale_id(name: str) -> str:
    return f"7D{name.upper()}BENCHR"


def _sale(name: str, at: int) -> Json:
    id_, moment = _sale_id(name), stamp(at)
    return {
        "id": id_,
        "amount": {"total": "50.00", "currency": "USD", "details": {"subtotal": "50.00"}},
        "payment_mode": "INSTANT_TRANSFER",
        "create_time": moment,
        "update_time": moment,
        "state": "completed",
        "transaction_fee": {"currency": "USD", "value": "2.24"},
        "protection_eligibility": "ELIGIBLE",
        "protection_eligibility_type": "ITEM_NOT_RECEIVED_ELIGIBLE,UNAUTHORIZED_PAYMENT_ELIGIBLE",
        "billing_agreement_id": f"I-{name.upper()}",
        "invoice_number": "",
        "links": [
            {"href": f"{_API}{_SALES}{id_}", "rel": "self", "method": "GET"},
            {"href": f"{_API}{_SALES}{id_}/refund", "rel": "refund", "method": "POST"},
        ],
    }


def _event(name: str, at: int) -> Json:
    event_id = f"WH-{name.upper()}-6PJ1555491044161R"
    return {
        "id": event_id,
        "event_version": "1.0",
        "create_time": stamp(at, ".135"),
        "resource_type": "sale",
        "event_type": "PAYMENT.SALE.COMPLETED",
        "summary": "Payment completed for $ 50.0 USD",
        "resource": _sale(name, at),
        "links": [
            {
                "href": f"{_API}/v1/notifications/webhooks-events/{event_id}{action}",
                "rel": relation,
                "method": method,
            }
            for action, relation, method in (("", "self", "GET"), ("/resend", "resend", "POST"))
        ],
    }


def _subscription(name: str, at: int) -> Json:
    regular = {
        "tenure_type": "REGULAR",
        "sequence": 1,
        "total_cycles": 0,
        "frequency": {"interval_unit": "MONTH", "interval_count": 1},
        "pricing_scheme": {"version": 1, "fixed_price": _PRICE},
    }
    began = {"tenure_type": "REGULAR", "sequence": 1, "cycles_completed": 1, "cycles_remaining": 0}
    return {
        "id": f"I-{name.upper()}",
        "status": "ACTIVE",
        "status_update_time": stamp(at),
        "plan_id": PLAN_ID,
        "plan_overridden": False,
        "quantity": "1",
        "start_time": stamp(at),
        "create_time": stamp(at - 30),
        "update_time": stamp(at),
        "subscriber": {"payer_id": f"PAYER{name.upper()}", "email_address": email_of(name)},
        "billing_info": {
            "outstanding_balance": {"currency_code": "USD", "value": "0.00"},
            "cycle_executions": [began],
            "last_payment": {"amount": _PRICE, "time": stamp(at)},
            "next_billing_time": stamp(at + _MONTH_S),
            "failed_payments_count": 0,
        },
        "plan": {"billing_cycles": [regular]},
        "links": [],
    }


def _payments(name: str, at: int) -> Json:
    paid = {
        "id": _sale_id(name),
        "status": "COMPLETED",
        "time": stamp(at, ".000"),
        "payer_email": email_of(name),
        "amount_with_breakdown": {
            "gross_amount": _PRICE,
            "fee_amount": {"currency_code": "USD", "value": "2.24"},
            "net_amount": {"currency_code": "USD", "value": "47.76"},
        },
    }
    return {"transactions": [paid], "links": []}
