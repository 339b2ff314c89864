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
_STATES: Final = ("revoked", "suspended", "pending", "active", "grace", "expired")
_AT_ONCE: Final = 500
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
    held = licenses.c
    # One number to group by: what is sorted is short. States first, then the months in which time ran out.
    ran_out = _month(_end(), months) + len(_STATES)
    expired = sa.and_(_is(now, "expired"), held.lost_until.is_(None), _end() >= months[0])
    number = sa.case((expired, ran_out), else_=_state(now)).label("number")
    query = sa.select(number, sa.func.count()).where(_of(tenant)).group_by("number")
    states, ended = Counter[str](), [0] * len(months)
    for found, count in connection.execute(query):
        month = found - len(_STATES)
        states["expired" if month >= 0 else _STATES[found]] += count
        if month >= 0:
            ended[month] += count
    for month, count in _revoked(connection, tenant, now, months).items():
        ended[month] += count
    return Census(dict(states), _made(connection, tenant, months), ended)


def _of(tenant: str) -> sa.ColumnElement[bool]:
    # As an expression: by an index on the tenant SQLite would visit each license by itself.
    return licenses.c.tenant_id + "" == tenant


def _end() -> sa.ColumnElement[Any]:
    held = licenses.c
    return sa.case((held.grace_until > held.active_until, held.grace_until), else_=held.active_until)


def _is(now: datetime, state: str) -> sa.ColumnElement[bool]:
    return _state(now) == _STATES.index(state)


def _state(now: datetime) -> sa.ColumnElement[int]:
    """What a license is now, as its place among the states: `license.status` told in SQL."""
    held = licenses.c
    paid = held.active_until.is_not(None) & (held.active_until > now)

    def place(state: str) -> sa.ColumnElement[int]:
        return sa.literal_column(str(_STATES.index(state)), sa.Integer)

    return sa.case(
        (held.standing == "revoked", place("revoked")),
        (held.lost_until.is_not(None) & (held.lost_until > now) & ~paid, place("revoked")),
        ((held.standing == "suspended") | ((held.standing == "paused") & ~paid), place("suspended")),
        (held.active_until.is_(None), place("pending")),
        (paid, place("active")),
        (held.grace_until > now, place("grace")),
        else_=place("expired"),
    )


def _month(at: sa.ColumnElement[Any], months: Sequence[datetime]) -> sa.ColumnElement[int]:
    """The place of a moment among the months; before the first, the first."""
    later = [
        (at >= month, sa.literal_column(str(number), sa.Integer))
        for number, month in reversed(list(enumerate(months)))
        if number
    ]
    return sa.case(*later, else_=sa.literal_column("0", sa.Integer))


def _made(connection: sa.Connection, tenant: str, months: Sequence[datetime]) -> list[int]:
    """How many licenses are of each month."""
    held = licenses.c
    counted = []
    for number, month in enumerate(months):
        query = sa.select(sa.func.count()).where(_of(tenant), held.created_at >= month)
        if number + 1 < len(months):
            query = query.where(held.created_at < months[number + 1])
        counted.append(query.scalar_subquery())
    return list(connection.execute(sa.select(*counted)).one())


def _revoked(
    connection: sa.Connection, tenant: str, now: datetime, months: Sequence[datetime]
) -> dict[int, int]:
    """Those that were revoked and do not run now, by the month in which they were last."""
    newest = (
        sa.select(timeline.c.license_id, sa.func.max(timeline.c.at))
        .where(timeline.c.tenant_id == tenant, ENDED, timeline.c.at >= months[0])
        .group_by(timeline.c.license_id)
    )
    # One after the other: asked for both at once, SQLite reads every license there is.
    revoked = {id_: at for id_, at in connection.execute(newest)}  # noqa: C416  # rows, not pairs
    found: Counter[int] = Counter()
    ids = sorted(revoked)
    for start in range(0, len(ids), _AT_ONCE):
        for id_ in connection.execute(_gone(now, ids[start : start + _AT_ONCE])).scalars():
            found[sum(revoked[id_] >= month for month in months) - 1] += 1
    return dict(found)


def _gone(now: datetime, ids: Sequence[str]) -> sa.Select[tuple[str]]:
    """Those of these licenses that were taken, and have no other in their place."""
    held = licenses.c
    return sa.select(held.id).where(
        held.id.in_(ids),
        sa.or_(_is(now, "revoked"), _is(now, "expired"), _is(now, "pending")),
        sa.or_(held.standing == "revoked", held.lost_until.is_not(None)),
        held.reason.not_in(_MOVED),
    )


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
