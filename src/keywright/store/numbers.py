"""What the console's first page counts, each in one look over the rows it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from keywright.store.number_tables import ENDED
from keywright.store.tables import announcements, inbox, licenses, timeline

_NOT_OUT: Final = ("pending", "waiting", "failed")
_NOT_THROUGH: Final = ("parked", "accepted", "failed", "dead")
_BEFORE: Final = -1
# It has another license in its place.
_MOVED: Final = ("merged", "replaced")


class Census(msgspec.Struct, frozen=True):
    """Licenses: how many of each state, and by month how many were made and how many ended."""

    states: dict[str, int]
    made: list[int]
    ended: list[int]


def census(connection: sa.Connection, tenant: str, now: datetime, months: Sequence[datetime]) -> Census:
    """Count the tenant's licenses. `months`: when each of the counted ones begins, the oldest first.

    A license ended in the month in which its time and grace were over, or in which it was revoked.
    """
    held, state = licenses.c, _state(now)
    made = _month(held.created_at, months)
    over = sa.case((held.grace_until > held.active_until, held.grace_until), else_=held.active_until)
    ran_out = sa.and_(state == "expired", held.lost_until.is_(None))
    ended = sa.case((ran_out, _month(over, months)), else_=_BEFORE)
    counted = sa.select(state.label("state"), made.label("made"), ended.label("ended"))
    per_license = counted.where(held.tenant_id == tenant).subquery()
    columns = (per_license.c.state, per_license.c.made, per_license.c.ended)
    query = sa.select(*columns, sa.func.count()).group_by(*columns)
    states: Counter[str] = Counter()
    of_made, of_ended = [0] * len(months), [0] * len(months)
    for name, born, over_in, count in connection.execute(query):
        states[name] += count
        if born >= 0:
            of_made[born] += count
        if over_in >= 0:
            of_ended[over_in] += count
    for month, count in _revoked(connection, tenant, now, months):
        of_ended[month] += count
    return Census(dict(states), of_made, of_ended)


def _state(now: datetime) -> sa.ColumnElement[str]:
    """What a license is now: `license.status` told in SQL."""
    held = licenses.c
    paid = held.active_until.is_not(None) & (held.active_until > now)
    return sa.case(
        (held.standing == "revoked", sa.literal("revoked")),
        (held.lost_until.is_not(None) & (held.lost_until > now) & ~paid, sa.literal("revoked")),
        ((held.standing == "suspended") | ((held.standing == "paused") & ~paid), sa.literal("suspended")),
        (held.active_until.is_(None), sa.literal("pending")),
        (paid, sa.literal("active")),
        (held.grace_until > now, sa.literal("grace")),
        else_=sa.literal("expired"),
    )


def _month(at: sa.ColumnElement[Any], months: Sequence[datetime]) -> sa.ColumnElement[int]:
    """The place of a moment among the months; -1 before the first."""
    later = [(at >= month, sa.literal(number)) for number, month in reversed(list(enumerate(months)))]
    return sa.case(*later, else_=sa.literal(_BEFORE))


def _revoked(
    connection: sa.Connection, tenant: str, now: datetime, months: Sequence[datetime]
) -> list[tuple[int, int]]:
    """Those that were revoked and do not run now, by the month in which they were last."""
    newest = (
        sa.select(timeline.c.license_id, sa.func.max(timeline.c.at).label("at"))
        .where(timeline.c.tenant_id == tenant, ENDED, timeline.c.at >= months[0])
        .group_by(timeline.c.license_id)
        .subquery()
    )
    held = licenses.c
    month = _month(newest.c.at, months)
    query = (
        sa.select(month.label("month"), sa.func.count())
        .select_from(newest.join(licenses, held.id == newest.c.license_id))
        .where(
            _state(now).in_(("revoked", "expired", "pending")),
            sa.or_(held.standing == "revoked", held.lost_until.is_not(None)),
            held.reason.not_in(_MOVED),
        )
        .group_by("month")
    )
    return [(number, count) for number, count in connection.execute(query) if number >= 0]


def count_events(connection: sa.Connection, tenant: str) -> dict[str, int]:
    """The tenant's events that are not through: parked, accepted, failed and dead."""
    # The tenant as an expression: by its index the planner of SQLite would read every event there ever was.
    query = (
        sa.select(inbox.c.status, sa.func.count())
        .where(inbox.c.tenant_id + "" == tenant, inbox.c.status.in_(_NOT_THROUGH))
        .group_by(inbox.c.status)
    )
    return {status: count for status, count in connection.execute(query)}  # noqa: C416  # rows, not pairs


def count_mails(connection: sa.Connection, tenant: str) -> dict[str, int]:
    """The tenant's mails that did not go out: pending, waiting for an address, and failed."""
    query = (
        sa.select(announcements.c.status, sa.func.count())
        .where(announcements.c.tenant_id + "" == tenant, announcements.c.status.in_(_NOT_OUT))
        .group_by(announcements.c.status)
    )
    return {status: count for status, count in connection.execute(query)}  # noqa: C416  # as above
