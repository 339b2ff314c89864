"""What is owed to the outside: a row is written in the transaction that writes what it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.store import rows
from keywright.store.rows import micros
from keywright.store.tables import announcements, licenses


class Announcement(msgspec.Struct, frozen=True):
    """`occurrence` makes it owed once: unique with subject and kind."""

    id: str
    tenant_id: str
    kind: str
    occurrence: str
    subject_id: str
    license_id: str | None
    batch: str
    created_at: datetime
    status: str = "pending"
    detail: str = "{}"
    attempts: int = 0
    next_attempt_at: datetime | None = None
    sent_at: datetime | None = None
    error: str | None = None


def insert(connection: sa.Connection, owed: Sequence[Announcement]) -> None:
    """Owe these, less those that are owed already, or were."""
    rows.insert(connection, announcements, _rows(owed), ignore=True)


def insert_counted(connection: sa.Connection, owed: Sequence[Announcement]) -> int:
    """The same; returns how many are new."""
    return len(rows.insert(connection, announcements, _rows(owed), ignore=True, returning="id"))


def _rows(owed: Sequence[Announcement]) -> list[dict[str, Any]]:
    return [
        {
            **msgspec.structs.asdict(a),
            "created_at": micros(a.created_at),
            "next_attempt_at": micros(a.next_attempt_at),
            "sent_at": micros(a.sent_at),
        }
        for a in sorted(owed, key=lambda a: a.id)
    ]


def pending(connection: sa.Connection, batch: str) -> list[Announcement]:
    """What the batch still owes."""
    query = (
        sa.select(announcements)
        .where(announcements.c.batch == batch, announcements.c.status == "pending")
        .order_by(announcements.c.id)
    )
    return [Announcement(**r) for r in connection.execute(query).mappings()]


def find_detail(connection: sa.Connection, kind: str, subject: str) -> tuple[str, str] | None:
    """(tenant, detail) of what is owed, or was, about a subject."""
    query = sa.select(announcements.c.tenant_id, announcements.c.detail).where(
        announcements.c.subject_id == subject, announcements.c.kind == kind
    )
    row = connection.execute(query).first()
    return None if row is None else (row[0], row[1])


def stranded(connection: sa.Connection, now: datetime, untried_before: datetime, limit: int) -> list[str]:
    """Batches with an attempt that is due, or with something never tried that is older than it should be."""
    due = announcements.c.next_attempt_at <= now
    untried = announcements.c.next_attempt_at.is_(None) & (announcements.c.created_at < untried_before)
    query = (
        sa.select(announcements.c.batch)
        .where(announcements.c.status == "pending", sa.or_(due, untried))
        .distinct()
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def release_waiting(connection: sa.Connection, customers: Sequence[str], batch: str) -> int:
    """Mails that waited for a customer's address now belong to `batch`."""
    of_theirs = sa.select(licenses.c.id).where(licenses.c.customer_id.in_(customers))
    result = connection.execute(
        sa.update(announcements)
        .where(announcements.c.license_id.in_(of_theirs), announcements.c.status == "waiting")
        .values(status="pending", batch=batch)
    )
    return int(result.rowcount)


def settle(connection: sa.Connection, changes: Sequence[dict[str, Any]]) -> None:
    """Write status, attempts, next_attempt_at, sent_at and error of several announcements."""
    rows.update(connection, announcements, sorted(changes, key=lambda c: str(c["id"])))


def newest(connection: sa.Connection, tenant: str, kind: str) -> datetime | None:
    """When the newest of a kind was owed. Reads them all: for commands, not for requests."""
    query = sa.select(sa.func.max(announcements.c.created_at)).where(
        announcements.c.tenant_id == tenant, announcements.c.kind == kind
    )
    return connection.execute(query).scalar()


def counts(connection: sa.Connection) -> dict[str, int]:
    query = sa.select(announcements.c.status, sa.func.count()).group_by(announcements.c.status)
    return {status: count for status, count in connection.execute(query)}  # noqa: C416  # rows, not pairs
