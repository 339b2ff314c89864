"""Staff, their second factors and their sessions"""

from __future__ import annotations

revision = "0008_staff"
down_revision = "0007_imported_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
