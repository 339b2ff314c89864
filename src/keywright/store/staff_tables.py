"""The tables of staff: people of a tenant, what they prove themselves with, and where they are signed in."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

staff = sa.Table(
    "staff",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("password_sealed", sa.Text),
    sa.Column("password_at", Instant),
    sa.Column("ready_at", Instant),
    sa.Column("ended_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("tenant_id", "email"),
)

# At the console's door nobody says for whom he works.
sa.Index("ix_staff_email", staff.c.email)

staff_links = sa.Table(
    "staff_links",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("staff_id", sa.Text, sa.ForeignKey("staff.id"), index=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("used_at", Instant),
    sa.UniqueConstraint("hash"),
)

staff_factors = sa.Table(
    "staff_factors",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("staff_id", sa.Text, sa.ForeignKey("staff.id"), nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.Text),
    sa.Column("sealed", sa.Text),
    sa.Column("counter", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("used_at", Instant),
    sa.UniqueConstraint("hash"),
)

staff_sessions = sa.Table(
    "staff_sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("staff_id", sa.Text, sa.ForeignKey("staff.id"), nullable=False, index=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("pending", sa.Text),
    sa.Column("link_id", sa.Text, sa.ForeignKey("staff_links.id")),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("seen_at", Instant, nullable=False),
    sa.Column("proved_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.UniqueConstraint("hash"),
)
sa.Index("ix_staff_sessions_expires", staff_sessions.c.expires_at)

staff_tries = sa.Table(
    "staff_tries",
    metadata,
    sa.Column("name_hash", sa.Text, primary_key=True),
    sa.Column("wrong", sa.BigInteger, nullable=False),
    sa.Column("since_at", Instant, nullable=False),
)
sa.Index("ix_staff_tries_since", staff_tries.c.since_at)
