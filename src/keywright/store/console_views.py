"""What the console shows over many rows at once: counts, and what a search finds."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

import sqlalchemy as sa

from keywright.domain.facts import AliasKind
from keywright.store.tables import (
    activations,
    announcements,
    licenses,
    provider_accounts,
    purchase_aliases,
)


def purchases_called(connection: sa.Connection, tenant: str, name: str) -> list[str]:
    """The purchases that a provider's id, or our reference, leads to."""
    # Account and kind are given, though any will do: they are the beginning of the table's key.
    accounts = sa.select(provider_accounts.c.id).where(provider_accounts.c.tenant_id == tenant)
    query = (
        sa.select(purchase_aliases.c.purchase_id)
        .where(
            purchase_aliases.c.provider_account_id.in_(accounts),
            purchase_aliases.c.kind.in_(get_args(AliasKind)),
            purchase_aliases.c.external_id == name,
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
    """The licenses that machines of this name hold now."""
    query = (
        sa.select(activations.c.license_id)
        .where(
            activations.c.tenant_id == tenant,
            activations.c.name == name,
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
