"""What we ask of PayPal for one account: a checkout, the present state of things, and what changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from keywright.domain.errors import Invalid, NotFound, ProviderUnavailable
from keywright.domain.facts import Refetch
from keywright.domain.money import iso_exponent
from keywright.import_ports import Turn
from keywright.ports import Change, ChangePage, CheckoutCreated, CheckoutRequest, Clock
from keywright.providers.paypal import shapes, values
from keywright.providers.paypal.client import Answer, PayPalClient, Refusal
from keywright.providers.paypal.existing import A_SECOND, PayPalExisting
from keywright.providers.paypal.hook import Delivery

LIVE_BASE: Final = "https://api-m.paypal.com"

# PayPal takes whole units of these, where ISO 4217 has cents.
_WHOLE: Final = frozenset({"HUF", "TWD", "JPY"})
_HISTORY: Final = timedelta(days=400)
_LISTED_FOR: Final = timedelta(days=29)  # PayPal keeps events for thirty days
_CONTESTED = 5
_EVENTS: Final = "/v1/notifications/webhooks-events"
_EVENTS_CURSOR: Final = "events?"
_SUBSCRIPTIONS_CURSOR: Final = "subscriptions?"
_CURSOR_NAMES: Final = frozenset({"start_time", "end_time", "page_size", "next_page_token", "page"})
_TAKEN_ALREADY: Final = frozenset({"ORDER_ALREADY_CAPTURED"})
_NOT_TAKEN: Final = frozenset(
    {"INSTRUMENT_DECLINED", "PAYER_ACTION_REQUIRED", "TRANSACTION_REFUSED", "ORDER_NOT_APPROVED"}
)


class PayPalApi:
    """The outbound half of PayPal. Safe to use from several threads."""

    def __init__(self, client: PayPalClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    # -- checkout -----------------------------------------------------------------------------------

    def create_checkout(self, request: CheckoutRequest) -> CheckoutCreated:
        """An order for what is bought once, a subscription for the rest. Safe to repeat.

        Raises ProviderUnavailable, Misconfigured, Invalid.
        """
        if request.interval is None:
            answer = self._client.post("/v2/checkout/orders", _order(request), key=request.reference)
        else:
            body = _subscription(request)
            answer = self._client.post("/v1/billing/subscriptions", body, key=request.reference)
        id_ = answer.body.get("id")
        page = _link(answer.body, "payer-action", "approve")
        if not isinstance(id_, str) or not shapes.is_id(id_) or page is None:
            raise ProviderUnavailable("PayPal opened a checkout without a page to send the buyer to")
        return CheckoutCreated(id_, page, request.expires_at)

    # -- the present state --------------------------------------------------------------------------

    def fetch(self, wanted: Refetch, *, look: bool = False) -> tuple[bytes, ...]:
        """What PayPal says of an object now, and of what is needed to make sense of it.

        An order of ours that the buyer approved is captured first, except with `look`: without that nobody is
        ever charged.
        Raises ProviderUnavailable, Misconfigured, Invalid, NotFound.
        """
        id_ = wanted.external_id
        if not shapes.is_id(id_):
            raise Invalid("that is no id of PayPal's")
        match wanted.kind:
            case "checkout":
                # Subscriptions are the only objects whose ids begin so.
                return self._subscription(id_) if id_.startswith("I-") else self._order(id_, look=look)
            case "order":
                return self._order(id_, look=look)
            case "subscription":
                return self._subscription(id_)
            case "capture":
                return self._capture(id_)
            case "sale":
                return self._sale(id_)
            case "refund":
                return (self._refund(id_),)
            case "dispute":
                return self._dispute(id_)
        raise Invalid(f"PayPal is not asked for a {wanted.kind}")

    def _order(self, id_: str, *, look: bool) -> tuple[bytes, ...]:
        found = self._client.get(f"/v2/checkout/orders/{id_}")
        if _is_to_capture(found.body) and not look:
            try:
                self._client.post(f"/v2/checkout/orders/{id_}/capture", key=f"keywright-capture-{id_}")
            except Refusal as refusal:
                if refusal.issue not in _TAKEN_ALREADY | _NOT_TAKEN:
                    raise
            found = self._client.get(f"/v2/checkout/orders/{id_}")
        return (_envelope("order", found),)

    def _subscription(self, id_: str, sale: dict[str, Any] | None = None) -> tuple[bytes, ...]:
        """The subscription and its payments; with `sale`, which PayPal may not list yet."""
        path = f"/v1/billing/subscriptions/{id_}"
        found = self._client.get(path, {"fields": "plan,last_failed_payment"})
        status = str(found.body.get("status", "")).upper()
        if status in ("APPROVAL_PENDING", "APPROVED"):
            return (_envelope("subscription", found),)
        window = {"start_time": _text(found.at - _HISTORY), "end_time": _text(found.at)}
        listed = self._client.get(f"{path}/transactions", window).body.get("transactions")
        paid = listed if isinstance(listed, list) else []
        if sale is not None and all(one.get("id") != sale.get("id") for one in paid):
            paid = [*paid, _as_transaction(sale)]
        return (_envelope("subscription", found, paid),)

    def _capture(self, id_: str) -> tuple[bytes, ...]:
        found = self._client.get(f"/v2/payments/captures/{id_}")
        order = _order_of(found.body)
        if order is not None:
            try:
                return self._order(order, look=True)
            except NotFound:
                pass  # orders are kept for a shorter time than the money
        return (_envelope("capture", found),)

    def _sale(self, id_: str) -> tuple[bytes, ...]:
        found = self._client.get(f"/v1/payments/sale/{id_}")
        told = (_envelope("sale", found),)
        subscription = found.body.get("billing_agreement_id")
        if isinstance(subscription, str) and shapes.is_id(subscription):
            # First: it makes the purchase that the sale belongs to.
            return (*self._subscription(subscription, found.body), *told)
        return told

    def _refund(self, id_: str) -> bytes:
        try:
            return _envelope("refund", self._client.get(f"/v2/payments/refunds/{id_}"))
        except NotFound:
            return _envelope("refund", self._client.get(f"/v1/payments/refund/{id_}"))

    def _dispute(self, id_: str) -> tuple[bytes, ...]:
        found = self._client.get(f"/v1/customer/disputes/{id_}")
        told = [_envelope("dispute", found)]
        if found.body.get("status") == "RESOLVED":
            # How it ended moved money, or moved it back.
            listed = found.body.get("disputed_transactions")
            for one in listed[:_CONTESTED] if isinstance(listed, list) else ():
                charge = one.get("seller_transaction_id") if isinstance(one, dict) else None
                told += self._charge(charge) if isinstance(charge, str) and shapes.is_id(charge) else ()
        return tuple(told)

    def _charge(self, id_: str) -> tuple[bytes, ...]:
        """A payment of either API, or nothing."""
        for ask in (self._capture, self._sale):
            with suppress(NotFound):
                return ask(id_)
        return ()

    # -- what changed -------------------------------------------------------------------------------

    def list_changes(self, since: datetime, cursor: str | None) -> ChangePage:
        """The events PayPal sent or tried to send, thirty days back at most; then the newer subscriptions.

        Raises ProviderUnavailable, Misconfigured, Invalid.
        """
        now = self._clock.now()
        if cursor is None:
            start = max(since, now - _LISTED_FOR)
            first = {"start_time": _text(start), "end_time": _text(now), "page_size": "100"}
            return self._events(first)
        if cursor.startswith(_EVENTS_CURSOR):
            return self._events(_params(cursor.removeprefix(_EVENTS_CURSOR)))
        if cursor.startswith(_SUBSCRIPTIONS_CURSOR):
            return self._subscriptions(since, cursor.removeprefix(_SUBSCRIPTIONS_CURSOR))
        raise Invalid("that cursor is not one of PayPal's")

    def _events(self, params: dict[str, str]) -> ChangePage:
        answer = self._client.get(_EVENTS, params)
        events = answer.body.get("events")
        changes = tuple(
            Change(msgspec.json.encode(event), fetched=False)
            for event in (events if isinstance(events, list) else ())
            if isinstance(event, dict)
        )
        after = _link(answer.body, "next")
        if after is None or not changes:
            return ChangePage(changes, f"{_SUBSCRIPTIONS_CURSOR}1")
        # Of the address only its parameters: a link is not followed.
        return ChangePage(changes, _EVENTS_CURSOR + urlsplit(after).query)

    def _subscriptions(self, since: datetime, page: str) -> ChangePage:
        number = int(page) if page.isdecimal() and len(page) < 6 else 1
        params = {"created_after": _text(since), "page": str(number), "page_size": "20"}
        try:
            answer = self._client.get("/v1/billing/subscriptions", params)
        except (NotFound, Invalid):
            return ChangePage(())  # not every account may list them
        listed = answer.body.get("subscriptions")
        ids = [one.get("id") for one in (listed if isinstance(listed, list) else ()) if isinstance(one, dict)]
        changes = tuple(self._fetched(id_ for id_ in ids if isinstance(id_, str) and shapes.is_id(id_)))
        more = _link(answer.body, "next") is not None and bool(ids)
        total = answer.body.get("total_items")
        return ChangePage(
            changes,
            f"{_SUBSCRIPTIONS_CURSOR}{number + 1}" if more else None,
            total if isinstance(total, int) else None,
        )

    def _fetched(self, ids: Iterator[str]) -> Iterator[Change]:
        for id_ in ids:
            for raw in self._subscription(id_):
                yield Change(raw, fetched=True)

    @property
    def a_second(self) -> float:
        """How many requests a second an import may send."""
        return A_SECOND

    def existing(self, turn: Turn) -> PayPalExisting:
        """A listing of everything that is there, for an import."""
        return PayPalExisting(self._client, self._subscription, turn)

    # -- who we are, and who they are ---------------------------------------------------------------

    def check(self) -> str:
        """Ask who we are: the app's id. Raises ProviderUnavailable, Misconfigured."""
        answer = self._client.get("/v1/notifications/webhooks")
        hooks = answer.body.get("webhooks")
        count = len(hooks) if isinstance(hooks, list) else 0
        return f"PayPal app with {count} webhook{'' if count == 1 else 's'}"

    def confirm(self, delivery: Delivery, webhook_id: str, raw: bytes) -> bool:
        """PayPal's own verdict on a delivery.

        The raw body goes in as it came: encoded again, its numbers and escapes would differ and the check
        would fail. Raises ProviderUnavailable, Misconfigured.
        """
        members = {
            "auth_algo": delivery.algorithm,
            "cert_url": delivery.certificate_url,
            "transmission_id": delivery.id,
            "transmission_sig": delivery.signature,
            "transmission_time": delivery.time,
            "webhook_id": webhook_id,
        }
        opened = msgspec.json.encode(members).removesuffix(b"}")
        content = opened + b',"webhook_event":' + raw + b"}"
        try:
            answer = self._client.post_raw("/v1/notifications/verify-webhook-signature", content)
        except (Invalid, NotFound):
            return False  # a webhook id or a form that PayPal does not know
        return answer.body.get("verification_status") == "SUCCESS"


