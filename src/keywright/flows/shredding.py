"""The end of a tenant: its data key is destroyed, and then its rows.

The first transaction is the act: from its commit on nothing sealed of the tenant opens, nobody of it is let
in, no event is heard for it, and no key of its licenses is known. What follows takes a while and can be ended
at any moment: run again, it goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.errors import Conflict, Forbidden, Invalid, NotFound
from keywright.flows.context import Context
from keywright.flows.operate import text_of
from keywright.flows.shops import LOOK
from keywright.store import audit, tenant_ending, tenants
from keywright.store.tenant_ending import Ending, Holdings

log = structlog.get_logger(__name__)

OTHERS_LEARN: Final = LOOK + 1.0
"""Seconds until no process hears anything for a tenant that was closed, also what was under way."""

_ROUNDS: Final = 5

Tell = Callable[[str, int], None]
"""Told a table, and how many of its rows are gone."""


class Shredded(msgspec.Struct, frozen=True):
    """`deleted`: rows that are gone, by table, of this run. `kept`: the tables whose rows the books need."""

    tenant: str
    slug: str
    closed_at: datetime
    deleted: dict[str, int]
    kept: list[str]


def shred(
    context: Context,
    slug: str,
    *,
    confirmed: str,
    by: str,
    why: str | None = None,
    tell: Tell = lambda _table, _rows: None,
    wait: Callable[[float], None] = time.sleep,
) -> Shredded:
    """Destroy a tenant's keys and delete its data; or go on with that. There is no way back.

    Args:
        slug: which tenant.
        confirmed: the slug once more, as somebody typed it.
        by: who, as an id.
        why: for the audit of the master tenant. No personal data.
        tell: told of what is deleted.
        wait: lets so many seconds go by.

    Raises NotFound; Forbidden for the master tenant; Invalid when `confirmed` is another word.
    """
    reason = text_of("reason", why)
    with context.database.read() as connection:
        found = _find(connection, slug)
    if found.is_master:
        raise Forbidden("The master tenant keeps this installation: it cannot be shredded.")
    demand_confirmed(found.slug, confirmed)
    ending = _close(context, found, by, reason)
    deleted = _delete_all(context, found.id, tell)
    # What another process took in meanwhile, believing that the tenant is there, goes too.
    wait(OTHERS_LEARN)
    for table, rows in _delete_all(context, found.id, tell).items():
        deleted[table] = deleted.get(table, 0) + rows
    with context.database.write() as connection:
        tenant_ending.finish(connection, found.id, context.clock.now())
    log.info("tenant_shredded", tenant=found.id, rows=sum(deleted.values()))
    return Shredded(found.id, found.slug, ending, deleted, sorted(tenant_ending.KEPT))


def demand_confirmed(slug: str, typed: str) -> None:
    """Raises Invalid when something else than the slug was typed."""
    if typed.strip() != slug:
        raise Invalid(f"To shred this tenant, type its slug: {slug}")


def held_by(context: Context, tenant: str) -> Holdings:
    """What would go. Counts all of it, which takes a moment where there is much."""
    with context.database.read() as connection:
        return tenant_ending.holdings(connection, tenant)


def _find(connection: sa.Connection, slug: str, *, lock: bool = False) -> Ending:
    found = tenant_ending.find(connection, slug, lock=lock)
    if found is None:
        raise NotFound("There is no such tenant.", code="TENANT_UNKNOWN")
    return found


def _close(context: Context, tenant: Ending, by: str, why: str | None) -> datetime:
    """The one transaction after which nothing opens. Returns when it was."""
    now = context.clock.now()
    with context.database.write() as connection:
        found = _find(connection, tenant.id, lock=True)
        if found.closed_at is not None:
            return found.closed_at
        context.vault.shred(connection, tenant.id)
        tenant_ending.close(connection, tenant.id, now)
        tenant_ending.part_seller(connection, tenant.id)
        tenants.changed(connection)
        told = {"slug": tenant.slug} | ({} if why is None else {"why": why})
        audit.append(connection, context.master.id, by, "tenant.shredded", tenant.id, told, now)
    context.vault.forget(tenant.id)
    context.shops.look_again()
    return now


def _delete_all(context: Context, tenant: str, tell: Tell) -> dict[str, int]:
    deleted: dict[str, int] = {}
    for _ in range(_ROUNDS):
        try:
            _part_purchases(context, tenant)
            gone = sum(_delete(context, table, tenant, deleted, tell) for table in tenant_ending.doomed())
        except sa.exc.IntegrityError:
            continue  # somebody who was let in before has written meanwhile: once more
        if not gone:
            return deleted
    raise Conflict("Something still writes for this tenant. Run it again.", code="TENANT_BUSY")


def _part_purchases(context: Context, tenant: str) -> None:
    after = ""
    while True:
        with context.database.read() as connection:
            ids = tenant_ending.purchases_with_people(connection, tenant, after)
        if not ids:
            return
        with context.database.write() as connection:
            tenant_ending.part_purchases(connection, ids)
        after = ids[-1]


def _delete(context: Context, table: str, tenant: str, deleted: dict[str, int], tell: Tell) -> int:
    """Delete a tenant's rows of one table, a few in a transaction, so that nobody waits long."""
    with context.database.read() as connection:
        places = list(tenant_ending.row_ids(connection, table, tenant))
    for some in places:
        with context.database.write() as connection:
            tenant_ending.delete(connection, table, tenant, some)
        deleted[table] = deleted.get(table, 0) + len(some)
        tell(table, deleted[table])
    return sum(len(some) for some in places)
