"""The tables behind what is signed: who publishes which keys, which files are out, and what was revoked."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

key_sets = sa.Table(
    "key_sets",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("root_public", sa.Text),
    sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("document", sa.Text),
    sa.Column("signed_at", Instant),
    sa.Column("signed_until", Instant),
)

license_files = sa.Table(
    "license_files",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("license_id", sa.Text, sa.ForeignKey("licenses.id"), nullable=False),
    sa.Column("activation_id", sa.Text, sa.ForeignKey("activations.id")),
    sa.Column("kid", sa.Text, nullable=False),
    sa.Column("issued_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
)
sa.Index("ix_license_files_license", license_files.c.license_id, license_files.c.expires_at)
sa.Index("ix_license_files_running", license_files.c.tenant_id, license_files.c.expires_at)

revocation_lists = sa.Table(
    "revocation_lists",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
)
