"""What a process does about its own lease and about the others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
import sqlalchemy as sa

from keywright.store.change_tables import executors as table
from keywright.store.engine import Database
from keywright.workflows.elsewhere import Elsewhere
from keywright.workflows.takeover import Attendance
from tests.conftest import Prepared, new_postgresql
from tests.e2e.server import wait_until
from tests.store.test_executors import expire, join, moment, settle

NOBODY = sa.text("SELECT 'exe_1' AS name WHERE false")


@pytest.fixture
def database(prepared_postgresql: Prepared, postgresql: str) -> Iterator[Database]:
    made = Database(new_postgresql(postgresql, str(sa.make_url(prepared_postgresql.url).database)))
    yield made
    made.dispose()


class Hand:
    """What was taken over, and under which names we went on. Whoever uses it leaves at the end."""

    def __init__(self, database: Database, pending: sa.TextClause = NOBODY) -> None:
        self.taken: list[str] = []
        self.renamed: list[str] = []
        self.fails = False
        numbers = count(2)
        self.attendance = Attendance(
            database.apart(),
            "exe_1",
            take_over=self._take_over,
            new_name=lambda: f"exe_{next(numbers)}",
            renamed=self.renamed.append,
            pending=pending,
            every=0.05,
        )

    def _take_over(self, name: str) -> None:
        if self.fails:
            raise RuntimeError("the database went away")
        self.taken.append(name)


def names(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(sa.select(table.c.name)).scalars())


def test_a_dead_one_is_taken_over_once_and_forgotten(database: Database) -> None:
    hand = Hand(database)
    hand.attendance.join()
    join(database, "exe_dead", "exe_other")
    expire(database, "exe_dead")
    hand.attendance.look()
    assert hand.taken == []  # it has just come itself
    settle(database, "exe_1")
    hand.attendance.look()
    hand.attendance.look()
    assert hand.taken == ["exe_dead"]
    assert names(database) == {"exe_1", "exe_other"}
    hand.attendance.leave()


def test_what_could_not_be_taken_over_is_tried_again(database: Database) -> None:
    hand = Hand(database)
    hand.attendance.join()
    settle(database, "exe_1")
    join(database, "exe_dead")
    expire(database, "exe_dead")
    hand.fails = True
    with pytest.raises(RuntimeError):
        hand.attendance.look()
    hand.fails = False
    hand.attendance.look()
    assert hand.taken == []  # it is in our hands still, as long as that lease lasts
    expire(database, "exe_dead")
    hand.attendance.look()
    assert hand.taken == ["exe_dead"]
    hand.attendance.leave()


def test_who_was_taken_for_dead_goes_on_under_another_name(database: Database) -> None:
    hand = Hand(database)
    hand.attendance.join()
    with database.write() as connection:
        connection.execute(sa.delete(table))
    hand.attendance.look()
    assert hand.renamed == ["exe_2"]
    assert hand.attendance.name == "exe_2"
    assert names(database) == {"exe_2"}
    hand.attendance.leave()


def test_work_of_a_name_that_nobody_knows_is_found(database: Database) -> None:
    hand = Hand(database, sa.text("SELECT 'slot-0' AS name UNION SELECT 'exe_1'"))
    hand.attendance.join()
    hand.attendance.look()
    assert hand.taken == []
    settle(database, "exe_1")
    hand.attendance.look()
    assert hand.taken == ["slot-0"]
    hand.attendance.leave()


def test_it_renews_by_itself_and_leaves_at_the_end(database: Database) -> None:
    hand, looks = Hand(database), Elsewhere(database, every=0.05)
    hand.attendance.join()
    hand.attendance.start()
    looks.launch()
    wait_until(looks.is_alive, 30, "somebody seen at work")
    before = moment(database, "exe_1", "lease_until")
    wait_until(lambda: moment(database, "exe_1", "lease_until") > before, 30, "a renewal")
    hand.attendance.stop()
    assert looks.is_alive()
    hand.attendance.leave()
    wait_until(lambda: not looks.is_alive(), 30, "nobody seen at work")
    looks.stop()
    assert moment(database, "exe_1", "lease_until") == 0
