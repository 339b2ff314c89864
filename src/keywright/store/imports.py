"""Imports: runs and where they have come to, what stood in their way, and the lines of the seller's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from keywright.store import rows
from keywright.store.import_tables import import_conflicts, import_lines, imports
from keywright.store.tables import inbox

Status = Literal["running", "ending", "done", "failed"]

# A run that nobody has moved on for so long holds no webhooks up any more: its process is gone.
ABANDONED_AFTER: Final = timedelta(minutes=10)
WAITING: Final = "WAITING_FOR_IMPORT"
"""Why an event is parked that would found a purchase which the running import is about to meet."""


class Import(msgspec.Struct, frozen=True):
    """One run. `wish` and `counts`: JSON of the flow's own. `cursor` None: it is at its beginning."""

    id: str
    tenant_id: str
    provider_account_id: str
    status: Status
    wish: str
    started_at: datetime
    touched_at: datetime
    cursor: str | None = None
    holder: str | None = None
    counts: str = "{}"
    total: int | None = None
    error: str | None = None
    finished_at: datetime | None = None


class Conflict(msgspec.Struct, frozen=True):
    """Something at the provider, or a line of the file, that could not be taken as it is. `fix`: the cure."""

    kind: str
    object: str
    reason: str
    fix: str = ""


class SealedLine(msgspec.Struct, frozen=True):
    """A line of the file. `subscription` in the clear: it is how the line is found."""

    number: int
    subscription: str
    sealed: str


def insert(connection: sa.Connection, run: Import) -> None:
    connection.execute(sa.insert(imports).values(msgspec.structs.asdict(run)))


def find(connection: sa.Connection, tenant: str, id_: str) -> Import | None:
    query = sa.select(imports).where(imports.c.tenant_id == tenant, imports.c.id == id_)
    found = connection.execute(query).mappings().first()
    return None if found is None else Import(**found)


def newest_open(connection: sa.Connection, tenant: str, account: str) -> Import | None:
    """The newest run of this account that has not come to its end; failed ones go on where they stopped."""
    query = (
        sa.select(imports)
        .where(imports.c.tenant_id == tenant, imports.c.provider_account_id == account)
        .order_by(imports.c.id.desc())
        .limit(1)
    )
    found = connection.execute(query).mappings().first()
    return None if found is None or found["status"] == "done" else Import(**found)


def list_page(connection: sa.Connection, tenant: str, *, after: str | None, limit: int) -> list[Import]:
    """Newest first."""
    query = sa.select(imports).where(imports.c.tenant_id == tenant)
    if after is not None:
        query = query.where(imports.c.id < after)
    return [
        Import(**found)
        for found in connection.execute(query.order_by(imports.c.id.desc()).limit(limit)).mappings()
    ]


def take_over(connection: sa.Connection, tenant: str, id_: str, holder: str, now: datetime) -> bool:
    """Work on a run from now on, whoever did before. False: it is done."""
    mine = sa.and_(imports.c.tenant_id == tenant, imports.c.id == id_, imports.c.status != "done")
    result = connection.execute(
        sa.update(imports)
        .where(mine)
        .values(
            holder=holder,
            touched_at=now,
            error=None,
            status=sa.case((imports.c.status == "failed", "running"), else_=imports.c.status),
        )
    )
    return bool(result.rowcount)


def give_up(connection: sa.Connection, id_: str, now: datetime) -> None:
    """Another one takes the place of a run that had not come to its end. Whoever still works on it, because
    he only seemed dead, writes nothing more, and the keys of its file are kept no longer."""
    changes = {
        "status": "done",
        "error": "Another import took its place.",
        "finished_at": now,
        "holder": None,
    }
    connection.execute(sa.update(imports).where(imports.c.id == id_).values(changes))
    drop_lines(connection, id_)


def move_on(connection: sa.Connection, id_: str, holder: str, changes: Mapping[str, Any]) -> bool:
    """Write how far a run has come. False: another process works on it now."""
    mine = sa.and_(imports.c.id == id_, imports.c.holder == holder)
    return bool(connection.execute(sa.update(imports).where(mine).values(dict(changes))).rowcount)


