"""What a purchase is worth: a pure function of purchase and plans.

A grant carries clocks, not verdicts. No job has to run for it to be right at a later moment; `verdict.py`
reads the clocks against a `now`. The rules are those of design section 3, "What a purchase is worth"; which
periods count is decided in `period.py`, what was given back in `money_back.py`, how many were bought in
`quantity.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from keywright.domain.facts import PaymentSeen, SubscriptionSeen
from keywright.domain.money_back import disputed_since, taken_back
from keywright.domain.period import Period, paid_once, periods_of
from keywright.domain.plan import Plan, later_by
from keywright.domain.purchase import Purchase, prices_of, settled_stamp
from keywright.domain.quantity import Leaving, Line, bought, leaving, quantity, stepped

Standing = Literal["ok", "paused", "suspended", "revoked"]

_OVER = ("ended", "abandoned")
_RENEWING = ("active", "trialing", "past_due", "unpaid", "incomplete", "unknown")


class Grant(msgspec.Struct, frozen=True):
    """What one line of a purchase, one product, is worth.

    `entitled_until` is the end of the time that counts (None: nothing was ever granted, FOREVER: never ends),
    `active_until` adds the silent slack while a renewal is being collected, `grace_until` the grace period.
    `lost_until` is the end of time that was paid for, taken back by a refund and not paid for again since.
    `leaving` are units beyond `units`, and how long they still run: `of_unit` reads it. `standing_since` is
    when a dispute suspended it; a reinstatement from before that does not lift it.
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
    leaving: tuple[Leaving, ...] = ()
    standing_since: datetime | None = None


class _Clocks(msgspec.Struct, frozen=True):
    entitled_until: datetime | None = None
    lost_until: datetime | None = None
    lost: str = ""
    on_trial: bool = False


def worth(purchase: Purchase, plans: Mapping[str, Plan]) -> tuple[Grant, ...]:
    """The grants of a purchase, one per product, sorted by product.

    `plans` maps the provider price ids that are for sale to their plans. Prices that are not in it grant
    nothing. A subscription's lines come from its newest snapshot; a one-off order's line from our checkout.
    """
    return tuple(_grant_of(line) for line in _lines(purchase, plans))


def of_unit(grant: Grant, unit: int) -> Grant:
    """What one of the numbered units is worth.

    A unit that is not bought any more runs to the end of the time it was paid for. Nothing is collected for
    it: neither slack nor grace follows. One whose time was never paid for is revoked, and every one where a
    decrease counts at once (`seat_decrease = "now"`). Growing again brings the same unit back.
    """
    if unit < grant.units:
        return grant
    until = max((step.until for step in grant.leaving if unit < step.units), default=None)
    if until is None:
        return msgspec.structs.replace(grant, standing="revoked", reason="fewer keys")
    return msgspec.structs.replace(
        grant, entitled_until=until, active_until=until, grace_until=until, reason="fewer keys"
    )


def _lines(purchase: Purchase, plans: Mapping[str, Plan]) -> list[Line]:
    items = purchase.subscription.items if purchase.subscription is not None else ()
    metered = {item.price for item in items if item.quantity is None}
    by_product: dict[str, set[str]] = {}
    for price in prices_of(purchase):
        # A metered price has no quantity: there is nothing to grant for it.
        if price in plans and price not in metered:
            by_product.setdefault(plans[price].product_id, set()).add(price)
    return [
        Line(
            purchase,
            frozenset(prices),
            tuple(item for item in items if item.quantity is not None and item.price in prices),
            plans,
        )
        for _, prices in sorted(by_product.items())
    ]


def _grant_of(line: Line) -> Grant:
    plan = _plan_of(line)
    if plan.terms.term != "subscription":
        return _once_grant(line, plan)
    return _subscription_grant(line, plan)


def _once_grant(line: Line, plan: Plan) -> Grant:
    """Bought once: it counts when its payment settled; each settled payment is a period of its own."""
    ordered = line.purchase.ordered
    ours = ordered is not None and ordered.price in line.prices
    taken = taken_back(line.purchase, plan.terms)
    clocks = _clocks(paid_once(line.purchase, line.prices, plan.terms, taken, ours=ours))
    seats, units = quantity(plan, bought(line, plan))
    disputed = disputed_since(line.purchase, line.prices, plan.terms)
    return Grant(
        product_id=plan.product_id,
        plan=plan,
        seats=seats,
        units=units,
        entitled_until=clocks.entitled_until,
        active_until=clocks.entitled_until,
        grace_until=clocks.entitled_until,
        lost_until=clocks.lost_until,
        standing="ok" if disputed is None else "suspended",
        reason=clocks.lost or ("" if disputed is None else "disputed"),
        standing_since=disputed,
    )


