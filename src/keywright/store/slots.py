"""Names for the processes that do background work: each has one of its own, and keeps it over a restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from keywright.domain.errors import Misconfigured
from keywright.store.engine import Database

# The first half of the advisory lock's name; the second is the number of the slot.
_LOCK = 5_320_119
_MOST = 1000


@contextmanager
def executor_slot(database: Database) -> Iterator[str]:
    """Hold the first free name for as long as the process works.

    The workflow engine hands the unfinished work of a name to the next process that bears it. A name of two
    processes would do work twice; a new name at each start would leave work behind. On PostgreSQL the slot is
    an advisory lock, which the server frees when the process dies; on SQLite there is only one process.
    """
    if database.is_sqlite:
        yield "slot-0"
        return
    with database.read() as connection:
        for number in range(_MOST):
            text = sa.text("SELECT pg_try_advisory_lock(:lock, :number)")
            if connection.execute(text, {"lock": _LOCK, "number": number}).scalar_one():
                yield f"slot-{number}"
                connection.execute(
                    sa.text("SELECT pg_advisory_unlock(:lock, :number)"), {"lock": _LOCK, "number": number}
                )
                return
    raise Misconfigured("Too many processes work on this database.")


def is_held(database: Database) -> bool:
    """Whether any process works on this PostgreSQL database."""
    text = sa.text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :lock AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with database.read() as connection:
        return bool(connection.execute(text, {"lock": _LOCK}).scalar_one())
