"""What PayPal says of a subscription and its payments, in the words of `domain/facts.py`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from keywright.domain.facts import (
    Alias,
    CheckoutSeen,
    Fact,
    HolderSeen,
    Item,
    PaidLine,
    PaymentSeen,
    PaymentState,
    Reading,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
    SubscriptionStatus,
)
from keywright.providers.paypal import shapes
from keywright.providers.paypal.values import (
    PAID,
    PAYMENT_RANKS,
    PENDING,
    amount_of,
    moment,
    ranked,
    reference_in,
    reversal,
    shifted,
)

_SLOP: Final = timedelta(days=3)  # how far PayPal's own next billing may lie from the calendar's
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


class _Paid(msgspec.Struct, frozen=True):
    """One payment of a subscription, with the time it went through."""

    id: str
    at: datetime
    transaction: shapes.Transaction


def read_subscription(stamp: Stamp, seen: shapes.Subscription, kept: shapes.Kept) -> Reading:
    """The snapshot, the buyer, and every payment that is listed with it."""
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
    reference = reference_in(seen.custom_id)
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
        # With the public client id any page can begin a subscription at a price of its own.
        custom=bool(seen.plan_overridden),
    )


def _settled(transactions: Sequence[shapes.Transaction]) -> list[_Paid]:
    """The payments that went through, oldest first."""
    paid = [
        _Paid(one.id, at, one)
        for one in transactions
        if one.status.lower() in PAID and (at := moment(one.time)) is not None
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
        stamp=ranked(stamp, _STATUS_RANKS[status]),
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
        facts += _given_back(stamp, one.transaction)
        if seen.plan_id is None or ends is None or ends <= one.at:
            # What it paid for is not known now; what an earlier answer said of it stays.
            continue
        line = PaidLine(seen.plan_id, _quantity(seen), one.at, ends)
        facts.append(_payment(stamp, one.transaction, "paid", (line,)))
    for transaction in transactions:
        state = transaction.status.lower()
        if state not in PAID:
            facts.append(_payment(stamp, transaction, "pending" if state in PENDING else "failed", ()))
    return facts


def _payment(
    stamp: Stamp, one: shapes.Transaction, state: PaymentState, lines: tuple[PaidLine, ...]
) -> PaymentSeen:
    breakdown = one.amount_with_breakdown
    amount, currency = amount_of(breakdown.gross_amount if breakdown is not None else None)
    return PaymentSeen(
        ranked(stamp, PAYMENT_RANKS[state]), one.id, state, amount, currency, lines, charge=one.id
    )


def _given_back(stamp: Stamp, one: shapes.Transaction) -> list[Fact]:
    """A payment that is marked as refunded in full. Parts are known by their own ids alone."""
    state = one.status.lower()
    breakdown = one.amount_with_breakdown
    amount, currency = amount_of(breakdown.gross_amount if breakdown is not None else None)
    if state == "reversed":
        return [reversal(stamp, one.id, "lost", amount, currency)]
    if state != "refunded":
        return []
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
