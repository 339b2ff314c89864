"""Buying again: a purchase that adds its time to an older license, or ends it.

What renewed a license is kept with it, each by the reference of its checkout, and folded in the order of the
first payments. So neither the order in which purchases arrive nor how often they are told can change the
outcome, and one that is given back leaves the license what it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from keywright.domain.grant import Grant
from keywright.domain.money_back import taken_back
from keywright.domain.plan import FOREVER, later_by
from keywright.domain.purchase import Purchase, settled_at

How = Literal["extend", "replace"]

_COUNTS = ("ok", "paused")
_SECOND = timedelta(seconds=1)


class Renewal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one later purchase does to a license.

    `paid_at`: its first payment. `until`: the end of what it paid for, were it alone; None: it does not
    count, because it was given back, is disputed, or has paid for nothing. `slack` and `grace`: seconds that
    follow that end while it is being renewed itself.
    """

    reference: str
    how: How
    paid_at: datetime
    until: datetime | None = None
    slack: int = 0
    grace: int = 0
    seats: int = 0
    canceling: bool = False
    past_due: bool = False


class Under(msgspec.Struct, frozen=True):
    """What the license's own purchase is worth, as last seen: the row shows it with renewals on top."""

    until: datetime | None
    seats: int


def renewal_of(reference: str, how: How, purchase: Purchase, grant: Grant) -> Renewal | None:
    """What a purchase does to the older license that it was bought for. None: nobody has paid yet."""
    paid_at = first_paid_at(purchase)
    if paid_at is None:
        return None
    until = grant.entitled_until
    if grant.standing not in _COUNTS or until is None or until <= paid_at or _is_given_back(purchase, grant):
        return Renewal(reference, how, paid_at)
    return Renewal(
        reference,
        how,
        paid_at,
        until,
        slack=_seconds(until, grant.active_until),
        grace=_seconds(until, grant.grace_until),
        seats=grant.seats if grant.seats_after is None else grant.seats_after,
        canceling=grant.canceling,
        past_due=grant.past_due,
    )


def first_paid_at(purchase: Purchase) -> datetime | None:
    """When the first payment settled; where the seller hears of none, when it first counted."""
    paid = [settled_at(purchase, one) for one in purchase.payments.values() if one.state == "paid"]
    if not paid:
        paid = [one.first_at for one in purchase.periods.values() if one.counts and not one.trial]
    return min(paid, default=None)


def put(known: Sequence[Renewal], renewal: Renewal) -> tuple[Renewal, ...]:
    """The renewals with the newest word on one of them, in the order of their first payments."""
    others = [one for one in known if one.reference != renewal.reference]
    return tuple(sorted([*others, renewal], key=lambda one: (one.paid_at, one.reference)))


def fold(grant: Grant, renewals: Sequence[Renewal], ground: datetime | None, *, given: int = 0) -> Grant:
    """The grant with the time that later purchases added.

    Each adds as long as it would have run by itself: to the end of what was there, or from its own payment
    where that was over. The plan stays.

    Args:
        grant: of the license's own purchase.
        renewals: in any order.
        ground: the day that staff had promised before anything was added: time is added to that.
        given: seats that staff gave, which come on top of the result.
    """
    added = [one for one in renewals if one.how == "extend" and one.until is not None]
    if not added:
        return grant
    added.sort(key=lambda one: (one.paid_at, one.reference))
    own = grant.entitled_until
    before = own if ground is None or (own is not None and own > ground) else ground
    end = added[0].paid_at
    seats, step = grant.seats, (grant.seats_after, grant.seats_after_at)
    for one in added:
        end = _longer(before, one)
        # Seats that staff gave with a license that nobody had paid for are the license's, not on top.
        wanted = max(one.seats - given, 0) if grant.seats == 0 and own is None else one.seats
        if before is None or before <= one.paid_at or wanted >= seats:
            seats, step = wanted, (None, None)
        else:
            step = (wanted, before)
        before = end
    last = added[-1]
    slack = max(last.slack, _seconds(own, grant.active_until) if own is not None else 0)
    grace = max(last.grace, _seconds(own, grant.grace_until) if own is not None else 0)
    return msgspec.structs.replace(
        grant,
        seats=seats,
        seats_after=step[0],
        seats_after_at=step[1],
        entitled_until=end,
        active_until=later_by(end, slack),
        grace_until=later_by(end, grace),
        trial=False,
        canceling=last.canceling,
        past_due=last.past_due,
    )


def is_replaced(renewals: Sequence[Renewal], reinstated_at: datetime | None) -> bool:
    """Whether a later purchase took the license's place, and staff did not bring it back since."""
    return any(
        one.how == "replace"
        and one.until is not None
        and (reinstated_at is None or reinstated_at < one.paid_at)
        for one in renewals
    )


def _longer(end: datetime | None, one: Renewal) -> datetime:
    if one.until is None or one.until == FOREVER:
        return FOREVER
    start = one.paid_at if end is None or end < one.paid_at else end
    return later_by(start, (one.until - one.paid_at) // _SECOND)


def _is_given_back(purchase: Purchase, grant: Grant) -> bool:
    """Whether all that was ever paid for it was given back."""
    paid = [one.payment for one in purchase.payments.values() if one.state == "paid"]
    taken = taken_back(purchase, grant.plan.terms)
    return bool(paid) and all(payment in taken.payments for payment in paid)


def _seconds(start: datetime, end: datetime | None) -> int:
    return 0 if end is None or end <= start else (end - start) // _SECOND
