"""Tenants that are being made, step by step. The rows are the truth: whatever runs the steps only looks."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from keywright.store import rows
from keywright.store.provisioning_tables import provisioning_steps, provisionings
from keywright.store.rows import micros

Status = Literal["running", "done", "failed", "canceled"]


class Provisioning(msgspec.Struct, frozen=True):
    """`wish`: what was asked for, as JSON, of which `digest` is the hash. `customer` and `subscription` are
    the provider's names, at this account."""

    id: str
    tenant_id: str
    wish: str
    digest: str
    status: str
    customer_tenant_id: str | None
    provider_account_id: str | None
    customer: str | None
    subscription: str | None
    asked_by: str
    created_at: datetime
    changed_at: datetime


class Step(msgspec.Struct, frozen=True):
    """`note`: what it did, in words. `error`: the code of why it failed the last time."""

    name: str
    status: str
    note: str
    error: str | None
    attempts: int
    changed_at: datetime


def insert(connection: sa.Connection, made: Provisioning) -> bool:
    """False when there is one with this id."""
    row = {
        **msgspec.structs.asdict(made),
        "created_at": micros(made.created_at),
        "changed_at": micros(made.changed_at),
    }
    return bool(rows.insert(connection, provisionings, [row], ignore=True, returning="id"))


def find(connection: sa.Connection, seller: str, work: str, *, lock: bool = False) -> Provisioning | None:
    table = provisionings
    query = sa.select(table).where(table.c.tenant_id == seller, table.c.id == work)
    found = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return None if found is None else Provisioning(**found)


def list_page(
    connection: sa.Connection, seller: str, *, before: datetime | None, limit: int
) -> list[Provisioning]:
    """Newest first."""
    table = provisionings
    query = sa.select(table).where(table.c.tenant_id == seller)
    if before is not None:
        query = query.where(table.c.created_at < before)
    query = query.order_by(table.c.created_at.desc(), table.c.id).limit(limit)
    return [Provisioning(**row) for row in connection.execute(query).mappings()]


def change(connection: sa.Connection, work: str, now: datetime, **changes: Any) -> None:
    connection.execute(
        sa.update(provisionings).where(provisionings.c.id == work).values(changed_at=now, **changes)
    )


def replace(connection: sa.Connection, made: Provisioning) -> None:
    """Have this take the place of the one with its id, with no step done."""
    connection.execute(sa.delete(provisioning_steps).where(provisioning_steps.c.provisioning_id == made.id))
    connection.execute(
        sa.update(provisionings).where(provisionings.c.id == made.id).values(msgspec.structs.asdict(made))
    )


# -- steps ----------------------------------------------------------------------------------------------


def steps_of(connection: sa.Connection, work: str) -> dict[str, Step]:
    """By name. One that was never begun is not among them."""
    table = provisioning_steps
    query = sa.select(table).where(table.c.provisioning_id == work)
    return {
        row["name"]: Step(
            row["name"], row["status"], row["note"], row["error"], row["attempts"], row["changed_at"]
        )
        for row in connection.execute(query).mappings()
    }


def end_step(
    connection: sa.Connection,
    made: Provisioning,
    name: str,
    now: datetime,
    *,
    note: str = "",
    error: str = "",
) -> None:
    """Write down how a step ended: done with a note, or failed with an error. One that is done stays done.

    Call it with the work locked.
    """
    table = provisioning_steps
    values = {
        "status": "failed" if error else "done",
        "note": note,
        "error": error or None,
        "changed_at": now,
    }
    changed = connection.execute(
        sa.update(table)
        .where(table.c.provisioning_id == made.id, table.c.name == name, table.c.status != "done")
        .values(attempts=table.c.attempts + 1, **values)
    )
    if changed.rowcount == 0:
        row = {
            "provisioning_id": made.id,
            "name": name,
            "tenant_id": made.tenant_id,
            "attempts": 1,
            **values,
            "changed_at": micros(now),
        }
        rows.insert(connection, table, [row], ignore=True)


def forget_steps(connection: sa.Connection, work: str, names: tuple[str, ...]) -> None:
    """Have these steps be done once more."""
    table = provisioning_steps
    connection.execute(sa.delete(table).where(table.c.provisioning_id == work, table.c.name.in_(names)))
