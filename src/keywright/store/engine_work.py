"""The engine's work as a list, read from its own tables, which are nobody's.

The engine's own list is in the order of `created_at` alone. Rows of one millisecond then have no order, and
PostgreSQL gives them another one whenever one of them changes: a list that is read page by page repeats some
and leaves others out. Here the id decides between them, and a page begins after a row and not at a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa


class Place(NamedTuple):
    """Where a page ended. `created_at` in milliseconds since 1970."""

    created_at: int
    id: str


class WorkRow(NamedTuple):
    """One workflow, without what it was given and what it answered. Times in milliseconds since 1970."""

    id: str
    name: str
    status: str
    queue: str | None
    created_at: int
    updated_at: int | None


def list_newest(
    connection: sa.Connection,
    known: sa.Table,
    schema: str | None,
    *,
    application: str,
    statuses: Sequence[str] | None,
    name: str | None,
    since: int = 0,
    after: Place | None,
    limit: int,
) -> list[WorkRow]:
    """Newest first, from after a place on. `known`: the engine's table; `schema`: where it lies here.
    `since`: milliseconds since 1970."""
    columns = ("workflow_uuid", "name", "status", "queue_name", "created_at", "updated_at")
    asked: list[sa.ColumnElement[Any]] = [
        known.c.created_at >= since,
        # What no application claims is anybody's, as for the engine itself.
        sa.or_(known.c.application_name == application, known.c.application_name.is_(None)),
    ]
    if statuses is not None:
        asked.append(known.c.status.in_(statuses))
    if name is not None:
        asked.append(known.c.name == name)
    if after is not None:
        asked.append(sa.tuple_(known.c.created_at, known.c.workflow_uuid) < sa.tuple_(*after))
    query = sa.select(*(known.c[one] for one in columns)).where(*asked)
    query = query.order_by(known.c.created_at.desc(), known.c.workflow_uuid.desc()).limit(limit)
    here = {"schema_translate_map": {known.schema: schema}}
    return [WorkRow(*row) for row in connection.execute(query, execution_options=here)]
