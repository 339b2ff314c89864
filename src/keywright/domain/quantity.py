"""How many were bought, and until when those run that are not bought any more.

Under `seat_decrease = "period_end"` nobody loses seats, or keys, before the end of the period they were paid
for. Each period remembers the largest quantity that it counted with, so the rule needs no memory of the order
in which things were told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from keywright.domain.facts import Item, PaidLine
from keywright.domain.period import Period
from keywright.domain.plan import Plan
from keywright.domain.purchase import Purchase, period_key, settled_stamp


class Line(msgspec.Struct, frozen=True):
    """One product of a purchase: the prices that lead to it, and its items in the newest snapshot."""

    purchase: Purchase
    prices: frozenset[str]
    items: tuple[Item, ...]
    plans: Mapping[str, Plan]


class Leaving(msgspec.Struct, frozen=True):
    """The first `units` units were paid for until that moment."""

    units: int
    until: datetime


class _Span(msgspec.Struct, frozen=True):
    """One price of a period, from the first to the last that was told of it, and how many it stands for."""

    first: datetime
    last: datetime
    count: int


def bought(line: Line, plan: Plan) -> int:
    """How many were bought. Quantities of one plan add up; of several plans of one product, `plan` counts."""
    if line.items:
        return sum(item.quantity or 0 for item in line.items if line.plans[item.price].id == plan.id)
    mine = {price for price in line.prices if line.plans[price].id == plan.id}
    ordered = line.purchase.ordered
    if plan.terms.term != "subscription" and ordered is not None and ordered.price in mine:
        return ordered.quantity
    told = []
    for payment in line.purchase.payments.values():
        paid = [p.quantity or 0 for p in payment.lines if p.price in mine and not p.prorated]
        if paid:
            told.append((payment.state == "paid", settled_stamp(line.purchase, payment), sum(paid)))
    told += [(True, p.stamp, p.quantity) for p in line.purchase.periods.values() if p.price in mine]
    if told:
        return max(told)[2]
    return ordered.quantity if ordered is not None and ordered.price in mine else 1


def quantity(plan: Plan, count: int) -> tuple[int, int]:
    """Seats per license and number of licenses."""
    if plan.terms.quantity == "keys":
        return plan.terms.seats_per_unit, count
    return count * plan.terms.seats_per_unit, 1


def stepped(
    line: Line, plan: Plan, seats: int, until: datetime | None, periods: Sequence[Period]
) -> tuple[int, datetime | None]:
    """The seats that were paid for, and until when, where only `seats` are bought by now; None: for good.

    `until` is the end of the running period.
    """
    if until is None or plan.terms.seat_decrease == "now" or plan.terms.quantity == "keys":
        return seats, None
    ends = {item.ends_at for item in line.items if item.ends_at is not None}
    early = {end for end in ends if end < until}
    # No item ends with the running period: the payment for it came before the snapshot, as it may.
    if early and until in ends:
        return _in_turn(line, plan, seats, early, periods)
    for period in reversed(periods):  # as a rule the last
        if period.ends_at == until:
            most = _most(line, plan, period)
            return (most, until) if most > seats else (seats, None)
    return seats, None


def _in_turn(
    line: Line, plan: Plan, seats: int, early: set[datetime], periods: Iterable[Period]
) -> tuple[int, datetime | None]:
    """The same where items have intervals of their own: each keeps its seats until its own period ends.

    A license has one step. Where several items shrink, the last of them decides until the next renewal.
    """
    rest, most, at = seats, 0, None
    counting = sorted(period for period in periods if not period.lost)
    for period in counting:
        if period.ends_at not in early and period is not counting[-1]:
            continue
        bought_of_it = rest
        if period.ends_at in early:
            its = (item for item in line.items if item.ends_at == period.ends_at)
            mine = (item.quantity or 0 for item in its if line.plans[item.price].id == plan.id)
            bought_of_it = sum(mine) * plan.terms.seats_per_unit
            rest -= bought_of_it
        paid_for = _most(line, plan, period)
        if paid_for > bought_of_it:
            at = period.ends_at
        most += max(paid_for, bought_of_it)
    return (most, at) if at is not None else (seats, None)


def leaving(line: Line, plan: Plan, periods: Iterable[Period]) -> tuple[Leaving, ...]:
    """In keys mode: how many units each period was paid for; the last first, each with more of them."""
    if plan.terms.quantity != "keys" or plan.terms.seat_decrease == "now":
        return ()
    most = bought(line, plan)
    found = []
    for period in sorted(periods, reverse=True):
        count = 0 if period.lost else _most(line, plan, period)
        if count > most:
            most = count
            found.append(Leaving(count, period.ends_at))
    return tuple(found)


def _most(line: Line, plan: Plan, period: Period) -> int:
    """The most seats, or units in keys mode, that a period counted with.

    Several prices of one plan add up where they stood beside each other; where one followed the other they do
    not. The same for a plan that another has taken the place of. A plan beside the line's own grants nothing.
    """
    if len(line.prices) == 1:  # as a rule, and it is asked for every event
        return _most_of_one(line, plan, period)
    told = [
        seen
        for price in line.prices
        if (seen := line.purchase.periods.get(period_key(price, period.ends_at))) is not None
    ]
    paid = [
        [one for one in line.purchase.payments[payment].lines if one.price in line.prices]
        for payment in period.payments
    ]
    beside = {line.plans[item.price].id for item in line.items} - {plan.id}
    most = 0
    for owner in {line.plans[price].id: line.plans[price] for price in line.prices}.values():
        if owner.id in beside:
            continue
        each = _per_unit(plan, owner)
        spans = [_Span(s.first_at, s.stamp.at, s.peak) for s in told if line.plans[s.price].id == owner.id]
        counts = [_together(spans)] if spans else []
        for lines in paid:
            its = [one for one in lines if line.plans[one.price].id == owner.id and _is_of(one, period)]
            counts.append(sum(one.quantity or 0 for one in its))
        most = max(most, *(count * each for count in counts)) if counts else most
    return most


def _most_of_one(line: Line, plan: Plan, period: Period) -> int:
    """The same for a line of a single price."""
    (price,) = line.prices
    seen = line.purchase.periods.get(period_key(price, period.ends_at))
    most = 0 if seen is None else seen.peak
    for payment in period.payments:
        count = 0
        for paid in line.purchase.payments[payment].lines:
            if paid.price == price and _is_of(paid, period):
                count += paid.quantity or 0
        most = max(most, count)
    return most * _per_unit(plan, line.plans[price])


def _is_of(line: PaidLine, period: Period) -> bool:
    return line.ends_at == period.ends_at and not line.prorated


def _per_unit(plan: Plan, owner: Plan) -> int:
    return 1 if plan.terms.quantity == "keys" else owner.terms.seats_per_unit


def _together(spans: Sequence[_Span]) -> int:
    """The most that stood beside each other at any moment."""
    if len(spans) == 1:
        return spans[0].count
    return max(sum(other.count for other in spans if other.first <= one.first <= other.last) for one in spans)
