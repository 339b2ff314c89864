"""Provider events, kept once per dedupe key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import Projected
from keywright.store import rows
from keywright.store.rows import certain, micros
from keywright.store.tables import inbox, inbox_waits, provider_accounts


class InboxItem(msgspec.Struct, frozen=True):
    """One event as kept: the projection, what became of it, and when it is due again."""

    id: str
    tenant_id: str
    provider_account_id: str
    projected: Projected
    status: str
    reason: str | None
    error: str | None
    attempts: int
    received_at: datetime
    next_attempt_at: datetime | None = None
    processed_at: datetime | None = None


class Wait(msgspec.Struct, frozen=True):
    """An event that waits for something: an alias kind, or `price`."""

    inbox_id: str
    tenant_id: str
    provider_account_id: str
    kind: str
    external_id: str


def row(item: InboxItem) -> dict[str, Any]:
    projected = item.projected
    return {
        "id": item.id,
        "tenant_id": item.tenant_id,
        "provider_account_id": item.provider_account_id,
        "dedupe_key": projected.dedupe_key,
        "type": projected.type,
        "occurred_at": micros(projected.occurred_at),
        "received_at": micros(item.received_at),
        "processed_at": micros(item.processed_at),
        "status": item.status,
        "reason": item.reason,
        "error": item.error,
        "attempts": item.attempts,
        "next_attempt_at": micros(item.next_attempt_at),
        "body": projected.body.decode(),
        "digest": projected.digest,
        "raw_sha256": projected.raw_sha256,
        "raw_size": projected.raw_size,
        "api_version": projected.api_version,
    }


def insert(connection: sa.Connection, items: Sequence[InboxItem]) -> set[str]:
    """Insert what is new. Returns the ids of the rows that were inserted; the others are duplicates."""
    ordered = sorted(items, key=lambda item: (item.provider_account_id, item.projected.dedupe_key))
    return set(rows.insert(connection, inbox, [row(i) for i in ordered], ignore=True, returning="id"))


def settle(connection: sa.Connection, outcomes: Iterable[dict[str, Any]]) -> None:
    """Write what became of events: id, status, reason, error, attempts, next_attempt_at, processed_at; and
    the body of those that are kept without one."""
    rows.update(connection, inbox, sorted(outcomes, key=lambda o: str(o["id"])))


def wait(connection: sa.Connection, waits: Sequence[Wait]) -> None:
    """Remember what parked events wait for."""
    rows.insert(connection, inbox_waits, [msgspec.structs.asdict(w) for w in waits], ignore=True)


def stop_waiting(connection: sa.Connection, ids: Sequence[str]) -> None:
    if ids:
        connection.execute(sa.delete(inbox_waits).where(inbox_waits.c.inbox_id.in_(ids)))


def stop_waiting_for(connection: sa.Connection, ids: Sequence[str], names: Sequence[tuple[str, str]]) -> None:
    """These events wait for these names no more; for others they may."""
    if ids and names:
        named = sa.tuple_(inbox_waits.c.kind, inbox_waits.c.external_id).in_(names)
        connection.execute(sa.delete(inbox_waits).where(inbox_waits.c.inbox_id.in_(ids), named))


def still_waiting(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Which of these events wait for something."""
    query = sa.select(inbox_waits.c.inbox_id).where(inbox_waits.c.inbox_id.in_(ids))
    return set(connection.execute(query).scalars()) if ids else set()


def waiting_for(connection: sa.Connection, account: str, names: Sequence[tuple[str, str]]) -> list[str]:
    """Ids of the events that wait for one of these (kind, external id)."""
    if not names:
        return []
    source = rows.recordset(connection, "k", {"kind": "text", "external_id": "text"})
    text = rows.prepared(
        f"SELECT DISTINCT w.inbox_id FROM {source} CROSS JOIN inbox_waits w"  # noqa: S608  # our own names
        " WHERE w.provider_account_id = :account AND w.kind = k.kind AND w.external_id = k.external_id"
    )
    keys = rows.json_of([{"kind": kind, "external_id": external} for kind, external in names])
    return sorted(connection.execute(text, {"rows": keys, "account": account}).scalars())


