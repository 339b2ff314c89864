"""The revenue of each month, and indices for the pages that count and list"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store import revenue

revision = "0011_numbers"
down_revision = "0010_looks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "revenue",
        sa.Column("provider_account_id", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("part", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("paid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("given_back", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_account_id"],
            ["provider_accounts.id"],
            name=op.f("fk_revenue_provider_account_id_provider_accounts"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_revenue_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("provider_account_id", "month", "currency", "part", name=op.f("pk_revenue")),
    )
    ended, apart = sa.text("kind = 'license.revoked'"), sa.text("license_id IS NULL")
    op.create_index(
        "ix_timeline_revoked", "timeline", ["tenant_id", "at"], sqlite_where=ended, postgresql_where=ended
    )
    op.create_index(
        "ix_announcements_apart",
        "announcements",
        ["tenant_id", "id"],
        sqlite_where=apart,
        postgresql_where=apart,
    )
    op.create_index("ix_licenses_last5", "licenses", ["key_last5", "tenant_id"])
    op.create_index("ix_licenses_made", "licenses", ["created_at", "tenant_id"])
    for name in ("actor", "act", "subject"):
        op.create_index(f"ix_audit_{name}", "audit", ["tenant_id", name, "seq"])
    op.create_index("ix_audit_at", "audit", ["tenant_id", "at", "seq"])
    # By the code of today: it reads the same document as the server, and what that is like does not change
    # without another migration.
    revenue.recount(op.get_bind())


def downgrade() -> None:
    for name in ("actor", "act", "subject", "at"):
        op.drop_index(f"ix_audit_{name}", table_name="audit")
    op.drop_index("ix_licenses_made", table_name="licenses")
    op.drop_index("ix_licenses_last5", table_name="licenses")
    op.drop_index("ix_announcements_apart", table_name="announcements")
    op.drop_index("ix_timeline_revoked", table_name="timeline")
    op.drop_table("revenue")