def _subscription_grant(line: Line, plan: Plan) -> Grant:
    seen, terms = line.purchase.subscription, plan.terms
    taken = taken_back(line.purchase, terms)
    periods = periods_of(line.purchase, line.prices, taken)
    gone_at = _gone_at(line, periods)
    clocks = _clocks(_cut(periods, seen, gone_at, now=terms.on_cancel == "now"))
    until, status = clocks.entitled_until, seen.status if seen is not None else "active"
    # Nothing is collected for time that was given back, so neither slack nor grace follows it.
    expected = gone_at is None and clocks.lost_until is None and _renewal_expected(seen)
    count = bought(line, plan)
    seats, units = quantity(plan, count)
    most, step = (seats, None) if gone_at is not None else stepped(line, plan, seats, until, periods)
    disputed = disputed_since(line.purchase, line.prices, terms)
    return Grant(
        product_id=plan.product_id,
        plan=plan,
        seats=most,
        units=units,
        entitled_until=until,
        active_until=later_by(until, terms.slack) if expected and until is not None else until,
        grace_until=(
            later_by(until, terms.grace) if expected and until is not None and not clocks.on_trial else until
        ),
        lost_until=clocks.lost_until,
        standing="suspended" if disputed is not None else _standing(status, clocks),
        reason=clocks.lost
        or ("disputed" if disputed is not None else _reason(seen, gone=gone_at is not None)),
        trial=status == "trialing" and gone_at is None,
        canceling=seen is not None and seen.canceling and status not in _OVER,
        past_due=status in ("past_due", "unpaid") or (status not in _OVER and _payment_failed(line)),
        seats_after=None if step is None else seats,
        seats_after_at=step,
        leaving=leaving(line, plan, periods),
        standing_since=disputed,
    )


def _clocks(periods: Sequence[Period]) -> _Clocks:
    """The latest end that counts, and the latest end that was lost since.

    A payment for a later time restores what a refund took, for good: when that time is over too, the license
    has expired, and is not revoked once more.
    """
    last: Period | None = None
    taken = False
    for period in periods:
        if period.lost:
            taken = True
        elif last is None or (period.ends_at, last.trial) > (last.ends_at, period.trial):
            last = period
    if last is None:
        if not taken:
            return _Clocks()
        # All that was granted was taken back: it ended when it began.
        return _Clocks(min(p.began_at for p in periods), max(periods).ends_at, max(periods).lost)
    lost: list[Period] = []
    if taken:
        newest = max(period.began_at for period in periods if not period.lost)
        lost = [p for p in periods if p.lost and p.ends_at > last.ends_at and p.began_at >= newest]
    if not lost:
        return _Clocks(last.ends_at, None, "", last.trial)
    return _Clocks(last.ends_at, max(lost).ends_at, max(lost).lost, last.trial)


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


def _gone_at(line: Line, periods: Sequence[Period]) -> datetime | None:
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


def _reason(seen: SubscriptionSeen | None, *, gone: bool) -> str:
    if gone:
        return "removed"
    status = seen.status if seen is not None else "active"
    if seen is not None and not seen.collecting and status in ("active", "past_due", "unpaid"):
        return "collection paused"
    return status if status in ("paused", "ended", "past_due", "unpaid") else ""


def _plan_of(line: Line) -> Plan:
    """The plan of the newest snapshot; else of the newest settled payment or period; else the one ordered."""
    for item in line.items:
        return line.plans[item.price]
    payments = line.purchase.payments.values()
    told = [
        (
            0 if paid.prorated else 2 if payment.state == "paid" else 1,
            settled_stamp(line.purchase, payment),
            paid.price,
        )
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


def _renewal_expected(seen: SubscriptionSeen | None) -> bool:
    return seen is None or (not seen.canceling and seen.collecting and seen.status in _RENEWING)


def _payment_failed(line: Line) -> bool:
    """Whether the newest word on this line's money is a failure that no later snapshot took back."""
    payments = line.purchase.payments.values()
    if "failed" not in [payment.state for payment in payments]:
        return False
    mine = (p for p in payments if any(one.price in line.prices for one in p.lines))
    newest = max(mine, key=lambda payment: _age(line.purchase, payment), default=None)
    if newest is None or newest.state != "failed":
        return False
    seen = line.purchase.subscription
    return seen is None or newest.stamp.at >= seen.stamp.at


def _age(purchase: Purchase, payment: PaymentSeen) -> tuple[object, ...]:
    return (settled_stamp(purchase, payment), payment.state == "paid", payment.payment)
