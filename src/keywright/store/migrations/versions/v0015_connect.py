"""Connected accounts, and the platform's fee"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0015_connect"
down_revision = "0014_vault"
branch_labels = None
depends_on = None

_CONNECTED = sa.text("connected_by IS NOT NULL")


def upgrade() -> None:
    # No foreign key: on SQLite the table would have to be written anew.
    op.add_column("provider_accounts", sa.Column("connected_by", sa.Text(), nullable=True))
    op.create_index(
        "ix_provider_accounts_connected",
        "provider_accounts",
        ["connected_by", "external_id"],
        unique=True,
        sqlite_where=_CONNECTED,
        postgresql_where=_CONNECTED,
    )
    _create_connected_accounts()
    op.create_table(
        "tenant_fees",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_fees_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_fees")),
    )
    _create_platform_fees()


def downgrade() -> None:
    op.drop_table("platform_fees")
    op.drop_table("tenant_fees")
    op.drop_table("connected_accounts")
    op.drop_index("ix_provider_accounts_connected", table_name="provider_accounts")
    op.drop_column("provider_accounts", "connected_by")


def _create_connected_accounts() -> None:
    op.create_table(
        "connected_accounts",
        sa.Column("provider_account_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("charges", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("payouts", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("submitted", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("due", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("left_at", Instant(), nullable=True),
        sa.Column("started_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_account_id"],
            ["provider_accounts.id"],
            name=op.f("fk_connected_accounts_provider_account_id_provider_accounts"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_connected_accounts_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("provider_account_id", name=op.f("pk_connected_accounts")),
    )


def _create_platform_fees() -> None:
    op.create_table(
        "platform_fees",
        sa.Column("provider_account_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("given_back", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("payer", sa.Text(), nullable=False),
        sa.Column("charge", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("taken_month", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_account_id"],
            ["provider_accounts.id"],
            name=op.f("fk_platform_fees_provider_account_id_provider_accounts"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_platform_fees_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint(
            "provider_account_id", "external_id", "given_back", name=op.f("pk_platform_fees")
        ),
    )
    op.create_index("ix_platform_fees_month", "platform_fees", ["tenant_id", "month"])
