"""What a seller's mails look like."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

# A seller without a row has the look that all begin with. `logo` is a PNG in base64.
looks = sa.Table(
    "looks",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("color", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("logo", sa.Text),
    sa.Column("changed_at", Instant, nullable=False),
)
