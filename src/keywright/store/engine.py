"""The database: one engine, two dialects, and the gate every SQLite writer passes.

SQLite runs through the `pysqlite3` wheel. In one process nothing else may open the database file: a second
SQLite library would drop the first one's file locks when it closes the file.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import _GeneratorContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2 as sqlite  # type: ignore[import-untyped]  # the wheel carries no types
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from keywright.domain.errors import Misconfigured
from keywright.store import wall
from keywright.store.changes import Changes

# Before 3.51.3 a race between two connections that write and checkpoint can corrupt a WAL database.
OLDEST_SAFE_SQLITE = (3, 51, 3)


# Seconds. A batch takes milliseconds: a writer that has not come back by then has no access to the file.
_LONGEST_WRITE = 1.5
# Pages. Shorter logs are read as fast as the file, and each new beginning costs two waits for the disk.
_LONG_LOG = 2000
_WALLED = 4  # connections that are kept for requests of one tenant
# Seconds. A server that does not answer a new connection, or is gone without a word, must be noticed.
_POSTGRESQL_LIMITS = {
    "connect_timeout": 2,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}


def is_away(error: BaseException) -> bool:
    """Whether this says that the database does not answer, or not now: to try again may help."""
    away = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, sqlite.OperationalError)
    return isinstance(error, away) or (isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated)


class FirstInFirstOut:
    """A lock that serves waiters in order of arrival.

    A plain lock lets a busy writer take it again before a waiting one wakes up: activations then starve
    behind the intake for seconds.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False
        self._since = 0.0

    @property
    def held_for(self) -> float:
        """For how many seconds the one who is through has had it."""
        with self._mutex:
            return time.monotonic() - self._since if self._taken else 0.0

    def acquire(self) -> None:
        with self._mutex:
            if not self._taken:
                self._taken, self._since = True, time.monotonic()
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def release(self) -> None:
        with self._mutex:
            if self._waiting:
                self._since = time.monotonic()
                self._waiting.popleft().release()
            else:
                self._taken = False


class GatedSQLite(SQLiteDialect_pysqlite):
    """The SQLite dialect on our wheel, with every transaction, DBOS's included, passing one gate.

    A dialect, because the engine's `commit` event fires before the commit: the gate must open after it.
    Connections in AUTOCOMMIT only read, and do not pass the gate.
    """

    driver = "gated"
    supports_statement_cache = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._gate = FirstInFirstOut()
        self._holders: set[int] = set()

    @property
    def writing_for(self) -> float:
        """How long the present writer has been at it, in seconds; 0 without one."""
        return self._gate.held_for

    @classmethod
    def import_dbapi(cls) -> Any:
        return sqlite

    def set_isolation_level(self, dbapi_connection: Any, level: str) -> None:
        # The driver opens a transaction before the first write by itself, with the file's write lock: DBOS's
        # migrations rely on it, and a lock taken later could fail against another process.
        dbapi_connection.isolation_level = None if level == "AUTOCOMMIT" else "IMMEDIATE"

    def do_begin(self, dbapi_connection: Any) -> None:
        if _bare(dbapi_connection).isolation_level is not None:
            self._gate.acquire()
            self._holders.add(id(_bare(dbapi_connection)))
        super().do_begin(dbapi_connection)  # type: ignore[no-untyped-call]  # untyped in the library

    def do_commit(self, dbapi_connection: Any) -> None:
        super().do_commit(dbapi_connection)  # type: ignore[no-untyped-call]  # untyped in the library
        self._leave(dbapi_connection)

    def do_rollback(self, dbapi_connection: Any) -> None:
        try:
            super().do_rollback(dbapi_connection)  # type: ignore[no-untyped-call]  # untyped in the library
        finally:
            self._leave(dbapi_connection)

    def do_close(self, dbapi_connection: Any) -> None:
        try:
            super().do_close(dbapi_connection)  # type: ignore[no-untyped-call]  # untyped in the library
        finally:
            self._leave(dbapi_connection)

    def _leave(self, dbapi_connection: Any) -> None:
        holder = id(_bare(dbapi_connection))
        if holder in self._holders:
            self._holders.discard(holder)
            self._gate.release()


