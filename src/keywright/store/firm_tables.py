"""The tables of the hmac profile: firms whose secret was changed, and the keyed hashes of HMAC keys."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

# A firm that is not in here has its first secret.
firms = sa.Table(
    "firms",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("firm", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("rotated_at", Instant, nullable=False),
)

# How a license is found by an HMAC key, by the newest and by older ones alike. The key itself is on the
# license's row, sealed.
hmac_keys = sa.Table(
    "hmac_keys",
    metadata,
    sa.Column("key_hash", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("license_id", sa.Text, sa.ForeignKey("licenses.id"), nullable=False, index=True),
    sa.Column("mac", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
