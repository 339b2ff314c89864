"""Where staff are signed in, and how often somebody was wrong. Of secrets there are hashes only."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from keywright.store.rows import micros
from keywright.store.staff_tables import staff_sessions, staff_tries

_KEPT = timedelta(hours=1)


class Session(msgspec.Struct, frozen=True):
    """`stage`: `second` (the password was right), `setup`, or `full`. `pending`: sealed."""

    id: str
    tenant_id: str
    staff_id: str
    hash: str
    stage: str
    agent: str
    created_at: datetime
    seen_at: datetime
    proved_at: datetime
    expires_at: datetime
    pending: str | None = None
    link_id: str | None = None

    def __repr__(self) -> str:
        return f"Session({self.id!r}, {self.stage!r})"


def insert(connection: sa.Connection, session: Session, now: datetime) -> None:
    """Add it, and forget those that are over."""
    connection.execute(sa.delete(staff_sessions).where(staff_sessions.c.expires_at < now))
    connection.execute(sa.insert(staff_sessions).values(**msgspec.structs.asdict(session)))


def find(connection: sa.Connection, hashed: str, now: datetime, idle: timedelta) -> Session | None:
    """The session with this hash, while it lasts."""
    query = sa.select(staff_sessions).where(
        staff_sessions.c.hash == hashed,
        staff_sessions.c.expires_at > now,
        staff_sessions.c.seen_at > now - idle,
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else Session(**row)


def list_of(
    connection: sa.Connection, tenant: str, staff_id: str, now: datetime, idle: timedelta
) -> list[Session]:
    """Where a person is signed in now, the newest first."""
    query = (
        sa.select(staff_sessions)
        .where(
            staff_sessions.c.tenant_id == tenant,
            staff_sessions.c.staff_id == staff_id,
            staff_sessions.c.stage == "full",
            staff_sessions.c.expires_at > now,
            staff_sessions.c.seen_at > now - idle,
        )
        .order_by(staff_sessions.c.created_at.desc())
    )
    return [Session(**row) for row in connection.execute(query).mappings()]


def count_by_staff(connection: sa.Connection, tenant: str, now: datetime, idle: timedelta) -> dict[str, int]:
    """How many sessions each person has."""
    query = (
        sa.select(staff_sessions.c.staff_id, sa.func.count())
        .where(
            staff_sessions.c.tenant_id == tenant,
            staff_sessions.c.stage == "full",
            staff_sessions.c.expires_at > now,
            staff_sessions.c.seen_at > now - idle,
        )
        .group_by(staff_sessions.c.staff_id)
    )
    return {id_: count for id_, count in connection.execute(query)}  # noqa: C416  # rows, not pairs


def touch(connection: sa.Connection, session_id: str, now: datetime) -> None:
    connection.execute(sa.update(staff_sessions).where(staff_sessions.c.id == session_id).values(seen_at=now))


def prove(connection: sa.Connection, session_id: str, now: datetime) -> None:
    """The person has proved to be himself once more."""
    connection.execute(
        sa.update(staff_sessions).where(staff_sessions.c.id == session_id).values(proved_at=now, pending=None)
    )


def keep(connection: sa.Connection, session_id: str, pending: str | None) -> None:
    """What the next page needs to know, sealed."""
    connection.execute(
        sa.update(staff_sessions).where(staff_sessions.c.id == session_id).values(pending=pending)
    )


def end(
    connection: sa.Connection,
    tenant: str,
    *,
    session_id: str | None = None,
    staff_id: str | None = None,
    besides: str | None = None,
) -> int:
    """End one session, or all of a person, `besides` one. Returns how many ended."""
    query = sa.delete(staff_sessions).where(staff_sessions.c.tenant_id == tenant)
    if session_id is not None:
        query = query.where(staff_sessions.c.id == session_id)
    if staff_id is not None:
        query = query.where(staff_sessions.c.staff_id == staff_id)
    if besides is not None:
        query = query.where(staff_sessions.c.id != besides)
    if session_id is None and staff_id is None:
        return 0
    return int(connection.execute(query).rowcount)


# -- tries ----------------------------------------------------------------------------------------------

_COUNT = sa.text(
    "INSERT INTO staff_tries (name_hash, wrong, since_at) VALUES (:name, 1, :now)"
    " ON CONFLICT (name_hash) DO UPDATE SET"
    " wrong = CASE WHEN staff_tries.since_at <= :before THEN 1 ELSE staff_tries.wrong + 1 END,"
    " since_at = CASE WHEN staff_tries.since_at <= :before THEN :now ELSE staff_tries.since_at END"
    " RETURNING wrong"
)


def count_try(connection: sa.Connection, name: str, now: datetime, within: timedelta) -> int:
    """Count one more try for a name, as wrong until it is taken back. Returns how many there were with it.

    One statement, so that of fifty at once each gets its own number.
    """
    values = {"name": name, "now": micros(now), "before": micros(now - within)}
    return int(connection.execute(_COUNT, values).scalar_one())


def tries_of(connection: sa.Connection, name: str, now: datetime, within: timedelta) -> int:
    """How many there were, without counting one."""
    query = sa.select(staff_tries.c.wrong).where(
        staff_tries.c.name_hash == name, staff_tries.c.since_at > now - within
    )
    return int(connection.execute(query).scalar() or 0)


def take_back_try(connection: sa.Connection, name: str) -> None:
    """It was right after all."""
    connection.execute(
        sa.update(staff_tries)
        .where(staff_tries.c.name_hash == name, staff_tries.c.wrong > 0)
        .values(wrong=staff_tries.c.wrong - 1)
    )


def forget_tries(connection: sa.Connection, name: str, now: datetime) -> None:
    """Forget a name's, and whatever is older than it counts."""
    stale = staff_tries.c.since_at < now - _KEPT
    connection.execute(sa.delete(staff_tries).where(sa.or_(staff_tries.c.name_hash == name, stale)))
