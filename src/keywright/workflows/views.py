"""What of the background work is there, and a hand on it: read, try again, end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

import msgspec
from dbos import DBOSClient, WorkflowStatus
from dbos._sys_db import WorkflowStatuses  # private, and the only list of what a status may be

from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.flows.context import Context
from keywright.store import audit
from keywright.store.engine import Database
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


class Work(msgspec.Struct, frozen=True):
    """One workflow. What it was given and what it answered are not shown. `error`: a class, of one alone."""

    id: str
    name: str
    status: str
    queue: str | None
    created_at: datetime | None
    updated_at: datetime | None
    error: str | None


class WorkPage(msgspec.Struct, frozen=True):
    items: list[Work]
    next_cursor: str | None


class Works:
    """The workflows of this installation: they belong to no tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._client: DBOSClient | None = None
        self._reader: DBOSClient | None = None

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
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
            raise Invalid("`cursor` is none of ours.")
        offset = int(cursor or "0")
        found = self._connected().list_workflows(
            status=status,
            name=name,
            limit=limit + 1,
            offset=offset,
            sort_desc=True,
            load_input=False,
            load_output=False,
        )
        items = [_shown(one) for one in found[:limit]]
        return WorkPage(items, str(offset + limit) if len(found) > limit else None)

    def newest(
        self, group: Group, *, name: str = "", cursor: str = "", limit: int = 50, now: datetime
    ) -> WorkPage:
        """Newest first, each page from where the one before ended. Raises Invalid for a cursor that is none.

        `now`: real time, in which the engine lives. `name`: one of `engine.NAMES`, or all.
        """
        until, skipped = _read_cursor(cursor)
        statuses = GROUPS[group]
        found = self._reading().list_workflows(
            status=list(statuses) if statuses is not None else None,
            name=name or None,
            start_time=(now - LOOKED_BACK).isoformat(),
            end_time=until.isoformat() if until is not None else None,
            limit=limit + 1,
            offset=skipped,
            sort_desc=True,
            load_input=False,
            load_output=False,
        )
        page = found[:limit]
        more = _cursor_after(page, until, skipped) if len(found) > limit else None
        return WorkPage([_shown(one) for one in page], more)

    def show(self, id_: str) -> Work:
        """Raises NotFound."""
        found = self._connected().list_workflows(workflow_ids=[id_], limit=1, load_input=False)
        if not found:
            raise unknown_work()
        return _shown(found[0])

    def act(self, context: Context, id_: str, kind: Hand, by: str, why: str = "") -> Work:
        """Take it up again where it stopped, or end it. `by`: who, `why`: for what reason, for the audit.

        What ended with an error stays as it ended: a new one does the same, and is what is answered.
        Raises NotFound, and Conflict when it is done.
        """
        known = self.may(id_, kind)
        doing = id_
        if kind == "cancel":
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
            told |= {"why": why} if why else {}
            act = {"retry": "workflow.retried", "cancel": "workflow.canceled"}[kind]
            audit.append(connection, context.master.id, by, act, id_, told, context.clock.now())
        return self.show(doing)

    def may(self, id_: str, kind: Hand) -> Work:
        """The work, when this can be done with it. Raises NotFound, and Conflict when it is over."""
        known = self.show(id_)
        if known.status in _OVER or (kind == "cancel" and known.status in _FAILED):
            raise Conflict("This work is done.", code="WORKFLOW_DONE")
        return known

    def _reading(self) -> DBOSClient:
        """Beside the writers: on SQLite the other one waits for its turn to write, and makes others wait."""
        if self._reader is None:
            self._reader = DBOSClient(
                system_database_engine=self._database.reader, application_name=APPLICATION, lazy=True
            )
        return self._reader

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


def _read_cursor(cursor: str) -> tuple[datetime | None, int]:
    """Up to when, and how many of that very millisecond were shown. Raises Invalid."""
    if not cursor:
        return None, 0
    at, _, skipped = cursor.partition("-")
    if not all(one.isascii() and one.isdigit() and len(one) <= _LONGEST for one in (at, skipped)):
        raise Invalid("`cursor` is none of ours.")
    # Half a millisecond more: the engine rounds down what it is given.
    return datetime.fromtimestamp((int(at) + 0.5) / 1000, UTC), int(skipped)


def _cursor_after(page: Sequence[WorkflowStatus], until: datetime | None, skipped: int) -> str:
    last = page[-1].created_at or 0
    same = sum(one.created_at == last for one in page)
    if until is not None and last == int(until.timestamp() * 1000):
        same += skipped
    return f"{last}-{same}"


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
