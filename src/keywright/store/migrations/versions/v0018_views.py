"""Views for people who watch with SQL"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018_views"
down_revision = "0017_imports"
branch_labels = None
depends_on = None

# `stripe_webhook_events` is there since the first revision.
_VIEWS = ("stripe_accounts", "stripe_customers", "stripe_products", "stripe_prices", "stripe_subscriptions")


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    # SQLite adds only what it works out when it is read, older PostgreSQL only what it keeps.
    op.add_column("tenants", sa.Column("tenant", sa.Text(), sa.Computed("slug", persisted=not is_sqlite)))
    moment = "to_timestamp({} / 1000000.0)"
    if is_sqlite:
        moment = "strftime('%Y-%m-%dT%H:%M:%fZ', {} / 1000000.0, 'unixepoch')"
    _create_accounts(moment)
    _create_customers(moment, is_sqlite=is_sqlite)
    _create_catalog()
    _create_subscriptions(moment, is_sqlite=is_sqlite)


def downgrade() -> None:
    for name in reversed(_VIEWS):
        op.execute(f"DROP VIEW {name}")
    op.drop_column("tenants", "tenant")


def _create_accounts(moment: str) -> None:
    op.execute(
        "CREATE VIEW stripe_accounts AS SELECT t.slug AS tenant, a.id AS account,"  # noqa: S608  # our own names
        " a.external_id AS stripe_account_external_id, a.live AS livemode,"
        " a.connected_by IS NOT NULL AS connected, c.charges AS charges_enabled,"
        " c.payouts AS payouts_enabled, c.submitted AS details_submitted, c.disabled_reason,"
        f" {moment.format('c.left_at')} AS disconnected_at, {moment.format('a.created_at')} AS created_at"
        " FROM provider_accounts a JOIN tenants t ON t.id = a.tenant_id"
        " LEFT JOIN connected_accounts c ON c.provider_account_id = a.id WHERE a.provider = 'stripe'"
    )


def _create_customers(moment: str, *, is_sqlite: bool) -> None:
    """Who bought as a person, and who as a tenant; who did both is one row."""
    written = "json_object('tenant_id', m.customer_tenant_id)"
    if not is_sqlite:
        written = "json_build_object('tenant_id', m.customer_tenant_id)::text"
    op.execute(
        "CREATE VIEW stripe_customers AS SELECT t.slug AS tenant,"  # noqa: S608  # as above
        " k.external_id AS stripe_customer_external_id, b.slug AS billing_tenant,"
        " coalesce(c.email, t.email) AS email, coalesce(c.name, t.name) AS name,"
        f" CASE WHEN m.customer_tenant_id IS NULL THEN '{{}}' ELSE {written} END AS metadata,"
        f" {moment.format('coalesce(c.created_at, m.created_at)')} AS created_at"
        " FROM (SELECT provider_account_id, external_id FROM customer_accounts"
        "  UNION SELECT provider_account_id, external_id FROM tenant_customers) k"
        " JOIN provider_accounts a ON a.id = k.provider_account_id JOIN tenants b ON b.id = a.tenant_id"
        " LEFT JOIN customer_accounts h"
        "  ON h.provider_account_id = k.provider_account_id AND h.external_id = k.external_id"
        " LEFT JOIN customers c ON c.id = h.customer_id"
        " LEFT JOIN tenant_customers m"
        "  ON m.provider_account_id = k.provider_account_id AND m.external_id = k.external_id"
        " LEFT JOIN tenants t ON t.id = m.customer_tenant_id WHERE a.provider = 'stripe'"
    )


def _create_catalog() -> None:
    op.execute(
        "CREATE VIEW stripe_products AS SELECT t.slug AS tenant, r.slug AS product, r.name,"
        " NOT r.retired AS active FROM products r JOIN tenants t ON t.id = r.tenant_id"
        " WHERE EXISTS (SELECT 1 FROM plans p JOIN prices s ON s.plan_id = p.id"
        "  WHERE p.product_id = r.id AND s.provider = 'stripe')"
    )
    op.execute(
        "CREATE VIEW stripe_prices AS SELECT t.slug AS tenant, s.external_id AS stripe_price_external_id,"
        " r.slug AS product, p.slug AS plan, s.key AS price, s.amount, s.currency,"
        ' s."interval" AS recurring_interval, NOT s.retired AS active'
        " FROM prices s JOIN plans p ON p.id = s.plan_id JOIN products r ON r.id = p.product_id"
        " JOIN tenants t ON t.id = s.tenant_id WHERE s.provider = 'stripe'"
    )


def _create_subscriptions(moment: str, *, is_sqlite: bool) -> None:
    if is_sqlite:
        seen = "p.state->'$.subscription'"
        status, ends = f"{seen}->>'$.status'", f"coalesce({seen}->>'$.canceling', 0) <> 0"
        quantity = f"(SELECT sum(value->>'$.quantity') FROM json_each({seen}, '$.items'))"  # noqa: S608  # as above
    else:
        seen = "(p.state::json->'subscription')"
        status, ends = f"{seen}->>'status'", f"coalesce(({seen}->>'canceling')::boolean, false)"
        items = f"json_array_elements({seen}->'items')"
        quantity = f"(SELECT sum((value->>'quantity')::bigint)::bigint FROM {items})"  # noqa: S608  # as above
    op.execute(
        "CREATE VIEW stripe_subscriptions AS SELECT m.slug AS tenant,"  # noqa: S608  # as above
        " n.external_id AS stripe_subscription_external_id,"
        " (SELECT min(h.external_id) FROM customer_accounts h WHERE h.customer_id = p.customer_id"
        "  AND h.provider_account_id = p.provider_account_id) AS stripe_customer_external_id,"
        f" b.slug AS billing_tenant, {status} AS status, {quantity} AS quantity,"
        f" {ends} AS cancel_at_period_end, p.users AS licensed_user_count,"
        f" {moment.format('p.created_at')} AS created_at, {moment.format('p.updated_at')} AS updated_at"
        " FROM purchase_aliases n JOIN purchases p ON p.id = n.purchase_id"
        " JOIN provider_accounts a ON a.id = n.provider_account_id JOIN tenants b ON b.id = a.tenant_id"
        " LEFT JOIN tenants m ON m.id = p.customer_tenant_id"
        " WHERE n.kind = 'subscription' AND a.provider = 'stripe'"
    )
