"""Which master keys there were, what is wrapped by which, and the keys of look-up hashes. All of it wrapped.

Rows of tenants' data keys from before master keys had ids carry an empty one until the first start.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
import sqlalchemy as sa

from keywright.store import rows
from keywright.store.rows import micros
from keywright.store.vault_tables import blind_keys, data_keys, master_keys

Kind = Literal["data", "blind"]
_TABLES = {"data": (data_keys, "tenant_id"), "blind": (blind_keys, "purpose")}


class MasterKeyRow(msgspec.Struct, frozen=True):
    """A master key as the database knows it: never the key.

    It wraps what is made from `since` to `until` (None: until now); from `retired_at` on nothing is wrapped
    by it any longer, except in backups of before.
    """

    id: str
    generation: int
    since: datetime
    until: datetime | None = None
    retired_at: datetime | None = None


class Wrapped(msgspec.Struct, frozen=True):
    """A key as it is stored. `owner`: the tenant of a data key; the purpose of a key of look-up hashes."""

    kind: Kind
    owner: str
    wrapped: str
    master_id: str

    def __repr__(self) -> str:  # not even the ciphertext belongs into a log
        return f"Wrapped({self.kind!r}, {self.owner!r}, {self.master_id!r})"


def list_all(connection: sa.Connection) -> list[MasterKeyRow]:
    """The newest first."""
    query = sa.select(master_keys).order_by(master_keys.c.generation.desc())
    return [MasterKeyRow(**row) for row in connection.execute(query).mappings()]


def find_current(connection: sa.Connection) -> MasterKeyRow | None:
    """The master key that wraps what is made now. Until the end of the transaction no other takes its place.

    None before the first start.
    """
    query = (
        sa.select(master_keys)
        .where(master_keys.c.until.is_(None))
        .order_by(master_keys.c.generation.desc())
        .with_for_update(read=True)
    )
    # On PostgreSQL whoever waited for a change finds the key he waited for replaced: the next one is current.
    for _ in range(2):
        found = connection.execute(query).mappings().first()
        if found is not None:
            return MasterKeyRow(**found)
    return None


def begin(connection: sa.Connection, id_: str, now: datetime) -> None:
    """The first master key of this database. Nothing happens when there is one."""
    first = {"id": id_, "generation": 1, "since": micros(now)}
    rows.insert(connection, master_keys, [first], ignore=True)


def replace(connection: sa.Connection, current: MasterKeyRow, id_: str, now: datetime) -> bool:
    """Let another master key wrap what is made from now on. False when the current one is not that any more.

    Waits for those who hold the current one by `find_current`.
    """
    ended = connection.execute(
        sa.update(master_keys)
        .where(master_keys.c.id == current.id, master_keys.c.until.is_(None))
        .values(until=now)
    )
    if ended.rowcount != 1:
        return False
    connection.execute(sa.insert(master_keys).values(id=id_, generation=current.generation + 1, since=now))
    return True


def retire(connection: sa.Connection, now: datetime) -> None:
    """Note that nothing is wrapped any longer by those that were replaced."""
    connection.execute(
        sa.update(master_keys)
        .where(master_keys.c.until.is_not(None), master_keys.c.retired_at.is_(None))
        .values(retired_at=now)
    )


def find_data_key(connection: sa.Connection, tenant: str) -> Wrapped | None:
    query = sa.select(data_keys.c.tenant_id, data_keys.c.wrapped, data_keys.c.master_id)
    found = connection.execute(query.where(data_keys.c.tenant_id == tenant)).first()
    return None if found is None else Wrapped("data", *found)


def count_wrapped(connection: sa.Connection) -> dict[str, int]:
    """Id of the master key -> how many keys are wrapped by it."""
    found: dict[str, int] = {}
    for table, _ in _TABLES.values():
        query = sa.select(table.c.master_id, sa.func.count()).group_by(table.c.master_id)
        for id_, count in connection.execute(query):
            found[id_] = found.get(id_, 0) + count
    return found


def list_wrapped(
    connection: sa.Connection, *, other_than: str | None = None, limit: int | None = None
) -> list[Wrapped]:
    """Wrapped keys, those of look-up hashes first. `other_than`: those that this master key does not wrap."""
    found: list[Wrapped] = []
    for kind in ("blind", "data"):
        table, owner = _TABLES[kind]
        query = sa.select(table.c[owner], table.c.wrapped, table.c.master_id).order_by(table.c[owner])
        if other_than is not None:
            query = query.where(table.c.master_id != other_than)
        if limit is not None:
            query = query.limit(limit - len(found))
        found += [Wrapped(kind, *row) for row in connection.execute(query)]
    return found


def rewrap(connection: sa.Connection, before: Sequence[Wrapped], after: Sequence[Wrapped]) -> None:
    """Put each of `after` in the place of its `before`, unless that changed or was deleted meanwhile."""
    for kind, (table, owner) in _TABLES.items():
        pairs = [(old, new) for old, new in zip(before, after, strict=True) if new.kind == kind]
        if not pairs:
            continue
        columns = {"owner": "text", "old": "text", "wrapped": "text", "master_id": "text"}
        source = rows.recordset(connection, "r", columns)
        told = [
            {"owner": new.owner, "old": old.wrapped, "wrapped": new.wrapped, "master_id": new.master_id}
            for old, new in sorted(pairs, key=lambda pair: pair[1].owner)
        ]
        connection.execute(
            sa.text(
                f"UPDATE {table.name} SET wrapped = r.wrapped, master_id = r.master_id FROM {source}"  # noqa: S608  # names come from our own tables
                f" WHERE {table.name}.{owner} = r.owner AND {table.name}.wrapped = r.old"
            ),
            {"rows": rows.json_of(told)},
        )


def note_master(connection: sa.Connection, id_: str) -> None:
    """Say of what was wrapped before master keys had ids that this one did it."""
    connection.execute(sa.update(data_keys).where(data_keys.c.master_id == "").values(master_id=id_))


def list_blind_keys(connection: sa.Connection) -> dict[str, Wrapped]:
    """By purpose."""
    query = sa.select(blind_keys.c.purpose, blind_keys.c.wrapped, blind_keys.c.master_id)
    return {row.purpose: Wrapped("blind", *row) for row in connection.execute(query)}


def insert_blind_keys(connection: sa.Connection, made: Sequence[Wrapped], now: datetime) -> None:
    """Nothing happens where there is one for the purpose already: two servers may start at once."""
    told = [
        {"purpose": one.owner, "wrapped": one.wrapped, "master_id": one.master_id, "created_at": micros(now)}
        for one in made
    ]
    rows.insert(connection, blind_keys, told, ignore=True)
