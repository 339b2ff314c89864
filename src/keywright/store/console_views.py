"""What the console shows over many rows at once: counts, and what a search finds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import get_args

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import AliasKind
from keywright.store.rows import certain
from keywright.store.tables import (
    activations,
    announcements,
    inbox,
    inbox_purchases,
    licenses,
    plans,
    prices,
    products,
    provider_accounts,
    purchase_aliases,
    tokens,
)


def purchases_called(connection: sa.Connection, tenant: str, names: Iterable[str]) -> list[str]:
    """The purchases that one of these provider's ids, or references of ours, leads to."""
    # Account and kind are given, though any will do: they are the beginning of the table's key.
    accounts = sa.select(provider_accounts.c.id).where(provider_accounts.c.tenant_id == tenant)
    query = (
        sa.select(purchase_aliases.c.purchase_id)
        .where(
            purchase_aliases.c.provider_account_id.in_(accounts),
            purchase_aliases.c.kind.in_(get_args(AliasKind)),
            purchase_aliases.c.external_id.in_(sorted(names)),
        )
        .distinct()
        .limit(20)
    )
    return list(connection.execute(query).scalars())


def licenses_bought(connection: sa.Connection, tenant: str, purchases: list[str]) -> list[str]:
    """The licenses of these purchases."""
    query = (
        sa.select(licenses.c.id)
        .where(licenses.c.tenant_id == tenant, licenses.c.purchase_id.in_(purchases))
        .order_by(licenses.c.id.desc())
        .limit(50)
    )
    return list(connection.execute(query).scalars())


def licenses_ending_in(connection: sa.Connection, tenant: str, last5: str) -> list[str]:
    """The licenses whose keys end like this, newest first."""
    query = (
        sa.select(licenses.c.id)
        .where(licenses.c.tenant_id == tenant, licenses.c.key_last5 == last5)
        .order_by(licenses.c.id.desc())
        .limit(50)
    )
    return list(connection.execute(query).scalars())


def licenses_on_machine(connection: sa.Connection, tenant: str, name: str) -> list[str]:
    """The licenses that machines of this name hold now, in small letters or capitals."""
    # The database folds both sides. SQLite knows capitals of ASCII alone: others must be typed as they are.
    alike = sa.func.lower(activations.c.name) == sa.func.lower(name)
    query = (
        sa.select(activations.c.license_id)
        .where(
            activations.c.tenant_id == tenant,
            alike,
            activations.c.released_at.is_(None),
        )
        .distinct()
        .limit(50)
    )
    return list(connection.execute(query).scalars())


def mails_of(
    connection: sa.Connection, tenant: str, license_id: str
) -> list[tuple[str, str, datetime, str | None]]:
    """The newest mails about a license: kind, status, when it was owed, error."""
    query = (
        sa.select(
            announcements.c.kind, announcements.c.status, announcements.c.created_at, announcements.c.error
        )
        .where(announcements.c.tenant_id == tenant, announcements.c.license_id == license_id)
        .order_by(announcements.c.id.desc())
        .limit(10)
    )
    return [(kind, status, at, error) for kind, status, at, error in connection.execute(query)]  # as above


# -- names for ids --------------------------------------------------------------------------------------


def plan_names(connection: sa.Connection, tenant: str, ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Plan id -> the names of its product and of itself."""
    query = (
        sa.select(plans.c.id, products.c.name, plans.c.name)
        .join(products, products.c.id == plans.c.product_id)
        .where(plans.c.tenant_id == tenant, plans.c.id.in_(sorted(ids)))
    )
    return {id_: (product, plan) for id_, product, plan in connection.execute(query)}


def names_of_slugs(
    connection: sa.Connection, tenant: str, slugs: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], tuple[str, str]]:
    """Slugs of product and plan -> their names."""
    wanted = set(slugs)
    query = (
        sa.select(products.c.slug, plans.c.slug, products.c.name, plans.c.name)
        .join(plans, plans.c.product_id == products.c.id)
        .where(
            products.c.tenant_id == tenant,
            products.c.slug.in_(sorted({product for product, _ in wanted})),
            plans.c.slug.in_(sorted({plan for _, plan in wanted})),
        )
    )
    return {(one, two): (product, plan) for one, two, product, plan in connection.execute(query)}


def machine_names(connection: sa.Connection, tenant: str, ids: Iterable[str]) -> dict[str, str]:
    """Activation id -> the name of the machine, where it has one. The freed are among them."""
    query = sa.select(activations.c.id, activations.c.name).where(
        activations.c.tenant_id == tenant, activations.c.id.in_(sorted(ids)), activations.c.name.is_not(None)
    )
    return {id_: name for id_, name in connection.execute(query)}  # noqa: C416  # rows, not pairs


def token_names(connection: sa.Connection, tenant: str, ids: Iterable[str]) -> dict[str, str]:
    """Token id -> its name. The revoked are among them."""
    query = sa.select(tokens.c.id, tokens.c.name).where(
        tokens.c.tenant_id == tenant, tokens.c.id.in_(sorted(ids))
    )
    return {id_: name for id_, name in connection.execute(query)}  # noqa: C416  # rows, not pairs


# -- a purchase -----------------------------------------------------------------------------------------


class EventAbout(msgspec.Struct, frozen=True):
    """An event that was about a purchase."""

    id: str
    type: str
    status: str
    received_at: datetime
    processed_at: datetime | None


def events_about(connection: sa.Connection, purchase: str, limit: int) -> list[EventAbout]:
    """The newest events of a purchase, newest first."""
    query = (
        sa.select(inbox.c.id, inbox.c.type, inbox.c.status, inbox.c.received_at, inbox.c.processed_at)
        .join(inbox_purchases, inbox_purchases.c.inbox_id == inbox.c.id)
        .where(inbox_purchases.c.purchase_id == purchase)
        .order_by(inbox_purchases.c.inbox_id.desc())
        .limit(limit)
    )
    return [
        EventAbout(id_, type_, status, certain(received), processed)
        for id_, type_, status, received, processed in connection.execute(query)
    ]


class PriceBought(msgspec.Struct, frozen=True):
    """A price as the catalog has it now. `interval` None: it is paid once."""

    product: str
    plan: str
    amount: int
    currency: str
    interval: str | None


def prices_called(
    connection: sa.Connection, tenant: str, provider: str, names: Iterable[str]
) -> dict[str, PriceBought]:
    """The prices that go by these names with a provider, or by these ids with us."""
    wanted = sorted(set(names))
    known = (
        sa.select(
            prices.c.id,
            prices.c.external_id,
            products.c.name,
            plans.c.name,
            prices.c.amount,
            prices.c.currency,
            prices.c.interval,
        )
        .join(plans, plans.c.id == prices.c.plan_id)
        .join(products, products.c.id == plans.c.product_id)
        .where(prices.c.tenant_id == tenant, prices.c.provider == provider)
    )
    found = {}
    # One after the other: each has its own index.
    for column in (prices.c.external_id, prices.c.id):
        for id_, external, *price in connection.execute(known.where(column.in_(wanted))):
            found[external if column is prices.c.external_id else id_] = PriceBought(*price)
    return found
