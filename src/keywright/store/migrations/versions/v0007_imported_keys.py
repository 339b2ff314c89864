"""Keys that existed before us"""

from __future__ import annotations

revision = "0007_imported_keys"
down_revision = "0006_firms"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
