"""The durable engine: DBOS on our own database. Every workflow name and schedule is registered here.

Workflows are thin: they call a flow as a step, sleep, and call it again. The rows are the truth; the engine
only makes sure that somebody looks at them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig
from dbos._serialization import DefaultSerializer

# Private, because the public migrate() makes an engine of its own, and so opens the file a second time.
from dbos._sys_db import SystemDatabase

from keywright.store.engine import Database, is_away
from keywright.workflows.courier import Courier

# A deploy must not strand work: pinned. A workflow whose steps change order gets a new name instead.
APPLICATION_VERSION = "1"
APPLICATION = "keywright"
_QUEUE = "followups"
_ANNOUNCE = "announce.1"
# A queue of its own: a provider that hangs holds up questions, and never a mail.
_REFETCHES = "refetches"
_REFETCH = "refetch.1"
# One run at a time: a second one would find what the first is about to repair.
_RECONCILIATIONS = "reconciliations"
_RECONCILE = "reconcile.1"
_HOURLY = "reconcile_hourly.1"
_SWEEP = "sweep.1"
NAMES = {
    _ANNOUNCE: _QUEUE,
    _REFETCH: _REFETCHES,
    _RECONCILE: _RECONCILIATIONS,
    _HOURLY: None,
    _SWEEP: None,
}
"""Every workflow, and the queue it waits in; those that a clock starts wait in none of ours."""
# Every two seconds for ten minutes.
_LOOK_AGAIN = 2.0
_LOOKS = 300


class DBOSFollowups:
    """Implements the port Followups: enqueues on the caller's connection, in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._client: DBOSClient | None = None

    def announce(self, connection: sa.Connection, batch: str) -> None:
        self._connected().enqueue_in_transaction(
            connection,
            {"queue_name": _QUEUE, "workflow_name": _ANNOUNCE, "workflow_id": f"announce-{batch}"},
            batch,
        )

    def refetch(self, connection: sa.Connection, batch: str) -> None:
        self._connected().enqueue_in_transaction(
            connection,
            {"queue_name": _REFETCHES, "workflow_name": _REFETCH, "workflow_id": f"refetch-{batch}"},
            batch,
        )

    def reconcile(self, connection: sa.Connection, batch: str, wish: str) -> str:
        id_ = f"reconcile-{batch}"
        self._connected().enqueue_in_transaction(
            connection,
            {"queue_name": _RECONCILIATIONS, "workflow_name": _RECONCILE, "workflow_id": id_},
            wish,
        )
        return id_

    def _connected(self) -> DBOSClient:
        if self._client is None:
            self._client = DBOSClient(
                system_database_engine=self._database.engine,
                application_name=APPLICATION,
                lazy=True,
            )
        return self._client


class Engine:
    """DBOS in this process: launched by `serve` and `worker` only."""

    def __init__(
        self,
        database: Database,
        *,
        executor: str,
        announce: Callable[[str], float | None],
        refetch: Callable[[], object],
        reconcile: Callable[[str | None], object],
        sweep: Callable[[], None],
        courier: Courier,
    ) -> None:
        self._database = database
        self._executor = executor
        self._announce = announce
        self._refetch = refetch
        self._reconcile = reconcile
        self._sweep = sweep
        self._courier = courier
        self._launched = False

    def launch(self) -> None:
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_engine": self._database.engine,
            "system_database_url": _kind_of(self._database),
            "application_version": APPLICATION_VERSION,
            "executor_id": self._executor,
            "log_level": "ERROR",
            "run_migrations": False,
            "use_listen_notify": False,
            "scheduler_polling_interval_sec": 1.0,
        }
        logging.getLogger("dbos").setLevel(logging.ERROR)
        DBOS(config=config)
        self._register()
        DBOS.launch()
        DBOS.register_queue(_QUEUE, worker_concurrency=2, polling_interval_sec=0.2)
        DBOS.register_queue(_REFETCHES, worker_concurrency=4, polling_interval_sec=0.2)
        DBOS.register_queue(_RECONCILIATIONS, concurrency=1, polling_interval_sec=1.0)
        # Written over, not made: several processes of one database may start at the same moment.
        DBOS.apply_schedules(
            [
                {"schedule_name": _SWEEP, "workflow_fn": self._sweeper, "schedule": "*/10 * * * * *"},
                # Not at the full hour, when everybody asks the providers.
                {"schedule_name": _HOURLY, "workflow_fn": self._comparer, "schedule": "0 17 * * * *"},
            ]
        )
        self._courier.start()
        self._launched = True

    def _register(self) -> None:
        # A database that went away while mails were sent comes back: without another try they would count as
        # forgotten, and those wait for ten minutes (`announce.STRANDED_AFTER`).
        announce_step = DBOS.step(
            name="announce.send",
            retries_allowed=True,
            interval_seconds=_LOOK_AGAIN,
            backoff_rate=1.0,
            max_attempts=_LOOKS,
            should_retry=lambda error: self._launched and is_away(error),
        )(self._announce)
        refetch_step = DBOS.step(name="refetch.run")(self._refetch)
        reconcile_step = DBOS.step(name="reconcile.run")(self._reconcile)
        sweep_step = DBOS.step(name="sweep.run")(self._sweep)

        @DBOS.workflow(name=_ANNOUNCE)
        def announce(batch: str) -> None:
            # Once: a workflow that slept until the next attempt would keep its place in the queue, and two
            # delayed mails would hold up all others. The sweep does what is due again.
            announce_step(batch)

        @DBOS.workflow(name=_REFETCH)
        def refetch(_batch: str) -> None:
            # Whatever is due by now, of this batch or of another: the rows are the truth.
            refetch_step()

        @DBOS.workflow(name=_RECONCILE)
        def reconcile(wish: str) -> None:
            reconcile_step(wish)

        @DBOS.workflow(name=_HOURLY)
        def compare(_scheduled: datetime, _context: Any) -> None:
            reconcile_step(None)

        @DBOS.workflow(name=_SWEEP)
        def sweep(_scheduled: datetime, _context: Any) -> None:
            sweep_step()

        self._sweeper = sweep
        self._comparer = compare

    def is_alive(self) -> bool:
        return self._launched

    def stop(self) -> None:
        if self._launched:
            self._launched = False
            self._courier.stop()
            DBOS.destroy(workflow_completion_timeout_sec=5)


def _kind_of(database: Database) -> str:
    """A URL of the right kind: only its scheme is read, though it must be whole. Our engine is used."""
    return "sqlite:///keywright" if database.is_sqlite else "postgresql://localhost/keywright"


def migrate(database: Database) -> None:
    """Bring the engine's own tables up to date. The caller holds the migration lock."""
    system = SystemDatabase.create(
        system_database_url=_kind_of(database),
        engine_kwargs={},
        engine=database.engine,
        schema=None if database.is_sqlite else "dbos",
        serializer=DefaultSerializer(),
        executor_id=None,
        use_listen_notify=False,
    )
    system.run_migrations()
