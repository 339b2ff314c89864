"""What was committed is told, once, to every process; what was rolled back is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from keywright.store import changes
from keywright.store.engine import Database
from tests.conftest import Prepared


class Ear:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[frozenset[str]] = []
        self.news = threading.Event()

    def __call__(self, topics: frozenset[str]) -> None:
        self.heard.append(topics)
        self.news.set()

    def wait_for(self, topic: str, seconds: float = 5.0) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if any(topic in topics for topics in self.heard):
                return True
            self.news.wait(0.02)
            self.news.clear()
        return False


@pytest.fixture
def database(prepared: Prepared) -> Iterator[Database]:
    made = Database(prepared.url)
    yield made
    made.dispose()


@pytest.fixture
def other(prepared: Prepared) -> Iterator[Database]:
    """The same database as another process has it, as far as the code can tell."""
    made = Database(prepared.url)
    yield made
    made.dispose()


@contextmanager
def listening(database: Database) -> Iterator[Ear]:
    ear = Ear()
    database.changes.listen(ear)
    try:
        # PostgreSQL: everything is to be looked at when listening begins.
        assert database.is_sqlite or ear.wait_for(changes.EVERYTHING)
        time.sleep(0.1 if database.is_sqlite else 0)
        yield ear
    finally:
        database.changes.stop()


def write(database: Database, *topics: str | None) -> None:
    with database.write() as connection:
        changes.note(connection, topics)


def fail(database: Database, *topics: str) -> None:
    with database.write() as connection:
        changes.note(connection, topics)
        connection.exec_driver_sql(f"SELECT {1 // 0}")


def test_a_commit_tells_what_it_changed_in_this_process_and_another(
    database: Database, other: Database
) -> None:
    with listening(database) as ear:
        write(database, "lic_1", None, "KW-1")
        assert ear.wait_for("lic_1")
        assert ear.wait_for("KW-1")
        write(other, "lic_2")
        assert ear.wait_for("lic_2")
        assert not any(None in topics for topics in ear.heard)


def test_what_was_rolled_back_is_not_told(database: Database) -> None:
    with listening(database) as ear:
        with pytest.raises(ZeroDivisionError):
            fail(database, "lic_lost")
        with database.write() as connection:
            changes.note(connection, ["lic_undone"])
            connection.rollback()
        write(database, "lic_last")
        assert ear.wait_for("lic_last")
        assert not ear.wait_for("lic_lost", 0.3)
        assert not ear.wait_for("lic_undone", 0.0)


def test_a_transaction_that_changes_nothing_tells_nothing(database: Database) -> None:
    with listening(database) as ear:
        before = len(ear.heard)
        write(database)
        time.sleep(0.4)
        assert len(ear.heard) == before


@pytest.mark.parametrize("count", [1000, 5000])
def test_many_changes_arrive_in_pieces_or_as_everything(
    database: Database, other: Database, count: int
) -> None:
    named = [f"lic_{number:030d}" for number in range(count)]
    with listening(database) as ear:
        ear.heard.clear()
        write(other, *named)
        if count > 4000:
            assert ear.wait_for(changes.EVERYTHING)
            assert not any(named[0] in topics for topics in ear.heard)
        else:
            assert ear.wait_for(named[0])
            assert ear.wait_for(named[-1])
            assert set(named) == set().union(*ear.heard)


def test_a_read_notes_nothing(database: Database) -> None:
    with database.read() as connection:
        changes.note(connection, ["lic_1"])
        assert connection.execute(sa.text("SELECT count(*) FROM changes")).scalar_one() == 0


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_server_that_fell_behind_looks_at_everything(database: Database, other: Database) -> None:
    assert database.changes._read_on(None) == 0
    for number in range(3):
        write(other, f"lic_{number}")
    assert database.changes._read_on(0) == 3
    with other.write() as connection:
        connection.exec_driver_sql("DELETE FROM changes WHERE id < 3")
    ear = Ear()
    database.changes._hear = ear
    assert database.changes._read_on(0) == 3
    assert ear.heard == [frozenset([changes.EVERYTHING])]


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_rows_that_nobody_reads_do_not_pile_up(other: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_KEPT", 5)
    for number in range(12):
        write(other, f"lic_{number}")
    with other.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM changes").scalar_one() == 5
