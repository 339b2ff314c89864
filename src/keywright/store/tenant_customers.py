"""Which provider customers are tenants, and how many users their purchases give them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.store import rows
from keywright.store.provisioning_tables import tenant_customers
from keywright.store.rows import micros
from keywright.store.staff_tables import staff
from keywright.store.tables import licenses, purchase_aliases, purchases, tenants

_users = sa.select(sa.func.coalesce(sa.func.sum(purchases.c.users), 0)).where(
    purchases.c.customer_tenant_id == tenants.c.id
)


class Seats(msgspec.Struct, frozen=True):
    """A tenant's users: how many it is licensed for (None: as many as it likes), and how many there are."""

    licensed: int | None
    used: int


class Theirs(msgspec.Struct, frozen=True):
    """A purchase that was bought for a tenant, with a license of it. All of it is the seller's."""

    purchase: str
    license: str
    seller: str
    users: int


def find_many(connection: sa.Connection, account: str, externals: Iterable[str]) -> dict[str, str]:
    """Which of these customers of a provider account are tenants: customer -> tenant."""
    table = tenant_customers
    query = sa.select(table.c.external_id, table.c.customer_tenant_id).where(
        table.c.provider_account_id == account, table.c.external_id.in_(sorted(set(externals)))
    )
    return {external: tenant for external, tenant in connection.execute(query)}  # noqa: C416  # rows, not pairs


def insert(
    connection: sa.Connection, seller: str, account: str, external: str, tenant: str, now: datetime
) -> str:
    """Have this customer be that tenant. Returns the tenant it is: the first one stays."""
    row = {
        "provider_account_id": account,
        "external_id": external,
        "tenant_id": seller,
        "customer_tenant_id": tenant,
        "created_at": micros(now),
    }
    rows.insert(connection, tenant_customers, [row], ignore=True)
    return find_many(connection, account, [external])[external]


def of_tenant(connection: sa.Connection, tenant: str) -> list[tuple[str, str, str]]:
    """The customers that a tenant is: seller, provider account, the provider's id."""
    table = tenant_customers
    query = (
        sa.select(table.c.tenant_id, table.c.provider_account_id, table.c.external_id)
        .where(table.c.customer_tenant_id == tenant)
        .order_by(table.c.created_at, table.c.external_id)
    )
    return [(seller, account, external) for seller, account, external in connection.execute(query)]


# -- how many users -------------------------------------------------------------------------------------


def follow(connection: sa.Connection, several: Iterable[str]) -> None:
    """Set the number of licensed users of these tenants to what their purchases give them by now."""
    ids = sorted(set(several))
    mine = tenants.c.id.in_(ids)
    # First the lock, then the sum: of two purchases at one moment the second one's sum must see the first.
    held = sa.select(tenants.c.id).where(mine).order_by(tenants.c.id)
    connection.execute(held.with_for_update(key_share=True))
    connection.execute(sa.update(tenants).where(mine).values(licensed_user_count=_users.scalar_subquery()))


def begin_with(connection: sa.Connection, tenant: str, count: int) -> bool:
    """Set it where no purchase says how many. Returns whether it was set."""
    theirs = sa.select(sa.literal(1)).where(purchases.c.customer_tenant_id == tenant)
    result = connection.execute(
        sa.update(tenants).where(tenants.c.id == tenant, ~theirs.exists()).values(licensed_user_count=count)
    )
    return result.rowcount == 1


def give(connection: sa.Connection, purchase: str, tenant: str, users: int) -> None:
    """Have a purchase be this tenant's, and give it so many users."""
    connection.execute(
        sa.update(purchases)
        .where(purchases.c.id == purchase)
        .values(customer_tenant_id=tenant, users=users, awaits=None)
    )


def unclaimed(connection: sa.Connection, account: str, subscriptions: Iterable[str]) -> dict[str, str]:
    """Those of these subscriptions that are no tenant's, and wait for none: subscription -> purchase."""
    names = purchase_aliases.c
    query = (
        sa.select(names.external_id, names.purchase_id)
        .join(purchases, purchases.c.id == names.purchase_id)
        .where(
            names.provider_account_id == account,
            names.kind == "subscription",
            names.external_id.in_(sorted(set(subscriptions))),
            purchases.c.customer_tenant_id.is_(None),
            purchases.c.awaits.is_(None),
        )
    )
    return {external: purchase for external, purchase in connection.execute(query)}  # noqa: C416  # rows, not pairs


def await_tenant(connection: sa.Connection, purchase: str, work: str | None) -> None:
    """Have the events of a purchase wait for this work; None: for nothing any more."""
    connection.execute(sa.update(purchases).where(purchases.c.id == purchase).values(awaits=work))


def seats(connection: sa.Connection, tenant: str) -> Seats:
    """Call it with the tenant locked where the answer decides."""
    licensed = sa.select(tenants.c.licensed_user_count).where(tenants.c.id == tenant)
    there = sa.select(sa.func.count()).where(staff.c.tenant_id == tenant, staff.c.ended_at.is_(None))
    return Seats(connection.execute(licensed).scalar(), int(connection.execute(there).scalar_one()))


def list_theirs(connection: sa.Connection, tenant: str) -> Sequence[Theirs]:
    """What was bought for a tenant and gives it users, the newest first; a license of each."""
    query = (
        sa.select(purchases.c.id, sa.func.min(licenses.c.id), purchases.c.tenant_id, purchases.c.users)
        .join(licenses, licenses.c.purchase_id == purchases.c.id)
        .where(purchases.c.customer_tenant_id == tenant, purchases.c.users > 0)
        .group_by(purchases.c.id, purchases.c.tenant_id, purchases.c.users)
        .order_by(purchases.c.id.desc())
    )
    return [Theirs(*row) for row in connection.execute(query)]


def license_of(connection: sa.Connection, purchase: str, product: str) -> str | None:
    """A license that a purchase gave to this product; the same one each time."""
    query = sa.select(sa.func.min(licenses.c.id)).where(
        licenses.c.purchase_id == purchase, licenses.c.product_id == product
    )
    return connection.execute(query).scalar()
