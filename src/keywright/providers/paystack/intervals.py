"""The calendar of Paystack's plans: which period a payment was for."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

_SPANS: Final[Mapping[str, timedelta]] = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
    "weekly": timedelta(weeks=1),
}
_MONTHS: Final[Mapping[str, int]] = {"monthly": 1, "quarterly": 3, "biannually": 6, "annually": 12}
_DAYS_OF_A_MONTH: Final = 28
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def stepped(at: datetime, interval: str, count: int) -> datetime | None:
    """`at` moved by so many intervals, back when `count` is negative.

    A month that has no such day ends on its last one. None for an interval we do not know, and where the
    calendar ends.
    """
    try:
        if interval in _SPANS:
            return at + _SPANS[interval] * count
        if interval not in _MONTHS:
            return None
        months = at.year * 12 + at.month - 1 + _MONTHS[interval] * count
        year, month = divmod(months, 12)
        day = min(at.day, calendar.monthrange(year, month + 1)[1])
        return at.replace(year=year, month=month + 1, day=day)
    except (ValueError, OverflowError):
        return None


def length(interval: str) -> timedelta | None:
    """About how long an interval is, never too long; None for one we do not know."""
    if interval in _SPANS:
        return _SPANS[interval]
    return timedelta(days=_DAYS_OF_A_MONTH * _MONTHS[interval]) if interval in _MONTHS else None


def period_end(
    paid_at: datetime, interval: str | None, next_at: datetime | None
) -> tuple[datetime | None, bool]:
    """The end of the period that a payment at `paid_at` was for, and whether that is more than an estimate.

    `next_at` is the subscription's next payment as of today, so an old payment's period lies whole intervals
    before it. Without it (a subscription that will not renew has none) the period is one interval long.
    """
    span = length(interval) if interval is not None else None
    if interval is None or span is None:
        return (next_at, True) if next_at is not None and next_at > paid_at else (None, False)
    if next_at is None or next_at <= paid_at:
        return stepped(paid_at, interval, 1), False
    # A payment may come a little before the period it is for.
    after = min(paid_at, _LAST - span) + span / 4
    # Months are longer than `span` says: half of the way is never too far, and the rest is walked.
    count = max(0, (next_at - after) // (span if interval in _SPANS else span * 2) - 1)
    end = stepped(next_at, interval, -count)
    while end is not None:
        earlier = stepped(next_at, interval, -(count + 1))
        if earlier is None or earlier <= after:
            break
        end, count = earlier, count + 1
    return end, True
