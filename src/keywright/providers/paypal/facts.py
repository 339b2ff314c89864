"""What PayPal says, in the words of `domain/facts.py`.

An event says nothing by itself: it names what to fetch. Facts are read from what was fetched, in PayPal's
present shape. Pure, and lenient with times, because PayPal's own samples hold impossible ones.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, TypeGuard

import msgspec

from keywright.domain.errors import Unreadable
from keywright.domain.facts import (
    Alias,
    CheckoutSeen,
    DisputeSeen,
    Fact,
    HolderSeen,
    Item,
    PaidLine,
    PaymentSeen,
    PaymentState,
    Projected,
    Reading,
    Refetch,
    RefundPart,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
    SubscriptionStatus,
)
from keywright.domain.money import iso_exponent
from keywright.providers.paypal import shapes

FETCHED_RANK: Final = 100
"""Above whatever an event of the same second would have."""

_REFERENCE: Final = re.compile(r"KW-[0-9A-Z]{4,64}")
_NO_CURRENCY: Final = "XXX"
_SLOP: Final = timedelta(days=3)  # how far PayPal's own next billing may lie from the calendar's
_PAID: Final = frozenset({"completed", "partially_refunded", "refunded", "reversed"})
_PENDING: Final = frozenset({"pending"})
_RANKS: Final[Mapping[PaymentState, int]] = {"pending": 0, "failed": 1, "paid": 2}
# Which of two answers of one second is taken: the one further along.
_STATUS_RANKS: Final[Mapping[SubscriptionStatus, int]] = {
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
_DISPUTE_RANKS: Final[Mapping[str, int]] = {"inquiry": 0, "open": 1, "over": 2, "won": 3, "lost": 4}
_REFUND_RANKS: Final[Mapping[str, int]] = {"pending": 0, "done": 1, "failed": 2}
RefundState = Literal["pending", "done", "failed"]
DisputeState = Literal["inquiry", "open", "won", "lost", "over"]


def read_projection(projected: Projected) -> Reading:
    """The facts of a projection whose standing is `read`. Raises Unreadable."""
    try:
        if not projected.type.startswith(shapes.FETCHED):
            return _read_event(projected.type, msgspec.json.decode(projected.body, type=shapes.Named))
        kept = msgspec.json.decode(projected.body, type=shapes.Kept)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem = f"not a projection of ours: {type(error).__name__}"
    else:
        stamp = Stamp(projected.occurred_at, FETCHED_RANK, projected.digest)
        for member, reader in _READERS.items():
            seen = getattr(kept, member)
            if seen is not None:
                return reader(stamp, seen, kept)
        problem = "a projection of nothing"
    raise Unreadable(problem)


def says_something(kept: shapes.Kept) -> bool:
    """Whether there is a fact in it: nothing is known of what the buyer has not agreed to."""
    if kept.order is not None:
        return kept.order.status.upper() == "VOIDED" or bool(_captures(kept.order))
    if kept.subscription is not None:
        return kept.subscription.status.upper() not in ("APPROVAL_PENDING", "APPROVED")
    return True


# ---------------------------------------------------------------------------------------------- events


def _read_event(kind: str, named: shapes.Named) -> Reading:
    """What to ask for. Aliases stay, so that the event is found with its purchase."""
    charges = [named.sale, named.capture, *named.transactions]
    aliases = [Alias("charge", one) for one in charges if one is not None]
    if named.subscription is not None:
        aliases.append(Alias("subscription", named.subscription))
    if named.order is not None:
        aliases.append(Alias("session", named.order))
    wanted = _wanted(kind, named)
    if not wanted:
        raise Unreadable(f"{kind} names nothing to ask for")
    return Reading(tuple(dict.fromkeys(aliases)), (), founds=False, refetches=wanted)


def _wanted(kind: str, named: shapes.Named) -> tuple[Refetch, ...]:
    pairs: list[tuple[str, str | None]]
    if kind in shapes.SALE_EVENTS:
        # The sale leads to its subscription; a refund of it is asked for by its own name.
        first = ("subscription", named.subscription) if named.refund is None else ("refund", named.refund)
        told_by_sale = named.subscription is None or kind != "PAYMENT.SALE.COMPLETED"
        pairs = [first, ("sale", named.sale if told_by_sale else None)]
    elif kind in shapes.CAPTURE_EVENTS:
        # The order tells of its captures and their refunds.
        first = ("order", named.order) if named.order is not None else ("capture", named.capture)
        pairs = [first, ("refund", named.refund)]
    else:
        pairs = [("subscription", named.subscription), ("order", named.order), ("dispute", named.dispute)]
    return tuple(Refetch(what, id_) for what, id_ in pairs if id_ is not None)


# --------------------------------------------------------------------------------------- subscriptions


class _Paid(msgspec.Struct, frozen=True):
    """One payment of a subscription, with the time it went through."""

    id: str
    at: datetime
    transaction: shapes.Transaction


def _read_subscription(stamp: Stamp, seen: shapes.Subscription, kept: shapes.Kept) -> Reading:
    told = seen.billing_info or shapes.BillingInfo()
    paid = _settled(kept.transactions)
    status = _status(seen, told, has_paid=bool(paid))
    facts: list[Fact] = []
    if seen.plan_id is not None:
        facts.append(_snapshot(stamp, seen, status, paid))
    subscriber = seen.subscriber or shapes.Person()
    facts.append(HolderSeen(stamp, customer=subscriber.payer_id, email=subscriber.email_address))
    facts += _payments(stamp, seen, kept.transactions, paid)
    state = _checkout_state(status, has_paid=bool(paid))
    facts.append(CheckoutSeen(stamp, seen.id, state))
    reference = _reference(seen.custom_id)
    aliases = [Alias("session", seen.id), Alias("subscription", seen.id)]
    if reference is not None:
        aliases.append(Alias("reference", reference))
    aliases += [Alias("charge", one.id) for one in kept.transactions]
    prices = () if seen.plan_id is None else (seen.plan_id,)
    return Reading(
        tuple(dict.fromkeys(aliases)),
        tuple(facts),
        founds=state != "expired",
        prices=prices,
        reference=reference,
    )


def _settled(transactions: Sequence[shapes.Transaction]) -> list[_Paid]:
    """The payments that went through, oldest first."""
    paid = [
        _Paid(one.id, at, one)
        for one in transactions
        if one.status.lower() in _PAID and (at := moment(one.time)) is not None
    ]
    return sorted(paid, key=lambda one: (one.at, one.id))


def _status(seen: shapes.Subscription, told: shapes.BillingInfo, *, has_paid: bool) -> SubscriptionStatus:
    """PayPal's status, and what its counters add to it."""
    failing = told.failed_payments_count > 0 or _is_owing(told)
    match seen.status.upper():
        case "APPROVAL_PENDING" | "APPROVED":
            return "incomplete"
        case "ACTIVE":
            if _is_trialing(seen, told, has_paid=has_paid):
                return "trialing"
            if failing:
                return "past_due"
            # Without a first payment, an eCheck on its way as a rule, nothing has been paid for.
            return "active" if has_paid or told.last_payment is not None else "incomplete"
        case "SUSPENDED":
            # Too many payments failed; else the seller, or the buyer, suspended it.
            return "unpaid" if failing else "paused"
        case "CANCELLED" | "CANCELED" | "EXPIRED":
            return "ended"
    return "unknown"


