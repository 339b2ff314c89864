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
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions
from dbos._serialization import DefaultSerializer

# Private, because the public migrate() makes an engine of its own, and so opens the file a second time.
from dbos._sys_db import SystemDatabase, workflow_is_active

# Private: the only place where a running engine's name can be changed.
from dbos._utils import GlobalParams

from keywright.store import ended_work, wall
from keywright.store.engine import Database, is_away
from keywright.workflows import provisioning
from keywright.workflows.courier import Courier
from keywright.workflows.provisioning import RunStep
from keywright.workflows.strays import Strays
from keywright.workflows.takeover import Attendance

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
# A queue of its own: an import lasts for hours, and holds up no comparison that somebody waits for.
_IMPORTS = "imports"
_IMPORT = "import.1"
_SWEEP = "sweep.1"
NAMES = {
    _ANNOUNCE: _QUEUE,
    _REFETCH: _REFETCHES,
    _RECONCILE: _RECONCILIATIONS,
    _IMPORT: _IMPORTS,
    provisioning.NAME: provisioning.QUEUE,
    _HOURLY: None,
    _SWEEP: None,
}
"""Every workflow, and the queue it waits in; those that a clock starts wait in none of ours."""
# Every two seconds for ten minutes.
_LOOK_AGAIN = 2.0
_LOOKS = 300
# The one process that a SQLite file has: at its next start the engine goes on with what it left by itself.
ONLY = "slot-0"
# Who has work under way, of those who began it a while ago: a name is known before anything begins under it.
_PENDING = sa.text(
    "SELECT DISTINCT executor_id AS name FROM dbos.workflow_status WHERE status = 'PENDING'"
    " AND executor_id IS NOT NULL AND updated_at < extract(epoch FROM clock_timestamp()) * 1000 - 30000"
)


class DBOSFollowups:
    """Implements the port Followups: enqueues on the caller's connection, in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._client: DBOSClient | None = None

    def announce(self, connection: sa.Connection, batch: str) -> None:
        self._enqueue(
            connection,
            {"queue_name": _QUEUE, "workflow_name": _ANNOUNCE, "workflow_id": f"announce-{batch}"},
            batch,
        )

    def refetch(self, connection: sa.Connection, batch: str) -> None:
        self._enqueue(
            connection,
            {"queue_name": _REFETCHES, "workflow_name": _REFETCH, "workflow_id": f"refetch-{batch}"},
            batch,
        )

    def reconcile(self, connection: sa.Connection, batch: str, wish: str) -> str:
        id_ = f"reconcile-{batch}"
        self._enqueue(
            connection,
            {"queue_name": _RECONCILIATIONS, "workflow_name": _RECONCILE, "workflow_id": id_},
            wish,
        )
        return id_

    def provision(self, connection: sa.Connection, work: str, *, anew: bool = False) -> None:
        if anew:
            self._forget(connection, work)
        # Its id alone: what the engine is given it keeps, and whom a wish names may be erased.
        self._enqueue(
            connection,
            {"queue_name": provisioning.QUEUE, "workflow_name": provisioning.NAME, "workflow_id": work},
            work,
        )

    def bring(self, connection: sa.Connection, work: str, tenant: str, run: str) -> str:
        id_ = f"import-{work}"
        self._enqueue(
            connection,
            {"queue_name": _IMPORTS, "workflow_name": _IMPORT, "workflow_id": id_},
            tenant,
            run,
        )
        return id_

    def _forget(self, connection: sa.Connection, id_: str) -> None:
        """Work that is over goes from the engine's tables, which take an id once."""
        system = self._connected()._sys_db  # noqa: SLF001  # the public way has a transaction of its own
        tables = system.tables
        known, schema = tables.workflow_status, system.schema
        held = (tables.workflow_input, tables.workflow_output, tables.operation_outputs, known)
        with wall.lifted_on(connection):
            status = ended_work.status_of(connection, known, schema, id_)
            if status is not None and not workflow_is_active(status):
                ended_work.forget(connection, held, schema, id_)

    def _enqueue(self, connection: sa.Connection, options: EnqueueOptions, *arguments: str) -> None:
        with wall.lifted_on(connection):  # the engine's tables are nobody's
            self._connected().enqueue_in_transaction(connection, options, *arguments)

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
        new_name: Callable[[], str],
        let_go: Callable[[str], None],
        announce: Callable[[str], float | None],
        refetch: Callable[[], object],
        reconcile: Callable[[str | None], object],
        bring: Callable[[str, str], object],
        provision: RunStep,
        give_up: Callable[[str, BaseException], None],
        sweep: Callable[[], None],
        courier: Courier,
    ) -> None:
        self._database = database
        self._executor = executor
        self._announce = announce
        self._refetch = refetch
        self._reconcile = reconcile
        self._bring = bring
        self._provision = (provision, give_up)
        self._sweep = sweep
        self._strays = Strays(APPLICATION_VERSION)
        self._courier = courier
        self._let_go = let_go
        self._launched = False
        self._stopped = False
        self._attendance = (
            None
            if database.is_sqlite
            else Attendance(
                # A process that is busy must not count as dead.
                database.apart(),
                executor,
                take_over=self._take_over,
                new_name=new_name,
                renamed=_rename,
                pending=_PENDING,
            )
        )

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
        if self._attendance is not None:
            self._attendance.join()
        DBOS(config=config)
        self._register()
        DBOS.launch()
        # Each look costs several statements, also where nothing waits: often where somebody waits.
        DBOS.register_queue(_QUEUE, worker_concurrency=2, polling_interval_sec=0.25)
        DBOS.register_queue(_REFETCHES, worker_concurrency=4, polling_interval_sec=0.5)
        DBOS.register_queue(_RECONCILIATIONS, concurrency=1, polling_interval_sec=2.0)
        DBOS.register_queue(provisioning.QUEUE, worker_concurrency=4, polling_interval_sec=1.0)
        DBOS.register_queue(_IMPORTS, worker_concurrency=2, polling_interval_sec=2.0)
        # Written over, not made: several processes of one database may start at the same moment.
        DBOS.apply_schedules(
            [
                {"schedule_name": _SWEEP, "workflow_fn": self._sweeper, "schedule": "*/10 * * * * *"},
                # Not at the full hour, when everybody asks the providers.
                {"schedule_name": _HOURLY, "workflow_fn": self._comparer, "schedule": "0 17 * * * *"},
            ]
        )
        self._courier.start()
        self._strays.start()
        self._launched = True
        if self._attendance is not None:
            self._attendance.start()

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
        import_step = DBOS.step(name="import.run")(self._bring)
        sweep_step = DBOS.step(name="sweep.run")(self._sweep)
        provisioning.register(*self._provision, goes_on=lambda: not self._stopped)

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

        @DBOS.workflow(name=_IMPORT)
        def bring(tenant: str, run: str) -> None:
            # One step however long: the run's own row says where it has come to.
            import_step(tenant, run)

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
            self._stopped = True
            if self._attendance is not None:
                self._attendance.stop()
            self._courier.stop()
            self._strays.stop()
            DBOS.destroy(workflow_completion_timeout_sec=5)
            if self._attendance is not None:
                self._attendance.leave()

    def _take_over(self, executor: str) -> None:
        """Go on with what a dead process left: webhooks it had taken, and its workflows, each of them once.

        The engine puts them back into their queues, on the condition that they are still the dead one's: who
        asks for it a second time changes nothing.
        """
        self._let_go(executor)
        DBOS._recover_pending_workflows([executor])  # noqa: SLF001  # the public way is its vendor's service


def _rename(executor: str) -> None:
    GlobalParams.executor_id = executor


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
