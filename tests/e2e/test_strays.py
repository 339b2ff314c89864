"""Work that a running server claimed and never began, as when its database goes away in between."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from keywright.flows import alarms
from keywright.flows.context import Context
from keywright.store.change_tables import executors
from keywright.store.tables import announcements
from keywright.workflows.engine import ONLY
from tests.e2e.server import Server, environment, opened, wait_until

_WITHIN = 60.0  # two looks, ten seconds apart, and then its turn


def _claim(context: Context, connection: sa.Connection, ids: list[str]) -> None:
    """As the server's own engine would, which then begins none of them."""
    sqlite = context.database.is_sqlite
    executor = ONLY if sqlite else connection.execute(sa.select(executors.c.name)).scalar_one()
    table = sa.table(
        "workflow_status",
        *(sa.column(name) for name in ("workflow_uuid", "status", "executor_id", "application_version")),
        schema=None if sqlite else "dbos",
    )
    claim = sa.update(table).values(status="PENDING", executor_id=executor, application_version="1")
    assert connection.execute(claim.where(table.c.workflow_uuid.in_(ids))).rowcount == len(ids)


def _is_sent(context: Context, subject: str) -> bool:
    row = announcements.c
    with context.database.read() as connection:
        return connection.execute(sa.select(row.status).where(row.subject_id == subject)).scalar() == "sent"


def test_what_was_claimed_and_not_begun_is_done(database_url: str, tmp_path: Path) -> None:
    env = environment(database_url, tmp_path)
    with Server(env, tmp_path), opened(database_url, tmp_path, alert_email="ops@example.com") as context:
        with context.database.write() as connection:
            alarms.raise_alarm(context, connection, "dead_letter", "evt_lost", {"error": "x"})
            batch = connection.execute(
                sa.select(announcements.c.batch).where(announcements.c.subject_id == "evt_lost")
            ).scalar_one()
            comparison = context.followups.reconcile(connection, context.new_id("bat"), "{}")
            _claim(context, connection, [f"announce-{batch}", comparison])
        wait_until(lambda: _is_sent(context, "evt_lost"), _WITHIN, "the mail")
        # One comparison at a time: the next one has its turn only when the lost one had its own.
        with context.database.write() as connection:
            second = context.followups.reconcile(connection, context.new_id("bat"), "{}")
        wait_until(lambda: _is_over(context, second), _WITHIN, "the second comparison")
        assert _is_over(context, comparison)


def _is_over(context: Context, id_: str) -> bool:
    schema = "" if context.database.is_sqlite else "dbos."
    query = sa.text(f"SELECT status FROM {schema}workflow_status WHERE workflow_uuid = :id")  # noqa: S608  # a constant
    with context.database.read() as connection:
        return connection.execute(query, {"id": id_}).scalar() in ("SUCCESS", "ERROR")
