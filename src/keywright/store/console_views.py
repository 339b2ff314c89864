"""What the console shows over many rows at once: counts, and what a search finds."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

import sqlalchemy as sa

from keywright.domain.facts import AliasKind
from keywright.store.tables import (
    activations,
    announcements,
    inbox,
    licenses,
    provider_accounts,
    purchase_aliases,
)

_NOT_OUT = ("pending", "waiting", "failed")


def count_licenses(connection: sa.Connection, tenant: str, now: datetime) -> dict[str, int]:
    """The tenant's licenses by what they are now: `license.status` told in SQL."""
    held = licenses.c
    paid = held.active_until.is_not(None) & (held.active_until > now)
    state = sa.case(
        (held.standing == "revoked", sa.literal("revoked")),
        (held.lost_until.is_not(None) & (held.lost_until > now) & ~paid, sa.literal("revoked")),
        ((held.standing == "suspended") | ((held.standing == "paused") & ~paid), sa.literal("suspended")),
        (held.active_until.is_(None), sa.literal("pending")),
        (paid, sa.literal("active")),
        (held.grace_until > now, sa.literal("grace")),
        else_=sa.literal("expired"),
    ).label("state")
    query = sa.select(state, sa.func.count()).where(held.tenant_id == tenant).group_by("state")
    return {state: count for state, count in connection.execute(query)}  # noqa: C416  # rows, not pairs


def count_events(connection: sa.Connection, tenant: str) -> dict[str, int]:
    """The tenant's events that are not through: parked, accepted, failed and dead."""
    # The tenant as an expression: by its index the planner of SQLite would read every event there ever was.
    query = (
        sa.select(inbox.c.status, sa.func.count())
        .where(inbox.c.tenant_id + "" == tenant, inbox.c.status.in_(("parked", "accepted", "failed", "dead")))
        .group_by(inbox.c.status)
    )
    return {status: count for status, count in connection.execute(query)}  # noqa: C416  # as above


def count_mails(connection: sa.Connection, tenant: str) -> dict[str, int]:
    """The tenant's mails that did not go out: pending, waiting for an address, and failed."""
    query = (
        sa.select(announcements.c.status, sa.func.count())
        .where(announcements.c.tenant_id + "" == tenant, announcements.c.status.in_(_NOT_OUT))
        .group_by(announcements.c.status)
    )
    return {status: count for status, count in connection.execute(query)}  # noqa: C416  # as above


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
