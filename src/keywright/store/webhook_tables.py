"""The tables of what is sent to others: their endpoints, and each delivery that is owed to one."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

webhook_endpoints = sa.Table(
    "webhook_endpoints",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False, index=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("types", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("off_reason", sa.Text),
    sa.Column("off_at", Instant),
    sa.Column("failing_since", Instant),
    sa.Column("failed_at", Instant),
    sa.Column("not_before", Instant),
    sa.Column("secret_sealed", sa.Text, nullable=False),
    sa.Column("former_sealed", sa.Text),
    sa.Column("former_until", Instant),
    sa.Column("created_at", Instant, nullable=False),
)

# The body is written when it happens: what an event says must not depend on when it arrives.
webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("endpoint_id", sa.Text, sa.ForeignKey("webhook_endpoints.id"), nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("occurrence", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("next_attempt_at", Instant),
    sa.Column("delivered_at", Instant),
    sa.Column("last_status", sa.BigInteger),
    sa.Column("last_error", sa.Text),
    sa.Column("claim", sa.Text),
    sa.Column("claimed_until", Instant),
    sa.UniqueConstraint("endpoint_id", "occurrence"),
)
_pending = webhook_deliveries.c.status == sa.literal_column("'pending'")
sa.Index(
    "ix_webhook_deliveries_due",
    webhook_deliveries.c.endpoint_id,
    webhook_deliveries.c.next_attempt_at,
    sqlite_where=_pending,
    postgresql_where=_pending,
)
