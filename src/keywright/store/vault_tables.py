"""The tables of the vault: what is sealed, the keys it is sealed with, and which master keys wrap those."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

vault_entries = sa.Table(
    "vault_entries",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

data_keys = sa.Table(
    "data_keys",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("wrapped", sa.Text, nullable=False),
    # Empty: from before master keys had ids.
    sa.Column("master_id", sa.Text, nullable=False, server_default=""),
    sa.Column("created_at", Instant, nullable=False),
)

master_keys = sa.Table(
    "master_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("until", Instant),
    sa.Column("retired_at", Instant),
    sa.UniqueConstraint("generation"),
)

blind_keys = sa.Table(
    "blind_keys",
    metadata,
    sa.Column("purpose", sa.Text, primary_key=True),
    sa.Column("wrapped", sa.Text, nullable=False),
    sa.Column("master_id", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

# Tenants whose data key was destroyed. Their rows go afterwards, a few at a time.
closed_tenants = sa.Table(
    "closed_tenants",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("closed_at", Instant, nullable=False),
    sa.Column("shredded_at", Instant),
)
