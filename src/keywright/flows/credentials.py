"""Credentials of a provider account: from the environment, and from the vault beneath it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.ports import Vault
from keywright.store import vault_entries
from keywright.store.tenants import ProviderAccount
from keywright.store.vault_entries import VaultEntry


class Credentials(msgspec.Struct, frozen=True):
    """What a provider is talked to with (`keys`), and what its deliveries are checked with (`secrets`).

    `live` None: nothing tells the mode.
    """

    provider: str
    live: bool | None
    keys: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:  # they never reach a log
        return f"Credentials({self.provider!r}, ...)"


class Kinds(msgspec.Struct, frozen=True):
    """Under which kinds the vault keeps a provider's credentials. A provider may sign with its API key."""

    keys: tuple[str, ...]
    secret: str


def complete(
    connection: sa.Connection, vault: Vault, tenant: str, given: Credentials, kinds: Kinds
) -> Credentials:
    """What the environment gave, completed from the vault.

    A key of the environment wins. Secrets add up, those of the environment first: while one is being
    replaced, either may have signed. The mode is that of the environment's key, else that of the account
    whose key is kept; with both modes kept, live.

    Raises:
        VaultRefused: what is kept does not open.
    """
    live = given.live
    if live is None:
        modes = vault_entries.owners(connection, tenant, kinds.keys[0]) or vault_entries.owners(
            connection, tenant, kinds.secret
        )
        live = max(modes, default=None)
    if live is None:
        return given
    account = vault_entries.owners(connection, tenant, kinds.secret).get(live)
    account = account or vault_entries.owners(connection, tenant, kinds.keys[0]).get(live)
    kept = _opened(connection, vault, tenant, account) if account is not None else {}
    keys = given.keys or tuple(kept[kind] for kind in kinds.keys if kind in kept)
    secrets = [*given.secrets, *_listed(kept.get(kinds.secret, ""))]
    return Credentials(given.provider, live, keys, tuple(dict.fromkeys(secrets)))


def keep(
    connection: sa.Connection,
    vault: Vault,
    account: ProviderAccount,
    secrets: Mapping[str, str],
    now: datetime,
) -> None:
    """Seal these secrets, by kind, for a provider account, in the place of those of the same kind."""
    tenant, owner = account.tenant_id, account.id
    for kind, text in sorted(secrets.items()):
        sealed = vault.seal(tenant, kind, owner, text)
        vault_entries.put(connection, VaultEntry(tenant, kind, owner, sealed, now))


def find(connection: sa.Connection, vault: Vault, account: ProviderAccount, kind: str) -> str | None:
    """One kept secret in the clear, or None. Raises VaultRefused."""
    return _opened(connection, vault, account.tenant_id, account.id).get(kind)


def _opened(connection: sa.Connection, vault: Vault, tenant: str, owner: str) -> dict[str, str]:
    return {
        entry.kind: vault.unseal(tenant, entry.kind, owner, entry.sealed)
        for entry in vault_entries.list_of(connection, tenant, owner)
    }


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)