def _is_owing(told: shapes.BillingInfo) -> bool:
    balance = told.outstanding_balance
    return balance is not None and balance.value is not None and Decimal(balance.value) > 0


def _is_trialing(seen: shapes.Subscription, told: shapes.BillingInfo, *, has_paid: bool) -> bool:
    """Whether the cycle that runs costs nothing. A trial that was paid for is an ordinary period."""
    if has_paid or _has_value(told.last_payment):
        return False
    cycles = told.cycle_executions
    if any(one.tenure_type.upper() == "REGULAR" and one.cycles_completed > 0 for one in cycles):
        return False
    planned = seen.plan.billing_cycles if seen.plan is not None else ()
    trials = [one for one in planned if one.tenure_type.upper() == "TRIAL"]
    if planned:
        return any(one.pricing_scheme is None or not _costs(one.pricing_scheme) for one in trials)
    return any(one.tenure_type.upper() == "TRIAL" for one in cycles)


def _has_value(payment: shapes.Payment | None) -> bool:
    amount = payment.amount if payment is not None else None
    return amount is not None and amount.value is not None and Decimal(amount.value) > 0


def _costs(pricing: shapes.Pricing) -> bool:
    price = pricing.fixed_price
    return price is not None and price.value is not None and Decimal(price.value) > 0


