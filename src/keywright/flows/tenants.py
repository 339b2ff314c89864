"""Tenants as the staff of the master tenant keep them: make one, look at it, change it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from keywright.domain.email_address import folded, is_email_address
from keywright.domain.errors import Conflict, Forbidden, Invalid, NotFound
from keywright.flows.connecting import CONNECT_PATHS
from keywright.flows.context import Context
from keywright.flows.operate import text_of
from keywright.flows.return_urls import origin_of
from keywright.store import audit, tenants
from keywright.store.tenants import AccountSeen, Tenant, TenantRow

# No underscore: an id has one, so that either may stand where a tenant is named.
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
_LONGEST_NAME: Final = 120
_MOST_ORIGINS: Final = 20
_LARGEST_PAGE: Final = 200


class TenantSeen(msgspec.Struct, frozen=True):
    """`base_url`: where its pages are. `accounts`: what it has at providers. `licensed_user_count`: of a
    tenant that is itself a customer."""

    id: str
    slug: str
    name: str
    email: str | None
    is_master: bool
    base_url: str
    website_origins: tuple[str, ...]
    return_origins: tuple[str, ...]
    licensed_user_count: int | None
    created_at: datetime
    accounts: list[AccountSeen]


class TenantPage(msgspec.Struct, frozen=True):
    items: list[TenantSeen]
    next_cursor: str | None


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be different; UNSET stays. `website_origins`: whose pages may call the tenant's checkout.
    `return_origins`: where its buyers may be sent back to."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    email: str | msgspec.UnsetType | None = msgspec.UNSET
    website_origins: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    return_origins: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


# -- make -----------------------------------------------------------------------------------------------


def create(
    context: Context,
    name: str,
    slug: str,
    email: str | None = None,
    *,
    by: str,
    why: str | None = None,
) -> TenantSeen:
    """Make a tenant with its data key and signing keys. `by`, `why`: for the audit of the master tenant.

    Raises Invalid; Conflict (TENANT_KNOWN) when the slug is taken.
    """
    with context.database.write() as connection:
        made = create_in(context, connection, name, slug, email, by=by, why=why)
    context.shops.look_again()
    return show(context, made.id)


def create_in(
    context: Context,
    connection: sa.Connection,
    name: str,
    slug: str,
    email: str | None = None,
    *,
    by: str,
    why: str | None = None,
) -> Tenant:
    """As `create`, in the caller's transaction. After it, call `context.shops.look_again()`."""
    checked, address = check(name, slug, email), _address(email)
    now = context.clock.now()
    if not tenants.insert_new(connection, made := Tenant(context.new_id("ten"), slug, checked), address, now):
        raise _known()
    context.signer.create(connection, made.id, now)
    tenants.changed(connection)
    told = {"slug": slug, **_why(why)}
    audit.append(connection, context.master.id, by, "tenant.created", made.id, told, now)
    return made


def check(name: str, slug: str, email: str | None = None) -> str:
    """The name as it is kept. Raises Invalid for what a tenant cannot be called."""
    if not _SLUG.fullmatch(slug):
        raise Invalid("`slug` must be small letters, digits and inner hyphens, 48 at most: it is an address.")
    _address(email)
    return _name(name)


def demand_free(context: Context, slug: str) -> None:
    """Raises Conflict (TENANT_KNOWN) when the slug is taken."""
    with context.database.read() as connection:
        if tenants.find_row(connection, slug) is not None:
            raise _known()


def _known() -> Conflict:
    return Conflict("There is a tenant with this slug already.", code="TENANT_KNOWN")


