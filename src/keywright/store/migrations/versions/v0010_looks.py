"""What a seller's mails and pages look like, and in which language"""

from __future__ import annotations

revision = "0010_looks"
down_revision = "0009_devices"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
