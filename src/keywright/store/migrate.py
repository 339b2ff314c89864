"""Bringing the schema up to date, under a lock, the same for both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from keywright.store import wall
from keywright.store.engine import Database

# Any fixed numbers: all processes that migrate or prepare this database take the same advisory locks.
_LOCK = 5_320_118
_ALONE = 5_320_120


def config(connection: sa.Connection) -> Config:
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


@contextmanager
def alone(database: Database) -> Iterator[None]:
    """Wait until nobody else prepares this database, and have the others wait.

    For what takes several transactions, some of them the workflow engine's. A SQLite file has one server.
    """
    if database.is_sqlite:
        yield
        return
    with database.read() as connection:
        connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": _ALONE})
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": _ALONE})


def upgrade(database: Database) -> None:
    """Run what is missing, in one transaction. Waits for another process that is at it."""
    with database.write() as connection:
        lock(connection)
        upgrade_on(connection, "head")


def lock(connection: sa.Connection) -> None:
    """Until the end of this transaction, let nobody else migrate. On SQLite every writer is alone anyway."""
    if connection.dialect.name != "sqlite":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def upgrade_on(connection: sa.Connection, revision: str) -> None:
    """Run what is missing to this revision, and of the second wall, in the caller's transaction."""
    command.upgrade(config(connection), revision)
    wall.build(connection)


def revision(connection: sa.Connection) -> str:
    """The revision of the schema that is there; empty where there is none."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def knows(revision: str) -> bool:
    """Whether this release can bring a schema of this revision up to its own."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.set_main_option("path_separator", "os")
    return any(one.revision == revision for one in ScriptDirectory.from_config(made).walk_revisions())


def is_current(database: Database) -> bool:
    """Whether the schema is the one this release expects."""
    with database.read() as connection:
        head = ScriptDirectory.from_config(config(connection)).get_current_head()
        return MigrationContext.configure(connection).get_current_revision() == head
