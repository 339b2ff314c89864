"""Deliveries that the timeline owes, written in its transaction; nothing at all where nobody listens."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa

from keywright.domain import webhook
from keywright.domain.license import License, status
from keywright.store import licenses, rows, wall, webhooks
from keywright.store.licenses import MEMBERS, SELECTED
from keywright.store.rows import micros
from keywright.store.webhook_tables import webhook_endpoints
from keywright.store.webhooks import Delivery

if TYPE_CHECKING:
    from keywright.store.timeline import Entry

# An endpoint that another process makes is noticed this many seconds later at the latest.
LOOK_AGAIN = 2.0


class Told(msgspec.Struct, frozen=True):
    """A license with the names that an event calls it by."""

    license: License
    product: str
    plan: str


class _Look(msgspec.Struct, frozen=True):
    tenants: frozenset[str]
    until: float


class _Looks:
    """Which tenants have somebody who listens: asked by every batch, read from the database now and then."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._of: WeakKeyDictionary[sa.Engine, _Look] = WeakKeyDictionary()
        self._changes = 0

    def forget(self) -> None:
        with self._mutex:
            self._changes += 1
            self._of.clear()  # a database has several engines

    def tenants(self, connection: sa.Connection) -> frozenset[str]:
        with self._mutex:
            known = self._of.get(connection.engine)
        if known is not None and time.monotonic() < known.until:
            return known.tenants
        return self.look(connection, connection.engine)

    def look(self, connection: sa.Connection, engine: sa.Engine) -> frozenset[str]:
        with self._mutex:
            before = self._changes
        until = time.monotonic() + LOOK_AGAIN
        query = sa.select(webhook_endpoints.c.tenant_id).where(webhook_endpoints.c.enabled).distinct()
        with wall.lifted_on(connection):  # what one tenant's request finds, the others go by
            found = frozenset(connection.execute(query).scalars())
        with self._mutex:
            # What changed while the database was asked may be missing in its answer.
            if before == self._changes:
                self._of[engine] = _Look(found, until)
        return found


_looks = _Looks()
_detail = msgspec.json.Decoder(dict[str, Any]).decode


def listeners_changed() -> None:
    """Look again at the next occasion. To be called after the commit that changed an endpoint."""
    _looks.forget()


def look(connection: sa.Connection, engine: sa.Engine) -> frozenset[str]:
    """Which tenants have somebody who listens, noted for the transactions of this engine."""
    return _looks.look(connection, engine)


def owe(connection: sa.Connection, entries: Sequence[Entry]) -> None:
    """Owe the endpoints what these entries of the timeline are. Their licenses are written already."""
    told = [one for one in entries if webhook.is_told(one.kind)]
    if not told:
        return
    listening = _looks.tenants(connection)
    told = [one for one in told if one.tenant_id in listening]
    if not told:
        return
    endpoints = _enabled(connection, {one.tenant_id for one in told})
    held = find_told(connection, {(one.license_id, one.tenant_id) for one in told})
    owed = []
    for entry in told:
        if (found := held.get(entry.license_id)) is None:
            continue
        event = webhook.type_of(entry.kind, status(found.license, entry.at))
        receivers = [
            id_ for id_, tenant, types in endpoints if tenant == entry.tenant_id and _in(types, event)
        ]
        if event is None or not receivers:
            continue
        activation = _detail(entry.detail).get("activation") if entry.kind.startswith("activation.") else None
        body = webhook.body_of(
            event, entry.at, found.license, found.product, found.plan, activation=activation
        )
        occurrence = f"{entry.license_id}:{entry.seq}"
        owed += [
            delivery(entry.tenant_id, id_, event, occurrence, body, entry.at, entry.at) for id_ in receivers
        ]
    webhooks.insert_deliveries(connection, owed)


def delivery(
    tenant: str, endpoint: str, event: str, occurrence: str, body: str, at: datetime, due: datetime
) -> Delivery:
    """What is owed to one endpoint. The same occurrence has the same id, and ids sort by time."""
    digest = hashlib.sha256(f"{endpoint}\n{occurrence}".encode()).hexdigest()[:18]
    return Delivery(f"{first_id(at)}{digest}", tenant, endpoint, event, occurrence, body, "pending", at, due)


def first_id(at: datetime) -> str:
    """What the ids of deliveries of this moment begin with, to the millisecond."""
    return f"msg_{(micros(at) or 0) // 1000:012x}"


