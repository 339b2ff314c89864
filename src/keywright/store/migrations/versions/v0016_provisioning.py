"""Seats of tenants, and how tenants come to be"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0016_provisioning"
down_revision = "0015_connect"
branch_labels = None
depends_on = None

_THEIRS = sa.text("customer_tenant_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("purchases", sa.Column("customer_tenant_id", sa.Text(), nullable=True))
    op.add_column("purchases", sa.Column("users", sa.BigInteger(), nullable=True))
    op.add_column("purchases", sa.Column("awaits", sa.Text(), nullable=True))
    op.create_index(
        "ix_purchases_customer_tenant",
        "purchases",
        ["customer_tenant_id"],
        sqlite_where=_THEIRS,
        postgresql_where=_THEIRS,
    )
    _create_customers()
    _create_provisionings()
    _create_steps()


def downgrade() -> None:
    op.drop_table("provisioning_steps")
    op.drop_table("provisionings")
    op.drop_table("tenant_customers")
    op.drop_index("ix_purchases_customer_tenant", "purchases")
    with op.batch_alter_table("purchases") as changed:
        for name in ("customer_tenant_id", "users", "awaits"):
            changed.drop_column(name)


def _create_customers() -> None:
    op.create_table(
        "tenant_customers",
        sa.Column("provider_account_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("customer_tenant_id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_account_id"],
            ["provider_accounts.id"],
            name=op.f("fk_tenant_customers_provider_account_id_provider_accounts"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_customers_tenant_id_tenants")
        ),
        sa.ForeignKeyConstraint(
            ["customer_tenant_id"],
            ["tenants.id"],
            name=op.f("fk_tenant_customers_customer_tenant_id_tenants"),
        ),
        sa.PrimaryKeyConstraint("provider_account_id", "external_id", name=op.f("pk_tenant_customers")),
    )
    op.create_index(
        op.f("ix_tenant_customers_customer_tenant_id"), "tenant_customers", ["customer_tenant_id"]
    )


def _create_provisionings() -> None:
    op.create_table(
        "provisionings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("wish", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("customer_tenant_id", sa.Text(), nullable=True),
        sa.Column("provider_account_id", sa.Text(), nullable=True),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("subscription", sa.Text(), nullable=True),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_provisionings_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provisionings")),
    )
    op.create_index("ix_provisionings_created", "provisionings", ["tenant_id", "created_at"])


def _create_steps() -> None:
    op.create_table(
        "provisioning_steps",
        sa.Column("provisioning_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attempts", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["provisioning_id"],
            ["provisionings.id"],
            name=op.f("fk_provisioning_steps_provisioning_id_provisionings"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_provisioning_steps_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("provisioning_id", "name", name=op.f("pk_provisioning_steps")),
    )
