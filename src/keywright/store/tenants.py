"""Tenants, their provider accounts, and their API tokens."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.store.tables import provider_accounts, tenants, tokens


class Tenant(msgspec.Struct, frozen=True):
    id: str
    slug: str
    name: str


class ProviderAccount(msgspec.Struct, frozen=True):
    """One tenant's account at a provider, in one mode. All external identities are scoped by it."""

    id: str
    tenant_id: str
    provider: str
    live: bool
    external_id: str | None = None


class Token(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    name: str
    scope: str


def find_master(connection: sa.Connection) -> Tenant | None:
    query = sa.select(tenants).where(tenants.c.is_master.is_(True)).limit(1)
    found = connection.execute(query).mappings().first()
    return None if found is None else Tenant(found["id"], found["slug"], found["name"])


def find(connection: sa.Connection, slug_or_id: str) -> Tenant | None:
    query = sa.select(tenants).where(sa.or_(tenants.c.slug == slug_or_id, tenants.c.id == slug_or_id))
    found = connection.execute(query).mappings().first()
    return None if found is None else Tenant(found["id"], found["slug"], found["name"])


def insert(connection: sa.Connection, tenant: Tenant, now: datetime, *, master: bool) -> None:
    connection.execute(
        sa.insert(tenants).values(
            id=tenant.id, slug=tenant.slug, name=tenant.name, is_master=master, created_at=now
        )
    )


def rename(connection: sa.Connection, tenant: Tenant, name: str) -> Tenant:
    """The tenant under the name that customers are to read from now on."""
    connection.execute(sa.update(tenants).where(tenants.c.id == tenant.id).values(name=name))
    return msgspec.structs.replace(tenant, name=name)


def get_account(
    connection: sa.Connection, tenant: str, provider: str, *, live: bool, new_id: str, now: datetime
) -> ProviderAccount:
    """The tenant's account at a provider in one mode; made when it is first asked for."""
    query = sa.select(provider_accounts).where(
        provider_accounts.c.tenant_id == tenant,
        provider_accounts.c.provider == provider,
        provider_accounts.c.live.is_(live),
    )
    found = connection.execute(query).mappings().first()
    if found is not None:
        return ProviderAccount(found["id"], tenant, provider, live, found["external_id"])
    connection.execute(
        sa.insert(provider_accounts).values(
            id=new_id, tenant_id=tenant, provider=provider, live=live, created_at=now
        )
    )
    return ProviderAccount(new_id, tenant, provider, live)


def insert_token(connection: sa.Connection, token: Token, hashed: str, now: datetime) -> None:
    connection.execute(
        sa.insert(tokens).values(
            id=token.id,
            tenant_id=token.tenant_id,
            name=token.name,
            scope=token.scope,
            hash=hashed,
            created_at=now,
        )
    )


def find_token(connection: sa.Connection, hashed: str) -> Token | None:
    query = sa.select(tokens).where(tokens.c.hash == hashed, tokens.c.revoked_at.is_(None))
    found = connection.execute(query).mappings().first()
    if found is None:
        return None
    return Token(found["id"], found["tenant_id"], found["name"], found["scope"])
