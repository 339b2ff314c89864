"""Firms and their derived secrets; purchases that replace or extend"""

from __future__ import annotations

revision = "0006_firms"
down_revision = "0005_signals"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
