"""Checkouts for a device, found by their claim; and what other processes changed, for live streams"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0009_devices"
down_revision = "0008_staff"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkouts", sa.Column("claim_hash", sa.Text(), nullable=True))
    op.add_column("checkouts", sa.Column("device_hash", sa.Text(), nullable=True))
    op.add_column("checkouts", sa.Column("device_name", sa.Text(), nullable=True))
    op.add_column("checkouts", sa.Column("device_bound_at", Instant(), nullable=True))
    op.create_index("ix_checkouts_claim", "checkouts", ["claim_hash"])
    devices = sa.text("device_hash IS NOT NULL")
    op.create_index(
        "ix_checkouts_device", "checkouts", ["purchase_id"], sqlite_where=devices, postgresql_where=devices
    )
    op.create_table(
        "changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("topics", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_changes")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("changes")
    op.drop_index("ix_checkouts_device", table_name="checkouts")
    op.drop_index("ix_checkouts_claim", table_name="checkouts")
    for name in ("device_bound_at", "device_name", "device_hash", "claim_hash"):
        op.drop_column("checkouts", name)
