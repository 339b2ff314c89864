"""Imports as people and programs see them: how far a run has come, and what stood in its way."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from keywright.domain.errors import Invalid, NotFound
from keywright.flows.cells import cell
from keywright.flows.context import Context
from keywright.flows.import_pages import Counts
from keywright.flows.importing import Wish
from keywright.store import imports
from keywright.store.imports import Conflict, Import

_MOST: Final = 200
_AT_ONCE: Final = 1000
COLUMNS: Final = ("kind", "object", "reason", "fix")


class Shown(msgspec.Struct, frozen=True):
    """A run. `conflicts`: how many there are of each kind. `total`: how many the provider says there are."""

    id: str
    provider: str
    status: str
    dry_run: bool
    announce: bool
    has_file: bool
    counts: Counts
    conflicts: dict[str, int]
    started_at: datetime
    touched_at: datetime
    total: int | None = None
    finished_at: datetime | None = None
    error: str | None = None


class ImportsPage(msgspec.Struct, frozen=True):
    items: list[Shown]
    next_cursor: str | None = None


class ConflictsPage(msgspec.Struct, frozen=True):
    items: list[Conflict]
    next_cursor: str | None = None


def list_runs(context: Context, tenant: str, *, cursor: str | None = None, limit: int = 50) -> ImportsPage:
    """Newest first. Raises Invalid."""
    if not 1 <= limit <= _MOST:
        raise Invalid(f"`limit` must be 1 to {_MOST}.")
    with context.database.read() as connection:
        found = imports.list_page(connection, tenant, after=cursor, limit=limit + 1)
        counts = {one.id: imports.count_conflicts(connection, tenant, one.id) for one in found[:limit]}
    items = [_shown(one, counts[one.id]) for one in found[:limit]]
    return ImportsPage(items, found[limit - 1].id if len(found) > limit else None)


def show(context: Context, tenant: str, id_: str) -> Shown:
    """One run. Raises NotFound."""
    with context.database.read() as connection:
        found = imports.find(connection, tenant, id_)
        if found is None:
            raise NotFound("There is no import of this id.")
        return _shown(found, imports.count_conflicts(connection, tenant, id_))


def list_conflicts(
    context: Context, tenant: str, id_: str, *, cursor: str | None = None, limit: int = 50
) -> ConflictsPage:
    """What stood in the way of a run, by kind. Raises NotFound, Invalid."""
    if not 1 <= limit <= _MOST:
        raise Invalid(f"`limit` must be 1 to {_MOST}.")
    show(context, tenant, id_)
    kind, _, name = (cursor or "").partition(" ")
    with context.database.read() as connection:
        found = imports.list_conflicts(connection, tenant, id_, after=(kind, name), limit=limit + 1)
    items, last = found[:limit], found[limit - 1] if len(found) > limit else None
    return ConflictsPage(items, f"{last.kind} {last.object}" if last is not None else None)


def every_conflict(context: Context, tenant: str, id_: str) -> Iterator[Conflict]:
    """All of them, read a thousand at a time."""
    after = ("", "")
    while True:
        with context.database.read() as connection:
            found = imports.list_conflicts(connection, tenant, id_, after=after, limit=_AT_ONCE)
        yield from found
        if len(found) < _AT_ONCE:
            return
        after = (found[-1].kind, found[-1].object)


def conflicts_csv(context: Context, tenant: str, id_: str) -> str:
    """All of them as CSV with a head. Raises NotFound."""
    show(context, tenant, id_)
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    for one in every_conflict(context, tenant, id_):
        # A price's name was typed by somebody.
        writer.writerow([cell(text) for text in (one.kind, one.object, one.reason, one.fix)])
    return written.getvalue()


def _shown(found: Import, conflicts: dict[str, int]) -> Shown:
    wish = msgspec.json.decode(found.wish, type=Wish)
    return Shown(
        id=found.id,
        provider=wish.provider,
        status=found.status,
        dry_run=wish.dry_run,
        announce=wish.announce,
        has_file=wish.file is not None,
        counts=msgspec.json.decode(found.counts, type=Counts),
        conflicts=conflicts,
        started_at=found.started_at,
        touched_at=found.touched_at,
        total=found.total,
        finished_at=found.finished_at,
        error=found.error,
    )
