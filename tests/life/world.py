"""A shop in a database: a catalog, and a way to hand events to the intake."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain import license_key
from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.flows import intake
from keywright.flows.context import Context
from keywright.flows.fulfillment import Outcome
from keywright.store import catalog, licenses
from keywright.store.tables import licenses as license_table
from keywright.store.tables import plans, prices, products
from tests.life import stripe


def stock(context: Context, **plans_by_price: Terms) -> None:
    """Sell these: each keyword is a Stripe price id, each value the terms it leads to."""
    _add_product(context, context.master.id, "pro_1")
    for number, (price, terms) in enumerate(plans_by_price.items()):
        add_plan(context, f"plan-{number}", price, terms)


def stock_for(context: Context, tenant: str, **plans_by_price: Terms) -> None:
    """The same for any tenant; the rows are named after it."""
    _add_product(context, tenant, f"pro_{tenant}")
    for number, (price, terms) in enumerate(plans_by_price.items()):
        add_plan(context, f"plan-{number}", price, terms, f"pro_{tenant}", tenant=tenant)


def _add_product(context: Context, tenant: str, id_: str) -> None:
    with context.database.write() as connection:
        connection.execute(
            sa.insert(products).values(
                id=id_, tenant_id=tenant, slug="dashcaddy", name="DashCaddy", key_prefix="DC"
            )
        )


def add_plan(
    context: Context,
    slug: str,
    price: str,
    terms: Terms,
    product: str = "pro_1",
    *,
    tenant: str | None = None,
) -> None:
    named = slug if tenant is None else f"{slug}-{tenant}"
    tenant = tenant or context.master.id
    with context.database.write() as connection:
        connection.execute(
            sa.insert(plans).values(
                id=f"pla_{named}",
                tenant_id=tenant,
                product_id=product,
                slug=slug,
                name=slug.title(),
                version=1,
                terms=catalog.encode_terms(terms).decode(),
            )
        )
        connection.execute(
            sa.insert(prices).values(
                id=f"pri_{named}",
                tenant_id=tenant,
                plan_id=f"pla_{named}",
                provider="stripe",
                key="monthly",
                external_id=price,
                amount=5000,
                currency="USD",
                interval="month" if terms.term == "subscription" else None,
            )
        )


def hand_in(context: Context, *events: stripe.Json) -> list[Outcome | Exception]:
    """Let the intake take these events in one batch, past the signature."""
    channel = context.channels["stripe"]
    now = context.clock.now()
    arrivals = [intake.arrive(channel, stripe.encoded(event), now) for event in events]
    return intake.take_in(context, arrivals)


def outcome(context: Context, event: stripe.Json) -> str:
    """The outcome of one event, with its reason."""
    (found,) = hand_in(context, event)
    if isinstance(found, Exception):
        raise found
    return found.outcome if found.reason is None else f"{found.outcome} {found.reason}"


def all_licenses(context: Context) -> list[License]:
    with context.database.read() as connection:
        return licenses.list_page(connection, context.master.id, filters={}, after=None, limit=1000)


def the_license(context: Context) -> License:
    (one,) = all_licenses(context)
    return one


def key_of(context: Context, held: License) -> str:
    canonical = context.vault.unseal(held.tenant_id, "license-key", held.id, held.key_sealed)
    return license_key.display("DC", canonical)


def count(context: Context, table: sa.Table) -> int:
    with context.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def alter(context: Context, held: License, **values: Any) -> None:
    """Change a license row by hand, as an intruder with a database shell would."""
    with context.database.write() as connection:
        connection.execute(sa.update(license_table).where(license_table.c.id == held.id).values(**values))


def alter_past_rules(context: Context, held: License, **values: Any) -> None:
    """The same with the foreign keys off, as SQLite's own shell has them and a superuser may."""
    sets = ", ".join(f"{name} = :{name}" for name in values)
    with context.database.engine.connect() as connection:
        if context.database.is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.commit()
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
        connection.execute(sa.text(f"UPDATE licenses SET {sets} WHERE id = :id"), {**values, "id": held.id})  # noqa: S608  # names come from the test
        connection.commit()
        connection.invalidate()


def json_of(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
