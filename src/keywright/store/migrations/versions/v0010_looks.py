"""What a seller's mails look like, and in which language"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0010_looks"
down_revision = "0009_devices"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "looks",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("color", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("logo", sa.Text(), nullable=True),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_looks_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_looks")),
    )
    op.add_column("customers", sa.Column("language", sa.Text(), nullable=True))
    op.add_column("checkouts", sa.Column("language", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("checkouts", "language")
    op.drop_column("customers", "language")
    op.drop_table("looks")