def decimals(amount: int, currency: str) -> str:
    """ISO minor units as PayPal's decimal string. Raises Invalid where PayPal has no such fraction."""
    exponent = iso_exponent(currency)
    value = Decimal(amount).scaleb(-exponent)
    if currency in _WHOLE:
        if value != value.to_integral_value():
            raise Invalid(f"PayPal takes whole {currency} only.")
        return str(int(value))
    if exponent > 2:
        raise Invalid(f"PayPal has no {currency}.")
    return f"{value:.2f}"


def _order(request: CheckoutRequest) -> dict[str, Any]:
    value = decimals(request.amount * request.quantity, request.currency)
    unit = {
        "amount": {"currency_code": request.currency, "value": value},
        "custom_id": request.reference,
        "invoice_id": request.reference,
    }
    experience = {
        "return_url": request.success_url,
        "cancel_url": request.cancel_url,
        "user_action": "PAY_NOW",
        "shipping_preference": "NO_SHIPPING",
    }
    wallet: dict[str, Any] = {"experience_context": experience}
    if request.email is not None:
        wallet["email_address"] = request.email
    return {"intent": "CAPTURE", "purchase_units": [unit], "payment_source": {"paypal": wallet}}


def _subscription(request: CheckoutRequest) -> dict[str, Any]:
    if request.price_external_id is None:
        raise Invalid("at PayPal a subscription is sold by its plan id, and this price has none")
    body: dict[str, Any] = {
        "plan_id": request.price_external_id,
        "quantity": str(request.quantity),
        "custom_id": request.reference,
        "application_context": {
            "return_url": request.success_url,
            "cancel_url": request.cancel_url,
            "user_action": "SUBSCRIBE_NOW",
            "shipping_preference": "NO_SHIPPING",
        },
    }
    if request.email is not None:
        body["subscriber"] = {"email_address": request.email}
    return body