def get_many(connection: sa.Connection, ids: Sequence[str]) -> list[InboxItem]:
    """The events, oldest first, locked on PostgreSQL."""
    if not ids:
        return []
    query = sa.select(inbox).where(inbox.c.id.in_(ids)).order_by(inbox.c.id).with_for_update()
    items = [from_row(r) for r in connection.execute(query).mappings()]
    return sorted(items, key=lambda item: (item.projected.occurred_at, item.id))


def find(connection: sa.Connection, tenant: str, event: str) -> InboxItem | None:
    """By our id or by the provider's event id."""
    accounts = sa.select(provider_accounts.c.id).where(provider_accounts.c.tenant_id == tenant)
    ours = (inbox.c.tenant_id == tenant) & (inbox.c.id == event)
    theirs = inbox.c.provider_account_id.in_(accounts) & (inbox.c.dedupe_key == event)
    # One after the other: asked for both at once, SQLite reads all events of the tenant.
    for named in (ours, theirs):
        found = connection.execute(sa.select(inbox).where(named).limit(1)).mappings().first()
        if found is not None:
            return from_row(found)
    return None


def accounts_due(connection: sa.Connection, now: datetime) -> list[str]:
    """The provider accounts, of all tenants, that have something due."""
    account = inbox.c.provider_account_id
    query = sa.select(account).where(*_is_due(now)).distinct().order_by(account)
    return list(connection.execute(query).scalars())


def _is_due(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return inbox.c.status.in_(("failed", "parked", "accepted")), inbox.c.next_attempt_at <= now


def list_due(connection: sa.Connection, accounts: Sequence[str], now: datetime, limit: int) -> list[str]:
    """Failed and parked events of these provider accounts whose next attempt is due: of each the longest
    overdue, then of each the next, so that an account with thousands holds up no other."""
    at, account = inbox.c.next_attempt_at, inbox.c.provider_account_id
    place = sa.func.row_number().over(partition_by=account, order_by=at).label("place")
    due = sa.select(inbox.c.id, at, place).where(*_is_due(now), account.in_(accounts)).subquery()
    query = sa.select(due.c.id).order_by(due.c.place, due.c.next_attempt_at).limit(limit)
    return list(connection.execute(query).scalars())


def list_page(
    connection: sa.Connection,
    tenant: str,
    *,
    filters: dict[str, str],
    after: str | None,
    limit: int,
    but: str | None = None,
) -> list[InboxItem]:
    """Newest first. `filters`: status, type, account. `but`: a status that is left out."""
    columns = {"status": inbox.c.status, "type": inbox.c.type, "account": inbox.c.provider_account_id}
    query = sa.select(inbox).where(inbox.c.tenant_id == tenant).order_by(inbox.c.id.desc()).limit(limit)
    for name, value in filters.items():
        query = query.where(columns[name] == value)
    if but is not None:
        query = query.where(inbox.c.status != but)
    if after is not None:
        query = query.where(inbox.c.id < after)
    return [from_row(r) for r in connection.execute(query).mappings()]


def counts(connection: sa.Connection) -> dict[str, int]:
    """How many events stand where, over all tenants: for metrics."""
    query = sa.select(inbox.c.status, sa.func.count()).group_by(inbox.c.status)
    return {status: count for status, count in connection.execute(query)}  # noqa: C416  # rows, not pairs


def from_row(found: Any) -> InboxItem:
    projected = Projected(
        dedupe_key=found["dedupe_key"],
        type=found["type"],
        occurred_at=certain(found["occurred_at"]),
        live=True,
        account=None,
        standing="read",
        body=found["body"].encode(),
        digest=found["digest"],
        raw_sha256=found["raw_sha256"],
        raw_size=found["raw_size"],
        api_version=found["api_version"],
    )
    return InboxItem(
        id=found["id"],
        tenant_id=found["tenant_id"],
        provider_account_id=found["provider_account_id"],
        projected=projected,
        status=found["status"],
        reason=found["reason"],
        error=found["error"],
        attempts=found["attempts"],
        received_at=certain(found["received_at"]),
        next_attempt_at=found["next_attempt_at"],
        processed_at=found["processed_at"],
    )
