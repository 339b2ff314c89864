"""Every provider: what is fetched, which purchase an event was about, reconciliations, credentials"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0002_every_provider"
down_revision = "0001_straight_line"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("provider_accounts", sa.Column("reconciled_until", Instant(), nullable=True))
    op.add_column("checkouts", sa.Column("amount", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("checkouts", sa.Column("currency", sa.Text(), server_default="", nullable=False))
    op.add_column("customers", sa.Column("email_told_at", Instant(), nullable=True))
    op.add_column("licenses", sa.Column("seats_after", sa.BigInteger(), nullable=True))
    op.add_column("licenses", sa.Column("seats_after_at", Instant(), nullable=True))
    _create_vault_entries()
    _create_inbox_purchases()
    _create_refetches()
    _create_reconciliations()
    _create_ledger()


def downgrade() -> None:
    op.execute("DROP VIEW billing_ledger")
    for table in ("reconciliations", "refetches", "inbox_purchases", "vault_entries"):
        op.drop_table(table)
    for table, column in (
        ("licenses", "seats_after_at"),
        ("licenses", "seats_after"),
        ("customers", "email_told_at"),
        ("checkouts", "currency"),
        ("checkouts", "amount"),
        ("provider_accounts", "reconciled_until"),
    ):
        op.drop_column(table, column)


def _create_vault_entries() -> None:
    op.create_table(
        "vault_entries",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_vault_entries_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "owner", name=op.f("pk_vault_entries")),
    )


def _create_inbox_purchases() -> None:
    op.create_table(
        "inbox_purchases",
        sa.Column("inbox_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name=op.f("fk_inbox_purchases_inbox_id_inbox")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_inbox_purchases_tenant_id_tenants")
        ),
        sa.ForeignKeyConstraint(
            ["purchase_id"], ["purchases.id"], name=op.f("fk_inbox_purchases_purchase_id_purchases")
        ),
        sa.PrimaryKeyConstraint("inbox_id", name=op.f("pk_inbox_purchases")),
    )
    op.create_index("ix_inbox_purchases_purchase_id", "inbox_purchases", ["purchase_id"], unique=False)


def _create_refetches() -> None:
    op.create_table(
        "refetches",
        sa.Column("provider_account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["provider_account_id"],
            ["provider_accounts.id"],
            name=op.f("fk_refetches_provider_account_id_provider_accounts"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_refetches_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("provider_account_id", "kind", "external_id", name=op.f("pk_refetches")),
    )
    op.create_index("ix_refetches_due", "refetches", ["provider_account_id", "due_at"], unique=False)


def _create_reconciliations() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("provider_account_id", sa.Text(), nullable=False),
        sa.Column("since_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("fixed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("found", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("findings", sa.Text(), server_default="[]", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["provider_account_id"],
            ["provider_accounts.id"],
            name=op.f("fk_reconciliations_provider_account_id_provider_accounts"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_reconciliations_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_index(
        "ix_reconciliations_account", "reconciliations", ["provider_account_id", "id"], unique=False
    )


def _create_ledger() -> None:
    """All that support needs to see: which money, told by which event, runs on which machine."""
    op.execute(
        "CREATE VIEW billing_ledger AS SELECT ip.transaction_id, i.dedupe_key AS webhook_event,"
        " a.fingerprint_hash AS hardware_anchor"
        " FROM inbox_purchases ip JOIN inbox i ON i.id = ip.inbox_id"
        " LEFT JOIN licenses l ON l.purchase_id = ip.purchase_id"
        " LEFT JOIN activations a ON a.license_id = l.id AND a.released_at IS NULL"
        " WHERE ip.transaction_id IS NOT NULL"
    )