def _snapshot(
    stamp: Stamp, seen: shapes.Subscription, status: SubscriptionStatus, paid: Sequence[_Paid]
) -> SubscriptionSeen:
    told = seen.billing_info or shapes.BillingInfo()
    began = paid[-1].at if paid else moment(seen.start_time)
    ends = moment(told.next_billing_time)
    if status == "trialing":
        ends = _trial_end(seen, ends)
    item = Item(str(seen.plan_id), _quantity(seen), began, ends)
    over = status == "ended"
    return SubscriptionSeen(
        stamp=_ranked(stamp, _STATUS_RANKS[status]),
        status=status,
        items=(item,),
        ended_at=(moment(seen.status_update_time) or stamp.at) if over else None,
    )


def _trial_end(seen: shapes.Subscription, next_billing: datetime | None) -> datetime | None:
    """PayPal may say at first that the next billing is today: then the plan says how long the trial is."""
    began = moment(seen.start_time)
    planned = seen.plan.billing_cycles if seen.plan is not None else ()
    if began is None:
        return next_billing
    ends = began
    for cycle in planned:
        if cycle.tenure_type.upper() == "TRIAL":
            ends = shifted(ends, cycle.frequency, max(cycle.total_cycles, 1)) or ends
    if next_billing is None or next_billing < ends - _SLOP:
        return ends if ends > began else next_billing
    return next_billing


def _payments(
    stamp: Stamp,
    seen: shapes.Subscription,
    transactions: Sequence[shapes.Transaction],
    paid: Sequence[_Paid],
) -> list[Fact]:
    facts: list[Fact] = []
    for place, one in enumerate(paid):
        after = paid[place + 1].at if place + 1 < len(paid) else None
        ends = after if after is not None else _paid_until(seen, one.at)
        if seen.plan_id is None or ends is None or ends <= one.at:
            # What it paid for is not known now; what an earlier answer said of it stays.
            continue
        line = PaidLine(seen.plan_id, _quantity(seen), one.at, ends)
        facts.append(_payment(stamp, one.transaction, "paid", (line,)))
        facts += _given_back(stamp, one.transaction)
    for transaction in transactions:
        state = transaction.status.lower()
        if state not in _PAID:
            facts.append(_payment(stamp, transaction, "pending" if state in _PENDING else "failed", ()))
    return facts


def _payment(
    stamp: Stamp, one: shapes.Transaction, state: PaymentState, lines: tuple[PaidLine, ...]
) -> PaymentSeen:
    breakdown = one.amount_with_breakdown
    amount, currency = _amount(breakdown.gross_amount if breakdown is not None else None)
    return PaymentSeen(_ranked(stamp, _RANKS[state]), one.id, state, amount, currency, lines, charge=one.id)


def _given_back(stamp: Stamp, one: shapes.Transaction) -> list[Fact]:
    """A payment that is marked as refunded in full. Parts are known by their own ids alone."""
    if one.status.lower() not in ("refunded", "reversed"):
        return []
    breakdown = one.amount_with_breakdown
    amount, currency = _amount(breakdown.gross_amount if breakdown is not None else None)
    return [RefundSeen(stamp, one.id, full=True, amount=amount, currency=currency, payment=one.id)]


