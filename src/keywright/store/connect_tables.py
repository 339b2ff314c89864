"""Tables of connected accounts: how each stands at its provider, its fee, and the fees the platform got."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata, provider_accounts

# Events name the account by the provider's own id, at one address for all of them.
CONNECTED = sa.text("connected_by IS NOT NULL")
sa.Index(
    "ix_provider_accounts_connected",
    provider_accounts.c.connected_by,
    provider_accounts.c.external_id,
    unique=True,
    sqlite_where=CONNECTED,
    postgresql_where=CONNECTED,
)

connected_accounts = sa.Table(
    "connected_accounts",
    metadata,
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("charges", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("payouts", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("submitted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("due", sa.Text, nullable=False, server_default="[]"),
    sa.Column("disabled_reason", sa.Text),
    sa.Column("seen_at", Instant, nullable=False),
    sa.Column("left_at", Instant),
    sa.Column("started_at", Instant, nullable=False),
)

tenant_fees = sa.Table(
    "tenant_fees",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
)

# A row for each sum given back that was told of, 0 the first: a register, so that the order in which events
# arrive does not matter, and neither does hearing of one twice.
platform_fees = sa.Table(
    "platform_fees",
    metadata,
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    sa.Column("given_back", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("payer", sa.Text, nullable=False),
    sa.Column("charge", sa.Text),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("taken_month", sa.Text, nullable=False),
    sa.Column("month", sa.Text, nullable=False),
    sa.Index("ix_platform_fees_month", "tenant_id", "month"),
)