def _bare(connection: Any) -> Any:
    """The driver's connection behind the pool's proxy."""
    return getattr(connection, "dbapi_connection", None) or connection


registry.register("sqlite.gated", __name__, "GatedSQLite")


class Database:
    """The engine and its three ways in: `write`, `read`, and the bare engine for Alembic and DBOS."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = _read_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        # Resolved, so that every path to the same file names it alike.
        self.file = Path(self.url.database or "").resolve() if self.is_sqlite else None
        make = _sqlite_engine if self.is_sqlite else _postgresql_engine
        self.engine = make(self.url, pool_size)
        # Readers have connections of their own that never open a transaction: switching a connection to and
        # fro costs as much as the read itself (measured).
        self._reader = make(self.url, pool_size, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)

        # Of their own, so that what is walled takes no connection from intake and validations.
        self._walled = None if self.is_sqlite else make(self.url, _WALLED)
        self._own = threading.local()
        self._held: list[sa.PoolProxiedConnection] = []
        self.changes = Changes(self)

    @property
    def walled(self) -> Database:
        """The same for requests: what they do for one tenant goes through the second wall (`store/wall.py`),
        where there is one."""
        if self._walled is None:
            return self
        with self.read() as connection:
            stands = wall.missing(connection) == []
        return WalledDatabase(self, self._walled) if stands else self

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One write transaction; commits at the end, rolls back on any exception. What it notes as changed
        reaches whoever listens with the commit (`store/changes.py`)."""
        with self.engine.begin() as connection:
            if self.is_sqlite:
                # Take the file's write lock before the first read, so what is read stays true until commit.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            noted = self.changes.collect(connection)
            yield connection
            self.changes.tell(connection, noted)
        self.changes.committed(noted)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Reads only, each statement on its own: they never wait for a writer."""
        with self._reader.connect() as connection:
            yield connection

    def first(self, statement: sa.TextClause, parameters: dict[str, Any]) -> Sequence[Any] | None:
        """The first row of a read, without the library's result object on SQLite.

        For the one read that every validate call makes: building the result's metadata for 39 columns takes
        four times as long as the query (measured).
        """
        if not self.is_sqlite:
            with self.read() as connection:
                return connection.execute(statement, parameters).first()
        held = getattr(self._own, "reader", None)
        if held is None:
            # One for each thread that asks, as long as the thread lives: a visit to the pool costs a third
            # of the query.
            held = self._own.reader = self._reader.raw_connection()
            self._held.append(held)
        row: Sequence[Any] | None = _bare(held).execute(statement.text, parameters).fetchone()
        return row

    def checkpoint(self) -> None:
        """SQLite: bring what the log holds into the database file, beside the writers.

        A commit that finds the log full does it by itself, and all who wait for the writer wait for the disk
        (measured: 50 ms, two thirds of what the slowest activation in a hundred took). Most is copied while
        they go on. What they add meanwhile is copied with the gate shut, so that the log begins anew.
        """
        if not self.is_sqlite or self._copy_log() < _LONG_LOG:
            return
        self._copy_log()
        with self.write():
            self._copy_log()

    def _copy_log(self) -> int:
        """Copy without waiting for anybody. Returns how many pages the log has."""
        with self._reader.connect() as connection:
            told = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
        return int(told[1])

    def is_alive(self) -> bool:
        """Whether it answers, and takes what is written."""
        try:
            with self.read() as connection:
                connection.exec_driver_sql("SELECT 1")
        except sa.exc.SQLAlchemyError:
            return False
        # Readers of a SQLite file that another process has locked notice nothing.
        dialect = self.engine.dialect
        return not isinstance(dialect, GatedSQLite) or dialect.writing_for < _LONGEST_WRITE

    def apart(self) -> Database:
        """The same database over connections of its own, for who must be heard when all others are taken."""
        return Database(self.url.render_as_string(hide_password=False), pool_size=1)

    def dispose(self) -> None:
        while self._held:
            self._held.pop().close()
        self._own = threading.local()
        self.engine.dispose()
        self._reader.dispose()
        if self._walled is not None:
            self._walled.dispose()


class WalledDatabase(Database):
    """A database in whose transactions a request of one tenant is alone with that tenant's rows.

    Where nobody's request is under way it is the database itself, statement by statement.
    """

    def __init__(self, whole: Database, engine: sa.Engine) -> None:
        self.__dict__.update(vars(whole))
        self._within = engine

    # No generators around those of the database itself: intake and validations come this way, too.
    def write(self) -> _GeneratorContextManager[sa.Connection]:
        tenant = wall.tenant()
        return super().write() if tenant is None else self._write(tenant)

    def read(self) -> _GeneratorContextManager[sa.Connection]:
        """Inside a wall the statements share a transaction: it is the transaction that is walled."""
        tenant = wall.tenant()
        return super().read() if tenant is None else self._transaction(tenant)

    @contextmanager
    def _write(self, tenant: str) -> Iterator[sa.Connection]:
        with self._transaction(tenant) as connection:
            noted = self.changes.collect(connection)
            yield connection
            self.changes.tell(connection, noted)
        self.changes.committed(noted)

    @contextmanager
    def _transaction(self, tenant: str) -> Iterator[sa.Connection]:
        with self._within.begin() as connection:
            wall.shut(connection, tenant)
            try:
                yield connection
            finally:
                wall.opened(connection)

    @property
    def walled(self) -> Database:
        return self


def _read_url(text: str) -> sa.URL:
    """Raises Misconfigured. Nothing of the text is shown: it may hold a password."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        raise Misconfigured("DATABASE_URL must begin with sqlite:/// or postgresql:// and be complete.")
    if url.get_backend_name() == "sqlite" and (
        url.database in (None, "", ":memory:") or str(url.database).startswith("file:")
    ):
        raise Misconfigured(
            "DATABASE_URL must name a SQLite file by its path, as sqlite:////var/lib/x.sqlite."
        )
    return url


