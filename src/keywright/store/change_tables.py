"""What the processes on one database tell one another: what changed beside a SQLite server, and who works."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.tables import metadata

# Only for SQLite: the server looks here, because commands beside it cannot call it.
changes = sa.Table(
    "changes",
    metadata,
    # Never used twice, so that whoever has read up to a number misses nothing after it.
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("topics", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

# Only for PostgreSQL: who does background work. All times are the database's own, in microseconds: the clocks
# of machines differ, and the sandbox's is turned.
executors = sa.Table(
    "executors",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    # Which process it is, as only its own machine can look it up.
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("joined_at", sa.BigInteger, nullable=False),
    # Since when it has renewed in time each time: whoever was away himself may not judge others.
    sa.Column("steady_since", sa.BigInteger, nullable=False),
    sa.Column("lease_until", sa.BigInteger, nullable=False),
    sa.Column("taken_by", sa.Text),
)
