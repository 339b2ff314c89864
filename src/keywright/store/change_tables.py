"""What processes beside a SQLite server changed: it looks here, because they cannot call it."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.tables import metadata

changes = sa.Table(
    "changes",
    metadata,
    # Never used twice, so that whoever has read up to a number misses nothing after it.
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("topics", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
