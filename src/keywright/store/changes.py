"""Who is told that something changed, and by what: by the commit itself, never by asking again and again.

A writer notes on its connection what it changed: ids of licenses, purchases and plans, and references of
checkouts. With the commit they reach whoever listens, in every process of the server:

- on PostgreSQL by NOTIFY, in the transaction: what is rolled back is not told, what is committed always is;
- on SQLite by a call in the process that serves, which writes nearly everything. A command beside it leaves a
  row, and the server looks for rows five times a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
import sqlalchemy as sa
import structlog

if TYPE_CHECKING:
    from keywright.store.engine import Database

log = structlog.get_logger(__name__)

Hear = Callable[[frozenset[str]], None]
"""Called with what changed, from any thread. Must not block, and must not raise."""

EVERYTHING: Final = "*"
"""Told instead of ids when there are too many, or when some may have been missed: look at everything."""

_NOTED: Final = "keywright.noted"
_CHANNEL: Final = "keywright_changes"
_LARGEST: Final = 7900  # bytes; PostgreSQL takes payloads below 8000
_MOST: Final = 4000
_KEPT: Final = 1000  # rows
_LOOK_EVERY: Final = 0.2  # seconds
_TRY_AGAIN: Final = 1.0  # seconds


def note(connection: sa.Connection, topics: Iterable[str | None]) -> None:
    """Remember that these changed in this transaction. Costs next to nothing; None is skipped."""
    noted: set[str] | None = connection.info.get(_NOTED)
    if noted is not None:
        noted.update(topic for topic in topics if topic)


class Changes:
    """The changes of one database, in one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hear: Hear | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # -- writers ----------------------------------------------------------------------------------------

    def collect(self, connection: sa.Connection) -> set[str]:
        """Begin to note what this transaction changes."""
        noted: set[str] = set()
        connection.info[_NOTED] = noted
        return noted

    def tell(self, connection: sa.Connection, noted: set[str]) -> None:
        """Before the commit: have other processes told with it."""
        # A transaction that was rolled back on purpose has changed nothing.
        if not noted or not connection.in_transaction():
            noted.clear()
        elif not self._database.is_sqlite:
            chunks = list(_chunks(noted))
            text = sa.text("SELECT pg_notify(:channel, c) FROM unnest(CAST(:chunks AS text[])) c")
            connection.execute(text, {"channel": _CHANNEL, "chunks": chunks})
        elif self._hear is None:
            self._leave(connection, noted)

    def committed(self, noted: set[str]) -> None:
        """After the commit: tell this process, where nothing else does."""
        if noted and self._hear is not None and self._database.is_sqlite:
            self._hear(frozenset(noted))

    def _leave(self, connection: sa.Connection, noted: set[str]) -> None:
        """Rows for the server beside us, if there is one."""
        for chunk in _chunks(noted):
            connection.execute(sa.text("INSERT INTO changes (topics) VALUES (:topics)"), {"topics": chunk})
        text = sa.text("DELETE FROM changes WHERE id <= (SELECT max(id) FROM changes) - :kept")
        connection.execute(text, {"kept": _KEPT})

    # -- listeners --------------------------------------------------------------------------------------

    def listen(self, hear: Hear) -> None:
        """Call `hear` with every change from now on, whichever process makes it, until `stop`."""
        self._hear = hear
        self._stopping.clear()
        run = self._poll if self._database.is_sqlite else self._wait
        self._thread = threading.Thread(target=run, name="changes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._hear = None

    def _tell_own(self, topics: frozenset[str]) -> None:
        if self._hear is not None and topics:
            self._hear(topics)

    def _poll(self) -> None:
        """SQLite: read what commands left: one look into an index, whoever listens."""
        read_to: int | None = None
        while not self._stopping.wait(0 if read_to is None else _LOOK_EVERY):
            try:
                read_to = self._read_on(read_to)
            except Exception as error:  # noqa: BLE001  # as below
                log.warning("changes_not_read", error=type(error).__qualname__)
                self._stopping.wait(_TRY_AGAIN)

    def _read_on(self, read_to: int | None) -> int:
        with self._database.read() as connection:
            if read_to is None:
                return int(
                    connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM changes").scalar_one()
                )
            text = sa.text("SELECT id, topics FROM changes WHERE id > :after ORDER BY id")
            found = connection.execute(text, {"after": read_to}).all()
        if not found:
            return read_to
        # Numbers follow each other: a missing one was deleted before it was read.
        missed = found[0][0] != read_to + 1
        self._tell_own(frozenset([EVERYTHING]) if missed else _topics(row[1] for row in found))
        return int(found[-1][0])

    def _wait(self) -> None:
        """PostgreSQL: hold a connection that is told. After a gap everything is looked at once."""
        while not self._stopping.is_set():
            try:
                self._wait_on_one_connection()
            except Exception as error:  # noqa: BLE001  # without this thread streams sleep on, whatever it was
                log.warning("changes_not_heard", error=type(error).__qualname__)
                self._stopping.wait(_TRY_AGAIN)

    def _wait_on_one_connection(self) -> None:
        pooled = self._database.engine.raw_connection()
        held: Any = pooled.driver_connection
        pooled.detach()  # it is ours for good, and takes no place of a writer
        try:
            held.autocommit = True
            held.execute(f"LISTEN {_CHANNEL}")
            self._tell_own(frozenset([EVERYTHING]))
            while not self._stopping.is_set():
                for told in held.notifies(timeout=_LOOK_EVERY):
                    self._tell_own(_topics([told.payload]))
        finally:
            with suppress(psycopg.Error):
                held.close()


def _topics(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(topic for text in texts for topic in text.split(","))


def _chunks(noted: set[str]) -> Iterator[str]:
    """The topics in texts that fit into a notification each."""
    if len(noted) > _MOST:
        yield EVERYTHING
        return
    chunk: list[str] = []
    size = 0
    for topic in sorted(noted):
        if size + len(topic.encode()) + 1 > _LARGEST:
            yield ",".join(chunk)
            chunk, size = [], 0
        chunk.append(topic)
        size += len(topic.encode()) + 1
    yield ",".join(chunk)