def _paid_until(seen: shapes.Subscription, paid_at: datetime) -> datetime | None:
    """The end of what the newest payment paid for.

    PayPal's next billing, while nothing is owed: it moves on when a payment fails, too, and is gone when the
    subscription is. Then the plan's own cycle counts from the payment.
    """
    told = seen.billing_info or shapes.BillingInfo()
    planned = _cycle_end(seen, paid_at)
    billed_next = moment(told.next_billing_time)
    owing = told.failed_payments_count > 0 or _is_owing(told)
    # Right after a payment PayPal may still name the day that has just been billed.
    if billed_next is not None and billed_next > paid_at + timedelta(days=1):
        fits = billed_next <= planned + _SLOP if planned is not None else not owing
        if fits:
            return billed_next
    if planned is not None:
        return planned
    failed = moment(told.last_failed_payment.time) if told.last_failed_payment is not None else None
    return failed if failed is not None and failed > paid_at else None


def _cycle_end(seen: shapes.Subscription, paid_at: datetime) -> datetime | None:
    cycles = seen.plan.billing_cycles if seen.plan is not None else ()
    regular = [one for one in cycles if one.tenure_type.upper() == "REGULAR"]
    return shifted(paid_at, regular[0].frequency, 1) if regular else None


def _quantity(seen: shapes.Subscription) -> int:
    return int(seen.quantity) if seen.quantity is not None else 1


def _checkout_state(
    status: SubscriptionStatus, *, has_paid: bool
) -> Literal["paid", "processing", "expired"]:
    if has_paid or status in ("active", "trialing", "past_due", "unpaid"):
        return "paid"
    return "expired" if status == "ended" else "processing"


# ---------------------------------------------------------------------------------- orders and captures


def _read_order(stamp: Stamp, seen: shapes.Order, _: shapes.Kept) -> Reading:
    captures = _captures(seen)
    references = [unit.custom_id for unit in seen.purchase_units]
    references += [capture.custom_id for capture in captures]
    reference = next((one for one in references if is_reference(one)), None)
    aliases = [Alias("session", seen.id)]
    if reference is not None:
        aliases.append(Alias("reference", reference))
    aliases += [Alias("charge", capture.id) for capture in captures]
    if not captures:
        gone = CheckoutSeen(stamp, seen.id, "expired")
        return Reading(tuple(aliases), (gone,), founds=False, reference=reference)
    payer = seen.payer or shapes.Person()
    facts: list[Fact] = [
        *_order_payment(stamp, seen.id, captures),
        HolderSeen(stamp, customer=payer.payer_id, email=payer.email_address),
    ]
    facts += _order_refunds(stamp, seen, captures)
    return Reading(tuple(aliases), tuple(facts), founds=True, reference=reference, exact=True)


def _captures(seen: shapes.Order) -> list[shapes.Capture]:
    return [one for unit in seen.purchase_units if unit.payments for one in unit.payments.captures]


def _order_payment(stamp: Stamp, order: str, captures: Sequence[shapes.Capture]) -> list[Fact]:
    """The payment, by the order's id: whichever event or fetch brought it, it is one payment."""
    best = max(captures, key=lambda one: _RANKS[_capture_state(one)])
    state = _capture_state(best)
    # The capture's own time: asking again, a year later, must not begin the bought year anew.
    at = moment(best.create_time) or stamp.at
    own = Stamp(at, FETCHED_RANK + _RANKS[state])
    amount, currency = _amount(best.amount)
    told: Literal["paid", "processing", "failed"] = (
        "paid" if state == "paid" else "processing" if state == "pending" else "failed"
    )
    return [
        PaymentSeen(own, order, state, amount, currency, charge=best.id),
        CheckoutSeen(own, order, told),
    ]


def _capture_state(capture: shapes.Capture) -> PaymentState:
    state = (capture.status or "").lower()
    return "paid" if state in _PAID else "pending" if state in _PENDING else "failed"


def _order_refunds(stamp: Stamp, seen: shapes.Order, captures: Sequence[shapes.Capture]) -> list[Fact]:
    listed = [one for unit in seen.purchase_units if unit.payments for one in unit.payments.refunds]
    only = captures[0].id if len(captures) == 1 else None
    facts: list[Fact] = [_part(stamp, one, one.capture_id or only, seen.id) for one in listed]
    if not listed:
        facts += [fact for capture in captures for fact in _whole_refund(stamp, capture, seen.id)]
    return facts


