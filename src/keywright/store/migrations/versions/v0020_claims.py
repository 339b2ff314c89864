"""One payment is one tenant's, where several have keys of the same account"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020_claims"
down_revision = "0019_executors"
branch_labels = None
depends_on = None

_CLAIMED = sa.text("realm IS NOT NULL")


def upgrade() -> None:
    op.add_column("purchase_aliases", sa.Column("realm", sa.Text(), nullable=True))
    _claim_what_is_there()
    op.create_index(
        "uq_purchase_aliases_claimed",
        "purchase_aliases",
        ["external_id", "kind", "realm"],
        unique=True,
        sqlite_where=_CLAIMED,
        postgresql_where=_CLAIMED,
    )


def downgrade() -> None:
    op.drop_index("uq_purchase_aliases_claimed", "purchase_aliases")
    op.drop_column("purchase_aliases", "realm")


def _claim_what_is_there() -> None:
    """What two tenants already have stays both tenants', and the first one's claim. Ids sort by time."""
    op.execute(
        "UPDATE purchase_aliases SET realm ="
        " (SELECT a.provider || ':' || CASE WHEN a.live THEN 'live' ELSE 'test' END FROM provider_accounts a"
        "  WHERE a.id = purchase_aliases.provider_account_id)"
        " WHERE EXISTS (SELECT 1 FROM provider_accounts a WHERE a.id = purchase_aliases.provider_account_id"
        "  AND ((a.provider IN ('stripe', 'paypal') AND kind IN ('session', 'subscription'))"
        "   OR (a.provider = 'paystack' AND kind IN ('charge', 'subscription'))))"
        " AND NOT EXISTS (SELECT 1 FROM closed_tenants c WHERE c.tenant_id = purchase_aliases.tenant_id)"
    )
    op.execute(
        "UPDATE purchase_aliases SET realm = NULL WHERE (provider_account_id, kind, external_id) IN"
        " (SELECT provider_account_id, kind, external_id FROM"
        "  (SELECT provider_account_id, kind, external_id, row_number() OVER"
        "   (PARTITION BY realm, kind, external_id ORDER BY purchase_id, provider_account_id) AS place"
        "   FROM purchase_aliases WHERE realm IS NOT NULL) AS ranked WHERE place > 1)"
    )