def find_told(connection: sa.Connection, asked: Iterable[tuple[str, str]]) -> dict[str, Told]:
    """License id -> license and names, for pairs of license and tenant."""
    source = rows.recordset(connection, "k", {"id": "text", "tenant_id": "text"})
    text = sa.text(
        f"SELECT {SELECTED}, pr.slug, p.slug FROM {source} CROSS JOIN licenses l"  # noqa: S608  # our own names
        " JOIN plans p ON p.id = l.plan_id JOIN products pr ON pr.id = l.product_id"
        " WHERE l.id = k.id AND l.tenant_id = k.tenant_id"
    )
    wanted = [{"id": id_, "tenant_id": tenant} for id_, tenant in sorted(asked)]
    found = {}
    for row in connection.execute(text, {"rows": rows.json_of(wanted)}):
        held = licenses.from_row(row)
        product, plan = row[len(MEMBERS) :]
        found[held.id] = Told(held, product, plan)
    return found


class DueClock(msgspec.Struct, frozen=True):
    """A license whose clock ran out. `clock`: in microseconds since 1970."""

    license_id: str
    tenant_id: str
    event: str
    clock: int


# There is no index on the clocks, because every payment would have to move its entry.
_CLOCKS = """
SELECT l.id, l.tenant_id, k.event, k.clock FROM (
 SELECT l.id, 'license.grace_started' AS event, l.active_until AS clock FROM licenses l
  WHERE l.id > :after AND l.active_until > :past AND l.active_until <= :now AND l.grace_until > :now
   AND l.standing = 'ok' AND l.lost_until IS NULL
 UNION ALL
 SELECT l.id, 'license.expired', CASE WHEN l.grace_until > l.active_until THEN l.grace_until
   ELSE l.active_until END FROM licenses l
  WHERE l.id > :after AND l.active_until <= :now AND (l.grace_until IS NULL OR l.grace_until <= :now)
   AND (l.active_until > :past OR l.grace_until > :past) AND l.standing = 'ok' AND l.lost_until IS NULL
) k CROSS JOIN licenses l
 WHERE l.id = k.id AND k.clock > l.created_at AND EXISTS (
  SELECT 1 FROM webhook_endpoints e WHERE e.tenant_id = l.tenant_id AND e.enabled AND e.created_at < k.clock
   AND (e.types LIKE '%"*"%' OR e.types LIKE '%"' || k.event || '"%')
   AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.endpoint_id = e.id
    AND d.occurrence = l.id || ':' || k.event || ':' || k.clock))
 ORDER BY l.id LIMIT :limit
"""


def list_clocks(
    connection: sa.Connection, now: datetime, fresh_for: timedelta, *, after: str, limit: int
) -> list[DueClock]:
    """The starts of grace and the ends that came by time alone and nobody was told of, by license id.

    What lies further back than `fresh_for` is no news. A look at every license, where somebody listens.
    """
    listening = sa.select(webhook_endpoints.c.id).where(webhook_endpoints.c.enabled).limit(1)
    if connection.execute(listening).first() is None:
        return []
    found = connection.execute(
        sa.text(_CLOCKS),
        {"now": micros(now), "past": micros(now - fresh_for), "after": after, "limit": limit},
    )
    return [DueClock(*row) for row in found]


def owe_clocks(connection: sa.Connection, due: Sequence[DueClock], now: datetime) -> int:
    """Owe those, once each. Returns how many are new."""
    endpoints = _enabled(connection, {one.tenant_id for one in due})
    held = find_told(connection, {(one.license_id, one.tenant_id) for one in due})
    owed = []
    for one in due:
        at, told = rows.certain(one.clock), held[one.license_id]
        body = webhook.body_of(one.event, at, told.license, told.product, told.plan)
        occurrence = f"{one.license_id}:{one.event}:{one.clock}"
        owed += [
            delivery(one.tenant_id, id_, one.event, occurrence, body, at, now)
            for id_, tenant, types in endpoints
            if tenant == one.tenant_id and _in(types, one.event)
        ]
    return webhooks.insert_deliveries(connection, owed)


def _in(types: Sequence[str], event: str | None) -> bool:
    return event is not None and webhook.wants(types, event)


def _enabled(connection: sa.Connection, tenants: Iterable[str]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Id, tenant and types of those who listen; none of them is deleted until the transaction ends."""
    query = (
        sa.select(webhook_endpoints.c.id, webhook_endpoints.c.tenant_id, webhook_endpoints.c.types)
        .where(webhook_endpoints.c.tenant_id.in_(sorted(tenants)), webhook_endpoints.c.enabled)
        .order_by(webhook_endpoints.c.id)
        .with_for_update(read=True, key_share=True)
    )
    read = msgspec.json.Decoder(tuple[str, ...]).decode
    return [(id_, tenant, read(types)) for id_, tenant, types in connection.execute(query)]
