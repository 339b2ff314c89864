"""Tenants, their provider accounts, and their API tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.store.rows import micros
from keywright.store.tables import provider_accounts, tenants, tokens
from keywright.store.tenant_tables import generations
from keywright.store.vault_tables import closed_tenants

_SHOPS = "shops"
# What was shredded is there for the audit alone: nothing that asks for a tenant finds it.
_NOT_CLOSED = tenants.c.id.not_in(sa.select(closed_tenants.c.tenant_id))


class Tenant(msgspec.Struct, frozen=True):
    id: str
    slug: str
    name: str
    is_master: bool = False


class ProviderAccount(msgspec.Struct, frozen=True):
    """One tenant's account at a provider, in one mode. All external identities are scoped by it."""

    id: str
    tenant_id: str
    provider: str
    live: bool
    external_id: str | None = None
    connected_by: str | None = None  # the platform's account, whose keys speak for this one


class AccountSeen(msgspec.Struct, frozen=True):
    """An account in a list. `mode`: live or test. `connected`: the platform's keys speak for it."""

    id: str
    provider: str
    mode: str
    connected: bool = False


class TenantRow(msgspec.Struct, frozen=True):
    """A tenant with all that is kept of it."""

    id: str
    slug: str
    name: str
    is_master: bool
    email: str | None
    licensed_user_count: int | None
    website_origins: tuple[str, ...]
    return_origins: tuple[str, ...]
    created_at: datetime


