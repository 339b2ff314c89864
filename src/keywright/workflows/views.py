"""What of the background work is there, and a hand on it: read, try again, end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

import msgspec
from dbos import DBOSClient, WorkflowStatus
from dbos._sys_db import WorkflowStatuses  # private, and the only list of what a status may be

from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.flows import provisioning_desk
from keywright.flows.context import Context
from keywright.flows.provisioning_desk import StepSeen
from keywright.store import audit, engine_work
from keywright.store.engine import Database
from keywright.store.engine_work import Place, WorkRow
from keywright.workflows import provisioning
from keywright.workflows.engine import APPLICATION, APPLICATION_VERSION, NAMES

Hand = Literal["retry", "cancel"]

LARGEST_PAGE = 200
_STATUSES = get_args(WorkflowStatuses)
_OVER = ("SUCCESS",)

Group = Literal["open", "failed", "all"]
_FAILED: Final = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED")
GROUPS: Final[Mapping[Group, tuple[str, ...] | None]] = {
    "open": ("PENDING", "ENQUEUED", "DELAYED"),
    "failed": _FAILED,
    "all": None,
}
"""What people look for: what runs or waits, what did not work out or was ended, and all of it."""

LOOKED_BACK: Final = timedelta(days=7)
"""How far lists go back: what is looked after every few seconds makes thousands of lines a day, and SQLite
reads them all to find those few that failed."""

_FIRST_STEP: Final = 1
_LONGEST: Final = 14
_LONGEST_ID: Final = 500


class Work(msgspec.Struct, frozen=True):
    """One workflow. What it was given and what it answered are not shown. `error`: a class, of one alone.
    `steps`: of a tenant that is being made, each with what happened; in lists they are left out."""

    id: str
    name: str
    status: str
    queue: str | None
    created_at: datetime | None
    updated_at: datetime | None
    error: str | None
    steps: list[StepSeen] = []


class WorkPage(msgspec.Struct, frozen=True):
    items: list[Work]
    next_cursor: str | None


class Works:
    """The workflows of this installation: they belong to no tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._client: DBOSClient | None = None

    def list_page(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> WorkPage:
        """Newest first. Raises Invalid for a status, a limit or a cursor that is none."""
        if not 1 <= limit <= LARGEST_PAGE:
            raise Invalid(f"`limit` must be 1 to {LARGEST_PAGE}.")
        if status is not None and status not in _STATUSES:
            raise Invalid(f"`status` must be one of {', '.join(_STATUSES)}.")
        statuses = (status,) if status is not None else None
        return self._page(statuses, name, cursor, limit)

    def newest(
        self, group: Group, *, name: str = "", cursor: str = "", limit: int = 50, now: datetime
    ) -> WorkPage:
        """Newest first, each page from where the one before ended. Raises Invalid for a cursor that is none.

        `now`: real time, in which the engine lives. `name`: one of `engine.NAMES`, or all.
        """
        since = int((now - LOOKED_BACK).timestamp() * 1000)
        return self._page(GROUPS[group], name or None, cursor or None, limit, since)

    def _page(
        self,
        statuses: Sequence[str] | None,
        name: str | None,
        cursor: str | None,
        limit: int,
        since: int = 0,
    ) -> WorkPage:
        after = None if cursor is None else _read_cursor(cursor)
        system = self._connected()._sys_db  # noqa: SLF001  # the only place that knows where its tables lie
        # Beside the writers: on SQLite the engine's own reads wait for their turn, and make others wait.
        with self._database.read() as connection:
            found = engine_work.list_newest(
                connection,
                system.tables.workflow_status,
                system.schema,
                application=APPLICATION,
                statuses=statuses,
                name=name,
                since=since,
                after=after,
                limit=limit + 1,
            )
        page = found[:limit]
        more = f"{page[-1].created_at}-{page[-1].id}" if len(found) > limit else None
        return WorkPage([_listed(one) for one in page], more)

    def show(self, id_: str) -> Work:
        """Raises NotFound."""
        found = self._connected().list_workflows(workflow_ids=[id_], limit=1, load_input=False)
        if not found:
            raise unknown_work()
        one = _shown(found[0])
        if one.name != provisioning.NAME:
            return one
        with self._database.read() as connection:
            return msgspec.structs.replace(one, steps=provisioning_desk.steps_of(connection, id_))

    def act(
        self, context: Context, id_: str, kind: Hand, by: str, why: str = "", *, step: str | None = None
    ) -> Work:
        """Take it up again where it stopped, or end it. `by`: who, `why`: for what reason, for the audit.

        What ended with an error stays as it ended: a new one does the same, and is what is answered. A
        tenant's own work goes on under its id. `step`: from which of its steps on it is done once more.
        Raises NotFound, Invalid, and Conflict when it is done.
        """
        known = self.may(id_, kind, step=step)
        doing = id_
        if known.name == provisioning.NAME:
            self._act_on_tenant(context, known, kind, step)
        elif kind == "cancel":
            self._connected().cancel_workflow(id_)
        elif known.status == "ERROR":
            # The engine lets nothing go on that has ended, not even with an error.
            doing = (
                self._connected()
                .fork_workflow(
                    id_, _FIRST_STEP, application_version=APPLICATION_VERSION, queue_name=known.queue
                )
                .workflow_id
            )
        else:
            self._connected().resume_workflow(id_, queue_name=known.queue or NAMES.get(known.name))
        with context.database.write() as connection:
            told = {"before": known.status}
            told |= {"as": doing} if doing != id_ else {}
            told |= {"step": step} if step else {}
            told |= {"why": why} if why else {}
            act = {"retry": "workflow.retried", "cancel": "workflow.canceled"}[kind]
            audit.append(connection, context.master.id, by, act, id_, told, context.clock.now())
        return self.show(doing)

    def _act_on_tenant(self, context: Context, known: Work, kind: Hand, step: str | None) -> None:
        """Its steps know by their rows what is done, so the same id goes through them from the first."""
        if kind == "cancel":
            # In this order: cut off between the two, it still runs, and can be ended once more.
            provisioning_desk.end(context, known.id)
            self._connected().cancel_workflow(known.id)
            return
        provisioning_desk.begin_again(context, known.id, step)
        if known.status in _FAILED or known.status in _OVER:
            self._connected().rewind_workflow(
                known.id, application_version=APPLICATION_VERSION, queue_name=provisioning.QUEUE
            )
        else:
            self._connected().resume_workflow(known.id, queue_name=provisioning.QUEUE)

    def may(self, id_: str, kind: Hand, *, step: str | None = None) -> Work:
        """The work, when this can be done with it. Raises NotFound, Invalid, and Conflict when it is over."""
        known = self.show(id_)
        if step is not None and known.name != provisioning.NAME:
            raise Invalid("Only a tenant that is being made has steps to go back to.")
        if step is not None and kind == "retry" and known.status in _OVER:
            return known
        if known.status in _OVER or (kind == "cancel" and known.status in _FAILED):
            raise Conflict("This work is done.", code="WORKFLOW_DONE")
        return known

    def _connected(self) -> DBOSClient:
        if self._client is None:
            self._client = DBOSClient(
                system_database_engine=self._database.engine, application_name=APPLICATION, lazy=True
            )
        return self._client


def unknown_work() -> NotFound:
    return NotFound("There is no such workflow.", code="WORKFLOW_UNKNOWN")


def _shown(found: WorkflowStatus) -> Work:
    """An error as its class alone: messages may quote what must not leave the server."""
    return Work(
        id=found.workflow_id,
        name=found.name,
        status=found.status,
        queue=found.queue_name,
        created_at=_moment(found.created_at),
        updated_at=_moment(found.updated_at),
        error=type(found.error).__name__ if found.error is not None else None,
    )


def _listed(found: WorkRow) -> Work:
    return Work(
        id=found.id,
        name=found.name,
        status=found.status,
        queue=found.queue,
        created_at=_moment(found.created_at),
        updated_at=_moment(found.updated_at),
        error=None,
    )


def _read_cursor(cursor: str) -> Place:
    """After which row a page begins: when it was made, and its id. Raises Invalid."""
    at, _, id_ = cursor.partition("-")
    is_moment = at.isascii() and at.isdigit() and len(at) <= _LONGEST
    if not is_moment or not 0 < len(id_) <= _LONGEST_ID or "\x00" in id_:
        raise Invalid("`cursor` is none of ours.")
    return Place(int(at), id_)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
