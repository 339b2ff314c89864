"""Signing keys through their states, the signed key set and the revocation list"""

from __future__ import annotations

revision = "0004_signing"
down_revision = "0003_first_portal"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    """Nothing yet."""
