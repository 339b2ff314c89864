"""The vault's keys and their generations"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0014_vault"
down_revision = "0013_tenants"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Filled at the next start, which has the master key: see signing/keyring.py.
    op.create_table(
        "master_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.Column("until", Instant(), nullable=True),
        sa.Column("retired_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_master_keys")),
        sa.UniqueConstraint("generation", name=op.f("uq_master_keys_generation")),
    )
    op.create_table(
        "blind_keys",
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.Text(), nullable=False),
        sa.Column("master_id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", name=op.f("pk_blind_keys")),
    )
    op.add_column("data_keys", sa.Column("master_id", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "closed_tenants",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("closed_at", Instant(), nullable=False),
        sa.Column("shredded_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_closed_tenants_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_closed_tenants")),
    )


def downgrade() -> None:
    op.drop_table("closed_tenants")
    op.drop_column("data_keys", "master_id")
    op.drop_table("blind_keys")
    op.drop_table("master_keys")
