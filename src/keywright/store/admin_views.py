"""What staff and scripts read beside licenses and events: the catalog's rows, customers, accounts, counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from keywright.store.tables import customers, licenses, metadata, plans, prices, products, provider_accounts

# Of the newest rows only what these columns hold is shown: ids, states and times. All else is left out,
# whatever a later table brings.
_SHOWN: Final = frozenset(
    re.findall(
        r"\w+",
        """
        id seq act kind type token_type status state standing provider live scope role origin scheme unit
        seats events version attempts quantity retired trial canceling past_due is_master found fixed
        """,
    )
)
_ENDINGS: Final = ("_at", "_until", "_id")
_HIDDEN: Final = frozenset({"tenant_id", "external_id", "transaction_id"})
_COUNTED_ONLY: Final = frozenset({"vault_entries", "data_keys"})


class CustomerRow(msgspec.Struct, frozen=True):
    id: str
    email: str | None
    name: str | None
    created_at: datetime
    licenses: int


class AccountRow(msgspec.Struct, frozen=True):
    """A provider account. Credentials are in the vault and never shown."""

    id: str
    provider: str
    mode: str
    external_id: str | None
    created_at: datetime
    reconciled_until: datetime | None


class TableSeen(msgspec.Struct, frozen=True):
    """`rows`: how many of the tenant's. `newest`: a few of them, less all that is secret or personal."""

    table: str
    rows: int
    newest: list[dict[str, Any]]


def list_products(connection: sa.Connection, tenant: str) -> list[Mapping[str, Any]]:
    return _all(
        connection, sa.select(products).where(products.c.tenant_id == tenant).order_by(products.c.slug)
    )


def list_plans(connection: sa.Connection, tenant: str) -> list[Mapping[str, Any]]:
    """With `product`, the slug of the product."""
    query = (
        sa.select(plans, products.c.slug.label("product"))
        .join(products, products.c.id == plans.c.product_id)
        .where(plans.c.tenant_id == tenant)
        .order_by(products.c.slug, plans.c.slug)
    )
    return _all(connection, query)


def list_prices(connection: sa.Connection, tenant: str) -> list[Mapping[str, Any]]:
    """With `product` and `plan`, their slugs."""
    query = (
        sa.select(prices, products.c.slug.label("product"), plans.c.slug.label("plan"))
        .join(plans, plans.c.id == prices.c.plan_id)
        .join(products, products.c.id == plans.c.product_id)
        .where(prices.c.tenant_id == tenant)
        .order_by(products.c.slug, plans.c.slug, prices.c.provider, prices.c.key, prices.c.id)
    )
    return _all(connection, query)


def list_customers(
    connection: sa.Connection,
    tenant: str,
    *,
    email: str | None,
    id_: str | None,
    after: str | None,
    limit: int,
) -> list[CustomerRow]:
    """Newest first, each with how many licenses it holds."""
    held = (
        sa.select(sa.func.count())
        .where(licenses.c.customer_id == customers.c.id)
        .correlate(customers)
        .scalar_subquery()
    )
    columns = (customers.c.id, customers.c.email, customers.c.name, customers.c.created_at, held)
    query = sa.select(*columns).where(customers.c.tenant_id == tenant).order_by(customers.c.id.desc())
    if email is not None:
        query = query.where(sa.func.lower(customers.c.email) == email.lower())
    if id_ is not None:
        query = query.where(customers.c.id == id_)
    if after is not None:
        query = query.where(customers.c.id < after)
    return [CustomerRow(*row) for row in connection.execute(query.limit(limit))]


def list_accounts(connection: sa.Connection, tenant: str) -> list[AccountRow]:
    query = sa.select(provider_accounts).where(provider_accounts.c.tenant_id == tenant)
    rows = connection.execute(query.order_by(provider_accounts.c.id)).mappings()
    return [
        AccountRow(
            r["id"],
            r["provider"],
            "live" if r["live"] else "test",
            r["external_id"],
            r["created_at"],
            r["reconciled_until"],
        )
        for r in rows
    ]


def look(connection: sa.Connection, tenant: str, newest: int) -> list[TableSeen]:
    """Every table that has rows of tenants: how many are this tenant's, and the newest of them, redacted."""
    seen = []
    for table in sorted(metadata.tables.values(), key=lambda one: one.name):
        if "tenant_id" not in table.c:
            continue
        mine = table.c.tenant_id == tenant
        count = sa.select(sa.func.count()).select_from(table).where(mine)
        rows = int(connection.execute(count).scalar_one())
        shown = [] if table.name in _COUNTED_ONLY else [c for c in table.c if _is_shown(c.name)]
        sample: Iterable[Any] = ()
        if shown and rows:
            query = sa.select(*shown).where(mine).order_by(_age(table).desc()).limit(newest)
            sample = connection.execute(query).mappings()
        seen.append(TableSeen(table.name, rows, [dict(row) for row in sample]))
    return seen


def _is_shown(name: str) -> bool:
    return name in _SHOWN or (name.endswith(_ENDINGS) and name not in _HIDDEN)


def _age(table: sa.Table) -> sa.ColumnElement[Any]:
    """What tells newer rows from older ones: ids begin with the time, and entries are numbered."""
    for name in ("seq", "id", "created_at", "at"):
        if name in table.c:
            return table.c[name]
    return next(iter(table.primary_key.columns))


def _all(connection: sa.Connection, query: sa.Select[Any]) -> list[Mapping[str, Any]]:
    return [dict(row) for row in connection.execute(query).mappings()]
