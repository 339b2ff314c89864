"""A copy of everything, and everything back from a copy: into either database, wholly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import msgspec
import sqlalchemy as sa

from keywright import __version__
from keywright.domain.errors import Conflict
from keywright.store import backup_file, dump, migrate
from keywright.store.backup_file import Head
from keywright.store.dump import Count, Part, Tally
from keywright.store.engine import Database

Tell = Callable[[str, int, int], None]
"""Told which table, how many rows of it are done, and of how many."""

Opens = Callable[[sa.Connection], None]
"""Raises Misconfigured when the master key at hand does not open all that is wrapped in this database."""


class Report(msgspec.Struct, frozen=True):
    """`made_at`: the moment that the copy shows. `schema`: the revision of the tables it was taken from."""

    made_at: datetime
    schema: str
    rows: int
    tables: dict[str, int]


def make(database: Database, file: Path, now: datetime, tell: Tell) -> Report:
    """Write a backup, beside a running server or without one.

    Raises:
        Conflict: there is a file of this name.
        OSError: the file system refuses.
    """
    tables = dump.names(without=dump.SIGNED_IN)
    # First, so that nothing large is copied beside a file that is there.
    with backup_file.new_file(file) as target, dump.snapshot(database, file.parent) as connection:
        head = _head(connection, tables, now)
        for table, done in backup_file.write(target, head, dump.read(connection, tables)):
            tell(table, done, head.tables[table])
    return _report(head)


def restore(database: Database, file: Path, opens: Opens, tell: Tell) -> Report:
    """Bring back what a backup holds, into an empty database; older tables become those of this release.

    Raises:
        Unreadable: it is no whole backup, or one of a newer release.
        Conflict: the database is not empty.
        Misconfigured: the master key does not open what was brought back. Nothing was.
    """
    with backup_file.opened(file) as backup:
        if not migrate.knows(backup.head.schema):
            raise backup_file.unreadable(
                f"it is of a newer release, {backup.head.version}: update Keywright."
            )
        _fill(database, backup.head, backup.parts(), lambda: backup.counts, opens, tell)
        return _report(backup.head)


def move(source: Database, target: Database, now: datetime, opens: Opens, tell: Tell) -> Report:
    """Copy everything from one database, which nobody can write to meanwhile, into an empty one.

    Raises Conflict and Misconfigured as `restore` does.
    """
    tables = dump.names()
    with dump.frozen(source) as connection:
        head = _head(connection, tables, now)
        tally = Tally()

        def parts() -> Iterable[Part]:
            for part in dump.read(connection, tables):
                tally.add(part)
                yield part

        _fill(target, head, parts(), lambda: tally.counts, opens, tell)
        return _report(head)


def _head(connection: sa.Connection, tables: list[str], now: datetime) -> Head:
    counted = dump.count(connection, tables)
    return Head("keywright-backup/1", __version__, migrate.revision(connection), now, counted)


def _report(head: Head) -> Report:
    return Report(head.made_at, head.schema, sum(head.tables.values()), head.tables)


def _fill(
    database: Database,
    head: Head,
    parts: Iterable[Part],
    given: Callable[[], dict[str, Count]],
    opens: Opens,
    tell: Tell,
) -> None:
    """All in one transaction: whatever goes wrong, the database stays empty."""
    with database.write() as connection:
        migrate.lock(connection)
        if not dump.is_empty(connection):
            raise Conflict(
                "The database is not empty: bring it back into a new one. See DATABASE_URL.",
                code="DATABASE_NOT_EMPTY",
            )
        migrate.upgrade_on(connection, head.schema)
        _load(connection, head, parts, tell)
        expected, found = given(), Tally()
        for part in dump.read(connection, head.tables):
            found.add(part)
        if found.counts != expected:
            wrong = sorted(name for name in head.tables if found.counts.get(name) != expected.get(name))
            raise Conflict(f"Not all arrived as it was: {', '.join(wrong)}. Nothing was kept.")
        migrate.upgrade_on(connection, "head")
        opens(connection)


def _load(connection: sa.Connection, head: Head, parts: Iterable[Part], tell: Tell) -> None:
    done: dict[str, int] = {}
    for part in parts:
        if part.table not in done and (
            part.table not in head.tables or part.columns != dump.columns_of(connection, part.table)
        ):
            raise backup_file.unreadable("its tables are not those of its release.")
        dump.load(connection, part)
        done[part.table] = done.get(part.table, 0) + len(part.lines)
        tell(part.table, done[part.table], head.tables[part.table])
