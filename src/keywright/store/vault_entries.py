"""Sealed secrets by tenant, kind and owner. What is in them only the vault can say."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.store.tables import provider_accounts
from keywright.store.vault_tables import vault_entries


class VaultEntry(msgspec.Struct, frozen=True):
    """`kind` says which secret it is (`stripe.webhook_secret`), `owner` whose: a provider account's id."""

    tenant_id: str
    kind: str
    owner: str
    sealed: str
    created_at: datetime


def put(connection: sa.Connection, entry: VaultEntry) -> None:
    """Keep an entry in the place of the one of the same tenant, kind and owner."""
    drop(connection, entry.tenant_id, entry.owner, [entry.kind])
    connection.execute(sa.insert(vault_entries).values(**msgspec.structs.asdict(entry)))


def drop(connection: sa.Connection, tenant: str, owner: str, kinds: Iterable[str]) -> None:
    """Forget these kinds of one owner."""
    connection.execute(
        sa.delete(vault_entries).where(
            vault_entries.c.tenant_id == tenant,
            vault_entries.c.owner == owner,
            vault_entries.c.kind.in_(list(kinds)),
        )
    )


def list_of(connection: sa.Connection, tenant: str, owner: str) -> list[VaultEntry]:
    """Everything kept for one owner, by kind."""
    query = (
        sa.select(vault_entries)
        .where(vault_entries.c.tenant_id == tenant, vault_entries.c.owner == owner)
        .order_by(vault_entries.c.kind)
    )
    return [VaultEntry(**row) for row in connection.execute(query).mappings()]


def owners(connection: sa.Connection, tenant: str, kind: str) -> dict[bool, str]:
    """Mode (live or not) -> the provider account of this tenant that has such an entry."""
    query = (
        sa.select(provider_accounts.c.live, provider_accounts.c.id)
        .join(vault_entries, vault_entries.c.owner == provider_accounts.c.id)
        .where(vault_entries.c.tenant_id == tenant, vault_entries.c.kind == kind)
    )
    return {bool(live): id_ for live, id_ in connection.execute(query)}
