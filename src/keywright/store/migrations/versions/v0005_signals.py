"""Signals of machines, and leases that are checked out"""

from __future__ import annotations

revision = "0005_signals"
down_revision = "0004_signing"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