def slug_for(name: str) -> str:
    """A slug made of a name; empty when nothing of it can be in one."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-")


def _name(name: str) -> str:
    plain = " ".join(name.split())
    if not plain or len(plain) > _LONGEST_NAME or not plain.isprintable():
        raise Invalid(f"`name` must be 1 to {_LONGEST_NAME} printable characters.")
    return plain


def _address(email: str | None) -> str | None:
    if email is None or not email.strip():
        return None
    if not is_email_address(email.strip()):
        raise Invalid("`email` must be an e-mail address.")
    return folded(email.strip())


def _why(why: str | None) -> dict[str, str]:
    plain = text_of("reason", why)
    return {} if plain is None else {"why": plain}


# -- look -----------------------------------------------------------------------------------------------


def demand_master(context: Context, tenant: str) -> None:
    """Raises Forbidden unless it is the master tenant that asks: the others are its business alone."""
    if tenant != context.master.id:
        raise Forbidden("Only the master tenant looks after tenants.")


def list_page(context: Context, *, text: str = "", cursor: str | None = None, limit: int = 50) -> TenantPage:
    """Newest first. `text`: part of a name, a slug or an address. Raises Invalid."""
    if not 1 <= limit <= _LARGEST_PAGE:
        raise Invalid(f"`limit` must be 1 to {_LARGEST_PAGE}.")
    if len(text) > _LONGEST_NAME or (cursor is not None and len(cursor) > _LONGEST_NAME):
        raise Invalid("The filter is too long.")
    with context.database.read() as connection:
        found = tenants.list_page(connection, text=text.strip(), after=cursor, limit=limit + 1)
        accounts = tenants.accounts_of(connection, [one.id for one in found[:limit]])
    items = [_seen(context, one, accounts.get(one.id, [])) for one in found[:limit]]
    return TenantPage(items, items[-1].id if len(found) > limit else None)


def show(context: Context, slug_or_id: str) -> TenantSeen:
    """Raises NotFound (TENANT_UNKNOWN)."""
    with context.database.read() as connection:
        found = _get(connection, slug_or_id)
        accounts = tenants.accounts_of(connection, [found.id])
    return _seen(context, found, accounts.get(found.id, []))


def _get(connection: sa.Connection, slug_or_id: str, *, lock: bool = False) -> TenantRow:
    found = tenants.find_row(connection, slug_or_id, lock=lock)
    if found is None:
        raise NotFound("There is no such tenant.", code="TENANT_UNKNOWN")
    return found


def _seen(context: Context, row: TenantRow, accounts: list[AccountSeen]) -> TenantSeen:
    root, policy = context.policy.base_url, context.policy
    own = row.is_master and context.tenant.id == row.id
    return TenantSeen(
        id=row.id,
        slug=row.slug,
        name=row.name,
        email=row.email,
        is_master=row.is_master,
        base_url=root if row.is_master else f"{root}/t/{row.slug}",
        # The master tenant's are those of the environment.
        website_origins=policy.website_origins if own else row.website_origins,
        return_origins=policy.return_origins if own else row.return_origins,
        licensed_user_count=row.licensed_user_count,
        created_at=row.created_at,
        accounts=accounts,
    )


def webhook_address(context: Context, tenant: TenantSeen, account: AccountSeen) -> str:
    """Where the provider delivers what happens at this account.

    Of a connected account that is the platform's business: Stripe has an endpoint for all of them, and at
    Paystack they are told of at the platform's own.
    """
    root, own = context.policy.base_url, f"/api/webhooks/{account.provider}"
    if account.connected:
        return f"{root}{CONNECT_PATHS.get(account.provider, own)}"
    return f"{root}{own}" if tenant.is_master else f"{root}{own}/{account.id}"


# -- change ---------------------------------------------------------------------------------------------


def changed_by(context: Context, slug_or_id: str, change: Change) -> list[tuple[str, str, str]]:
    """What a change would do: member, now, then. Raises NotFound, Invalid."""
    with context.database.read() as connection:
        row = _get(connection, slug_or_id)
    after = _changed(row, change)
    return [
        (name, _shown(getattr(row, name)), _shown(getattr(after, name)))
        for name in Change.__struct_fields__
        if getattr(row, name) != getattr(after, name)
    ]


def change(
    context: Context, slug_or_id: str, wanted: Change, *, by: str, why: str | None = None
) -> TenantSeen:
    """Change what is to be different. Every process serves it so within seconds.

    Raises NotFound, Invalid; Forbidden for the master tenant, which the environment describes.
    """
    told = _why(why)
    with context.database.write() as connection:
        row = _get(connection, slug_or_id, lock=True)
        after = _changed(row, wanted)
        if after != row:
            names: list[Any] = [n for n in Change.__struct_fields__ if getattr(row, n) != getattr(after, n)]
            tenants.update(connection, after)
            tenants.changed(connection)
            now = context.clock.now()
            audit.append(
                connection, context.master.id, by, "tenant.changed", row.id, {"changed": names, **told}, now
            )
    context.shops.look_again()
    return show(context, row.id)


def _changed(row: TenantRow, change: Change) -> TenantRow:
    if row.is_master:
        raise Forbidden("The environment describes the master tenant: SELLER_NAME and its neighbors.")
    told: dict[str, Any] = {}
    if change.name is not msgspec.UNSET:
        told["name"] = _name(change.name)
    if change.email is not msgspec.UNSET:
        told["email"] = _address(change.email)
    if change.website_origins is not msgspec.UNSET:
        told["website_origins"] = _origins("website_origins", change.website_origins)
    if change.return_origins is not msgspec.UNSET:
        told["return_origins"] = _origins("return_origins", change.return_origins)
    return msgspec.structs.replace(row, **told)


def _origins(name: str, typed: tuple[str, ...]) -> tuple[str, ...]:
    """Origins in one spelling. Raises Invalid."""
    found = [origin_of(one.strip()) for one in typed if one.strip()]
    plain = [one for one in found if one is not None]
    if len(plain) != len(found) or len(plain) > _MOST_ORIGINS:
        raise Invalid(f"`{name}` must be at most {_MOST_ORIGINS} origins such as https://shop.example.")
    return tuple(dict.fromkeys(plain))


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else "None" if value is None else str(value)
