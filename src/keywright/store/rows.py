"""Set-based writes: many rows in one statement, through one JSON parameter.

The SQL text does not depend on the number of rows, so it is prepared once; and a batch of 64 rows steps into
the database once instead of 64 times, which matters twice in a threaded server: each step releases the
interpreter lock, and each one on PostgreSQL is a round trip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

_encode = msgspec.json.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Row = Mapping[str, Any]


def micros(moment: datetime | None) -> int | None:
    """A moment as stored: microseconds since 1970, UTC, the same on both databases."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def moment(stored: int | None) -> datetime | None:
    return None if stored is None else _EPOCH + timedelta(microseconds=stored)


def certain(stored: int | datetime | None) -> datetime:
    """A moment from a column that is never null, read through Core or through SQL text."""
    if isinstance(stored, datetime):
        return stored
    if stored is None:
        raise ValueError("a time that is never null is null")
    return _EPOCH + timedelta(microseconds=stored)


class Instant(sa.TypeDecorator[datetime]):
    """An aware UTC datetime, stored as integer microseconds."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002  # the base class fixes the signature
        return micros(value)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002  # as above
        return moment(value)


@lru_cache(maxsize=256)
def prepared(text: str) -> sa.TextClause:
    """The statement of an SQL text that is written anew at each call, of which there are few: reading one
    for its parameters costs a third of what carrying it out does."""
    return sa.text(text)


def recordset(connection: sa.Connection, alias: str, columns: Mapping[str, str]) -> str:
    """A FROM item over the JSON parameter `:rows`. `columns` maps names to `text`, `bigint` or `boolean`.

    Join it by CROSS JOIN and WHERE: SQLite then keeps the written order and looks each row up by its index.
    Its planner knows nothing of the size of a JSON array and would scan the table instead (measured).
    """
    if connection.dialect.name == "sqlite":
        picks = ", ".join(f"value->>'$.{name}' AS {name}" for name in columns)
        return f"(SELECT {picks} FROM json_each(:rows)) AS {alias}"  # noqa: S608  # names come from our own tables
    types = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"json_to_recordset(CAST(:rows AS json)) AS {alias}({types})"


def insert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Row],
    *,
    ignore: bool = False,
    returning: str = "",
) -> list[Any]:
    """Insert all rows in one statement. Each row has the same members, named as the columns.

    With `ignore`, rows that meet a unique constraint are skipped; `returning` names a column whose values
    come back for the rows that were inserted.
    """
    if not rows:
        return []
    statement = _insert_text(connection.dialect.name, table, tuple(rows[0]), ignore, returning)
    result = connection.execute(statement, {"rows": _encode(rows).decode()})
    return list(result.scalars()) if returning else []


def update(connection: sa.Connection, table: sa.Table, rows: Sequence[Row], *, key: str = "id") -> None:
    """Update all rows by `key` in one statement. Each row has the same members: the key and what changes."""
    if not rows:
        return
    statement = _update_text(connection.dialect.name, table, tuple(rows[0]), key)
    connection.execute(statement, {"rows": _encode(rows).decode()})


def json_of(rows: Sequence[Row] | Sequence[str]) -> str:
    """The JSON parameter for statements written by hand around `recordset`."""
    return _encode(rows).decode()


def _kind(column: sa.Column[Any]) -> str:
    if isinstance(column.type, sa.Boolean):
        return "boolean"
    if isinstance(column.type, sa.BigInteger | sa.Integer | Instant):
        return "bigint"
    return "text"


@lru_cache(maxsize=256)
def _insert_text(
    dialect: str, table: sa.Table, names: tuple[str, ...], ignore: bool, returning: str
) -> sa.TextClause:
    source = _source(dialect, table, names)
    text = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(names)} FROM {source}"  # noqa: S608  # names come from our own tables
    if ignore:
        # "WHERE true" keeps SQLite from reading ON CONFLICT as a join condition.
        text += " WHERE true ON CONFLICT DO NOTHING"
    if returning:
        text += f" RETURNING {returning}"
    return sa.text(text)


@lru_cache(maxsize=256)
def _update_text(dialect: str, table: sa.Table, names: tuple[str, ...], key: str) -> sa.TextClause:
    source = _source(dialect, table, names)
    changes = ", ".join(f"{name} = r.{name}" for name in names if name != key)
    return sa.text(f"UPDATE {table.name} SET {changes} FROM {source} WHERE {table.name}.{key} = r.{key}")  # noqa: S608  # as above


def _source(dialect: str, table: sa.Table, names: tuple[str, ...]) -> str:
    if dialect == "sqlite":
        picks = ", ".join(f"value->>'$.{name}' AS {name}" for name in names)
        return f"(SELECT {picks} FROM json_each(:rows)) AS r"  # noqa: S608  # as above
    types = ", ".join(f"{name} {_kind(table.c[name])}" for name in names)
    return f"json_to_recordset(CAST(:rows AS json)) AS r({types})"
