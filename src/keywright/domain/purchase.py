"""A purchase: everything we have been told about one subscription or one order.

Absorbing is commutative, associative and idempotent: every register keeps the greatest value of a total
order, so neither order, repetition nor delay of the events can change the outcome. What the purchase is worth
is decided in `grant.py`; nothing here looks at a clock or at a plan.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from keywright.domain.facts import (
    CheckoutSeen,
    DisputeSeen,
    Fact,
    HolderSeen,
    Ordered,
    PaymentLinked,
    PaymentSeen,
    RefundPart,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
)

_TERMINAL = ("ended", "abandoned")
_NO_STAMP = Stamp(datetime.min.replace(tzinfo=UTC))
# Statuses that say whether the running period is worth something. A canceled or paused subscription says
# nothing about the period it was canceled in.
_EVIDENT = {"active": True, "trialing": True, "past_due": False, "unpaid": False, "incomplete": False}


class PeriodSeen(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the newest snapshot of a period said about it. Keyed by price and end.

    `quantity` outlives the item: a line that is gone from the subscription keeps the seats it had.
    """

    stamp: Stamp
    price: str
    ends_at: datetime
    counts: bool
    trial: bool = False
    starts_at: datetime | None = None
    quantity: int = 1


class Told(msgspec.Struct, frozen=True):
    """One thing about the buyer, and when it was said."""

    stamp: Stamp
    value: str


class Purchase(msgspec.Struct, frozen=True, omit_defaults=True):
    """The registers. An empty one is the neutral element of `merge`."""

    subscription: SubscriptionSeen | None = None
    periods: dict[str, PeriodSeen] = {}
    payments: dict[str, PaymentSeen] = {}
    refunds: dict[str, RefundSeen] = {}
    parts: dict[str, RefundPart] = {}
    disputes: dict[str, DisputeSeen] = {}
    links: dict[str, str] = {}
    ordered: Ordered | None = None
    holder: dict[str, Told] = {}
    checkouts: dict[str, CheckoutSeen] = {}


_V = TypeVar("_V", PeriodSeen, PaymentSeen, RefundSeen, RefundPart, DisputeSeen, CheckoutSeen, Told, str)


def absorb(purchase: Purchase, fact: Fact) -> Purchase:
    """The purchase after one more fact. Returns the same object when the fact was known or is older."""
    match fact:
        case SubscriptionSeen():
            return _absorb_subscription(purchase, fact)
        case PaymentSeen():
            return _with(purchase, "payments", _put(purchase.payments, fact.payment, fact))
        case RefundSeen():
            return _with(purchase, "refunds", _put(purchase.refunds, fact.charge, fact))
        case RefundPart():
            return _with(purchase, "parts", _put(purchase.parts, fact.refund, fact))
        case DisputeSeen():
            return _with(purchase, "disputes", _put(purchase.disputes, fact.dispute, fact))
        case CheckoutSeen():
            return _with(purchase, "checkouts", _put(purchase.checkouts, fact.session, fact))
        case PaymentLinked():
            return _with(purchase, "links", _put(purchase.links, fact.intent, fact.payment))
        case Ordered():
            if purchase.ordered is not None and not _is_newer(fact, purchase.ordered):
                return purchase
            return _with(purchase, "ordered", fact)
    return _absorb_holder(purchase, fact)


def merge(one: Purchase, other: Purchase) -> Purchase:
    """One purchase out of two that turned out to be the same."""
    merged = one
    for fact in _facts_of(other):
        merged = absorb(merged, fact)
    periods = merged.periods
    for key, period in other.periods.items():
        periods = _put(periods, key, period)
    return _with(merged, "periods", periods)


def _facts_of(purchase: Purchase) -> list[Fact]:
    facts: list[Fact] = [
        *purchase.payments.values(),
        *purchase.refunds.values(),
        *purchase.parts.values(),
        *purchase.disputes.values(),
        *purchase.checkouts.values(),
    ]
    facts += [PaymentLinked(intent, payment) for intent, payment in purchase.links.items()]
    facts += [f for f in (purchase.subscription, purchase.ordered) if f is not None]
    facts += [
        msgspec.structs.replace(HolderSeen(told.stamp), **{member: told.value})
        for member, told in purchase.holder.items()
    ]
    return facts


