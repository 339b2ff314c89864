"""The end of a tenant: what is left of its rows, and how the others go.

What is kept is what books need: which purchases there were, for how much, which fees the platform took, and
who did what; all of it under ids, without an address, a name or a machine. Everything else that names the
tenant is deleted. A table that is not in `KEPT` is deleted from without being named here: so a new one is not
forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.email_address import erased_for
from keywright.domain.purchase import Purchase
from keywright.store import connected, provisioning_tables
from keywright.store import purchases as purchase_rows
from keywright.store.staff_tables import staff
from keywright.store.tables import (
    customers,
    licenses,
    metadata,
    provider_accounts,
    purchases,
    signing_keys,
    tenants,
    tokens,
)
from keywright.store.vault_tables import closed_tenants
from keywright.store.webhook_tables import webhook_endpoints

KEPT: Final = frozenset(
    {
        *("provider_accounts", "products", "plans", "prices", "purchases", "purchase_aliases", "revenue"),
        *("platform_fees", "audit", "audit_heads", "closed_tenants"),
    }
)
"""Tables whose rows outlive their tenant. Of `purchases` the address and the customer are taken."""

NAME: Final = "Closed"
# Sessions lead to links, so in this order.
_WAYS_IN: Final = (
    "staff_sessions",
    "staff_links",
    "portal_sessions",
    "portal_links",
    "hmac_keys",
    "vault_entries",
)
AT_ONCE: Final = 500  # rows in a transaction

_state: Final = msgspec.json.Decoder(Purchase).decode


class Ending(msgspec.Struct, frozen=True):
    """A tenant, and whether it was closed. `shredded_at`: when the last row that had to go was gone."""

    id: str
    slug: str
    is_master: bool
    closed_at: datetime | None
    shredded_at: datetime | None


class Holdings(msgspec.Struct, frozen=True):
    """`people`: staff whose accounts are open."""

    licenses: int
    customers: int
    people: int


def find(connection: sa.Connection, slug_or_id: str, *, lock: bool = False) -> Ending | None:
    """A tenant, also one that is closed."""
    query = (
        sa.select(tenants.c.id, tenants.c.slug, tenants.c.is_master)
        .add_columns(closed_tenants.c.closed_at, closed_tenants.c.shredded_at)
        .outerjoin(closed_tenants, closed_tenants.c.tenant_id == tenants.c.id)
        .where(sa.or_(tenants.c.slug == slug_or_id, tenants.c.id == slug_or_id))
    )
    row = connection.execute(query.with_for_update(of=tenants) if lock else query).mappings().first()
    return None if row is None else Ending(**row)


def holdings(connection: sa.Connection, tenant: str) -> Holdings:
    """How much of what people care about a tenant has."""
    counted = [
        sa.select(sa.func.count()).where(held.c.tenant_id == tenant, *more).scalar_subquery()
        for held, *more in ((licenses,), (customers,), (staff, staff.c.ended_at.is_(None)))
    ]
    return Holdings(*connection.execute(sa.select(*counted)).one())


def close(connection: sa.Connection, tenant: str, now: datetime) -> None:
    """Let nobody in, nothing out, and no event be heard from this commit on. The vault's keys go beside this.

    Licenses are not found by their keys any longer: what answers them is what answers an unknown key. What a
    connected account is called stays known: it goes on selling, and its buyers are not the platform's.
    """
    connection.execute(sa.insert(closed_tenants).values(tenant_id=tenant, closed_at=now))
    nobody = {
        "name": NAME,
        "email": None,
        "licensed_user_count": None,
        "website_origins": "",
        "return_origins": "",
    }
    connection.execute(sa.update(tenants).where(tenants.c.id == tenant).values(**nobody))
    for name in _WAYS_IN:
        held = metadata.tables[name]
        connection.execute(sa.delete(held).where(held.c.tenant_id == tenant))
    revoked = {"private_sealed": "", "state": "revoked", "revoked_at": now}
    for table, values in (
        (tokens, {"revoked_at": now}),
        (webhook_endpoints, {"enabled": False}),
        (signing_keys, revoked),
        (provider_accounts, {"external_id": connected.closed_name(provider_accounts.c.external_id)}),
        (licenses, {"key_hash": "closed:" + licenses.c.id}),
    ):
        connection.execute(sa.update(table).where(table.c.tenant_id == tenant).values(**values))
    purchase_rows.let_go(connection, tenant)


def doomed() -> list[str]:
    """The tables that a tenant's rows go from, those first that refer to others."""
    return [
        str(table.name)
        for table in reversed(metadata.sorted_tables)
        if "tenant_id" in table.c and table.name not in KEPT
    ]