def _make_file(path: Path) -> None:
    """An empty database that only we may read; SQLite gives `-wal` and `-shm` the same mode.

    Never opens a file that exists: closing it would drop the locks SQLite holds on it in this process.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Misconfigured(f"The database file {path} cannot be made: {reason}.") from None


def _sqlite_engine(url: sa.URL, pool_size: int, **more: Any) -> sa.Engine:
    version = tuple(sqlite.sqlite_version_info)
    if version < OLDEST_SAFE_SQLITE:
        found, wanted = (".".join(map(str, v)) for v in (version, OLDEST_SAFE_SQLITE))
        raise Misconfigured(f"SQLite {found} can corrupt a database; {wanted} or newer is needed.")
    _make_file(Path(url.database or ""))
    engine = sa.create_engine(
        url.set(drivername="sqlite+gated"),
        pool_size=pool_size,
        max_overflow=32,
        pool_use_lifo=True,  # few connections stay warm, the others give their memory back
        connect_args={"timeout": 30, "check_same_thread": False, "cached_statements": 512},
        query_cache_size=1500,
        hide_parameters=True,  # an error in a log must not quote what was being stored
        **more,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    if connection.isolation_level is not None:
        connection.isolation_level = "IMMEDIATE"
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # an acknowledgement means the commit is on disk, not in a cache
        "foreign_keys=ON",
        "busy_timeout=30000",
        "temp_store=MEMORY",
        # `checkpoint` does it beside the writers. This is for processes in which nobody calls that: there a
        # commit now and then takes as long as writing 160 MB.
        "wal_autocheckpoint=40000",
        # 8 MB a connection. The file is in the operating system's cache as well; what counts is memory.
        "cache_size=-8192",
    ):
        connection.execute(f"PRAGMA {pragma}")
    if connection.execute("PRAGMA synchronous").fetchone()[0] != 2:
        raise Misconfigured("SQLite did not accept synchronous=FULL.")


def _postgresql_engine(url: sa.URL, pool_size: int, **more: Any) -> sa.Engine:
    # The operator's own word, in DATABASE_URL, goes before ours.
    limits = {name: value for name, value in _POSTGRESQL_LIMITS.items() if name not in url.query}
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=16,
        pool_pre_ping=False,
        query_cache_size=1500,
        hide_parameters=True,  # an error in a log must not quote what was being stored
        connect_args={"options": "-c timezone=UTC", "application_name": "keywright", **limits},
        **more,
    )