def _whole_refund(stamp: Stamp, capture: shapes.Capture, order: str | None) -> list[Fact]:
    if (capture.status or "").lower() not in ("refunded", "reversed"):
        return []
    amount, currency = _amount(capture.amount)
    return [RefundSeen(stamp, capture.id, full=True, amount=amount, currency=currency, payment=order)]


def _read_capture(stamp: Stamp, seen: shapes.Capture, _: shapes.Kept) -> Reading:
    """A capture by itself: its order could not be read."""
    related = seen.supplementary_data.related_ids if seen.supplementary_data is not None else None
    order = related.order_id if related is not None else None
    facts: list[Fact] = _whole_refund(stamp, seen, order)
    if order is not None:
        facts = [*_order_payment(stamp, order, [seen]), *facts]
    reference = _reference(seen.custom_id)
    aliases = [Alias("charge", seen.id)]
    aliases += [Alias("session", order)] if order is not None else []
    aliases += [Alias("reference", reference)] if reference is not None else []
    return Reading(tuple(aliases), tuple(facts), founds=order is not None, reference=reference, exact=True)


# ------------------------------------------------------------------------- sales, refunds and disputes


def _read_sale(stamp: Stamp, seen: shapes.Sale, _: shapes.Kept) -> Reading:
    """A payment by itself. What it paid for is told by its subscription; here, only what took it back."""
    aliases = [Alias("charge", seen.id)]
    if seen.billing_agreement_id is not None:
        aliases.append(Alias("subscription", seen.billing_agreement_id))
    state = (seen.state or seen.status or "").lower()
    amount, currency = _amount(seen.amount)
    facts: tuple[Fact, ...] = ()
    if state == "refunded":
        facts = (RefundSeen(stamp, seen.id, full=True, amount=amount, currency=currency, payment=seen.id),)
    elif state == "reversed":
        # By a name of its own: when the dispute is won, this is taken back, and no refund beside it.
        taken = _ranked(stamp, _REFUND_RANKS["done"])
        facts = (RefundPart(taken, _reversal(seen.id), "done", amount, currency, charge=seen.id),)
    return Reading(tuple(aliases), facts, founds=False)


def _reversal(charge: str) -> str:
    return f"reversal-{charge}"


def _read_refund(stamp: Stamp, seen: shapes.Refund, _: shapes.Kept) -> Reading:
    charge = seen.sale_id or seen.capture_id
    if charge is None:
        raise Unreadable("a refund that names no payment")
    return Reading((Alias("charge", charge),), (_part(stamp, seen, charge, None),), founds=False)


def _part(stamp: Stamp, refund: shapes.Refund, charge: str | None, payment: str | None) -> RefundPart:
    amount, currency = _amount(refund.amount)
    state = (refund.status or refund.state or "").lower()
    done: RefundState = "pending"
    if state in ("completed", "refunded", "reversed"):
        done = "done"
    elif state in ("failed", "cancelled", "canceled", "denied"):
        done = "failed"
    ranked = _ranked(stamp, _REFUND_RANKS[done])
    return RefundPart(ranked, refund.id, done, amount, currency, charge=charge, payment=payment)


def _read_dispute(stamp: Stamp, seen: shapes.Dispute, _: shapes.Kept) -> Reading:
    charges = [one.seller_transaction_id for one in seen.disputed_transactions]
    known = [one for one in charges if one is not None]
    if not known:
        raise Unreadable("a dispute that names no payment")
    amount, currency = _amount(seen.dispute_amount)
    state = _dispute_state(seen)
    facts: list[Fact] = []
    for place, charge in enumerate(known):
        # A case about several payments is one for each: each has its own purchase.
        name = seen.dispute_id if place == 0 else f"{seen.dispute_id}-{place}"
        facts.append(
            DisputeSeen(_ranked(stamp, _DISPUTE_RANKS[state]), name, state, amount, currency, charge=charge)
        )
        if state == "won":
            # The money that was taken for it came back.
            back = _ranked(stamp, _REFUND_RANKS["failed"])
            facts.append(RefundPart(back, _reversal(charge), "failed", amount, currency, charge=charge))
    return Reading(tuple(Alias("charge", charge) for charge in known), tuple(facts), founds=False)


