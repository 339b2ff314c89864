"""What of the background work is there, and a hand on it: read, try again, end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, get_args

import msgspec
from dbos import DBOSClient, WorkflowStatus
from dbos._sys_db import WorkflowStatuses  # private, and the only list of what a status may be

from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.flows.context import Context
from keywright.store import audit
from keywright.store.engine import Database
from keywright.workflows.engine import APPLICATION

Hand = Literal["retry", "cancel"]

LARGEST_PAGE = 200
_STATUSES = get_args(WorkflowStatuses)
_OVER = ("SUCCESS",)


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

    def show(self, id_: str) -> Work:
        """Raises NotFound."""
        found = self._connected().list_workflows(workflow_ids=[id_], limit=1, load_input=False)
        if not found:
            raise unknown_work()
        return _shown(found[0])

    def act(self, context: Context, id_: str, kind: Hand, by: str) -> Work:
        """Take it up again where it stopped, or end it. `by`: who, for the audit.

        Raises NotFound, and Conflict when it is done.
        """
        known = self.show(id_)
        if known.status in _OVER:
            raise Conflict("This work is done.", code="WORKFLOW_DONE")
        if kind == "cancel":
            self._connected().cancel_workflow(id_)
        else:
            self._connected().resume_workflow(id_, queue_name=known.queue)
        with context.database.write() as connection:
            told = {"before": known.status}
            act = {"retry": "workflow.retried", "cancel": "workflow.canceled"}[kind]
            audit.append(connection, context.master.id, by, act, id_, told, context.clock.now())
        return self.show(id_)

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


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