def _absorb_holder(purchase: Purchase, seen: HolderSeen) -> Purchase:
    # Member by member: a subscription event knows only the customer id, a checkout the e-mail too.
    holder = purchase.holder
    for member, value in (("customer", seen.customer), ("email", seen.email)):
        if value is not None:
            holder = _put(holder, member, Told(seen.stamp, value))
    return _with(purchase, "holder", holder)


def _absorb_subscription(purchase: Purchase, seen: SubscriptionSeen) -> Purchase:
    known = purchase.subscription
    if known is None or _is_newer(seen, known):
        purchase = _with(purchase, "subscription", seen)
    counts = _EVIDENT.get(seen.status)
    if counts is None:
        return purchase
    periods = purchase.periods
    for key, period in _periods_of(seen, counts=counts).items():
        periods = _put(periods, key, period)
    return _with(purchase, "periods", periods)


def _periods_of(seen: SubscriptionSeen, *, counts: bool) -> dict[str, PeriodSeen]:
    found: dict[str, PeriodSeen] = {}
    for item in seen.items:
        if item.ends_at is None or item.quantity is None:
            continue
        key = f"{item.price}@{int(item.ends_at.timestamp())}"
        twin = found.get(key)
        # Two items of one price are one period with both quantities, in whichever order they are listed.
        starts = (item.starts_at, twin.starts_at if twin is not None else None)
        found[key] = PeriodSeen(
            stamp=seen.stamp,
            price=item.price,
            ends_at=item.ends_at,
            counts=counts,
            trial=seen.status == "trialing",
            starts_at=min((moment for moment in starts if moment is not None), default=None),
            quantity=item.quantity + (twin.quantity if twin is not None else 0),
        )
    return found


def _put(register: dict[str, _V], key: str, value: _V) -> dict[str, _V]:
    known = register.get(key)
    if known is not None and not _is_newer(value, known):
        return register
    return {**register, key: value}


def _is_newer(value: object, known: object) -> bool:
    """Whether `value` stands above `known` in the total order of its register."""
    if value is known or value == known:
        return False
    one, other = _order(value), _order(known)
    if one != other:
        return one > other
    # Equal stamps with different content: the encoded content makes the order total.
    return _content(value) > _content(known)


def _order(value: object) -> tuple[bool, Stamp]:
    match value:
        case SubscriptionSeen():
            # A subscription that ended never comes back: a late "active" with a newer second loses to it.
            return (value.status in _TERMINAL, value.stamp)
        case PaymentSeen() | CheckoutSeen():
            # Paid stays paid: what takes money back is a refund or a dispute, each with its own register.
            return (value.state == "paid", value.stamp)
        case PeriodSeen() | RefundSeen() | RefundPart() | DisputeSeen() | Told():
            return (False, value.stamp)
        case _:  # what never changes at the provider carries no stamp: an order, a link
            return (False, _NO_STAMP)


_encode = msgspec.json.Encoder(order="deterministic").encode


def _content(value: object) -> bytes:
    return _encode(value)


def _with(purchase: Purchase, member: str, value: object) -> Purchase:
    if getattr(purchase, member) is value:
        return purchase
    return msgspec.structs.replace(purchase, **{member: value})


def payments_of(purchase: Purchase, refund: RefundSeen) -> frozenset[str]:
    """The known payments a refund took back; empty while none of this purchase is known for it.

    One charge may stand behind two of them: a one-off order that also made an invoice was told of twice.
    """
    named = {refund.payment, purchase.links.get(refund.intent or "")}
    return frozenset(
        payment.payment
        for payment in purchase.payments.values()
        if payment.payment in named
        or (payment.intent is not None and payment.intent == refund.intent)
        or (payment.charge is not None and payment.charge == refund.charge)
    )


def prices_of(purchase: Purchase) -> set[str]:
    """Every provider price id this purchase ever spoke of."""
    prices = {period.price for period in purchase.periods.values()}
    prices.update(line.price for payment in purchase.payments.values() for line in payment.lines)
    if purchase.subscription is not None:
        prices.update(item.price for item in purchase.subscription.items)
    if purchase.ordered is not None:
        prices.add(purchase.ordered.price)
    return prices