_OUTCOMES: Final[Mapping[str, DisputeState]] = {
    "RESOLVED_BUYER_FAVOUR": "lost",
    "RESOLVED_BUYER_FAVOR": "lost",
    "ACCEPTED": "lost",
    "RESOLVED_SELLER_FAVOUR": "won",
    "RESOLVED_SELLER_FAVOR": "won",
    "CANCELED_BY_BUYER": "won",
    "CANCELLED_BY_BUYER": "won",
    "DENIED": "won",
    "RESOLVED_WITH_PAYOUT": "won",  # PayPal paid the buyer, and not from the seller's money
}


def _dispute_state(seen: shapes.Dispute) -> DisputeState:
    if (seen.status or "").upper() == "RESOLVED":
        code = seen.dispute_outcome.outcome_code if seen.dispute_outcome is not None else None
        return _OUTCOMES.get((code or "").upper(), "over")
    # Old cases have no stage; they were all about money that is held back.
    return "inquiry" if (seen.dispute_life_cycle_stage or "").upper() == "INQUIRY" else "open"


# --------------------------------------------------------------------------------------- small readers


def _ranked(stamp: Stamp, above: int) -> Stamp:
    return Stamp(stamp.at, stamp.rank + above, stamp.digest)


def is_reference(text: str | None) -> TypeGuard[str]:
    """Whether this is a reference of ours: anything else in that place is somebody else's bookkeeping."""
    return text is not None and _REFERENCE.fullmatch(text) is not None


def _reference(text: str | None) -> str | None:
    return text if is_reference(text) else None


def _amount(money: shapes.Money | None) -> tuple[int, str]:
    """Minor units, made positive, and the currency. Refunds are negative in the first API alone."""
    if money is None:
        return 0, _NO_CURRENCY
    text = money.value if money.value is not None else money.total
    currency = (money.currency_code or money.currency or _NO_CURRENCY).upper()
    return abs(minor(text or "0", currency)), currency


def minor(text: str, currency: str) -> int:
    """A decimal string of PayPal's in ISO 4217 minor units, rounded half away from zero."""
    scaled = Decimal(text).scaleb(iso_exponent(currency))
    rounded = int(abs(scaled) + Decimal("0.5"))
    return rounded if scaled >= 0 else -rounded


_FRACTION: Final = re.compile(r"\.(\d{1,6})\d*")


def moment(text: str | None) -> datetime | None:
    """A time of PayPal's, aware, in UTC; None for one that cannot be."""
    if not text:
        return None
    try:
        read = datetime.fromisoformat(_FRACTION.sub(lambda found: f".{found[1]:0<6}", text))
        return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def shifted(began: datetime, frequency: shapes.Frequency, cycles: int) -> datetime | None:
    """`began` and so many billing cycles; a month without that day ends on its last one."""
    count, unit = max(frequency.interval_count, 1) * cycles, frequency.interval_unit.upper()
    try:
        if unit in ("DAY", "WEEK"):
            return began + timedelta(days=count * (7 if unit == "WEEK" else 1))
        months = began.year * 12 + began.month - 1 + count * {"MONTH": 1, "YEAR": 12}[unit]
        year, month = divmod(months, 12)
        day = min(began.day, calendar.monthrange(year, month + 1)[1])
        return began.replace(year=year, month=month + 1, day=day)
    except (KeyError, ValueError, OverflowError):
        return None


_READERS: Final[Mapping[str, Callable[[Stamp, Any, shapes.Kept], Reading]]] = {
    "subscription": _read_subscription,
    "order": _read_order,
    "capture": _read_capture,
    "sale": _read_sale,
    "refund": _read_refund,
    "dispute": _read_dispute,
}
