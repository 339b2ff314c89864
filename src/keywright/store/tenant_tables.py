"""What belongs to all tenants together: the numbers by which processes notice that something changed."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.tables import metadata, tenants

# Who watches with SQL asks for a tenant by this name.
tenants.append_column(sa.Column("tenant", sa.Text, sa.Computed("slug")))

# One row for each thing that processes keep in memory and have to read again when it changes.
generations = sa.Table(
    "generations",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False, server_default="0"),
)
