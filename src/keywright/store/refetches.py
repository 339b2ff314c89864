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
    return bool(strike_off(connection, account, [due]))


def strike_off(connection: sa.Connection, account: str, several: Sequence[Due]) -> list[Refetch]:
    """Strike off what was answered. Returns what is done; what was asked for again meanwhile stays due."""
    listed = sorted((one.wanted.kind, one.wanted.external_id, one.turn) for one in several)
    if not listed:
        return []
    source = rows.recordset(connection, "k", {"kind": "text", "external_id": "text", "turn": "bigint"})
    # The turn is compared in the row itself, so that PostgreSQL looks again at one that is changing.
    text = sa.text(
        "DELETE FROM refetches WHERE (provider_account_id, kind, external_id, turn) IN"  # noqa: S608  # our own names
        f" (SELECT CAST(:account AS text), k.kind, k.external_id, k.turn FROM {source})"
        " RETURNING kind, external_id"
    )
    keys = rows.json_of([{"kind": kind, "external_id": id_, "turn": turn} for kind, id_, turn in listed])
    gone = connection.execute(text, {"rows": keys, "account": account})
    return sorted(Refetch(kind, external_id) for kind, external_id in gone)


def is_due(connection: sa.Connection, account: str, now: datetime) -> bool:
    """Whether anything is due: cheaper to tell than what is due first."""
    query = sa.select(sa.true()).where(refetches.c.provider_account_id == account, refetches.c.due_at <= now)
    return connection.execute(query.limit(1)).first() is not None


def accounts_due(connection: sa.Connection, now: datetime) -> list[str]:
    """The provider accounts, of all tenants, where anything is due."""
    account = refetches.c.provider_account_id
    query = sa.select(account).where(refetches.c.due_at <= now).distinct().order_by(account)
    return list(connection.execute(query).scalars())


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
