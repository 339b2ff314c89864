"""The catalog's rows for its editor: with codes, with what was retired, and the writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.store import changes, rows, wall
from keywright.store.tables import plans, prices, products, provider_accounts
from keywright.store.vault_tables import closed_tenants


class ProductRow(msgspec.Struct, frozen=True):
    """`baseline` and `PlanRow.terms` are JSON text, as stored."""

    id: str
    tenant_id: str
    slug: str
    name: str
    key_prefix: str
    code: int | None
    baseline: str
    retired: bool = False


class PlanRow(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    product_id: str
    slug: str
    name: str
    code: int | None
    version: int
    terms: str
    retired: bool = False


class PriceRow(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    plan_id: str
    provider: str
    key: str
    external_id: str | None
    amount: int
    currency: str
    interval: str | None
    retired: bool = False


def list_products(connection: sa.Connection, tenant: str) -> list[ProductRow]:
    """All of them, the retired too, by slug; locked on PostgreSQL, so that two editors take turns."""
    query = sa.select(products).where(products.c.tenant_id == tenant).order_by(products.c.slug)
    return [ProductRow(**r) for r in connection.execute(query.with_for_update()).mappings()]


def list_plans(connection: sa.Connection, tenant: str) -> list[PlanRow]:
    query = sa.select(plans).where(plans.c.tenant_id == tenant).order_by(plans.c.slug)
    return [PlanRow(**r) for r in connection.execute(query).mappings()]


def list_prices(connection: sa.Connection, tenant: str) -> list[PriceRow]:
    query = sa.select(prices).where(prices.c.tenant_id == tenant).order_by(prices.c.provider, prices.c.key)
    return [PriceRow(**r) for r in connection.execute(query).mappings()]


def held_by_others(
    connection: sa.Connection, tenant: str, platform: str, provider: str, ids: Sequence[str]
) -> list[str]:
    """Which of these price ids are on sale in the catalog of another tenant of this provider account: the one
    that owns it, or one that is connected to it. What a shredded one sold is free."""
    sellers = sa.select(provider_accounts.c.tenant_id).where(
        sa.or_(provider_accounts.c.id == platform, provider_accounts.c.connected_by == platform),
        provider_accounts.c.tenant_id.not_in(sa.select(closed_tenants.c.tenant_id)),
    )
    query = sa.select(prices.c.external_id).where(
        prices.c.tenant_id != tenant,
        prices.c.tenant_id.in_(sellers),
        prices.c.provider == provider,
        prices.c.external_id.in_(ids),
        prices.c.retired.is_(False),
    )
    with wall.lifted_on(connection):  # the others' catalogs
        return sorted(set(connection.execute(query).scalars()))


def lock_tenant(connection: sa.Connection, tenant: str) -> None:
    """One editor of a tenant's catalog at a time, also while it has no rows that could be locked."""
    if connection.dialect.name != "sqlite":
        connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"catalog/{tenant}"}
        )


def insert_products(connection: sa.Connection, made: Sequence[ProductRow]) -> None:
    rows.insert(connection, products, _rows(made))


def update_products(connection: sa.Connection, changed: Sequence[ProductRow]) -> None:
    rows.update(connection, products, _rows(changed))


def insert_plans(connection: sa.Connection, made: Sequence[PlanRow]) -> None:
    rows.insert(connection, plans, _rows(made))


def update_plans(connection: sa.Connection, changed: Sequence[PlanRow]) -> None:
    rows.update(connection, plans, _rows(changed))
    changes.note(connection, (one.id for one in changed))


def insert_prices(connection: sa.Connection, made: Sequence[PriceRow]) -> None:
    rows.insert(connection, prices, _rows(made))


def update_prices(connection: sa.Connection, changed: Sequence[PriceRow]) -> None:
    rows.update(connection, prices, _rows(changed))


def _rows(several: Sequence[ProductRow] | Sequence[PlanRow] | Sequence[PriceRow]) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(one) for one in sorted(several, key=lambda one: one.id)]
