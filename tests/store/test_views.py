"""The views for people who watch with SQL: what the contract promises can be asked, and holds no secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.flows.context import Context
from keywright.store.rows import micros
from keywright.store.tables import tenants
from tests.conftest import TurnableClock
from tests.life import stripe, world

MONTH = timedelta(days=30)
CUSTOMERS = "tenant stripe_customer_external_id billing_tenant email name metadata created_at"
EVENTS = "event_id event_type status error created_at processed_at"
VIEWS = {
    "stripe_accounts": "tenant account stripe_account_external_id livemode connected charges_enabled"
    " payouts_enabled details_submitted disabled_reason disconnected_at created_at",
    "stripe_customers": CUSTOMERS,
    "stripe_products": "tenant product name active",
    "stripe_prices": "tenant stripe_price_external_id product plan price amount currency recurring_interval"
    " active",
    "stripe_subscriptions": "tenant stripe_subscription_external_id stripe_customer_external_id"
    " billing_tenant status quantity cancel_at_period_end licensed_user_count created_at updated_at",
    "stripe_webhook_events": EVENTS,
    "billing_ledger": "transaction_id webhook_event hardware_anchor",
}
# What a row may hold that opens something, or lets somebody be somebody else.
SECRET = ("hash", "sealed", "secret", "private", "mac", "token", "wrapped", "body")


def ask(context: Context, text: str, **values: object) -> list[dict[str, Any]]:
    with context.database.read() as connection:
        return [dict(row) for row in connection.execute(sa.text(text), values).mappings()]


def sell(context: Context, clock: TurnableClock) -> dict[str, Any]:
    world.stock(context, price_pro=Terms())
    at = clock.now()
    begun = stripe.event(
        "customer.subscription.created", stripe.subscription("sub_1", at, at + MONTH, quantity=3), at
    )
    assert world.outcome(context, begun) == "applied"
    return begun


def test_there_are_these_views_with_these_columns(context: Context) -> None:
    with context.database.read() as connection:
        inspector = sa.inspect(connection)
        found = {
            name: " ".join(column["name"] for column in inspector.get_columns(name))
            for name in inspector.get_view_names()
        }
    assert found == VIEWS
    named = {word for columns in found.values() for word in columns.split()}
    assert [one for one in named for word in SECRET if word in one] == []


def test_what_the_contract_asks_is_answered(context: Context, clock: TurnableClock) -> None:
    begun = sell(context, clock)
    with context.database.write() as connection:
        changed = sa.update(tenants).where(tenants.c.id == context.master.id)
        connection.execute(changed.values(email="seller@example.com", licensed_user_count=7))
    assert ask(
        context,
        "SELECT tenant, licensed_user_count FROM tenants WHERE email = :email",
        email="seller@example.com",
    ) == [{"tenant": context.master.slug, "licensed_user_count": 7}]
    (event,) = ask(context, "SELECT * FROM stripe_webhook_events ORDER BY created_at DESC LIMIT 10")
    assert (event["event_id"], event["event_type"]) == (begun["id"], "customer.subscription.created")
    assert (event["status"], event["error"]) == ("applied", None)


def test_a_sold_subscription_shows_in_all_of_them(context: Context, clock: TurnableClock) -> None:
    begun = sell(context, clock)
    seller = context.master.slug
    (account,) = ask(context, "SELECT * FROM stripe_accounts")
    assert (account["tenant"], bool(account["connected"]), bool(account["livemode"])) == (
        seller,
        False,
        False,
    )
    (product,) = ask(context, "SELECT * FROM stripe_products")
    assert (product["tenant"], bool(product["active"])) == (seller, True)
    (price,) = ask(context, "SELECT * FROM stripe_prices")
    assert (price["tenant"], price["stripe_price_external_id"]) == (seller, "price_pro")
    assert price["product"] == product["product"]
    (held,) = ask(context, "SELECT * FROM stripe_subscriptions")
    assert held["stripe_subscription_external_id"] == "sub_1"
    assert held["stripe_customer_external_id"] == begun["data"]["object"]["customer"]
    assert (held["tenant"], held["billing_tenant"], held["licensed_user_count"]) == (None, seller, None)
    assert (held["status"], held["quantity"], bool(held["cancel_at_period_end"])) == ("active", 3, False)
    (customer,) = ask(context, "SELECT * FROM stripe_customers")
    assert customer["stripe_customer_external_id"] == held["stripe_customer_external_id"]
    assert (customer["tenant"], customer["billing_tenant"], customer["metadata"]) == (None, seller, "{}")


def test_a_customer_that_is_a_tenant_is_one_row_with_its_name(context: Context, clock: TurnableClock) -> None:
    customer = sell(context, clock)["data"]["object"]["customer"]
    now = clock.now()
    with context.database.write() as connection:
        made = {"id": "ten_msp", "slug": "msp", "name": "A Firm", "email": "firm@example.com"}
        connection.execute(sa.insert(tenants).values(created_at=now, **made))
        account = connection.execute(sa.text("SELECT id FROM provider_accounts")).scalar_one()
        for external in (customer, "cus_before_any_event"):
            connection.execute(
                sa.text("INSERT INTO tenant_customers VALUES (:account, :external, :seller, :tenant, :now)"),
                {
                    "account": account,
                    "external": external,
                    "seller": context.master.id,
                    "tenant": "ten_msp",
                    "now": micros(now),
                },
            )
        connection.execute(sa.text("UPDATE purchases SET customer_tenant_id = 'ten_msp', users = 3"))
    found = ask(context, "SELECT * FROM stripe_customers ORDER BY stripe_customer_external_id")
    assert sorted(one["stripe_customer_external_id"] for one in found) == sorted(
        [customer, "cus_before_any_event"]
    )
    assert {(one["tenant"], one["billing_tenant"]) for one in found} == {("msp", context.master.slug)}
    assert {one["metadata"].replace(" ", "") for one in found} == {'{"tenant_id":"ten_msp"}'}
    assert all(one["created_at"] is not None for one in found)
    (held,) = ask(context, "SELECT tenant, licensed_user_count FROM stripe_subscriptions")
    assert held == {"tenant": "msp", "licensed_user_count": 3}
