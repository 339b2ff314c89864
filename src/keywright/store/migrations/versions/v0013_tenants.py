"""Tenants and their accounts at providers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_tenants"
down_revision = "0012_webhooks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "generations",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, server_default="0"),
    )
    for name in ("website_origins", "return_origins"):
        op.add_column("tenants", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.create_index("ix_staff_email", "staff", ["email"])
    op.execute("INSERT INTO generations (name, number) VALUES ('shops', 0)")


def downgrade() -> None:
    op.drop_index("ix_staff_email", "staff")
    for name in ("return_origins", "website_origins"):
        op.drop_column("tenants", name)
    op.drop_table("generations")
