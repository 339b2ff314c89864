"""All rows of a database, table by table, in a form that both databases take.

A row is a line of JSON, its values in the order of the columns' names: the same row is the same bytes,
whichever database it stands in. So a digest of all rows tells whether a copy is whole. It does not depend on
their order, which databases do not promise.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import pysqlite3.dbapi2 as sqlite  # type: ignore[import-untyped]  # the wheel carries no types
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ReflectedColumn

from keywright.domain.errors import Misconfigured, Unreadable
from keywright.store.engine import Database
from keywright.store.tables import metadata

PASSING: Final = frozenset({"changes", "executors", "generations"})
"""What processes on one database tell one another. It means nothing anywhere else."""

SIGNED_IN: Final = frozenset({"portal_links", "portal_sessions", "staff_sessions"})
"""Who is signed in. Brought back from a backup it would let in who has signed out since."""

BATCH: Final = 1000  # rows

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[list[str | int | bool | None]]).decode
_WRAP: Final = 1 << 128


class Part(msgspec.Struct, frozen=True):
    """Some rows of one table. `columns` are sorted by name. A table without rows is one part."""

    table: str
    columns: tuple[str, ...]
    lines: list[bytes]


class Count(msgspec.Struct, frozen=True):
    """How many rows, and the sum of their digests (BLAKE2b of each line, modulo 2^128, in hex)."""

    rows: int
    digest: str


class Tally:
    """Counts and digests of the tables whose parts it has seen."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def add(self, part: Part) -> int:
        """Returns how many rows of this table were seen so far."""
        rows, total = self._seen.get(part.table, (0, 0))
        for line in part.lines:
            total += int.from_bytes(hashlib.blake2b(line, digest_size=16).digest())
        rows += len(part.lines)
        self._seen[part.table] = (rows, total % _WRAP)
        return rows

    @property
    def counts(self) -> dict[str, Count]:
        return {name: Count(rows, f"{total:032x}") for name, (rows, total) in self._seen.items()}


def names(*, without: Collection[str] = ()) -> list[str]:
    """The tables of this release, those first that others refer to. None of the workflow engine's."""
    return [str(table.name) for table in metadata.sorted_tables if table.name not in PASSING.union(without)]


def is_empty(connection: sa.Connection) -> bool:
    """Whether there is no table at all: neither of ours, nor of the workflow engine, nor anybody's."""
    inspector = sa.inspect(connection)
    if connection.dialect.name == "sqlite":
        return not inspector.get_table_names()
    return not inspector.get_table_names() and "dbos" not in inspector.get_schema_names()


@contextmanager
def snapshot(database: Database, folder: Path) -> Iterator[sa.Connection]:
    """The database as it is at this moment. Nobody who writes waits for it.

    On SQLite it is copied into `folder` first. To read a long time from the file itself would keep its log
    from being emptied: it would grow with everything that is written meanwhile.
    """
    if not database.is_sqlite:
        with _repeatable(database) as connection:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix=".keywright-", dir=folder) as private:
        copy = Path(private) / "copy.sqlite"
        _copy(database, copy)
        engine = sa.create_engine(
            "sqlite+gated://",
            creator=lambda: sqlite.connect(str(copy), check_same_thread=False),
            poolclass=sa.pool.NullPool,
        )
        with engine.connect() as connection:
            yield connection


@contextmanager
def frozen(database: Database) -> Iterator[sa.Connection]:
    """The database as it is, and nobody can write to it until the end."""
    if database.is_sqlite:
        with database.write() as connection:
            yield connection
        return
    with _repeatable(database) as connection:
        # Before the first read: a repeatable one sees what was committed by then.
        listed = ", ".join(_quoted(name) for name in names())
        connection.exec_driver_sql(f"LOCK TABLE {listed} IN SHARE MODE")
        yield connection


@contextmanager
def _repeatable(database: Database) -> Iterator[sa.Connection]:
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        yield connection


def _copy(database: Database, file: Path) -> None:
    pooled = database.engine.raw_connection()
    target = sqlite.connect(str(file))
    try:
        target.execute("PRAGMA synchronous=OFF")  # it is thrown away
        driver: Any = pooled.driver_connection
        driver.backup(target)  # in one step: between two, a writer would make it begin again
    finally:
        target.close()
        pooled.close()


def count(connection: sa.Connection, tables: Iterable[str]) -> dict[str, int]:
    """How many rows each has."""
    counted = sa.func.count()
    return {
        name: connection.execute(sa.select(counted).select_from(sa.table(name))).scalar_one()
        for name in tables
    }


def read(connection: sa.Connection, tables: Iterable[str]) -> Iterator[Part]:
    """All rows of these tables."""
    for name in tables:
        found = sorted(_stored(connection, name), key=lambda one: one["name"])
        # With the types as the database has them, so that yes and no are the same on both.
        columns = [sa.column(one["name"], one["type"]) for one in found]
        titles = tuple(str(one["name"]) for one in found)
        query = sa.select(*columns).select_from(sa.table(name, *columns))
        options = {"stream_results": True, "yield_per": BATCH}
        none = True
        for batch in connection.execute(query, execution_options=options).partitions():
            none = False
            yield Part(name, titles, [_encode(tuple(row)) for row in batch])
        if none:
            yield Part(name, titles, [])


def columns_of(connection: sa.Connection, table: str) -> tuple[str, ...]:
    """Sorted by name; none where there is no such table."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(table):
        return ()
    return tuple(sorted(str(one["name"]) for one in _stored(connection, table)))


def _stored(connection: sa.Connection, table: str) -> list[ReflectedColumn]:
    """The columns of a table, less those that the database works out from others."""
    return [one for one in sa.inspect(connection).get_columns(table) if not one.get("computed")]


def load(connection: sa.Connection, part: Part) -> None:
    """Insert these rows. The caller has compared table and columns with those that are there.

    Raises:
        msgspec.DecodeError: a line is no row.
        Unreadable: the rows are not such as this table can have.
        Misconfigured: PostgreSQL cannot hold a text that SQLite could.
    """
    if not part.lines:
        return
    rows = _decode(b"[" + b",".join(part.lines) + b"]")
    refusal = Unreadable(f"The rows of the table {part.table} do not fit.", code="BACKUP_UNREADABLE")
    if any(len(row) != len(part.columns) for row in rows):
        raise refusal
    try:
        _insert(connection, part, rows)
    except (sa.exc.IntegrityError, sa.exc.DataError, psycopg.IntegrityError, OverflowError):
        raise refusal from None
    except psycopg.DataError as error:
        if type(error) is not psycopg.DataError:  # the server's word, not the driver's own
            raise refusal from None
        raise Misconfigured(
            f"A text in the table {part.table} has a character that PostgreSQL cannot hold."
        ) from None


def _insert(connection: sa.Connection, part: Part, rows: Sequence[Sequence[object]]) -> None:
    into = f"{_quoted(part.table)} ({', '.join(map(_quoted, part.columns))})"
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(part.columns))
        connection.exec_driver_sql(f"INSERT INTO {into} VALUES ({marks})", [tuple(row) for row in rows])  # noqa: S608  # names of tables that are there
    else:
        _send(connection, f"COPY {into} FROM STDIN", rows)


def _send(connection: sa.Connection, text: str, rows: Sequence[Sequence[object]]) -> None:
    # Ten times as fast as statements with parameters.
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(text) as copy:
        for row in rows:
            copy.write_row(row)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