def row_ids(connection: sa.Connection, table: str, tenant: str) -> Iterator[Sequence[str]]:
    """Where a tenant's rows lie, a few at a time."""
    place = _place(connection)
    query = sa.text(f"SELECT {place} FROM {table} WHERE tenant_id = :tenant")  # noqa: S608  # names of our own tables
    found = connection.execute(query, {"tenant": tenant}).scalars().all()
    for begin in range(0, len(found), AT_ONCE):
        yield [str(one) for one in found[begin : begin + AT_ONCE]]


def delete(connection: sa.Connection, table: str, tenant: str, places: Sequence[str]) -> None:
    """Delete these rows, as far as they still lie there and are the tenant's."""
    place = _place(connection)
    kind = "INTEGER" if place == "rowid" else "tid"
    query = sa.text(
        f"DELETE FROM {table} WHERE tenant_id = :tenant AND {place} IN"  # noqa: S608  # as above
        f" (SELECT CAST(value AS {kind}) FROM {_listed(connection)})"
    )
    connection.execute(query, {"tenant": tenant, "places": msgspec.json.encode(places).decode()})


def _place(connection: sa.Connection) -> str:
    return "rowid" if connection.dialect.name == "sqlite" else "ctid"


def _listed(connection: sa.Connection) -> str:
    if connection.dialect.name == "sqlite":
        return "json_each(:places)"
    return "json_array_elements_text(CAST(:places AS json)) AS listed(value)"


def purchases_with_people(connection: sa.Connection, tenant: str, after: str) -> list[str]:
    """Some of the tenant's purchases, in order, beginning behind this one."""
    query = (
        sa.select(purchases.c.id)
        .where(purchases.c.tenant_id == tenant, purchases.c.id > after)
        .order_by(purchases.c.id)
        .limit(AT_ONCE)
    )
    return list(connection.execute(query).scalars())


def part_purchases(connection: sa.Connection, ids: Sequence[str]) -> None:
    """Take from purchases who bought, for which firm and from which machine."""
    query = (
        sa.select(purchases.c.id, purchases.c.state).where(purchases.c.id.in_(ids)).order_by(purchases.c.id)
    )
    for id_, text in connection.execute(query.with_for_update()).all():
        state = msgspec.structs.replace(_state(text), holder={}, ordered=None)
        connection.execute(
            sa.update(purchases)
            .where(purchases.c.id == id_)
            .values(state=msgspec.json.encode(state).decode(), customer_id=None)
        )


def part_seller(connection: sa.Connection, tenant: str) -> None:
    """Take name and first person from what a seller keeps of how the tenant came to be."""
    table = provisioning_tables.provisionings
    query = sa.select(table.c.id, table.c.wish).where(table.c.customer_tenant_id == tenant)
    for id_, text in connection.execute(query).all():
        wish = msgspec.json.decode(text)
        kept = {**wish, "email": erased_for("closed"), "client_name": NAME}
        connection.execute(
            sa.update(table).where(table.c.id == id_).values(wish=msgspec.json.encode(kept).decode())
        )


def closed_of(connection: sa.Connection, several: Iterable[str | None]) -> list[str]:
    """Those of these tenants that were closed."""
    ids = sorted({one for one in several if one is not None})
    query = sa.select(closed_tenants.c.tenant_id).where(closed_tenants.c.tenant_id.in_(ids))
    return list(connection.execute(query.order_by(closed_tenants.c.tenant_id)).scalars())


def part_customers(connection: sa.Connection, several: Sequence[str]) -> None:
    """Have closed tenants be nobody's customers any more: those buy again, as other tenants."""
    mapped = provisioning_tables.tenant_customers
    connection.execute(sa.delete(mapped).where(mapped.c.customer_tenant_id.in_(several)))
    theirs = purchases.c.customer_tenant_id.in_(several)
    connection.execute(sa.update(purchases).where(theirs).values(customer_tenant_id=None, users=None))


def finish(connection: sa.Connection, tenant: str, now: datetime) -> None:
    """Note that everything that had to go is gone."""
    connection.execute(
        sa.update(closed_tenants).where(closed_tenants.c.tenant_id == tenant).values(shredded_at=now)
    )