def is_running(connection: sa.Connection, account: str, now: datetime) -> bool:
    """Whether somebody is listing this account's subscriptions just now, to take them over."""
    query = sa.select(imports.c.wish).where(
        imports.c.provider_account_id == account,
        imports.c.status == "running",
        imports.c.touched_at > now - ABANDONED_AFTER,
    )
    # A look that changes nothing holds nothing up.
    return any('"dry_run":true' not in wish for wish in connection.execute(query).scalars())


def waiting_events(connection: sa.Connection, account: str, limit: int) -> list[str]:
    """Events of this account that wait for the end of an import, the oldest first."""
    query = (
        sa.select(inbox.c.id)
        .where(inbox.c.provider_account_id == account, inbox.c.status == "parked", inbox.c.reason == WAITING)
        .order_by(inbox.c.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


# ------------------------------------------------------------------------------------------ conflicts


def note(connection: sa.Connection, tenant: str, id_: str, found: Sequence[Conflict]) -> None:
    """Keep what stood in the way, each thing once."""
    told = [
        {"import_id": id_, "tenant_id": tenant, **msgspec.structs.asdict(one)}
        for one in sorted(set(found), key=lambda one: (one.kind, one.object, one.reason))
    ]
    rows.insert(connection, import_conflicts, told, ignore=True)


def list_conflicts(
    connection: sa.Connection, tenant: str, id_: str, *, after: tuple[str, str] = ("", ""), limit: int
) -> list[Conflict]:
    """By kind and object."""
    c = import_conflicts.c
    query = (
        sa.select(c.kind, c.object, c.reason, c.fix)
        .where(c.tenant_id == tenant, c.import_id == id_, sa.tuple_(c.kind, c.object) > sa.tuple_(*after))
        .order_by(c.kind, c.object)
        .limit(limit)
    )
    return [Conflict(*found) for found in connection.execute(query)]


def count_conflicts(connection: sa.Connection, tenant: str, id_: str) -> dict[str, int]:
    """How many there are of each kind."""
    c = import_conflicts.c
    query = (
        sa.select(c.kind, sa.func.count())
        .where(c.tenant_id == tenant, c.import_id == id_)
        .group_by(c.kind)
        .order_by(c.kind)
    )
    return {kind: count for kind, count in connection.execute(query)}  # noqa: C416  # rows, not pairs


# ---------------------------------------------------------------------------------------------- lines


def insert_lines(connection: sa.Connection, tenant: str, id_: str, lines: Sequence[SealedLine]) -> None:
    rows.insert(
        connection,
        import_lines,
        [
            {"import_id": id_, "tenant_id": tenant, "used": False, **msgspec.structs.asdict(one)}
            for one in lines
        ],
        # A run that goes on brings its file once more.
        ignore=True,
    )


def lines_for(connection: sa.Connection, id_: str, subscriptions: Sequence[str]) -> list[SealedLine]:
    """The lines about these subscriptions, in the order of the file."""
    if not subscriptions:
        return []
    source = rows.recordset(connection, "k", {"subscription": "text"})
    text = sa.text(
        f"SELECT l.number, l.subscription, l.sealed FROM {source} CROSS JOIN import_lines l"  # noqa: S608  # our own names
        " WHERE l.import_id = :import AND l.subscription = k.subscription"
    )
    asked = rows.json_of([{"subscription": one} for one in sorted(set(subscriptions))])
    found = [SealedLine(*row) for row in connection.execute(text, {"rows": asked, "import": id_})]
    return sorted(found, key=lambda one: one.number)


def use_lines(connection: sa.Connection, id_: str, numbers: Sequence[int]) -> None:
    """These lines were about something that was met."""
    mine = sa.and_(import_lines.c.import_id == id_, import_lines.c.number.in_(numbers))
    if numbers:
        connection.execute(sa.update(import_lines).where(mine).values(used=True))


def unused_lines(connection: sa.Connection, id_: str, limit: int) -> list[SealedLine]:
    """Lines about what was never met."""
    c = import_lines.c
    query = (
        sa.select(c.number, c.subscription, c.sealed)
        .where(c.import_id == id_, sa.not_(c.used))
        .order_by(c.number)
        .limit(limit)
    )
    return [SealedLine(*row) for row in connection.execute(query)]


def drop_lines(connection: sa.Connection, id_: str) -> None:
    """A run that is done needs them no more."""
    connection.execute(sa.delete(import_lines).where(import_lines.c.import_id == id_))
