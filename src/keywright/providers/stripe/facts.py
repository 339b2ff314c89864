"""What a projected Stripe event says, in the words of `domain/facts.py`: subscriptions, invoices, customers.

Pure, and read by presence of members: what moved with API version 2025-03-31 ("basil") is looked for at its
new place first, then at the old one. The version that an event claims never decides. What is about a
checkout, a charge and what becomes of it stands in `payments.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from keywright.domain.errors import Unreadable
from keywright.domain.facts import (
    Alias,
    Fact,
    HolderSeen,
    Item,
    PaidLine,
    PaymentLinked,
    PaymentSeen,
    PaymentState,
    Projected,
    Reading,
    Refetch,
    Stamp,
    SubscriptionSeen,
    SubscriptionStatus,
)
from keywright.providers.stripe import connect_facts, payments, shapes
from keywright.providers.stripe.values import aliases_of, at, id_of, iso, prices_of, reference_in, tenant_in

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
# Of a payment that was told of as failed and, in the same second, as paid: it was paid in the end.
_PAYMENT_RANKS: Final[Mapping[PaymentState, int]] = {"pending": 0, "failed": 1, "paid": 2}
# Above every rank of an event: what we asked for is newer than what was sent in the same second.
_FETCHED_RANK: Final = 100
# A cut invoice stands below the whole one, which is dated with the moment it was paid: a little before the
# event that told of it.
_CUT: Final = timedelta(hours=1)
# The provider gave up collecting and paused instead of ending the subscription: its last period is unpaid.
_PAUSED_UNPAID: Final = frozenset({"first_payment_failure", "final_payment_failure"})


def read_object(projected: Projected) -> Reading:
    """The facts of a projection whose standing is `read`. Raises Unreadable."""
    try:
        decoder, reader = _READERS[projected.type]
        kept = decoder.decode(projected.body)
        return reader(projected, kept.object) if not kept.more else _read_cut(projected, kept.object, reader)
    except KeyError:
        problem = f"no facts are read from {projected.type}"
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem = f"not a projection of ours: {type(error).__name__}"
    raise Unreadable(problem)


def _read_cut(projected: Projected, seen: Any, reader: _Reader) -> Reading:
    """Of an object with a list that Stripe cut: what is true without its rest, which is to be fetched.

    Half of a subscription's items would end the licenses of the other half. Half of the lines of an invoice
    pay for what they name, and the rest follows.
    """
    reading = reader(projected, seen)
    if isinstance(seen, shapes.Subscription):
        facts = tuple(fact for fact in reading.facts if not isinstance(fact, SubscriptionSeen))
        wanted = (Refetch("subscription", seen.id),)
        return msgspec.structs.replace(reading, facts=facts, refetches=wanted, fallback=())
    if not isinstance(seen, shapes.Invoice):
        return reading
    return msgspec.structs.replace(reading, refetches=(Refetch("invoice", seen.id),))


# --------------------------------------------------------------------------------------- subscriptions


def _read_subscription(event: Projected, seen: shapes.Subscription) -> Reading:
    status = _status(event, seen)
    fetched = event.type in shapes.FETCHED
    stamp = Stamp(event.occurred_at, _FETCHED_RANK if fetched else _RANKS[status], event.digest)
    items = _items(seen)
    reference = reference_in(seen.metadata)
    aliases = [Alias("subscription", seen.id)]
    if reference is not None:
        aliases.append(Alias("reference", reference))
    snapshot = SubscriptionSeen(
        stamp=stamp,
        status=status,
        items=items,
        canceling=_is_canceling(seen, items),
        ended_at=at(seen.ended_at),
        collecting=seen.pause_collection is None,
    )
    customer = seen.customer
    email = customer.email if isinstance(customer, shapes.ExpandedCustomer) else None
    holder = HolderSeen(stamp, id_of(customer), email, tenant_in(seen.metadata))
    facts: tuple[Fact, ...] = (snapshot, holder)
    return Reading(
        tuple(aliases),
        facts,
        founds=True,
        prices=prices_of(items),
        reference=reference,
        # Asked for when another snapshot of the same second says something else. An answer settles that.
        fallback=() if fetched else (Refetch("subscription", seen.id),),
    )


def _status(event: Projected, seen: shapes.Subscription) -> SubscriptionStatus:
    status = _STATUSES.get(seen.status, "unknown")
    if event.type == "customer.subscription.deleted" and status != "abandoned":
        return "ended"
    details = seen.status_details
    if status == "paused" and details is not None and details.paused is not None:
        why = details.paused.subscription
        if why is not None and why.type in _PAUSED_UNPAID:
            return "unpaid"
    return status


def _is_canceling(seen: shapes.Subscription, items: tuple[Item, ...]) -> bool:
    """Whether it ends with, or before, the running period.

    Flexible billing sets `cancel_at` alone, classic billing the flag. A `cancel_at` years ahead is a fixed
    term: until its last period it renews.
    """
    if seen.cancel_at_period_end:
        return True
    if seen.cancel_at is None:
        return False
    ends = [item.ends_at for item in items]
    known = [end for end in ends if end is not None]
    return len(known) < len(ends) or not known or seen.cancel_at <= max(known).timestamp()


def _items(seen: shapes.Subscription) -> tuple[Item, ...]:
    listed: Iterable[shapes.Item]
    if seen.items is not None:
        listed = seen.items.data
    elif seen.plan is not None:
        listed = (shapes.Item(plan=seen.plan, quantity=seen.quantity),)
    else:
        raise Unreadable("a subscription without items")
    start, end = at(seen.current_period_start), at(seen.current_period_end)
    return tuple(_item(item, start, end) for item in listed)


def _item(item: shapes.Item, start: datetime | None, end: datetime | None) -> Item:
    price = id_of(item.price) or id_of(item.plan)
    if price is None:
        raise Unreadable("a subscription item without a price")
    return Item(
        price,
        item.quantity,
        start if item.current_period_start is None else at(item.current_period_start),
        end if item.current_period_end is None else at(item.current_period_end),
    )


# -------------------------------------------------------------------------------------------- invoices


def _read_invoice(event: Projected, seen: shapes.Invoice) -> Reading:
    """A failed one may also be given up or voided: whichever it was, what it stands for is not paid."""
    if isinstance(seen, shapes.FetchedInvoice):
        return _read_as(seen, *_how_it_stands(event, seen))
    state: PaymentState = "paid" if event.type == "invoice.paid" else "failed"
    at_ = event.occurred_at
    if seen.lines is not None and seen.lines.has_more:
        at_ -= _CUT
    return _read_as(seen, state, Stamp(at_, _PAYMENT_RANKS[state], event.digest))


def _how_it_stands(event: Projected, seen: shapes.FetchedInvoice) -> tuple[PaymentState, Stamp]:
    """State of a fetched invoice and its time: when it was paid, for a bought term may begin there."""
    waiting = seen.status == "draft" or (seen.status == "open" and not seen.attempted)
    state: PaymentState = "pending" if waiting else "failed"
    told_at = event.occurred_at
    if seen.status == "paid":
        state = "paid"
        moments = seen.status_transitions or shapes.Transitions()
        told_at = at(moments.paid_at) or told_at
    return state, Stamp(told_at, _FETCHED_RANK, event.digest)


def _read_as(seen: shapes.Invoice, state: PaymentState, stamp: Stamp) -> Reading:
    subscription, reference = _invoice_origin(seen)
    intent, charge = _invoice_means(seen)
    amounts = (seen.amount_paid if state == "paid" else seen.amount_due, seen.total)
    lines = _lines(seen)
    currency = seen.currency.upper()
    payment = PaymentSeen(
        stamp=stamp,
        payment=seen.id,
        state=state,
        amount=iso(next((amount for amount in amounts if amount is not None), 0), currency),
        currency=currency,
        lines=lines,
        intent=intent,
        charge=charge,
    )
    aliases = aliases_of(
        invoice=seen.id, subscription=subscription, intent=intent, charge=charge, reference=reference
    )
    holder = HolderSeen(stamp, customer=id_of(seen.customer), email=seen.customer_email)
    # An invoice that a person wrote by hand sells nothing of the catalog by itself.
    founds = subscription is not None
    return Reading(aliases, (payment, holder), founds, prices=prices_of(lines), reference=reference)


def _invoice_origin(seen: shapes.Invoice) -> tuple[str | None, str | None]:
    """The subscription an invoice belongs to, and our reference."""
    details = None
    if seen.parent is not None and seen.parent.type in (None, "subscription_details"):
        details = seen.parent.subscription_details
    subscription = (id_of(details.subscription) if details is not None else None) or id_of(seen.subscription)
    bearers: list[shapes.SubscriptionDetails | shapes.Line | None] = [details, seen.subscription_details]
    if seen.lines is not None:
        bearers += seen.lines.data
    found = (reference_in(bearer.metadata) for bearer in bearers if bearer is not None)
    return subscription, next((reference for reference in found if reference is not None), None)


def _invoice_means(seen: shapes.Invoice) -> tuple[str | None, str | None]:
    """Payment intent and charge that settle an invoice; since basil in a list, and only when expanded."""
    intent, charge = id_of(seen.payment_intent), id_of(seen.charge)
    settlements = seen.payments.data if seen.payments is not None else ()
    # An open attempt may stand beside the one that succeeded.
    for settlement in sorted(settlements, key=lambda one: one.status != "paid"):
        if settlement.payment is not None:
            intent = intent or id_of(settlement.payment.payment_intent)
            charge = charge or id_of(settlement.payment.charge)
    return intent, charge


def _lines(seen: shapes.Invoice) -> tuple[PaidLine, ...]:
    listed = seen.lines.data if seen.lines is not None else ()
    return tuple(line for line in map(_line, listed) if line is not None)


def _line(line: shapes.Line) -> PaidLine | None:
    details = line.pricing.price_details if line.pricing is not None else None
    price = (id_of(details.price) if details is not None else None) or id_of(line.price) or id_of(line.plan)
    if price is None:
        return None  # an amount typed in by hand: it pays for nothing that is in a catalog
    period = line.period or shapes.Period()
    return PaidLine(price, line.quantity, at(period.start), at(period.end), _is_prorated(line))


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
    invoice, intent = id_of(seen.invoice), id_of(means.payment_intent)
    if invoice is None:
        raise Unreadable("an invoice payment without an invoice")
    # Invoices settled by a bare charge, or outside Stripe, have no intent to link.
    facts: tuple[Fact, ...] = () if intent is None else (PaymentLinked(intent, invoice),)
    return Reading(
        aliases_of(invoice=invoice, intent=intent, charge=id_of(means.charge)), facts, founds=False
    )


# ------------------------------------------------------------------------------------------- customers


def _read_customer(event: Projected, seen: shapes.Customer) -> Reading:
    person = HolderSeen(Stamp(event.occurred_at, 0, event.digest), customer=seen.id, email=seen.email)
    return Reading((), (), founds=False, person=person)


_Reader = Callable[[Projected, Any], Reading]
_SHAPE_READERS: Final[Mapping[type[shapes.Shape], _Reader]] = {
    shapes.Subscription: _read_subscription,
    shapes.Invoice: _read_invoice,
    shapes.FetchedInvoice: _read_invoice,
    shapes.InvoicePayment: _read_invoice_payment,
    shapes.Customer: _read_customer,
    **payments.READERS,
    **connect_facts.READERS,
}
_READERS: Final[Mapping[str, tuple[msgspec.json.Decoder[Any], _Reader]]] = {
    kind: (msgspec.json.Decoder(shapes.Kept[shape]), _SHAPE_READERS[shape])  # type: ignore[valid-type]  # as in hook
    for kind, shape in (*shapes.READ.items(), *shapes.FETCHED.items())
}
