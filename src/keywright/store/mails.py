"""Mails as staff look through them: what is owed to whom, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from keywright.store.number_tables import APART
from keywright.store.tables import announcements, customers, licenses

About = Literal["", "key", "notice", "alarm", "person"]

TRIED: Final = ("failed", "pending")
"""What can be sent again as it is: it did not go out."""


class MailRow(msgspec.Struct, frozen=True):
    """A mail that is owed, or was. `email`: the customer's, of a mail about a license. `detail`: JSON."""

    id: str
    kind: str
    status: str
    created_at: datetime
    sent_at: datetime | None
    next_attempt_at: datetime | None
    attempts: int
    error: str | None
    license_id: str | None
    detail: str
    email: str | None
    key_last5: str | None


def list_page(
    connection: sa.Connection, tenant: str, *, status: str, about: About, after: str, limit: int
) -> list[MailRow]:
    """Newest first."""
    mails = announcements.c
    query = _rows().where(mails.tenant_id == tenant).order_by(mails.id.desc()).limit(limit)
    if status == "sent":
        # Most are: as an expression, or SQLite would sort them all instead of reading the newest.
        query = query.where(mails.status + "" == status)
    elif status:
        query = query.where(mails.status == status)
    if about == "key":
        query = query.where(mails.kind == "license.issued")
    elif about == "notice":
        query = query.where(mails.kind.startswith("notice."))
    elif about == "alarm":
        query = query.where(APART, mails.kind.startswith("alarm."))
    elif about == "person":
        query = query.where(APART, ~mails.kind.startswith("alarm."))
    if after:
        query = query.where(mails.id < after)
    return [MailRow(**found) for found in connection.execute(query).mappings()]


def find(connection: sa.Connection, tenant: str, id_: str) -> MailRow | None:
    query = _rows().where(announcements.c.tenant_id == tenant, announcements.c.id == id_)
    found = connection.execute(query).mappings().first()
    return None if found is None else MailRow(**found)


def _rows() -> sa.Select[Any]:
    mails = announcements.c
    columns = (
        *(mails.id, mails.kind, mails.status, mails.created_at, mails.sent_at, mails.next_attempt_at),
        *(mails.attempts, mails.error, mails.license_id, mails.detail, customers.c.email),
        licenses.c.key_last5,
    )
    held = announcements.outerjoin(licenses, licenses.c.id == mails.license_id)
    return sa.select(*columns).select_from(
        held.outerjoin(customers, customers.c.id == licenses.c.customer_id)
    )


def again(connection: sa.Connection, tenant: str, ids: list[str], batch: str, now: datetime) -> list[str]:
    """Have these tried once more, now, as part of a batch. Returns those that had not gone out."""
    mails = announcements.c
    query = (
        sa.update(announcements)
        .where(mails.tenant_id == tenant, mails.id.in_(ids), mails.status.in_(TRIED))
        .values(status="pending", attempts=0, batch=batch, next_attempt_at=now, error=None)
        .returning(mails.id)
    )
    return sorted(connection.execute(query).scalars())


def list_failed(connection: sa.Connection, tenant: str, limit: int) -> list[str]:
    """The oldest mails that could not be delivered."""
    mails = announcements.c
    query = (
        sa.select(mails.id)
        .where(mails.tenant_id == tenant, mails.status == "failed")
        .order_by(mails.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())
