"""Signals of machines, and leases that are checked out"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0005_signals"
down_revision = "0004_signing"
branch_labels = None
depends_on = None

_TAKEN = "released_at IS NULL AND seat_until IS NOT NULL"


def upgrade() -> None:
    for name, kind in (("seat_until", Instant()), ("out_until", Instant()), ("ended_by", sa.Text())):
        op.add_column("activations", sa.Column(name, kind, nullable=True))
    op.create_index(
        "ix_activations_seat",
        "activations",
        ["seat_until"],
        sqlite_where=sa.text(_TAKEN),
        postgresql_where=sa.text(_TAKEN),
    )
    _create_signals()
    _create_rebinds()


def downgrade() -> None:
    op.drop_table("rebinds")
    op.drop_table("machine_signals")
    op.drop_index("ix_activations_seat", table_name="activations")
    for name in ("ended_by", "out_until", "seat_until"):
        op.drop_column("activations", name)


def _create_signals() -> None:
    op.create_table(
        "machine_signals",
        sa.Column("activation_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("license_id", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=True),
        sa.Column("board", sa.Text(), nullable=True),
        sa.Column("signals", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["activation_id"], ["activations.id"], name=op.f("fk_machine_signals_activation_id_activations")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_machine_signals_tenant_id_tenants")
        ),
        sa.ForeignKeyConstraint(
            ["license_id"], ["licenses.id"], name=op.f("fk_machine_signals_license_id_licenses")
        ),
        sa.PrimaryKeyConstraint("activation_id", name=op.f("pk_machine_signals")),
    )
    op.create_index("ix_machine_signals_machine", "machine_signals", ["license_id", "machine"])
    op.create_index("ix_machine_signals_board", "machine_signals", ["license_id", "board"])


def _create_rebinds() -> None:
    op.create_table(
        "rebinds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("license_id", sa.Text(), nullable=False),
        sa.Column("activation_id", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_rebinds_tenant_id_tenants")),
        sa.ForeignKeyConstraint(["license_id"], ["licenses.id"], name=op.f("fk_rebinds_license_id_licenses")),
        sa.ForeignKeyConstraint(
            ["activation_id"], ["activations.id"], name=op.f("fk_rebinds_activation_id_activations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rebinds")),
    )
    op.create_index("ix_rebinds_license", "rebinds", ["license_id", "at"])
