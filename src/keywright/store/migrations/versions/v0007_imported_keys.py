"""Keys that existed before us, where a license comes from, and an audit of what is about no license"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0007_imported_keys"
down_revision = "0006_firms"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("licenses", sa.Column("origin", sa.Text(), nullable=False, server_default="purchase"))
    op.execute("UPDATE licenses SET origin = 'staff' WHERE purchase_id IS NULL")
    _create_audit()
    op.create_table(
        "key_schemes",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_key_schemes_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "scheme", name=op.f("pk_key_schemes")),
    )
    op.create_table(
        "former_keys",
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("license_id", sa.Text(), nullable=False),
        sa.Column("replaced_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_former_keys_tenant_id_tenants")),
        sa.ForeignKeyConstraint(
            ["license_id"], ["licenses.id"], name=op.f("fk_former_keys_license_id_licenses")
        ),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_former_keys")),
    )


def downgrade() -> None:
    op.drop_table("former_keys")
    op.drop_table("key_schemes")
    op.drop_table("audit_heads")
    op.drop_table("audit")
    op.drop_column("licenses", "origin")


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_audit_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "seq", name=op.f("pk_audit")),
    )
    op.create_table(
        "audit_heads",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("hash", sa.Text(), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_audit_heads_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_audit_heads")),
    )
