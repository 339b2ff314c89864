"""Endpoints of others, and what is owed to them. Rows are the truth: whoever claims one sends it.

Locked in the order endpoint, delivery, by every writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from keywright.store import rows
from keywright.store.rows import micros
from keywright.store.webhook_tables import webhook_deliveries, webhook_endpoints

DeliveryStatus = Literal["pending", "delivered", "failed"]
_decode_types = msgspec.json.Decoder(tuple[str, ...]).decode


class Endpoint(msgspec.Struct, frozen=True):
    """`types`: names of events, or `*`. `off_reason`: who or what turned it off. `failing_since`: nothing was
    taken since, and `failed_at` says when that was seen last. `not_before`: what the receiver asked for. Two
    secrets sign while `former_until` is not over."""

    id: str
    tenant_id: str
    url: str
    note: str
    types: tuple[str, ...]
    enabled: bool
    off_reason: str | None
    off_at: datetime | None
    failing_since: datetime | None
    failed_at: datetime | None
    not_before: datetime | None
    secret_sealed: str
    former_sealed: str | None
    former_until: datetime | None
    created_at: datetime

    def __repr__(self) -> str:  # an address may be a secret of the receiver's
        return f"Endpoint({self.id!r})"


class Delivery(msgspec.Struct, frozen=True):
    """One event for one endpoint. `occurrence` makes it owed once to each."""

    id: str
    tenant_id: str
    endpoint_id: str
    type: str
    occurrence: str
    body: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None
    attempts: int = 0
    delivered_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = None
    claim: str | None = None
    claimed_until: datetime | None = None


class DueEndpoint(msgspec.Struct, frozen=True):
    """An endpoint that something is due for. `failing`: what it was sent last did not arrive."""

    id: str
    tenant_id: str
    failing: bool


def _endpoint(row: Mapping[Any, Any]) -> Endpoint:
    return Endpoint(**{**row, "types": _decode_types(row["types"])})


def _stored(endpoint: Endpoint) -> dict[str, Any]:
    values = msgspec.structs.asdict(endpoint)
    return {**values, "types": msgspec.json.encode(endpoint.types).decode()}


# -- endpoints ------------------------------------------------------------------------------------------


def insert_endpoint(connection: sa.Connection, endpoint: Endpoint) -> None:
    connection.execute(sa.insert(webhook_endpoints).values(**_stored(endpoint)))


def update_endpoint(connection: sa.Connection, endpoint: Endpoint) -> None:
    values = _stored(endpoint)
    del values["id"], values["tenant_id"], values["created_at"]
    connection.execute(
        sa.update(webhook_endpoints)
        .where(webhook_endpoints.c.id == endpoint.id, webhook_endpoints.c.tenant_id == endpoint.tenant_id)
        .values(**values)
    )


def delete_endpoint(connection: sa.Connection, tenant: str, id_: str) -> None:
    """With everything that was owed to it. The endpoint must have been locked to be deleted."""
    connection.execute(
        sa.delete(webhook_deliveries).where(
            webhook_deliveries.c.endpoint_id == id_, webhook_deliveries.c.tenant_id == tenant
        )
    )
    connection.execute(
        sa.delete(webhook_endpoints).where(
            webhook_endpoints.c.id == id_, webhook_endpoints.c.tenant_id == tenant
        )
    )


def find_endpoint(connection: sa.Connection, tenant: str, id_: str) -> Endpoint | None:
    return _found(connection, _one(tenant, id_))


def lock_endpoint(
    connection: sa.Connection, tenant: str, id_: str, *, to_delete: bool = False
) -> Endpoint | None:
    """Held until the transaction ends. To delete it, those who are owing something to it are waited for."""
    return _found(connection, _one(tenant, id_).with_for_update(key_share=not to_delete))


def list_endpoints(connection: sa.Connection, tenant: str) -> list[Endpoint]:
    """Oldest first."""
    query = (
        sa.select(webhook_endpoints)
        .where(webhook_endpoints.c.tenant_id == tenant)
        .order_by(webhook_endpoints.c.id)
    )
    return [_endpoint(row) for row in connection.execute(query).mappings()]


def _one(tenant: str, id_: str) -> sa.Select[Any]:
    return sa.select(webhook_endpoints).where(
        webhook_endpoints.c.id == id_, webhook_endpoints.c.tenant_id == tenant
    )


def _found(connection: sa.Connection, query: sa.Select[Any]) -> Endpoint | None:
    row = connection.execute(query).mappings().first()
    return None if row is None else _endpoint(row)


# -- deliveries -----------------------------------------------------------------------------------------


def insert_deliveries(connection: sa.Connection, owed: Sequence[Delivery]) -> int:
    """Owe these, less those that are owed already, or were. Returns how many are new."""
    written = [
        {
            **msgspec.structs.asdict(one),
            **{
                name: micros(getattr(one, name))
                for name in ("created_at", "next_attempt_at", "delivered_at", "claimed_until")
            },
        }
        for one in sorted(owed, key=lambda d: d.id)
    ]
    return len(rows.insert(connection, webhook_deliveries, written, ignore=True, returning="id"))


def find_delivery(connection: sa.Connection, tenant: str, id_: str) -> Delivery | None:
    query = sa.select(webhook_deliveries).where(
        webhook_deliveries.c.id == id_, webhook_deliveries.c.tenant_id == tenant
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else Delivery(**row)


def list_deliveries(
    connection: sa.Connection, tenant: str, *, filters: Mapping[str, str], before: str | None, limit: int
) -> list[Delivery]:
    """Newest first. `filters`: endpoint_id, type, status."""
    query = (
        sa.select(webhook_deliveries)
        .where(webhook_deliveries.c.tenant_id == tenant)
        .order_by(webhook_deliveries.c.id.desc())
        .limit(limit)
    )
    for name, value in filters.items():
        query = query.where(webhook_deliveries.c[name] == value)
    if before is not None:
        query = query.where(webhook_deliveries.c.id < before)
    return [Delivery(**row) for row in connection.execute(query).mappings()]


_DUE = (
    "d.status = 'pending' AND d.next_attempt_at <= :now"
    " AND (d.claimed_until IS NULL OR d.claimed_until <= :now)"
)


def list_due(connection: sa.Connection, now: datetime) -> list[DueEndpoint]:
    """The endpoints of all tenants that something is due for. One look at an index for each."""
    found = connection.execute(
        sa.text(
            "SELECT e.id, e.tenant_id, e.failing_since IS NOT NULL FROM webhook_endpoints e"  # noqa: S608  # our own words
            " WHERE e.enabled AND (e.not_before IS NULL OR e.not_before <= :now)"
            f" AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.endpoint_id = e.id AND {_DUE})"
            " ORDER BY e.id"
        ),
        {"now": micros(now)},
    )
    return [DueEndpoint(id_, tenant, bool(failing)) for id_, tenant, failing in found]


def claim(
    connection: sa.Connection, due: DueEndpoint, token: str, now: datetime, until: datetime, limit: int
) -> list[Delivery]:
    """Take what is due for one endpoint: nobody else sends it until `until`. In the order it fell due."""
    skip = "" if connection.dialect.name == "sqlite" else " FOR UPDATE SKIP LOCKED"
    connection.execute(
        sa.text(
            "UPDATE webhook_deliveries SET claim = :token, claimed_until = :until WHERE id IN ("  # noqa: S608  # as above
            f"SELECT d.id FROM webhook_deliveries d WHERE d.endpoint_id = :endpoint AND {_DUE}"
            f" ORDER BY d.next_attempt_at, d.id LIMIT :limit{skip})"
        ),
        {
            "token": token,
            "now": micros(now),
            "until": micros(until),
            "endpoint": due.id,
            "limit": limit,
        },
    )
    query = (
        sa.select(webhook_deliveries)
        .where(
            webhook_deliveries.c.endpoint_id == due.id,
            webhook_deliveries.c.status == "pending",
            webhook_deliveries.c.claim == token,
        )
        .order_by(webhook_deliveries.c.next_attempt_at, webhook_deliveries.c.id)
    )
    return [Delivery(**row) for row in connection.execute(query).mappings()]


_SETTLED = {
    "id": "text",
    "claim": "text",
    "status": "text",
    "attempts": "bigint",
    "next_attempt_at": "bigint",
    "delivered_at": "bigint",
    "last_status": "bigint",
    "last_error": "text",
}


def settle(connection: sa.Connection, tried: Sequence[Delivery]) -> None:
    """Write what became of these, and let go of them; less those that somebody else took meanwhile."""
    if not tried:
        return
    source = rows.recordset(connection, "r", _SETTLED)
    sets = ", ".join(f"{name} = r.{name}" for name in _SETTLED if name not in ("id", "claim"))
    told = [
        {
            **{name: getattr(one, name) for name in _SETTLED},
            "next_attempt_at": micros(one.next_attempt_at),
            "delivered_at": micros(one.delivered_at),
        }
        for one in sorted(tried, key=lambda d: d.id)
    ]
    connection.execute(
        sa.text(
            f"UPDATE webhook_deliveries SET {sets}, claim = NULL, claimed_until = NULL FROM {source}"  # noqa: S608  # as above
            " WHERE webhook_deliveries.id = r.id AND webhook_deliveries.claim = r.claim"
        ),
        {"rows": rows.json_of(told)},
    )


def let_go(connection: sa.Connection, holder: str) -> int:
    """Free what this holder had taken and did not settle: its process is dead. Returns how many."""
    mine = webhook_deliveries.c.claim.startswith(f"{holder}:", autoescape=True)
    result = connection.execute(
        sa.update(webhook_deliveries)
        .where(webhook_deliveries.c.status == "pending", mine)
        .values(claim=None, claimed_until=None)
    )
    return int(result.rowcount)


def send_again(connection: sa.Connection, tenant: str, id_: str, now: datetime) -> bool:
    """Make it due, with all its attempts. Whoever is sending it at the moment has lost it."""
    result = connection.execute(
        sa.update(webhook_deliveries)
        .where(webhook_deliveries.c.id == id_, webhook_deliveries.c.tenant_id == tenant)
        .values(
            status="pending",
            attempts=0,
            next_attempt_at=now,
            delivered_at=None,
            claim=None,
            claimed_until=None,
        )
    )
    return bool(result.rowcount)


def forget(connection: sa.Connection, below: str, limit: int) -> int:
    """Delete deliveries with ids below this one, some at a time. Returns how many. All tenants'."""
    old = (
        sa.select(webhook_deliveries.c.id)
        .where(webhook_deliveries.c.id < below)
        .order_by(webhook_deliveries.c.id)
        .limit(limit)
    )
    return int(
        connection.execute(
            sa.delete(webhook_deliveries).where(webhook_deliveries.c.id.in_(old.scalar_subquery()))
        ).rowcount
    )
