"""What a seller changes at Stripe: seats, cancellation, refunds, and the buyer's own portal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from keywright.domain.errors import NotFound, Unsupported
from keywright.ports import Clock, Deal, Markable, Preview
from keywright.providers.stripe.client import API_BASE, StripeClient, address, decoded
from keywright.providers.stripe.values import at, from_iso, iso

_ENDED: Final = frozenset({"canceled", "incomplete_expired"})
# What the rest of the running period costs more, or less, is put on the next invoice.
_PRORATION: Final = "create_prorations"


class _Price(msgspec.Struct, frozen=True):
    id: str


class _Item(msgspec.Struct, frozen=True):
    id: str
    price: _Price
    quantity: int | None = None
    current_period_end: int | None = None


class _Items(msgspec.Struct, frozen=True):
    data: tuple[_Item, ...]


class _Subscription(msgspec.Struct, frozen=True):
    id: str
    status: str
    customer: str
    items: _Items
    currency: str = "XXX"
    cancel_at_period_end: bool = False
    cancel_at: int | None = None
    pause_collection: dict[str, Any] | None = None


class _Origin(msgspec.Struct, frozen=True):
    proration: bool = False


class _LineParent(msgspec.Struct, frozen=True):
    subscription_item_details: _Origin | None = None
    invoice_item_details: _Origin | None = None


class _Period(msgspec.Struct, frozen=True):
    start: int


class _Line(msgspec.Struct, frozen=True):
    amount: int
    period: _Period
    parent: _LineParent | None = None


class _Lines(msgspec.Struct, frozen=True):
    data: tuple[_Line, ...]


class _Invoice(msgspec.Struct, frozen=True):
    id: str
    total: int
    currency: str
    lines: _Lines


class _Means(msgspec.Struct, frozen=True):
    payment_intent: str | None = None
    charge: str | None = None


class _Settlement(msgspec.Struct, frozen=True):
    payment: _Means | None = None


class _Settlements(msgspec.Struct, frozen=True):
    data: tuple[_Settlement, ...]


class _Paid(msgspec.Struct, frozen=True):
    latest_charge: str | None = None


class _Charged(msgspec.Struct, frozen=True):
    application_fee: str | None = None


class _Page(msgspec.Struct, frozen=True):
    url: str


class _Marked(msgspec.Struct, frozen=True):
    metadata: dict[str, Any] = {}


class StripeBilling:
    """Implements BillingApi. Safe to use from several threads."""

    def __init__(
        self, secret_key: str, clock: Clock, *, base: str = API_BASE, account: str | None = None
    ) -> None:
        """Make a client; nothing is sent yet. Arguments as those of `StripeApi`."""
        self._client = StripeClient(secret_key, clock, base, account)
        self._clock = clock

    def preview_quantity(self, deal: Deal, quantity: int) -> Preview:
        """What so many would cost from now on (POST /v1/invoices/create_preview).

        `due_now` is the price of the change for the rest of the running period, before tax. Stripe collects
        it with the next invoice, whose other part is `next_amount`. Raises as `change_quantity`.
        """
        subscription = self._running(deal)
        item = _item_of(subscription, deal)
        if subscription.cancel_at_period_end or subscription.cancel_at is not None:
            raise Unsupported("It ends with its period: there is no next invoice. Resume it first.")
        now = int(self._clock.now().timestamp())
        details = {
            "items": [{"id": item.id, "quantity": quantity}],
            "proration_behavior": _PRORATION,
            # Prorations of earlier changes wait for the same invoice. Those of this one begin at this second.
            "proration_date": now,
        }
        path = address("invoices", "create_preview")
        answer = self._client.post(path, subscription=subscription.id, subscription_details=details)
        whole = self._client.whole(answer.body, "lines", address("invoices", _id(answer.body), "lines"))
        invoice = decoded(whole, _Invoice)
        mine = [line for line in invoice.lines.data if line.period.start == now and _is_prorated(line)]
        change = sum(line.amount for line in mine)
        currency = invoice.currency.upper()
        return Preview(
            quantity,
            iso(change, currency),
            iso(invoice.total - change, currency),
            currency,
            _next_at(subscription),
        )

    def change_quantity(self, deal: Deal, quantity: int, key: str) -> str | None:
        """Have so many from now on. Returns None: at Stripe the buyer is not asked.

        `error_if_incomplete`: when Stripe has to collect at once and cannot, nothing changes. The other way
        to be safe, `pending_if_incomplete`, waits for the buyer to pay, but is refused for subscriptions
        that are paid by sent invoices, and leaves a change behind that may or may not come true a day later.
        https://docs.stripe.com/api/subscriptions/update#update_subscription-payment_behavior

        Raises:
            Unsupported: it has ended, or none of its items has this price.
            Invalid: Stripe refuses, as when the card does not pay.
            ProviderUnavailable, Misconfigured: as `StripeApi.create_checkout`.
        """
        subscription = self._running(deal)
        item = _item_of(subscription, deal)
        if item.quantity != quantity:
            self._client.post(
                address("subscriptions", subscription.id),
                key=f"keywright-quantity-{key}",
                # Without the item's id Stripe would add a second item.
                items=[{"id": item.id, "quantity": quantity}],
                proration_behavior=_PRORATION,
                payment_behavior="error_if_incomplete",
            )
        return None

    def cancel(self, deal: Deal) -> None:
        """End it with the running period. One that has ended is left alone. Raises as `change_quantity`."""
        subscription = self._subscription(deal)
        if subscription.status not in _ENDED and not subscription.cancel_at_period_end:
            self._update(subscription, cancel_at_period_end="true")

    def resume(self, deal: Deal) -> None:
        """Take a cancellation and a pause back. Paid time that is left is not charged again.

        Raises Unsupported when it has ended; otherwise as `change_quantity`.
        """
        subscription = self._running(deal)
        changed: dict[str, str] = {}
        # Stripe takes one of the two: classic billing sets the flag, flexible billing the time alone.
        if subscription.cancel_at_period_end:
            changed["cancel_at_period_end"] = "false"
        elif subscription.cancel_at is not None:
            changed["cancel_at"] = ""
        if subscription.pause_collection is not None:
            changed["pause_collection"] = ""
        if changed:
            self._update(subscription, **changed)
        if subscription.status == "paused":
            path = address("subscriptions", subscription.id, "resume")
            self._client.post(path, billing_cycle_anchor={"type": "unchanged"})

    def refund(
        self, deal: Deal, amount: int | None, currency: str, key: str, *, fee_back: bool = False
    ) -> None:
        """Give the money of one payment back. It does not end a subscription.

        `fee_back`: the platform's fee goes back with it, as much of it as belongs to the amount; only where
        there is one. https://docs.stripe.com/api/refunds/create#create_refund-refund_application_fee

        Raises Unsupported when nothing names the payment, NotFound when Stripe does not know it; Invalid when
        there is less left of it, or nothing.
        """
        given: dict[str, Any] = self._payer(deal)
        if amount is not None:
            given["amount"] = from_iso(amount, currency)
        if fee_back and self._has_fee(given):
            given["refund_application_fee"] = "true"
        self._client.post(address("refunds"), key=f"keywright-refund-{key}", **given)

    def portal(self, deal: Deal, return_url: str) -> str:
        """The buyer's own page at Stripe, for a while. Raises as `change_quantity`."""
        customer = deal.customer
        if customer is None:
            customer = self._subscription(deal).customer
        path = address("billing_portal", "sessions")
        return decoded(self._client.post(path, customer=customer, return_url=return_url).body, _Page).url

    def mark(self, thing: Markable, external_id: str, words: Mapping[str, str], key: str) -> bool:
        """Write words into the metadata of a customer or a subscription; other words there stay.

        Read first: Stripe remembers a key for a day, and this may be repeated later. Raises NotFound, and as
        `change_quantity`.
        """
        path = address(f"{thing}s", external_id)
        known = decoded(self._client.get(path).body, _Marked).metadata
        if all(known.get(name) == word for name, word in words.items()):
            return False
        self._client.post(path, key=f"keywright-mark-{key}", metadata=dict(words))
        return True

    def _has_fee(self, payer: dict[str, Any]) -> bool:
        """Whether the charge paid one: Stripe refuses to give back what was never taken."""
        charge = payer.get("charge")
        if charge is None:
            intent = self._client.get(address("payment_intents", payer["payment_intent"])).body
            charge = decoded(intent, _Paid).latest_charge
        if charge is None:
            return False
        return (
            decoded(self._client.get(address("charges", charge)).body, _Charged).application_fee is not None
        )

    def _subscription(self, deal: Deal) -> _Subscription:
        if deal.subscription is None:
            raise Unsupported("This was bought once: there is no subscription at Stripe to change.")
        raw = self._client.get(address("subscriptions", deal.subscription)).body
        whole = self._client.whole(
            raw, "items", address("subscription_items"), subscription=deal.subscription
        )
        return decoded(whole, _Subscription)

    def _running(self, deal: Deal) -> _Subscription:
        subscription = self._subscription(deal)
        if subscription.status in _ENDED:
            raise Unsupported("The subscription has ended at Stripe, and does not come back: buy a new one.")
        return subscription

    def _update(self, subscription: _Subscription, **changed: str) -> None:
        # No key of ours: what is said is how it shall be, so saying it twice changes nothing.
        self._client.post(address("subscriptions", subscription.id), **changed)

    def _payer(self, deal: Deal) -> dict[str, Any]:
        """The one of a payment's names that Stripe refunds by."""
        if deal.intent is not None:
            return {"payment_intent": deal.intent}
        if deal.charge is not None:
            return {"charge": deal.charge}
        if deal.payment is None or not deal.payment.startswith("in_"):
            raise Unsupported("No payment of Stripe's is known for it: refund it in Stripe's dashboard.")
        paid = self._client.get(address("invoice_payments"), invoice=deal.payment, status="paid").body
        for settlement in decoded(paid, _Settlements).data:
            means = settlement.payment or _Means()
            if means.payment_intent is not None:
                return {"payment_intent": means.payment_intent}
            if means.charge is not None:
                return {"charge": means.charge}
        raise NotFound("Stripe knows of no payment for this invoice")


def _id(raw: bytes) -> str:
    return decoded(raw, _Price).id


def _item_of(subscription: _Subscription, deal: Deal) -> _Item:
    """The item that was bought: the one of the deal's price, or, when it names none, the only one."""
    counted = [item for item in subscription.items.data if item.quantity is not None]
    found = [item for item in counted if deal.price is None or item.price.id == deal.price]
    if len(found) != 1:
        raise Unsupported(
            f"{len(found)} items of the subscription have this price: change them in Stripe's dashboard."
        )
    return found[0]


def _is_prorated(line: _Line) -> bool:
    parent = line.parent or _LineParent()
    origins = (parent.subscription_item_details, parent.invoice_item_details)
    return any(origin is not None and origin.proration for origin in origins)


def _next_at(subscription: _Subscription) -> datetime | None:
    ends = [item.current_period_end for item in subscription.items.data]
    return at(min((end for end in ends if end is not None), default=None))
