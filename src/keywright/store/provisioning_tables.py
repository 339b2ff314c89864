"""The tables of tenants that are customers of another: which customer each is, and how they came to be."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

# `tenant_id` is the seller's, as in every table; `customer_tenant_id` is who buys from him.
tenant_customers = sa.Table(
    "tenant_customers",
    metadata,
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("customer_tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False, index=True),
    sa.Column("created_at", Instant, nullable=False),
)

provisionings = sa.Table(
    "provisionings",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("wish", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("customer_tenant_id", sa.Text),
    sa.Column("provider_account_id", sa.Text),
    sa.Column("customer", sa.Text),
    sa.Column("subscription", sa.Text),
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
)
sa.Index("ix_provisionings_created", provisionings.c.tenant_id, provisionings.c.created_at)

provisioning_steps = sa.Table(
    "provisioning_steps",
    metadata,
    sa.Column("provisioning_id", sa.Text, sa.ForeignKey("provisionings.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("error", sa.Text),
    sa.Column("attempts", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("changed_at", Instant, nullable=False),
)
