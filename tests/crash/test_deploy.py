"""A new version starts while a hundred workflows are under way: whoever is there finishes all of them.

`make fleet` has both do it, who starts where the old one died and a worker of another machine. By default
only the second does, with fewer workflows: that a server finishes what its predecessor left is in test_kill.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.flows import operate
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.store.change_tables import executors
from keywright.store.tables import announcements
from tests.crash.fleet import Fleet
from tests.crash.test_kill import owed, rows
from tests.e2e.server import Server, environment, opened, wait_until
from tests.life import world

LONG = "KEYWRIGHT_FLEET_SECONDS" in os.environ
WORKFLOWS = 100 if LONG else 20
WITHIN = 120.0  # seconds


def sell(context: Context) -> None:
    """So many mails are owed, each by a workflow of its own."""
    for number in range(WORKFLOWS):
        order = Order("dashcaddy/plan-0", f"buyer{number}@example.com")
        operate.issue(context, context.master.id, order, Act("a test"))


def engine_rows(context: Context) -> sa.TableClause:
    """The engine's workflows, as it keeps them."""
    names = ("workflow_uuid", "name", "status", "executor_id", "application_version", "updated_at")
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in names]
    return sa.table("workflow_status", *columns, schema=None if context.database.is_sqlite else "dbos")


def states(context: Context) -> dict[str, int]:
    """How many of those workflows are in which state."""
    table = engine_rows(context)
    query = sa.select(table.c.status, sa.func.count().label("number"))
    found = rows(context, query.where(table.c.name == "announce.1").group_by(table.c.status))
    return {row.status: row.number for row in found}


def take_all(context: Context) -> None:
    """As if the engine had begun all of them at once, and not two at a time."""
    table = engine_rows(context)
    begun = (table.c.name == "announce.1", table.c.status == "PENDING")
    (executor,) = {row.executor_id for row in rows(context, sa.select(table.c.executor_id).where(*begun))}
    waiting = (table.c.name == "announce.1", table.c.status == "ENQUEUED")
    taken = {"status": "PENDING", "executor_id": executor, "application_version": "1"}
    with context.database.write() as connection:
        connection.execute(sa.update(table).where(*waiting).values(**taken))


def under_way(url: str, folder: Path, env: dict[str, str], more: dict[str, Any]) -> None:
    """A server dies while a hundred of its workflows are under way: no mail server answers."""
    with socket.create_server(("127.0.0.1", 0)) as mute, opened(url, folder, **more) as context:
        world.stock(context, price_pro=Terms(term=365 * 86400))
        sell(context)
        held = {**env, "SMTP_URL": f"smtp://127.0.0.1:{mute.getsockname()[1]}"}
        server = Server(held, folder, "old")
        try:
            server.start()
            wait_until(lambda: states(context).get("PENDING"), 30, "the first are under way")
        finally:
            server.kill()
        take_all(context)
        assert states(context) == {"PENDING": WORKFLOWS}


def check_done(context: Context) -> None:
    wait_until(lambda: states(context) == {"SUCCESS": WORKFLOWS}, WITHIN, "all workflows are finished")
    assert not owed(context)
    sent = sa.select(sa.func.count()).where(announcements.c.status == "sent")
    assert rows(context, sent)[0][0] == WORKFLOWS


def the_next_version(url: str, folder: Path, env: dict[str, str], more: dict[str, Any]) -> None:
    """It starts where the old one died."""
    with Server(env, folder, "new"), opened(url, folder, **more) as context:
        check_done(context)


def a_worker_elsewhere(url: str, folder: Path, env: dict[str, str], more: dict[str, Any]) -> None:
    """It cannot see that the process is gone: the lease tells. Of an older release's nothing does."""
    with opened(url, folder, **more) as context:
        forget(context)
        fleet = Fleet(env, folder, servers=0, workers=1)
        try:
            wait_until(lambda: is_there(context), 30, "the worker has joined")
            assert states(context) == {"PENDING": WORKFLOWS}
            let_time_pass(context)
            check_done(context)
            fleet.stop()
        finally:
            fleet.close()
    assert {"work_taken_over", "stray_work_taken_over"} <= set(fleet.told("worker0").split())


WAYS = [("postgresql", a_worker_elsewhere), *([("sqlite", the_next_version)] if LONG else [])]


@pytest.mark.parametrize(("database_url", "goes_on"), WAYS, indirect=["database_url"])
def test_whoever_is_there_finishes_what_was_under_way(
    database_url: str, goes_on: Callable[..., None], tmp_path: Path
) -> None:
    more = {"keywright_master_key": secrets.token_urlsafe(32)}
    env = environment(database_url, tmp_path, KEYWRIGHT_MASTER_KEY=more["keywright_master_key"])
    under_way(database_url, tmp_path, env, more)
    goes_on(database_url, tmp_path, env, more)
    assert len(list((tmp_path / "data" / "outbox").glob("*.eml"))) == WORKFLOWS


def forget(context: Context) -> None:
    """Half of it was another machine's, half of it an older release's."""
    table = engine_rows(context)
    older = sa.select(table.c.workflow_uuid).where(table.c.status == "PENDING").limit(WORKFLOWS // 2)
    with context.database.write() as connection:
        connection.execute(sa.update(executors).values(place="another-start/1/2/3"))
        connection.execute(
            sa.update(table)
            .where(table.c.workflow_uuid.in_(older))
            .values(executor_id="slot-0", updated_at=table.c.updated_at - 60_000)
        )


def is_there(context: Context) -> bool:
    """Whether the worker has joined, and renewed once."""
    query = sa.select(sa.func.count()).where(executors.c.place != "another-start/1/2/3")
    return bool(rows(context, query)[0][0])


def let_time_pass(context: Context) -> None:
    """The dead one's lease runs out, and the worker has been there for as long."""
    dead = executors.c.place == "another-start/1/2/3"
    with context.database.write() as connection:
        connection.execute(sa.update(executors).where(dead).values(lease_until=1))
        connection.execute(sa.update(executors).where(~dead).values(steady_since=1))
