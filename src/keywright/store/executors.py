"""The processes that do background work: each has a name of its own and a lease on it, which it renews.

Only on PostgreSQL: a SQLite file has one server, and that is alone. A lease is in the database's own time, so
that machines whose clocks differ agree on who is alive.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from keywright.store.engine import Database

LEASE: Final = 15.0  # seconds

_DEAD: Final = "dead"  # and only not asked for yet by its parent
_LEASE: Final = int(LEASE * 1_000_000)

_JOIN: Final = sa.text("""
    INSERT INTO executors (name, host, place, joined_at, steady_since, lease_until)
    SELECT :name, :host, :place, n, n, n + :lease
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS n) AS clock
""")
_RENEW: Final = sa.text("""
    UPDATE executors
    SET steady_since = CASE WHEN lease_until < clock.n THEN clock.n ELSE steady_since END,
        lease_until = clock.n + :lease
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS n) AS clock
    WHERE name = :name AND taken_by IS NULL
    RETURNING steady_since <= clock.n - :lease
""")
_LEAVE: Final = sa.text("UPDATE executors SET lease_until = 0 WHERE name = :name AND taken_by IS NULL")
# One statement: who comes second waits for the first, looks at the row again, and finds it taken.
_TAKE: Final = sa.text("""
    UPDATE executors SET taken_by = :me, lease_until = clock.n + :lease
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS n) AS clock
    WHERE name <> :me
      AND (lease_until = 0
           OR (:steady AND lease_until < clock.n)
           OR (taken_by IS NULL AND name = ANY(CAST(:gone AS text[]))))
    RETURNING name
""")
_FORGET: Final = sa.text("DELETE FROM executors WHERE taken_by = :me AND name = ANY(CAST(:names AS text[]))")
_ALIVE: Final = sa.text("""
    SELECT host FROM executors
    WHERE taken_by IS NULL AND lease_until >= extract(epoch FROM clock_timestamp()) * 1000000
    ORDER BY host
""")


def join(connection: sa.Connection, name: str) -> None:
    """Begin to count as alive, under a name that nobody has had."""
    known = {"name": name, "host": socket.gethostname(), "place": place_of(os.getpid()), "lease": _LEASE}
    connection.execute(_JOIN, known)


def renew(connection: sa.Connection, name: str) -> bool | None:
    """Go on counting as alive.

    Returns:
        Whether it has done so without a gap for as long as a lease lasts; None when others have taken it for
        dead meanwhile.
    """
    steady: bool | None = connection.execute(_RENEW, {"name": name, "lease": _LEASE}).scalar()
    return steady


def leave(connection: sa.Connection, name: str) -> None:
    """Stop in order. What was left undone is for others, at once."""
    connection.execute(_LEAVE, {"name": name})


def take(connection: sa.Connection, me: str, *, steady: bool) -> list[str]:
    """Take what dead ones left behind. Of several who try, one has it; if he dies too, it is free again.

    Dead is who left, who ran on this machine and is not there now, and, if `steady`, whose lease is over.
    Whoever was cut off from the database himself sees nothing but leases that are over: he waits.
    """
    wanted = {"me": me, "lease": _LEASE, "steady": steady, "gone": _gone(connection)}
    return sorted(connection.execute(_TAKE, wanted).scalars())


def forget(connection: sa.Connection, me: str, names: Sequence[str]) -> None:
    """What these left behind is in good hands."""
    connection.execute(_FORGET, {"me": me, "names": list(names)})


def unknown(connection: sa.Connection, names: Iterable[str]) -> list[str]:
    """Those of these names that no process has or had.

    An earlier release named its processes otherwise, and whoever is taken for dead while he only slept may
    begin something more under his old name.
    """
    known = set(connection.execute(sa.text("SELECT name FROM executors")).scalars())
    return sorted(set(names) - known)


def alive(connection: sa.Connection) -> list[str]:
    """The machines whose processes do background work, one name for each process."""
    if not sa.inspect(connection).has_table("executors"):
        return []
    return list(connection.execute(_ALIVE).scalars())


def are_at_work(database: Database) -> bool:
    """Whether any process works on this PostgreSQL database, or did until a moment ago."""
    with database.read() as connection:
        return bool(alive(connection))


# -- this machine ---------------------------------------------------------------------------------------


def place_of(pid: int) -> str:
    """Names a process for good, on any machine and in any container; empty where the system does not tell.

    The number alone would not do: it is used again, and each container counts its own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    began = _began(pid)
    return "" if began is None else f"{boot}/{space}/{pid}/{began}"


def _began(pid: int) -> str | None:
    """When a process of this machine began, in ticks since its start; None when nothing is seen of it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    after_name = text.rpartition(")")[2].split()
    return _DEAD if after_name[0] in "ZX" else after_name[19]


def _is_gone(place: str) -> bool:
    """Whether the process that had this place on this machine is certainly not there any more."""
    pid, began = place.split("/")[2:]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's, and perhaps hidden from us
        return False
    return _began(int(pid)) not in (None, began)


def _gone(connection: sa.Connection) -> list[str]:
    """Those who ran where we do, and are not there any more."""
    here = place_of(os.getpid()).rsplit("/", 2)[0]
    if not here:
        return []
    found: Sequence[Any] = connection.execute(
        sa.text("SELECT name, place FROM executors WHERE taken_by IS NULL")
    ).all()
    return [name for name, place in found if place.startswith(f"{here}/") and _is_gone(place)]
