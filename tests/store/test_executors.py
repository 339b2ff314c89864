"""Who counts as alive, and that of several who notice a death one takes over."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from keywright.store import executors
from keywright.store.change_tables import executors as table
from keywright.store.engine import Database
from tests.conftest import Prepared, new_postgresql


@pytest.fixture
def database(prepared_postgresql: Prepared, postgresql: str) -> Iterator[Database]:
    made = Database(new_postgresql(postgresql, str(sa.make_url(prepared_postgresql.url).database)))
    yield made
    made.dispose()


def join(database: Database, *names: str) -> None:
    with database.write() as connection:
        for name in names:
            executors.join(connection, name)


def set_(database: Database, name: str, **members: object) -> None:
    with database.write() as connection:
        connection.execute(sa.update(table).where(table.c.name == name).values(**members))


def moment(database: Database, name: str, member: str) -> int:
    with database.read() as connection:
        found: int = connection.execute(sa.select(table.c[member]).where(table.c.name == name)).scalar_one()
    return found


def expire(database: Database, *names: str) -> None:
    """Their leases ended an instant ago, and another machine ran them."""
    for name in names:
        set_(database, name, lease_until=moment(database, name, "joined_at") - 1, place="")


def settle(database: Database, name: str) -> None:
    """This one has renewed in time for long enough."""
    length = int(executors.LEASE * 1_000_000)
    set_(database, name, steady_since=moment(database, name, "steady_since") - length)


def take(database: Database, me: str, *, steady: bool = True) -> list[str]:
    with database.write() as connection:
        return executors.take(connection, me, steady=steady)


def renew(database: Database, name: str) -> bool | None:
    with database.write() as connection:
        return executors.renew(connection, name)


def test_who_renews_is_alive_and_who_leaves_is_not(database: Database) -> None:
    assert not executors.are_at_work(database)
    join(database, "exe_1")
    assert executors.are_at_work(database)
    before = moment(database, "exe_1", "lease_until")
    assert renew(database, "exe_1") is False
    assert moment(database, "exe_1", "lease_until") > before
    with database.write() as connection:
        executors.leave(connection, "exe_1")
    assert not executors.are_at_work(database)


def test_an_empty_database_has_nobody_at_work(postgresql: str) -> None:
    empty = Database(new_postgresql(postgresql))
    assert not executors.are_at_work(empty)
    empty.dispose()


def test_of_many_who_notice_one_takes_over(database: Database) -> None:
    takers = [f"exe_taker{n}" for n in range(6)]
    dead = [f"exe_dead{n}" for n in range(20)]
    join(database, *takers, *dead)
    expire(database, *dead)
    found: list[str] = []
    together = threading.Barrier(len(takers))

    def run(me: str) -> None:
        together.wait()
        found.extend(take(database, me))

    threads = [threading.Thread(target=run, args=(one,)) for one in takers]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(found) == sorted(dead)


def test_what_a_taker_who_died_had_taken_is_free_again(database: Database) -> None:
    join(database, "exe_dead", "exe_taker", "exe_next")
    expire(database, "exe_dead")
    assert take(database, "exe_taker") == ["exe_dead"]
    assert take(database, "exe_next") == []
    expire(database, "exe_dead", "exe_taker")
    assert take(database, "exe_next") == ["exe_dead", "exe_taker"]
    with database.write() as connection:
        executors.forget(connection, "exe_next", ["exe_dead", "exe_taker"])
        assert executors.unknown(connection, ["exe_dead", "exe_next", "slot-0"]) == ["exe_dead", "slot-0"]


def test_who_was_away_himself_judges_nobody_for_a_while(database: Database) -> None:
    """After the database was away, every lease is over, and nobody is dead."""
    join(database, "exe_1", "exe_2")
    for name in ("exe_1", "exe_2"):
        settle(database, name)
    assert renew(database, "exe_1") is True
    expire(database, "exe_1", "exe_2")
    steady = renew(database, "exe_1")
    assert steady is False
    assert take(database, "exe_1", steady=steady) == []
    settle(database, "exe_1")
    assert renew(database, "exe_1") is True
    assert take(database, "exe_1") == ["exe_2"]


def test_who_left_is_taken_at_once(database: Database) -> None:
    join(database, "exe_1", "exe_2")
    with database.write() as connection:
        executors.leave(connection, "exe_2")
    assert take(database, "exe_1", steady=False) == ["exe_2"]


def test_who_is_taken_for_dead_is_told(database: Database) -> None:
    join(database, "exe_1", "exe_2")
    expire(database, "exe_1")
    assert take(database, "exe_2") == ["exe_1"]
    assert renew(database, "exe_1") is None


def test_a_process_that_died_on_this_machine_needs_no_waiting(database: Database) -> None:
    place = executors.place_of(os.getpid())
    assert place == executors.place_of(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    join(database, "exe_me", "exe_child", "exe_abroad")
    set_(database, "exe_child", place=executors.place_of(child.pid))
    set_(database, "exe_abroad", place="another-start/1/2/3")
    # Somebody else's process, as far as this one is not root's.
    join(database, "exe_first")
    set_(database, "exe_first", place=executors.place_of(1))
    assert take(database, "exe_me", steady=False) == []
    child.kill()
    # Not waited for: it lies there dead until its parent asks for it.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    # Where the system tells nothing of processes, leases alone tell, and there is nothing more to see.
    assert take(database, "exe_me", steady=False) == (["exe_child"] if place else [])
    child.stdin.close()
    child.wait()
