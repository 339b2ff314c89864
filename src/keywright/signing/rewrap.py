"""The master key is changed while servers run: every key it wraps is put under the new one, a few at a time.

In this order, so that it can be ended at any moment and run again:

1. the new key is written, before the old one, into the file, and is on the disk (or the operator gives both);
2. the database names it as the one that wraps what is made from now on;
3. every key that another one wraps is opened and wrapped anew;
4. the database notes that nothing is left under the old one;
5. the old one is taken from the file.

Servers are never asked: they meet the new key's id, and read their source again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from keywright.domain.errors import Conflict, Misconfigured
from keywright.key_ports import MasterKeys as Changed
from keywright.key_ports import MasterKeyUse
from keywright.signing import vault
from keywright.signing.master_key import KeyFile, MasterKey, MasterKeys, new_master_key, write_new
from keywright.signing.vault import VaultRefused
from keywright.store import master_keys
from keywright.store.engine import Database
from keywright.store.master_keys import MasterKeyRow, Wrapped

_AT_ONCE: Final = 200  # keys in a transaction: a millisecond of the writer's time


def rotate(
    database: Database,
    masters: MasterKeys,
    now: datetime,
    *,
    prepare: bool,
    keep: Path | None,
    tell: Callable[[int], None],
) -> Changed:
    """See `Vault.rotate_master_key`."""
    with _held(masters):
        masters.again()
        target, generation = _target(database, masters, now, prepare=prepare)
        if prepare:
            return Changed(target.id, generation, 0, (), masters.source.name, begun=True)
        count = _rewrap_all(database, masters, target, tell)
        with database.write() as connection:
            master_keys.retire(connection, now)
        return Changed(target.id, generation, count, _leave_out(masters, target, keep), masters.source.name)


def open_any(masters: MasterKeys, one: Wrapped) -> bytes:
    """The key that is wrapped in this. Raises VaultRefused."""
    if one.master_id:
        return _unwrap(masters.get(one.master_id), one)
    for id_ in masters.ids:
        try:
            return _unwrap(masters.get(id_), one)
        except VaultRefused:
            continue
    raise VaultRefused("no master key at hand opens this key")


def wrap(master: MasterKey, kind: master_keys.Kind, owner: str, key: bytes) -> Wrapped:
    if kind == "data":
        return Wrapped(kind, owner, vault.wrap_data_key(master.key, key, tenant=owner), master.id)
    return Wrapped(kind, owner, vault.wrap_blind_key(master.key, key, purpose=owner), master.id)


def _unwrap(master: MasterKey, one: Wrapped) -> bytes:
    if one.kind == "data":
        return vault.unwrap_data_key(master.key, one.wrapped, tenant=one.owner)
    return vault.unwrap_blind_key(master.key, one.wrapped, purpose=one.owner)


@contextmanager
def _held(masters: MasterKeys) -> Iterator[None]:
    # Two that made a new key at once would each write the other's over, and with it all that it has wrapped.
    if isinstance(masters.source, KeyFile):
        with masters.source.changing():
            yield
    else:
        yield


def _target(
    database: Database, masters: MasterKeys, now: datetime, *, prepare: bool
) -> tuple[MasterKey, int]:
    """The key that everything is to be under, and its generation. From here on it wraps what is made."""
    with database.read() as connection:
        known = master_keys.list_all(connection)
        wrapped = master_keys.count_wrapped(connection)
    current = next((row for row in known if row.until is None), None)
    if current is None:
        raise Misconfigured("This database was never prepared. Run: keywright migrate")
    masters.get(current.id)
    left = len(masters.ids) > 1 or any(row.until and not row.retired_at for row in known)
    unfinished = masters.newest.id == current.id and (left or set(wrapped) - {current.id})
    if unfinished and prepare:
        raise Conflict("The last change of the master key was not finished.", code="KEY_CHANGING")
    if unfinished:
        return masters.newest, current.generation
    target = _new_key(masters) if masters.newest.id == current.id else masters.newest
    if any(row.id == target.id for row in known):
        raise Misconfigured(f"The first key of {masters.source.name} was used before: make a new one.")
    if not prepare:
        _switch(database, current, target, now)
    return target, current.generation + 1


def _new_key(masters: MasterKeys) -> MasterKey:
    if not isinstance(masters.source, KeyFile):
        raise Misconfigured(
            f"{masters.source.name} gives the present key first. Put a new one before it, with a comma or a "
            "line end between them, and start the servers again where they read it at the start. "
            "To make one: openssl rand -base64 32"
        )
    made = new_master_key()
    masters.source.write((made, masters.newest))
    masters.again()
    return made


def _switch(database: Database, current: MasterKeyRow, target: MasterKey, now: datetime) -> None:
    with database.write() as connection:
        if not master_keys.replace(connection, current, target.id, now):
            raise Conflict("Another command is changing the master key.", code="KEY_CHANGING")


def _rewrap_all(
    database: Database, masters: MasterKeys, target: MasterKey, tell: Callable[[int], None]
) -> int:
    count = 0
    while True:
        with database.read() as connection:
            found = master_keys.list_wrapped(connection, other_than=target.id, limit=_AT_ONCE)
        if not found:
            return count
        anew = [wrap(target, one.kind, one.owner, _opened(masters, one)) for one in found]
        with database.write() as connection:
            master_keys.rewrap(connection, found, anew)
        count += len(found)
        tell(count)


def _opened(masters: MasterKeys, one: Wrapped) -> bytes:
    try:
        return open_any(masters, one)
    except VaultRefused as error:
        whose = f"The data key of {one.owner}" if one.kind == "data" else f"The key for {one.owner}"
        raise VaultRefused(f"{whose} does not open: {error.detail}") from None


def _leave_out(masters: MasterKeys, target: MasterKey, keep: Path | None) -> tuple[str, ...]:
    former = tuple(masters.get(id_) for id_ in masters.ids if id_ != target.id)
    if keep is not None and former:
        write_new(keep, former)
    if former and isinstance(masters.source, KeyFile):
        masters.source.write((target,))
        masters.again()
    return tuple(one.id for one in former)


def list_uses(database: Database, masters: MasterKeys) -> list[MasterKeyUse]:
    """Every master key that there was, the newest first."""
    with database.read() as connection:
        known = master_keys.list_all(connection)
        wrapped = master_keys.count_wrapped(connection)
    return [
        MasterKeyUse(
            row.id,
            row.generation,
            row.since,
            row.until,
            row.retired_at,
            wraps=wrapped.get(row.id, 0),
            at_hand=row.id in masters.ids,
        )
        for row in known
    ]