class Token(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    name: str
    scope: str


def find_master(connection: sa.Connection) -> Tenant | None:
    query = sa.select(tenants).where(tenants.c.is_master.is_(True)).limit(1)
    found = connection.execute(query).mappings().first()
    return None if found is None else _tenant(found)


def find_by_id(connection: sa.Connection, tenant: str) -> Tenant | None:
    query = sa.select(tenants).where(tenants.c.id == tenant, _NOT_CLOSED)
    found = connection.execute(query).mappings().first()
    return None if found is None else _tenant(found)


def find(connection: sa.Connection, slug_or_id: str) -> Tenant | None:
    query = sa.select(tenants).where(_is_named(slug_or_id), _NOT_CLOSED)
    found = connection.execute(query).mappings().first()
    return None if found is None else _tenant(found)


def _is_named(slug_or_id: str) -> sa.ColumnElement[bool]:
    return sa.or_(tenants.c.slug == slug_or_id, tenants.c.id == slug_or_id)


def _tenant(row: sa.RowMapping) -> Tenant:
    return Tenant(row["id"], row["slug"], row["name"], row["is_master"])


def id_of_slug(connection: sa.Connection, slug: str) -> str | None:
    return connection.execute(sa.select(tenants.c.id).where(tenants.c.slug == slug, _NOT_CLOSED)).scalar()


def owner_of(connection: sa.Connection, account: str) -> str | None:
    """The tenant whose provider account this is."""
    query = (
        sa.select(tenants.c.id)
        .join(provider_accounts, provider_accounts.c.tenant_id == tenants.c.id)
        .where(provider_accounts.c.id == account, _NOT_CLOSED)
    )
    return connection.execute(query).scalar()


def with_accounts(connection: sa.Connection) -> list[str]:
    """The tenants that have an account at a provider, by id."""
    query = sa.select(tenants.c.id).where(
        tenants.c.id.in_(sa.select(provider_accounts.c.tenant_id)), _NOT_CLOSED
    )
    return list(connection.execute(query.order_by(tenants.c.id)).scalars())


def generation(connection: sa.Connection) -> int:
    """How often a tenant, or what it talks to a provider with, was changed."""
    query = sa.select(generations.c.number).where(generations.c.name == _SHOPS)
    return int(connection.execute(query).scalar_one())


def changed(connection: sa.Connection) -> None:
    """Have every process look at the tenants and their credentials again, from this commit on."""
    connection.execute(
        sa.update(generations).where(generations.c.name == _SHOPS).values(number=generations.c.number + 1)
    )


def insert(connection: sa.Connection, tenant: Tenant, now: datetime) -> None:
    connection.execute(
        sa.insert(tenants).values(
            id=tenant.id, slug=tenant.slug, name=tenant.name, is_master=tenant.is_master, created_at=now
        )
    )


def insert_new(connection: sa.Connection, tenant: Tenant, email: str | None, now: datetime) -> bool:
    """Add a tenant. False when its slug is taken."""
    taken = sa.select(tenants.c.id).where(sa.or_(tenants.c.slug == tenant.slug, tenants.c.id == tenant.slug))
    if connection.execute(taken).first() is not None:
        return False
    made = (
        "INSERT INTO tenants (id, slug, name, is_master, email, created_at)"
        " VALUES (:id, :slug, :name, false, :email, :now) ON CONFLICT (slug) DO NOTHING"
    )
    values = {"id": tenant.id, "slug": tenant.slug, "name": tenant.name, "email": email, "now": micros(now)}
    return connection.execute(sa.text(made), values).rowcount == 1


def find_row(connection: sa.Connection, slug_or_id: str, *, lock: bool = False) -> TenantRow | None:
    query = sa.select(tenants).where(_is_named(slug_or_id), _NOT_CLOSED)
    found = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return None if found is None else _row(found)


def list_page(connection: sa.Connection, *, text: str, after: str | None, limit: int) -> list[TenantRow]:
    """Newest first. `text`: part of a name, a slug or an address."""
    query = sa.select(tenants).where(_NOT_CLOSED).order_by(tenants.c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(tenants.c.id < after)
    if text:
        named = (tenants.c.name, tenants.c.slug, tenants.c.email)
        query = query.where(sa.or_(*(one.icontains(text, autoescape=True) for one in named)))
    return [_row(row) for row in connection.execute(query).mappings()]


def ids_by_email(connection: sa.Connection, emails: Iterable[str]) -> dict[str, list[str]]:
    """Address -> the tenants that have it, of those which the master tenant serves."""
    wanted = sorted(set(emails))
    if not wanted:
        return {}
    query = (
        sa.select(tenants.c.email, tenants.c.id)
        .where(tenants.c.email.in_(wanted), tenants.c.is_master.is_(False), _NOT_CLOSED)
        .order_by(tenants.c.id)
    )
    found: dict[str, list[str]] = {}
    for email, id_ in connection.execute(query):
        found.setdefault(email, []).append(id_)
    return found


def update(connection: sa.Connection, row: TenantRow) -> None:
    connection.execute(
        sa.update(tenants)
        .where(tenants.c.id == row.id)
        .values(
            name=row.name,
            email=row.email,
            website_origins=",".join(row.website_origins),
            return_origins=",".join(row.return_origins),
        )
    )


def _row(row: sa.RowMapping) -> TenantRow:
    return TenantRow(
        id=row["id"],
        slug=row["slug"],
        name=row["name"],
        is_master=row["is_master"],
        email=row["email"],
        licensed_user_count=row["licensed_user_count"],
        website_origins=_listed(row["website_origins"]),
        return_origins=_listed(row["return_origins"]),
        created_at=row["created_at"],
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def origins_of(connection: sa.Connection, tenant: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whose pages may call a tenant's checkout, and where its buyers may be sent back to."""
    found = find_row(connection, tenant)
    return ((), ()) if found is None else (found.website_origins, found.return_origins)


def accounts_of(connection: sa.Connection, several: Sequence[str]) -> dict[str, list[AccountSeen]]:
    """Tenant -> its accounts at providers."""
    columns = provider_accounts.c
    query = (
        sa.select(columns.tenant_id, columns.id, columns.provider, columns.live, columns.connected_by)
        .where(columns.tenant_id.in_(list(several)))
        .order_by(columns.provider, columns.id)
    )
    found: dict[str, list[AccountSeen]] = {}
    for tenant, id_, provider, live, platform in connection.execute(query):
        seen = AccountSeen(id_, provider, "live" if live else "test", platform is not None)
        found.setdefault(tenant, []).append(seen)
    return found


def rename(connection: sa.Connection, tenant: Tenant, name: str) -> Tenant:
    """The tenant under the name that customers are to read from now on."""
    connection.execute(sa.update(tenants).where(tenants.c.id == tenant.id).values(name=name))
    return msgspec.structs.replace(tenant, name=name)


def find_account(
    connection: sa.Connection, tenant: str, provider: str, *, live: bool
) -> ProviderAccount | None:
    query = sa.select(provider_accounts).where(
        provider_accounts.c.tenant_id == tenant,
        provider_accounts.c.provider == provider,
        provider_accounts.c.live.is_(live),
    )
    found = connection.execute(query).mappings().first()
    if found is None:
        return None
    return ProviderAccount(found["id"], tenant, provider, live, found["external_id"], found["connected_by"])


def get_account(
    connection: sa.Connection, tenant: str, provider: str, *, live: bool, new_id: str, now: datetime
) -> ProviderAccount:
    """The tenant's account at a provider in one mode; made when it is first asked for."""
    found = find_account(connection, tenant, provider, live=live)
    if found is not None:
        return found
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
