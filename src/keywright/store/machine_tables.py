"""What tells machines apart beyond their fingerprints, and how often a license followed one that changed."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

# One row a machine, as long as it holds its license: whoever frees a machine frees this with it.
machine_signals = sa.Table(
    "machine_signals",
    metadata,
    sa.Column("activation_id", sa.Text, sa.ForeignKey("activations.id"), primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("license_id", sa.Text, sa.ForeignKey("licenses.id"), nullable=False),
    # Beside the others, because a machine that changed is looked up by one of these two.
    sa.Column("machine", sa.Text),
    sa.Column("board", sa.Text),
    sa.Column("signals", sa.Text, nullable=False),
)
sa.Index("ix_machine_signals_machine", machine_signals.c.license_id, machine_signals.c.machine)
sa.Index("ix_machine_signals_board", machine_signals.c.license_id, machine_signals.c.board)

rebinds = sa.Table(
    "rebinds",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("license_id", sa.Text, sa.ForeignKey("licenses.id"), nullable=False),
    sa.Column("activation_id", sa.Text, sa.ForeignKey("activations.id"), nullable=False),
    sa.Column("at", Instant, nullable=False),
)
sa.Index("ix_rebinds_license", rebinds.c.license_id, rebinds.c.at)
