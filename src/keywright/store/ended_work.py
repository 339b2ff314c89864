"""Work that the engine has ended, in the engine's own tables, which are nobody's: they take an id once."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa


def status_of(connection: sa.Connection, known: sa.Table, schema: str | None, work: str) -> str | None:
    """What the engine says of a work. None: it knows none. `schema`: where its tables lie here."""
    query = sa.select(known.c.status).where(known.c.workflow_uuid == work)
    return connection.execute(query, execution_options=_here(known, schema)).scalar()


def forget(connection: sa.Connection, held: Sequence[sa.Table], schema: str | None, work: str) -> None:
    """Have the engine know nothing of a work. Those tables first that refer to others."""
    for table in held:
        gone = sa.delete(table).where(table.c.workflow_uuid == work)
        connection.execute(gone, execution_options=_here(table, schema))


def _here(table: sa.Table, schema: str | None) -> dict[str, dict[str | None, str | None]]:
    """The engine's tables bear a name in the place of their schema, which its own connections translate."""
    return {"schema_translate_map": {table.schema: schema}}
