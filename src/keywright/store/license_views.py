"""What staff see of licenses beyond their rows: names, holders, and the account a purchase was made with."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from keywright.domain.activation import Activation
from keywright.store.tables import activations, licenses, plans, products, provider_accounts


def names(connection: sa.Connection, plan_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Plan id -> the slugs of its product and of itself."""
    query = (
        sa.select(plans.c.id, products.c.slug, plans.c.slug)
        .join(products, products.c.id == plans.c.product_id)
        .where(plans.c.id.in_(sorted(set(plan_ids))))
    )
    return {id_: (product, plan) for id_, product, plan in connection.execute(query)}


def purchase_of(connection: sa.Connection, tenant: str, license_id: str) -> tuple[bool, str | None]:
    """Whether there is such a license, and its purchase. Locks nothing: purchases are locked first."""
    query = sa.select(licenses.c.purchase_id).where(
        licenses.c.tenant_id == tenant, licenses.c.id == license_id
    )
    found = connection.execute(query).first()
    return (False, None) if found is None else (True, found[0])


def provider_of(connection: sa.Connection, account: str) -> str:
    """The provider of a provider account."""
    query = sa.select(provider_accounts.c.provider).where(provider_accounts.c.id == account)
    return str(connection.execute(query).scalar_one())


def list_accounts(connection: sa.Connection, tenant: str) -> dict[str, str]:
    """The tenant's provider accounts: id -> provider."""
    query = sa.select(provider_accounts.c.id, provider_accounts.c.provider).where(
        provider_accounts.c.tenant_id == tenant
    )
    return {id_: provider for id_, provider in connection.execute(query)}  # noqa: C416  # rows, not pairs


def list_activations(
    connection: sa.Connection, tenant: str, *, license_id: str | None, after: str | None, limit: int
) -> list[Activation]:
    """Machines that hold a license now, newest first."""
    query = (
        sa.select(
            activations.c.id,
            activations.c.license_id,
            activations.c.tenant_id,
            activations.c.fingerprint_hash,
            activations.c.name,
            activations.c.activated_at,
        )
        .where(activations.c.tenant_id == tenant, activations.c.released_at.is_(None))
        .order_by(activations.c.id.desc())
        .limit(limit)
    )
    if license_id is not None:
        query = query.where(activations.c.license_id == license_id)
    if after is not None:
        query = query.where(activations.c.id < after)
    return [Activation(*row) for row in connection.execute(query)]
