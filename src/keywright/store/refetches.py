"""What is to be fetched from the providers: one row for each object, however often it was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import Refetch
from keywright.store import rows
from keywright.store.rows import micros
from keywright.store.tables import refetches


class Due(msgspec.Struct, frozen=True):
    """An object that is due. `turn` rises each time it is asked for again."""

    wanted: Refetch
    turn: int
    attempts: int
    created_at: datetime


def want(
    connection: sa.Connection,
    tenant: str,
    account: str,
    wanted: Iterable[Refetch],
    now: datetime,
    due: datetime,
) -> None:
    """Have these objects fetched when they are due. One that is due sooner stays so."""
    listed = [{"kind": one.kind, "external_id": one.external_id} for one in sorted(set(wanted))]
    if not listed:
        return
    source = rows.recordset(connection, "k", {"kind": "text", "external_id": "text"})
    least = "MIN" if connection.dialect.name == "sqlite" else "LEAST"
    text = sa.text(
        "INSERT INTO refetches (provider_account_id, kind, external_id, tenant_id, turn, attempts, due_at,"  # noqa: S608  # our own names
        " created_at)"
        f" SELECT :account, k.kind, k.external_id, :tenant, 1, 0, :due, :now FROM {source} WHERE true"
        " ON CONFLICT (provider_account_id, kind, external_id) DO UPDATE SET turn = refetches.turn + 1,"
        f" due_at = {least}(refetches.due_at, excluded.due_at)"
    )
    connection.execute(
        text,
        {
            "rows": rows.json_of(listed),
            "account": account,
            "tenant": tenant,
            "due": micros(due),
            "now": micros(now),
        },
    )


def list_due(connection: sa.Connection, account: str, now: datetime, limit: int) -> list[Due]:
    """What is due, the longest overdue first."""
    query = (
        sa.select(refetches)
        .where(refetches.c.provider_account_id == account, refetches.c.due_at <= now)
        .order_by(refetches.c.due_at)
        .limit(limit)
    )
    return [
        Due(Refetch(r["kind"], r["external_id"]), r["turn"], r["attempts"], r["created_at"])
        for r in connection.execute(query).mappings()
    ]


def answered(connection: sa.Connection, account: str, due: Due) -> bool:
    """Strike it off. False when it was asked for again in the meantime: then it stays due."""
    gone = connection.execute(
        sa.delete(refetches).where(*_is(account, due.wanted), refetches.c.turn == due.turn)
    )
    return gone.rowcount == 1


def later(
    connection: sa.Connection, account: str, wanted: Sequence[Due], due_at: datetime, error: str
) -> None:
    """Try these again later."""
    for due in wanted:
        connection.execute(
            sa.update(refetches)
            .where(*_is(account, due.wanted))
            .values(due_at=due_at, attempts=refetches.c.attempts + 1, error=error)
        )


def _is(account: str, wanted: Refetch) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        refetches.c.provider_account_id == account,
        refetches.c.kind == wanted.kind,
        refetches.c.external_id == wanted.external_id,
    )
