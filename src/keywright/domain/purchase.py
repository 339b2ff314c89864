"""A purchase: everything we have been told about one subscription or one order.

Absorbing is commutative, associative and idempotent: every register keeps the greatest value of a total
order, so neither order, repetition nor delay of the events can change the outcome. What the purchase is worth
is decided in `grant.py`; nothing here looks at a clock or at a plan.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from keywright.domain.email_address import is_erased
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

    `quantity` outlives the item: a line that is gone from the subscription keeps the seats it had. `most` is
    the largest quantity that a snapshot told of while it counted (0: `quantity`), `since` the moment of the
    first snapshot of it (None: the newest is the first). Neither depends on which snapshot is the newest.
    """

    stamp: Stamp
    price: str
    ends_at: datetime
    counts: bool
    trial: bool = False
    starts_at: datetime | None = None
    quantity: int = 1
    most: int = 0
    since: datetime | None = None

    @property
    def peak(self) -> int:
        """The largest quantity it counted with."""
        return max(self.most, self.quantity if self.counts else 0)

    @property
    def first_at(self) -> datetime:
        """When it was first told of."""
        return self.stamp.at if self.since is None else self.since


class Told(msgspec.Struct, frozen=True):
    """One thing about the buyer, and when it was said."""

    stamp: Stamp
    value: str


class Purchase(msgspec.Struct, frozen=True, omit_defaults=True):
    """The registers. An empty one is the neutral element of `merge`.

    Beside those that keep the newest word, three keep a first moment: `settled`, when a payment was told as
    paid (where that is not its newest word), `opened`, when a dispute was opened, and `uncollected`, when the
    provider was seen not to collect for a period.
    """

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
    settled: dict[str, datetime] = {}
    opened: dict[str, datetime] = {}
    uncollected: dict[str, datetime] = {}


_V = TypeVar("_V", PaymentSeen, RefundSeen, RefundPart, DisputeSeen, CheckoutSeen, Told, str)


def absorb(purchase: Purchase, fact: Fact) -> Purchase:
    """The purchase after one more fact. Returns the same object when the fact was known or is older."""
    match fact:
        case SubscriptionSeen():
            return _absorb_subscription(purchase, fact)
        case PaymentSeen():
            return _absorb_payment(purchase, fact)
        case RefundSeen():
            return _with(purchase, "refunds", _put(purchase.refunds, fact.charge, fact))
        case RefundPart():
            return _with(purchase, "parts", _put(purchase.parts, fact.refund, fact))
        case DisputeSeen():
            return _absorb_dispute(purchase, fact)
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
        periods = _put_period(periods, key, period)
    merged = _with(merged, "periods", periods)
    for payment, at in other.settled.items():
        merged = _settle(merged, payment, at)
    for member in ("opened", "uncollected"):
        earliest = getattr(merged, member)
        for key, at in getattr(other, member).items():
            earliest = _first(earliest, key, at)
        merged = _with(merged, member, earliest)
    return merged


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
    for member, value in (("customer", seen.customer), ("email", seen.email), ("tenant", seen.tenant)):
        if value is None:
            continue
        known = holder.get(member)
        if is_erased(value) and known is not None and not is_erased(known.value):
            # Whoever had his address erased is not to have it back from an event that comes later: of all
            # values the erased one is the greatest, so that absorbing stays commutative.
            holder = {**holder, member: Told(seen.stamp, value)}
        elif known is None or is_erased(value) or not is_erased(known.value):
            holder = _put(holder, member, Told(seen.stamp, value))
    return _with(purchase, "holder", holder)


def _absorb_subscription(purchase: Purchase, seen: SubscriptionSeen) -> Purchase:
    known = purchase.subscription
    if known is None or _is_newer(seen, known):
        purchase = _with(purchase, "subscription", seen)
    counts = _EVIDENT.get(seen.status)
    if counts is None:
        return purchase
    told = _periods_of(seen, counts=counts)
    if not seen.collecting and seen.status != "trialing":
        # Nobody is asked to pay for it, so that it runs proves nothing.
        uncollected = purchase.uncollected
        for key in told:
            uncollected = _first(uncollected, key, seen.stamp.at)
        purchase = _with(purchase, "uncollected", uncollected)
        if counts:
            return purchase
    periods = purchase.periods
    for key, period in told.items():
        periods = _put_period(periods, key, period)
    return _with(purchase, "periods", periods)


