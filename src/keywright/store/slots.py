"""Names for the processes that do background work: each has one of its own, and keeps it over a restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
import structlog

from keywright.domain.errors import Misconfigured
from keywright.store.engine import Database

# The first half of the advisory lock's name; the second is the number of the slot.
_LOCK = 5_320_119
_MOST = 1000
_LOOK_EVERY = 2.0  # seconds

log = structlog.get_logger(__name__)


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
        number = next((one for one in range(_MOST) if _take(connection, one)), None)
        if number is None:
            raise Misconfigured("Too many processes work on this database.")
        stopping = threading.Event()
        keeper = threading.Thread(target=_keep, args=(connection, number, stopping), name="slot", daemon=True)
        keeper.start()
        try:
            yield f"slot-{number}"
        finally:
            stopping.set()
            keeper.join(_LOOK_EVERY)
            # A database that is not there has freed it already.
            with suppress(sa.exc.SQLAlchemyError):
                names = {"lock": _LOCK, "number": number}
                connection.execute(sa.text("SELECT pg_advisory_unlock(:lock, :number)"), names)


def _take(connection: sa.Connection, number: int) -> bool:
    names = {"lock": _LOCK, "number": number}
    taken: bool = connection.execute(
        sa.text("SELECT pg_try_advisory_lock(:lock, :number)"), names
    ).scalar_one()
    return taken


def _keep(connection: sa.Connection, number: int, stopping: threading.Event) -> None:
    """Take the lock again after a restart of the database, which frees the locks of everybody."""
    held = True
    while not stopping.wait(_LOOK_EVERY):
        try:
            if held:
                connection.execute(sa.text("SELECT 1"))
                continue
            held = _take(connection, number)
            log.warning("slot_taken_again" if held else "slot_lost", slot=number)
        except sa.exc.SQLAlchemyError:
            held = False
            # The connection is gone; the next statement makes a new one.
            with suppress(sa.exc.SQLAlchemyError):
                connection.rollback()


def is_held(database: Database) -> bool:
    """Whether any process works on this PostgreSQL database."""
    text = sa.text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :lock AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with database.read() as connection:
        return bool(connection.execute(text, {"lock": _LOCK}).scalar_one())
