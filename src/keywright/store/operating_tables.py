"""The tables of what staff do: the audit, a chain for each tenant, and the kinds of keys sellers brought."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("act", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False, server_default="{}"),
    sa.Column("hash", sa.Text, nullable=False),
    # What staff filter by; each keeps the order of the chain, so that a page is read and nothing sorted.
    sa.Index("ix_audit_actor", "tenant_id", "actor", "seq"),
    sa.Index("ix_audit_act", "tenant_id", "act", "seq"),
    sa.Index("ix_audit_subject", "tenant_id", "subject", "seq"),
    sa.Index("ix_audit_at", "tenant_id", "at", "seq"),
)

# Where the chain ends, so that entries cut off its end are missed; and the row that writers queue at.
audit_heads = sa.Table(
    "audit_heads",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("hash", sa.Text, nullable=False, server_default=""),
)

# Under which schemes keys are held that are not of ours: only these are tried on a text that is no key of
# ours.
key_schemes = sa.Table(
    "key_schemes",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("scheme", sa.Text, primary_key=True),
    sa.Column("created_at", Instant, nullable=False),
)

# Keys that were replaced by another: a file of keys that is imported once more must not bring them back.
former_keys = sa.Table(
    "former_keys",
    metadata,
    sa.Column("key_hash", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("license_id", sa.Text, sa.ForeignKey("licenses.id"), nullable=False),
    sa.Column("replaced_at", Instant, nullable=False),
)
