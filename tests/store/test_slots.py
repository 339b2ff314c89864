"""The names of working processes: one each, and kept over a restart of the database."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.engine import Database
from keywright.store.slots import executor_slot
from tests.conftest import new_postgresql
from tests.e2e.server import wait_until

_HELD = sa.text(
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 0"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def holder(database: Database) -> int | None:
    with database.read() as connection:
        held: int | None = connection.execute(_HELD).scalar()
    return held


def test_two_processes_have_two_names(postgresql: str) -> None:
    url = new_postgresql(postgresql)
    one, other = Database(url), Database(url)
    with executor_slot(one) as first, executor_slot(other) as second:
        assert (first, second) == ("slot-0", "slot-1")
    with executor_slot(other) as again:
        assert again == "slot-0"
    one.dispose()
    other.dispose()


def test_a_name_is_taken_again_when_the_database_comes_back(postgresql: str) -> None:
    url = new_postgresql(postgresql)
    working, looking = Database(url), Database(url)
    with executor_slot(working):
        before = holder(looking)
        assert before is not None
        with looking.read() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": before})
        wait_until(lambda: holder(looking) not in (None, before), 20, "the name taken again")
        with executor_slot(looking) as another:
            assert another == "slot-1"
    assert holder(looking) is None
    working.dispose()
    looking.dispose()
