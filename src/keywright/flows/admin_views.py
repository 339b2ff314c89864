"""What staff and scripts read beside licenses and events. Nothing of it is secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from keywright.domain.errors import Invalid, NotFound
from keywright.flows.context import Context
from keywright.flows.license_views import LicenseRow, check_limit, list_licenses
from keywright.store import admin_views, audit
from keywright.store.admin_views import AccountRow, CustomerRow, TableSeen

AUDIT_FILTERS = ("act", "actor", "subject")
_NEWEST = 5
_MOST_LICENSES = 200
_decode = msgspec.json.decode
_R = TypeVar("_R", bound=msgspec.Struct)


class ProductRow(msgspec.Struct, frozen=True):
    id: str
    slug: str
    name: str
    key_prefix: str
    code: int | None
    baseline: dict[str, Any]
    retired: bool


class PlanRow(msgspec.Struct, frozen=True):
    """`terms` as they are stored: durations in seconds, members that are as usual left out."""

    id: str
    product: str
    slug: str
    name: str
    code: int | None
    version: int
    terms: dict[str, Any]
    retired: bool


class PriceRow(msgspec.Struct, frozen=True):
    """`amount` in ISO 4217 minor units. `interval` None: a one-off purchase."""

    id: str
    plan: str
    provider: str
    key: str
    external_id: str | None
    amount: int
    currency: str
    interval: str | None
    retired: bool


class ProductPage(msgspec.Struct, frozen=True):
    items: list[ProductRow]
    next_cursor: str | None = None


class PlanPage(msgspec.Struct, frozen=True):
    items: list[PlanRow]
    next_cursor: str | None = None


class PricePage(msgspec.Struct, frozen=True):
    items: list[PriceRow]
    next_cursor: str | None = None


class AccountPage(msgspec.Struct, frozen=True):
    items: list[AccountRow]
    next_cursor: str | None = None


class CustomerPage(msgspec.Struct, frozen=True):
    items: list[CustomerRow]
    next_cursor: str | None


class CustomerSeen(msgspec.Struct, frozen=True):
    """A customer with the newest two hundred licenses under that address."""

    customer: CustomerRow
    licenses: list[LicenseRow]


class AuditRow(msgspec.Struct, frozen=True):
    """Who did what to what. `seq` is its place in the tenant's chain."""

    seq: int
    at: datetime
    actor: str
    act: str
    subject: str
    detail: dict[str, Any]


class AuditPage(msgspec.Struct, frozen=True):
    items: list[AuditRow]
    next_cursor: str | None


class StoreSeen(msgspec.Struct, frozen=True):
    tables: list[TableSeen]


def list_products(context: Context, tenant: str) -> ProductPage:
    """Those that are retired as well: licenses stand on them."""
    with context.database.read() as connection:
        rows = admin_views.list_products(connection, tenant)
    return ProductPage([_of(ProductRow, {**r, "baseline": _decode(r["baseline"])}) for r in rows])


def list_plans(context: Context, tenant: str) -> PlanPage:
    """Those that are retired as well."""
    with context.database.read() as connection:
        rows = admin_views.list_plans(connection, tenant)
    return PlanPage([_of(PlanRow, {**r, "terms": _decode(r["terms"])}) for r in rows])


def list_prices(context: Context, tenant: str) -> PricePage:
    """Those that are retired as well: payments at them still count."""
    with context.database.read() as connection:
        rows = admin_views.list_prices(connection, tenant)
    return PricePage([_of(PriceRow, {**r, "plan": f"{r['product']}/{r['plan']}"}) for r in rows])


def list_accounts(context: Context, tenant: str) -> AccountPage:
    """The tenant's provider accounts."""
    with context.database.read() as connection:
        return AccountPage(admin_views.list_accounts(connection, tenant))


def list_customers(
    context: Context, tenant: str, *, email: str | None = None, cursor: str | None = None, limit: int = 50
) -> CustomerPage:
    """Newest first. Raises Invalid for a limit that is none."""
    check_limit(limit)
    with context.database.read() as connection:
        rows = admin_views.list_customers(
            connection, tenant, email=email, id_=None, after=cursor, limit=limit + 1
        )
    return CustomerPage(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


def show_customer(context: Context, tenant: str, customer_id: str) -> CustomerSeen:
    """Raises NotFound."""
    with context.database.read() as connection:
        rows = admin_views.list_customers(
            connection, tenant, email=None, id_=customer_id, after=None, limit=1
        )
    if not rows:
        raise NotFound("There is no such customer.", code="CUSTOMER_UNKNOWN")
    held: list[LicenseRow] = []
    if rows[0].email is not None:
        held = list_licenses(context, tenant, {"email": rows[0].email}, limit=_MOST_LICENSES).items
    return CustomerSeen(rows[0], held)


def list_audit(
    context: Context,
    tenant: str,
    filters: Mapping[str, str],
    *,
    cursor: str | None = None,
    limit: int = 50,
) -> AuditPage:
    """Newest first. Filters: act (`token` finds `token.created`), actor, subject. Raises Invalid."""
    check_limit(limit)
    if unknown := sorted(set(filters) - set(AUDIT_FILTERS)):
        raise Invalid(f"There is no filter `{unknown[0]}`; there are {', '.join(AUDIT_FILTERS)}.")
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise Invalid("`cursor` is none of ours.")
    before = int(cursor) if cursor is not None else None
    with context.database.read() as connection:
        page = audit.list_page(connection, tenant, filters=filters, before=before, limit=limit + 1)
    items = [AuditRow(e.seq, e.at, e.actor, e.act, e.subject, _decode(e.detail)) for e in page[:limit]]
    return AuditPage(items, str(items[-1].seq) if len(page) > limit else None)


def find_audit_break(context: Context, tenant: str) -> int | None:
    """The first entry of the tenant's audit that does not follow; None when the chain holds."""
    with context.database.read() as connection:
        broken = audit.first_break(connection, tenant)
    if broken is None:
        return None
    # Chain and end were read at two moments, and an entry may have come between: look again, alone.
    with context.database.write() as connection:
        audit.hold(connection, tenant)
        return audit.first_break(connection, tenant)


def look_at_store(context: Context, tenant: str) -> StoreSeen:
    """How many rows of the tenant's each table has, and the newest few: ids, states and times alone."""
    with context.database.read() as connection:
        return StoreSeen(admin_views.look(connection, tenant, _NEWEST))


def _of(shape: type[_R], members: Mapping[str, Any]) -> _R:
    """The shape with those members that it has."""
    return shape(**{field.name: members[field.name] for field in msgspec.structs.fields(shape)})
