"""Calendar arithmetic of billing: the n-th period after an anchor, months clamped to their last day."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime

INTERVAL_SECONDS = {"day": 86_400, "week": 604_800}
INTERVALS = ("day", "week", "month", "year")


def shifted(anchor: int, interval: str, count: int) -> int:
    """`anchor` (unix seconds, UTC) moved by `count` intervals of day, week, month or year.

    A month that has no such day ends on its last one, so 31 January plus one month is 28 or 29 February,
    and plus two months 31 March again.
    """
    if interval in INTERVAL_SECONDS:
        return anchor + INTERVAL_SECONDS[interval] * count
    moment = datetime.fromtimestamp(anchor, UTC)
    months = moment.year * 12 + moment.month - 1 + count * (12 if interval == "year" else 1)
    year, month = divmod(months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return int(moment.replace(year=year, month=month + 1, day=day).timestamp())


def period_after(anchor: int, interval: str, count: int, start: int) -> int:
    """End of the period that begins at `start`: the first step of `count` intervals that lies after it."""
    steps = 1
    while (end := shifted(anchor, interval, steps * count)) <= start:
        steps += 1
    return end
