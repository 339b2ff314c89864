"""Firms and their derived secrets; purchases that replace or extend"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0006_firms"
down_revision = "0005_signals"
branch_labels = None
depends_on = None

_NAMED = sa.text("firm IS NOT NULL")


def upgrade() -> None:
    op.add_column("licenses", sa.Column("hmac_sealed", sa.Text(), nullable=True))
    op.add_column("checkouts", sa.Column("renews", sa.Text(), nullable=True))
    op.create_index(
        "ix_licenses_firm", "licenses", ["tenant_id", "firm"], sqlite_where=_NAMED, postgresql_where=_NAMED
    )
    op.create_table(
        "firms",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("firm", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("rotated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_firms_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "firm", name=op.f("pk_firms")),
    )
    op.create_table(
        "hmac_keys",
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("license_id", sa.Text(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_hmac_keys_tenant_id_tenants")),
        sa.ForeignKeyConstraint(
            ["license_id"], ["licenses.id"], name=op.f("fk_hmac_keys_license_id_licenses")
        ),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_hmac_keys")),
    )
    op.create_index("ix_hmac_keys_license_id", "hmac_keys", ["license_id"])


def downgrade() -> None:
    op.drop_table("hmac_keys")
    op.drop_table("firms")
    op.drop_index("ix_licenses_firm", table_name="licenses")
    op.drop_column("checkouts", "renews")
    op.drop_column("licenses", "hmac_sealed")
