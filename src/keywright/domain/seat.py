"""How long a machine has its seat: until it is freed, until its lease ends, or until it is back.

Where seats float, the one invariant is that no lease outlives the seat it was given for. So a lease may reach
beyond the end that is written only after a later end was written.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from keywright.domain.activation import Activation
from keywright.domain.license import License
from keywright.domain.plan import Plan, later_by
from keywright.domain.verdict import last_valid, offline_until

SEEN_AGAIN_AFTER: Final = timedelta(minutes=15)
"""A sighting is not written again within this time, so a lease may be so much younger than the last one."""


def until(bound: Activation, plan: Plan) -> datetime | None:
    """Until when the machine has its seat; None: until it is freed."""
    if not plan.terms.floating:
        return None
    ends = bound.seat_until
    if ends is None:
        # Bound while the plan's seats did not float: what it holds began with its last sighting.
        seen = bound.last_seen_at or bound.activated_at
        ends = later_by(seen + SEEN_AGAIN_AFTER, plan.terms.offline)
    return ends if bound.out_until is None else max(ends, bound.out_until)


def is_lapsed(bound: Activation, plan: Plan, now: datetime) -> bool:
    """Whether the seat has returned by itself, though nobody has written so yet."""
    ends = until(bound, plan)
    return ends is not None and ends <= now


def is_out(bound: Activation, now: datetime) -> bool:
    """Whether the machine is checked out."""
    return bound.out_until is not None and now < bound.out_until


def reach(held: License, plan: Plan, bound: Activation, now: datetime) -> datetime:
    """When a lease that begins now would end, if the seat lasted as long; `now` where it is not valid."""
    ends = offline_until(held, plan, now) or now
    if bound.out_until is None or bound.out_until <= ends:
        return ends
    return max(ends, min(bound.out_until, last_valid(held, now)))


def lease_end(held: License, plan: Plan, bound: Activation, now: datetime) -> datetime:
    """When a lease that begins now ends: never after the seat, as it is written."""
    ends, seat = reach(held, plan, bound, now), until(bound, plan)
    return ends if seat is None else min(ends, seat)


def is_due(held: License, plan: Plan, bound: Activation, now: datetime) -> bool:
    """Whether a sign of life must be written: less than half of what a lease could have now is left.

    Half, because a lease is handed out again for half its life.
    """
    seat = until(bound, plan)
    if seat is None:
        return False
    ends = reach(held, plan, bound, now)
    return bound.seat_until is None or (ends > seat and (seat - now) * 2 <= ends - now)


def is_move(bound: Activation, plan: Plan, now: datetime) -> bool:
    """Whether handing the seat back counts as a move of the customer's.

    A floating seat passes from hand to hand; that is what it is for. One that was checked out is another
    thing: its lease runs for days on and cannot be called back.
    """
    return not plan.terms.floating or is_out(bound, now)


def giving_way(
    machines: Collection[Activation], plan: Plan, limit: int | None, now: datetime
) -> tuple[Activation, ...]:
    """The dead machines to free so that one more fits, the longest silent first.

    None where all fit, where nothing was reclaimed by the plan's rule, or where it would not be enough.
    """
    if not plan.terms.reclaim or limit is None or len(machines) < limit:
        return ()
    silent = timedelta(seconds=plan.terms.reclaim)
    dead = [one for one in machines if not is_out(one, now) and now - _seen(one) > silent]
    needed = len(machines) - limit + 1
    return tuple(sorted(dead, key=_age)[:needed]) if needed <= len(dead) else ()


def oldest(machines: Collection[Activation], now: datetime) -> Activation | None:
    """The machine that was silent longest, of those that are not checked out."""
    return min((one for one in machines if not is_out(one, now)), key=_age, default=None)


def _seen(one: Activation) -> datetime:
    return one.last_seen_at or one.activated_at


def _age(one: Activation) -> tuple[datetime, str]:
    return _seen(one), one.id