def _is_to_capture(order: dict[str, Any]) -> bool:
    """Whether the buyer agreed and nobody has taken the money; only for an order of ours.

    Another shop on the same account may capture when it has packed the goods.
    """
    units = order.get("purchase_units")
    names = [
        one.get("custom_id") for one in (units if isinstance(units, list) else ()) if isinstance(one, dict)
    ]
    ours = any(isinstance(name, str) and values.is_reference(name) for name in names)
    return ours and order.get("status") == "APPROVED" and order.get("intent", "CAPTURE") == "CAPTURE"


def _order_of(capture: dict[str, Any]) -> str | None:
    supplement = capture.get("supplementary_data")
    related = supplement.get("related_ids") if isinstance(supplement, dict) else None
    named = related.get("order_id") if isinstance(related, dict) else None
    if isinstance(named, str) and shapes.is_id(named):
        return named
    return shapes.linked_id(_link(capture, "up"), "orders")


def _envelope(what: str, answer: Answer, transactions: list[Any] | None = None) -> bytes:
    told: dict[str, Any] = {
        "event_type": f"{shapes.FETCHED}{what}",
        "at": answer.at.isoformat(),
        # PayPal's own bytes, so that what is read is what was sent.
        "resource": msgspec.Raw(answer.raw),
    }
    if transactions is not None:
        told["transactions"] = transactions
    return msgspec.json.encode(told)


def _as_transaction(sale: dict[str, Any]) -> dict[str, Any]:
    """A payment as the list of a subscription's payments shows it, minutes later."""
    amount = sale.get("amount")
    old = amount if isinstance(amount, dict) else {}
    gross = {"currency_code": old.get("currency"), "value": old.get("total")}
    return {
        "id": sale.get("id"),
        "status": str(sale.get("state", "")).upper(),
        "time": sale.get("create_time"),
        "amount_with_breakdown": {"gross_amount": gross},
    }


def _link(body: dict[str, Any], *relations: str) -> str | None:
    links = body.get("links")
    for relation in relations:
        for link in links if isinstance(links, list) else ():
            if isinstance(link, dict) and link.get("rel") == relation and isinstance(link.get("href"), str):
                return str(link["href"])
    return None


def _params(query: str) -> dict[str, str]:
    return {name: value for name, value in parse_qsl(query) if name in _CURSOR_NAMES}


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
