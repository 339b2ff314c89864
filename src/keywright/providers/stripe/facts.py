"""What a projected Stripe event says, in the words of `domain/facts.py`.

Pure, and read by presence of members: what moved with API version 2025-03-31 ("basil") is looked for at its
new place first, then at the old one. The version that an event claims never decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from keywright.domain.errors import Unreadable
from keywright.domain.facts import (
    Alias,
    AliasKind,
    CheckoutSeen,
    Fact,
    HolderSeen,
    Item,
    PaidLine,
    PaymentLinked,
    PaymentSeen,
    PaymentState,
    Projected,
    Reading,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
    SubscriptionStatus,
)
from keywright.domain.money import to_iso_minor
from keywright.providers.stripe import shapes

_STATUSES: Final[Mapping[str, SubscriptionStatus]] = {
    "incomplete": "incomplete",
    "incomplete_expired": "abandoned",
    "trialing": "trialing",
    "active": "active",
    "past_due": "past_due",
    "unpaid": "unpaid",
    "paused": "paused",
    "canceled": "ended",
}
# Which of two snapshots of one second is taken: the one further along the life of a subscription.
_RANKS: Final[Mapping[SubscriptionStatus, int]] = {
    "unknown": 0,
    "incomplete": 1,
    "paused": 2,
    "unpaid": 3,
    "past_due": 4,
    "trialing": 5,
    "active": 6,
    "abandoned": 7,
    "ended": 8,
}
_PAYMENT_RANKS: Final[Mapping[PaymentState, int]] = {"pending": 0, "failed": 1, "paid": 2}

# Stripe's own list of currencies without and with three decimals. It has two for all others, also for ISK and
# UGX, where ISO 4217 has none, and none for MGA, where ISO has two.
_STRIPE_EXPONENTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"), 0),
    **dict.fromkeys(("PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3),
}
CheckoutState = Literal["paid", "processing", "failed", "expired"]
_NO_CURRENCY: Final = "XXX"  # ISO 4217 for "no currency is involved"


def read_object(projected: Projected) -> Reading:
    """The facts of a projection whose standing is `read`. Raises Unreadable."""
    try:
        decoder, reader = _READERS[projected.type]
        return reader(projected, decoder.decode(projected.body).object)
    except KeyError:
        problem = f"no facts are read from {projected.type}"
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem = f"not a projection of ours: {type(error).__name__}"
    raise Unreadable(problem)


# --------------------------------------------------------------------------------------- subscriptions


def _read_subscription(event: Projected, seen: shapes.Subscription) -> Reading:
    status = _STATUSES.get(seen.status, "unknown")
    if event.type == "customer.subscription.deleted" and status != "abandoned":
        status = "ended"
    stamp = Stamp(event.occurred_at, _RANKS[status], event.digest)
    items = _items(seen)
    reference = _reference(seen.metadata)
    aliases = [Alias("subscription", seen.id)]
    if reference is not None:
        aliases.append(Alias("reference", reference))
    snapshot = SubscriptionSeen(
        stamp=stamp,
        status=status,
        items=items,
        # Flexible billing sets cancel_at alone, classic billing the flag.
        canceling=bool(seen.cancel_at_period_end) or seen.cancel_at is not None,
        ended_at=_at(seen.ended_at),
    )
    customer = seen.customer
    email = customer.email if isinstance(customer, shapes.ExpandedCustomer) else None
    facts: tuple[Fact, ...] = (snapshot, HolderSeen(stamp, customer=_id(customer), email=email))
    return Reading(tuple(aliases), facts, founds=True, prices=_prices(items), reference=reference)


def _items(seen: shapes.Subscription) -> tuple[Item, ...]:
    listed: Iterable[shapes.Item]
    if seen.items is not None:
        listed = seen.items.data
    elif seen.plan is not None:
        listed = (shapes.Item(plan=seen.plan, quantity=seen.quantity),)
    else:
        raise Unreadable("a subscription without items")
    start, end = _at(seen.current_period_start), _at(seen.current_period_end)
    return tuple(_item(item, start, end) for item in listed)


def _item(item: shapes.Item, start: datetime | None, end: datetime | None) -> Item:
    price = _id(item.price) or _id(item.plan)
    if price is None:
        raise Unreadable("a subscription item without a price")
    return Item(
        price,
        item.quantity,
        start if item.current_period_start is None else _at(item.current_period_start),
        end if item.current_period_end is None else _at(item.current_period_end),
    )


# -------------------------------------------------------------------------------------------- invoices


def _read_invoice(event: Projected, seen: shapes.Invoice) -> Reading:
    state: PaymentState = "paid" if event.type == "invoice.paid" else "failed"
    stamp = Stamp(event.occurred_at, _PAYMENT_RANKS[state], event.digest)
    subscription, reference = _invoice_origin(seen)
    intent, charge = _invoice_means(seen)
    amounts = (seen.amount_paid if state == "paid" else seen.amount_due, seen.total)
    lines = _lines(seen)
    currency = seen.currency.upper()
    payment = PaymentSeen(
        stamp=stamp,
        payment=seen.id,
        state=state,
        amount=_iso(next((amount for amount in amounts if amount is not None), 0), currency),
        currency=currency,
        lines=lines,
        intent=intent,
        charge=charge,
    )
    aliases = _aliases(
        invoice=seen.id, subscription=subscription, intent=intent, charge=charge, reference=reference
    )
    holder = HolderSeen(stamp, customer=_id(seen.customer), email=seen.customer_email)
    # An invoice that a person wrote by hand sells nothing of the catalog by itself.
    founds = subscription is not None
    return Reading(aliases, (payment, holder), founds, prices=_prices(lines), reference=reference)


def _invoice_origin(seen: shapes.Invoice) -> tuple[str | None, str | None]:
    """The subscription an invoice belongs to, and our reference."""
    details = None
    if seen.parent is not None and seen.parent.type in (None, "subscription_details"):
        details = seen.parent.subscription_details
    subscription = (_id(details.subscription) if details is not None else None) or _id(seen.subscription)
    bearers: list[shapes.SubscriptionDetails | shapes.Line | None] = [details, seen.subscription_details]
    if seen.lines is not None:
        bearers += seen.lines.data
    found = (_reference(bearer.metadata) for bearer in bearers if bearer is not None)
    return subscription, next((reference for reference in found if reference is not None), None)


def _invoice_means(seen: shapes.Invoice) -> tuple[str | None, str | None]:
    """Payment intent and charge that settle an invoice; since basil in a list, and only when expanded."""
    intent, charge = _id(seen.payment_intent), _id(seen.charge)
    settlements = seen.payments.data if seen.payments is not None else ()
    # An open attempt may stand beside the one that succeeded.
    for settlement in sorted(settlements, key=lambda one: one.status != "paid"):
        if settlement.payment is not None:
            intent = intent or _id(settlement.payment.payment_intent)
            charge = charge or _id(settlement.payment.charge)
    return intent, charge


def _lines(seen: shapes.Invoice) -> tuple[PaidLine, ...]:
    listed = seen.lines.data if seen.lines is not None else ()
    return tuple(line for line in map(_line, listed) if line is not None)


def _line(line: shapes.Line) -> PaidLine | None:
    details = line.pricing.price_details if line.pricing is not None else None
    price = (_id(details.price) if details is not None else None) or _id(line.price) or _id(line.plan)
    if price is None:
        return None  # an amount typed in by hand: it pays for nothing that is in a catalog
    period = line.period or shapes.Period()
    return PaidLine(price, line.quantity, _at(period.start), _at(period.end), _is_prorated(line))


def _is_prorated(line: shapes.Line) -> bool:
    if line.proration is not None:
        return line.proration
    if line.parent is None:
        return False
    origins = {
        "subscription_item_details": line.parent.subscription_item_details,
        "invoice_item_details": line.parent.invoice_item_details,
    }
    chosen = [origins[line.parent.type]] if line.parent.type in origins else list(origins.values())
    return any(origin is not None and bool(origin.proration) for origin in chosen)


def _read_invoice_payment(event: Projected, seen: shapes.InvoicePayment) -> Reading:
    del event
    means = seen.payment or shapes.PaymentMeans()
    invoice, intent = _id(seen.invoice), _id(means.payment_intent)
    if invoice is None:
        raise Unreadable("an invoice payment without an invoice")
    # Invoices settled by a bare charge, or outside Stripe, have no intent to link.
    facts: tuple[Fact, ...] = () if intent is None else (PaymentLinked(intent, invoice),)
    return Reading(_aliases(invoice=invoice, intent=intent, charge=_id(means.charge)), facts, founds=False)


# -------------------------------------------------------------------------------- checkout and refunds


def _read_session(event: Projected, seen: shapes.Session) -> Reading:
    mode = seen.mode or _mode_of_old_session(seen)
    state, outcome = _session_state(event.type, seen.payment_status)
    stamp = Stamp(event.occurred_at, _PAYMENT_RANKS[state], event.digest)
    details = seen.customer_details or shapes.CustomerDetails()
    holder = HolderSeen(
        stamp,
        customer=_id(seen.customer),
        email=details.email or seen.customer_email,
    )
    facts: list[Fact] = [holder]
    intent = _id(seen.payment_intent)
    if mode in ("payment", "subscription"):
        facts.insert(0, CheckoutSeen(stamp, seen.id, outcome))
    if mode == "payment":
        currency = (seen.currency or _NO_CURRENCY).upper()
        amount = _iso(seen.amount_total or 0, currency)
        facts.append(PaymentSeen(stamp, seen.id, state, amount, currency, intent=intent))
    # Metadata alone: `client_reference_id` can be put into a payment link's address by anybody.
    reference = _reference(seen.metadata)
    aliases = _aliases(
        session=seen.id,
        subscription=_id(seen.subscription) if mode == "subscription" else None,
        intent=intent,
        invoice=_id(seen.invoice),
        reference=reference,
    )
    founds = mode in ("payment", "subscription") and outcome != "expired"
    return Reading(aliases, tuple(facts), founds, reference=reference)


def _session_state(kind: str, status: str | None) -> tuple[PaymentState, CheckoutState]:
    """State of the payment and of the checkout. Before 2020 there was no status: completed was paid."""
    if kind == "checkout.session.expired":
        return "failed", "expired"
    if kind == "checkout.session.async_payment_failed":
        return "failed", "failed"
    if kind == "checkout.session.async_payment_succeeded" or status in (None, "paid", "no_payment_required"):
        return "paid", "paid"
    return "pending", "processing"


def _mode_of_old_session(seen: shapes.Session) -> str:
    if seen.subscription is not None:
        return "subscription"
    return "setup" if seen.setup_intent is not None else "payment"


def _read_charge(event: Projected, seen: shapes.Charge) -> Reading:
    currency = seen.currency.upper()
    # Refunds add up, so of two snapshots of one second the larger one is the newer.
    stamp = Stamp(event.occurred_at, max(seen.amount_refunded, 0), event.digest)
    intent, invoice = _id(seen.payment_intent), _id(seen.invoice)
    reference = _reference(seen.metadata)
    refund = RefundSeen(
        stamp=stamp,
        charge=seen.id,
        full=bool(seen.refunded) or 0 < seen.amount <= seen.amount_refunded,
        amount=_iso(seen.amount_refunded, currency),
        currency=currency,
        intent=intent,
        payment=invoice,
    )
    aliases = _aliases(charge=seen.id, intent=intent, invoice=invoice, reference=reference)
    return Reading(aliases, (refund,), founds=False, reference=reference)


# --------------------------------------------------------------------------------------- small readers


def _id(ref: str | shapes.Expanded | shapes.ExpandedCustomer | shapes.ExpandedPrice | None) -> str | None:
    return ref if ref is None or isinstance(ref, str) else ref.id


def _at(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _iso(amount: int, currency: str) -> int:
    return to_iso_minor(amount, currency, _STRIPE_EXPONENTS.get(currency, 2))


def _reference(metadata: shapes.Metadata | None) -> str | None:
    return None if metadata is None else metadata.keywright_reference


def _aliases(**external_ids: str | None) -> tuple[Alias, ...]:
    """Aliases in the order of the arguments, whose names are alias kinds."""
    kinds: Mapping[Any, str | None] = external_ids
    return tuple(_alias(kind, name) for kind, name in kinds.items() if name is not None)


def _alias(kind: AliasKind, name: str) -> Alias:
    return Alias(kind, name)


def _prices(positions: Iterable[Item | PaidLine]) -> tuple[str, ...]:
    return tuple(sorted({position.price for position in positions}))


_Reader = Callable[[Projected, Any], Reading]
_SHAPE_READERS: Final[Mapping[type[shapes.Shape], _Reader]] = {
    shapes.Subscription: _read_subscription,
    shapes.Invoice: _read_invoice,
    shapes.InvoicePayment: _read_invoice_payment,
    shapes.Session: _read_session,
    shapes.Charge: _read_charge,
}
_READERS: Final[Mapping[str, tuple[msgspec.json.Decoder[Any], _Reader]]] = {
    kind: (msgspec.json.Decoder(shapes.Kept[shape]), _SHAPE_READERS[shape])  # type: ignore[valid-type]  # as in hook
    for kind, shape in shapes.READ.items()
}
