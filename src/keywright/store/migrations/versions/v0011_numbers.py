"""Indices for the pages that count and list"""

from __future__ import annotations

revision = "0011_numbers"
down_revision = "0010_looks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