def _periods_of(seen: SubscriptionSeen, *, counts: bool) -> dict[str, PeriodSeen]:
    found: dict[str, PeriodSeen] = {}
    for item in seen.items:
        if item.ends_at is None or item.quantity is None:
            continue
        key = period_key(item.price, item.ends_at)
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


def period_key(price: str, ends_at: datetime) -> str:
    """The name of a period in the registers of a purchase."""
    return f"{price}@{int(ends_at.timestamp())}"


def _put_period(register: dict[str, PeriodSeen], key: str, value: PeriodSeen) -> dict[str, PeriodSeen]:
    known = register.get(key)
    if known is not None:
        value = _joined(known, value)
        if value is known or value == known:
            return register
    return {**register, key: value}


def _joined(one: PeriodSeen, other: PeriodSeen) -> PeriodSeen:
    """The newer word on a period, with the largest quantity and the first moment that either knew."""
    newer, older = (other, one) if _is_newer_word(other, one) else (one, other)
    most = older.peak if older.peak > newer.peak else newer.most
    since = older.first_at if older.first_at < newer.first_at else newer.since
    if most == newer.most and since == newer.since:
        return newer
    return msgspec.structs.replace(newer, most=most, since=since)


def _is_newer_word(value: PeriodSeen, known: PeriodSeen) -> bool:
    if value.stamp != known.stamp:
        return value.stamp > known.stamp
    # What is gathered from all words has no say in which of them is the newest.
    bare = [msgspec.structs.replace(one, most=0, since=None) for one in (value, known)]
    return _content(bare[0]) > _content(bare[1])


def _absorb_payment(purchase: Purchase, seen: PaymentSeen) -> Purchase:
    known = purchase.payments.get(seen.payment)
    told = _with(purchase, "payments", _put(purchase.payments, seen.payment, seen))
    if known is None or known.state != "paid" or seen.state != "paid":
        return told
    first = min(settled_at(purchase, known), seen.stamp.at)
    return _settle(told, seen.payment, first)


def _absorb_dispute(purchase: Purchase, seen: DisputeSeen) -> Purchase:
    if seen.state == "open":
        purchase = _with(purchase, "opened", _first(purchase.opened, seen.dispute, seen.stamp.at))
    return _with(purchase, "disputes", _put(purchase.disputes, seen.dispute, seen))


def _settle(purchase: Purchase, payment: str, at: datetime) -> Purchase:
    """Note that a payment was told as paid at that moment."""
    if at >= settled_at(purchase, purchase.payments[payment]):
        return purchase
    return _with(purchase, "settled", {**purchase.settled, payment: at})


def settled_at(purchase: Purchase, payment: PaymentSeen) -> datetime:
    """When a payment was first told. What is told again, as an answer to a question, is not paid again."""
    return purchase.settled.get(payment.payment, payment.stamp.at)


def settled_stamp(purchase: Purchase, payment: PaymentSeen) -> Stamp:
    """The stamp of a payment, as of when it was first told."""
    at = purchase.settled.get(payment.payment)
    return payment.stamp if at is None else msgspec.structs.replace(payment.stamp, at=at)


def _first(register: dict[str, datetime], key: str, at: datetime) -> dict[str, datetime]:
    known = register.get(key)
    return register if known is not None and known <= at else {**register, key: at}


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
        case RefundSeen() | RefundPart() | DisputeSeen() | Told():
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


def payments_of(purchase: Purchase, refund: RefundSeen | RefundPart | DisputeSeen) -> frozenset[str]:
    """The known payments a refund or a dispute is about; empty while none of this purchase is known for it.

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
    # Loops, which for a few payments take half of what generators do: this is asked twice for every event.
    for payment in purchase.payments.values():
        for line in payment.lines:
            prices.add(line.price)
    if purchase.subscription is not None:
        for item in purchase.subscription.items:
            prices.add(item.price)
    if purchase.ordered is not None:
        prices.add(purchase.ordered.price)
    return prices
