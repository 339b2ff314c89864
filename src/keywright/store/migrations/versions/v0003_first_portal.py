"""A first portal: links by mail, the sessions they open, and customers found by their address in any case"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0003_first_portal"
down_revision = "0002_every_provider"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_customers_email_lower", "customers", ["tenant_id", sa.text("lower(email)")])
    _create_links()
    _create_sessions()


def downgrade() -> None:
    op.drop_table("portal_sessions")
    op.drop_table("portal_links")
    op.drop_index("ix_customers_email_lower", table_name="customers")


def _create_links() -> None:
    op.create_table(
        "portal_links",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("email_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("browser_hash", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_portal_links_tenant_id_tenants")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_portal_links_customer_id_customers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_portal_links")),
        sa.UniqueConstraint("hash", name=op.f("uq_portal_links_hash")),
    )
    op.create_index("ix_portal_links_asked", "portal_links", ["tenant_id", "email_hash", "created_at"])
    op.create_index("ix_portal_links_expires", "portal_links", ["expires_at"])


def _create_sessions() -> None:
    op.create_table(
        "portal_sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("email_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_portal_sessions_tenant_id_tenants")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_portal_sessions_customer_id_customers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_portal_sessions")),
        sa.UniqueConstraint("hash", name=op.f("uq_portal_sessions_hash")),
    )
    op.create_index("ix_portal_sessions_expires", "portal_sessions", ["expires_at"])
