"""What a purchase is worth: a pure function of purchase and plans.

A grant carries clocks, not verdicts. No job has to run for it to be right at a later moment; `verdict.py`
reads the clocks against a `now`. The rules are those of design section 3, "What a purchase is worth"; which
periods count is decided in `period.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from keywright.domain.facts import Item, PaymentSeen, SubscriptionSeen
from keywright.domain.period import Period, paid_once, periods_of
from keywright.domain.plan import Plan, later_by
from keywright.domain.purchase import Purchase, prices_of

Standing = Literal["ok", "paused", "suspended", "revoked"]

_OVER = ("ended", "abandoned")
_RENEWING = ("active", "trialing", "past_due", "unpaid", "incomplete", "unknown")


class Grant(msgspec.Struct, frozen=True):
    """What one line of a purchase, one product, is worth.

    `entitled_until` is the end of the time that counts (None: nothing was ever granted, FOREVER: never ends),
    `active_until` adds the silent slack while a renewal is being collected, `grace_until` the grace period.
    `lost_until` is the end of time that was paid for, taken back by a refund and not paid for again since.
    `seats_after`, from `seats_after_at` on: fewer than `seats`, which are paid for until then. None: no step.
    """

    product_id: str
    plan: Plan
    seats: int
    units: int
    entitled_until: datetime | None
    active_until: datetime | None
    grace_until: datetime | None
    lost_until: datetime | None = None
    standing: Standing = "ok"
    reason: str = ""
    trial: bool = False
    canceling: bool = False
    past_due: bool = False
    seats_after: int | None = None
    seats_after_at: datetime | None = None


class _Line(msgspec.Struct, frozen=True):
    """One product of a purchase: the prices that lead to it, and its items in the newest snapshot."""

    purchase: Purchase
    prices: frozenset[str]
    items: tuple[Item, ...]
    plans: Mapping[str, Plan]


class _Clocks(msgspec.Struct, frozen=True):
    entitled_until: datetime | None = None
    lost_until: datetime | None = None
    on_trial: bool = False


def worth(purchase: Purchase, plans: Mapping[str, Plan]) -> tuple[Grant, ...]:
    """The grants of a purchase, one per product, sorted by product.

    `plans` maps the provider price ids that are for sale to their plans. Prices that are not in it grant
    nothing. A subscription's lines come from its newest snapshot; a one-off order's line from our checkout.
    """
    return tuple(_grant_of(line) for line in _lines(purchase, plans))


def _lines(purchase: Purchase, plans: Mapping[str, Plan]) -> list[_Line]:
    items = purchase.subscription.items if purchase.subscription is not None else ()
    metered = {item.price for item in items if item.quantity is None}
    by_product: dict[str, set[str]] = {}
    for price in prices_of(purchase):
        # A metered price has no quantity: there is nothing to grant for it.
        if price in plans and price not in metered:
            by_product.setdefault(plans[price].product_id, set()).add(price)
    return [
        _Line(
            purchase,
            frozenset(prices),
            tuple(item for item in items if item.quantity is not None and item.price in prices),
            plans,
        )
        for _, prices in sorted(by_product.items())
    ]


def _grant_of(line: _Line) -> Grant:
    plan = _plan_of(line)
    if plan.terms.term != "subscription":
        return _once_grant(line, plan)
    return _subscription_grant(line, plan)


def _once_grant(line: _Line, plan: Plan) -> Grant:
    """Bought once: it counts when its payment settled; each settled payment is a period of its own."""
    ordered = line.purchase.ordered
    ours = ordered is not None and ordered.price in line.prices
    clocks = _clocks(paid_once(line.purchase, line.prices, plan.terms, ours=ours))
    seats, units = _quantity(plan, _bought(line, plan))
    return Grant(
        product_id=plan.product_id,
        plan=plan,
        seats=seats,
        units=units,
        entitled_until=clocks.entitled_until,
        active_until=clocks.entitled_until,
        grace_until=clocks.entitled_until,
        lost_until=clocks.lost_until,
        reason="refunded" if clocks.lost_until is not None else "",
    )


def _subscription_grant(line: _Line, plan: Plan) -> Grant:
    seen, terms = line.purchase.subscription, plan.terms
    periods = periods_of(line.purchase, line.prices, revoke=terms.on_refund == "revoke")
    gone_at = _gone_at(line, periods)
    clocks = _clocks(_cut(periods, seen, gone_at, now=terms.on_cancel == "now"))
    until, status = clocks.entitled_until, seen.status if seen is not None else "active"
    # Nothing is collected for time that was given back, so neither slack nor grace follows it.
    expected = gone_at is None and clocks.lost_until is None and _renewal_expected(seen)
    seats, units = _quantity(plan, _bought(line, plan))
    return Grant(
        product_id=plan.product_id,
        plan=plan,
        seats=seats,
        units=units,
        entitled_until=until,
        active_until=later_by(until, terms.slack) if expected and until is not None else until,
        grace_until=(
            later_by(until, terms.grace) if expected and until is not None and not clocks.on_trial else until
        ),
        lost_until=clocks.lost_until,
        standing=_standing(status, clocks),
        reason=_reason(status, refunded=clocks.lost_until is not None, gone=gone_at is not None),
        trial=status == "trialing" and gone_at is None,
        canceling=seen is not None and seen.canceling and status not in _OVER,
        past_due=status in ("past_due", "unpaid") or (status not in _OVER and _payment_failed(line)),
    )


def _clocks(periods: Sequence[Period]) -> _Clocks:
    """The latest end that counts, and the latest end that was lost since.

    A payment for a later time restores what a refund took, for good: when that time is over too, the license
    has expired, and is not revoked once more.
    """
    counting = [period for period in periods if not period.lost]
    if not counting:
        if not periods:
            return _Clocks()
        # All that was granted was taken back: it ended when it began.
        return _Clocks(min(p.began_at for p in periods), max(p.ends_at for p in periods))
    last = max(counting, key=lambda period: (period.ends_at, not period.trial))
    newest = max(period.began_at for period in counting)
    lost = [p.ends_at for p in periods if p.lost and p.ends_at > last.ends_at and p.began_at >= newest]
    return _Clocks(last.ends_at, max(lost, default=None), last.trial)


def _cut(
    periods: Sequence[Period], seen: SubscriptionSeen | None, gone_at: datetime | None, *, now: bool
) -> Sequence[Period]:
    """The periods, cut where the line or the subscription ended.

    A cancellation ends renewal, not paid time: only a trial, which nobody paid for, ends with it, or all when
    the seller wants it so (`on_cancel = "now"`).
    """
    ended_at = None
    if seen is not None and seen.status in _OVER:
        ended_at = seen.ended_at if seen.ended_at is not None else seen.stamp.at
    if gone_at is None and ended_at is None:
        return periods
    cut = []
    for period in periods:
        ends = period.ends_at
        if gone_at is not None:
            ends = min(ends, gone_at)
        if ended_at is not None and (now or period.trial):
            ends = min(ends, ended_at)
        # Time that was lost stays lost to its end: a refund with a cancellation revokes.
        moved = not period.lost and ends != period.ends_at
        cut.append(msgspec.structs.replace(period, ends_at=ends) if moved else period)
    return cut


def _gone_at(line: _Line, periods: Sequence[Period]) -> datetime | None:
    """When the line was taken out of the subscription; None while it is part of it.

    The first snapshot we still know of that came without it. A line that was paid for after the newest
    snapshot is new, not gone.
    """
    seen = line.purchase.subscription
    if seen is None or line.items or any(period.began_at > seen.stamp.at for period in periods):
        return None
    told = line.purchase.periods.values()
    last = max((p.stamp for p in told if p.price in line.prices), default=None)
    after = [p.stamp.at for p in told if p.price not in line.prices and (last is None or p.stamp > last)]
    return min([seen.stamp.at, *after])


def _standing(status: str, clocks: _Clocks) -> Standing:
    if status != "paused":
        return "ok"
    # Paid time beats a provider's pause; a trial is not paid time.
    return "suspended" if clocks.on_trial else "paused"


def _reason(status: str, *, refunded: bool, gone: bool) -> str:
    if refunded:
        return "refunded"
    if gone:
        return "removed"
    return status if status in ("paused", "ended", "past_due", "unpaid") else ""


def _plan_of(line: _Line) -> Plan:
    """The plan of the newest snapshot; else of the newest settled payment or period; else the one ordered."""
    for item in line.items:
        return line.plans[item.price]
    payments = line.purchase.payments.values()
    told = [
        (0 if paid.prorated else 2 if payment.state == "paid" else 1, payment.stamp, paid.price)
        for payment in payments
        for paid in payment.lines
        if paid.price in line.prices
    ]
    told += [
        (2, period.stamp, period.price)
        for period in line.purchase.periods.values()
        if period.price in line.prices
    ]
    return line.plans[max(told)[2] if told else min(line.prices)]


def _bought(line: _Line, plan: Plan) -> int:
    """How many were bought. Quantities of one plan add up; of several plans of one product, `plan` counts."""
    mine = {price for price in line.prices if line.plans[price].id == plan.id}
    if line.items:
        return sum(item.quantity or 0 for item in line.items if item.price in mine)
    ordered = line.purchase.ordered
    if plan.terms.term != "subscription" and ordered is not None and ordered.price in mine:
        return ordered.quantity
    told = []
    for payment in line.purchase.payments.values():
        paid = [p.quantity or 0 for p in payment.lines if p.price in mine and not p.prorated]
        if paid:
            told.append((payment.state == "paid", payment.stamp, sum(paid)))
    told += [(True, p.stamp, p.quantity) for p in line.purchase.periods.values() if p.price in mine]
    if told:
        return max(told)[2]
    return ordered.quantity if ordered is not None and ordered.price in mine else 1


def _quantity(plan: Plan, quantity: int) -> tuple[int, int]:
    """Seats per license and number of licenses."""
    if plan.terms.quantity == "keys":
        return plan.terms.seats_per_unit, quantity
    return quantity * plan.terms.seats_per_unit, 1


def _renewal_expected(seen: SubscriptionSeen | None) -> bool:
    return seen is None or (not seen.canceling and seen.status in _RENEWING)


def _payment_failed(line: _Line) -> bool:
    """Whether the newest word on this line's money is a failure that no later snapshot took back."""
    payments = line.purchase.payments.values()
    if not any(payment.state == "failed" for payment in payments):
        return False
    mine = (p for p in payments if any(one.price in line.prices for one in p.lines))
    newest = max(mine, key=_age, default=None)
    if newest is None or newest.state != "failed":
        return False
    seen = line.purchase.subscription
    return seen is None or newest.stamp.at >= seen.stamp.at


def _age(payment: PaymentSeen) -> tuple[object, ...]:
    return (payment.stamp, payment.state == "paid", payment.payment)
