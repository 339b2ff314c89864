"""Customers: who bought, per tenant, and their names at the providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.store import rows
from keywright.store.rows import certain, micros
from keywright.store.tables import customer_accounts, customers


class Customer(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    email: str | None
    name: str | None
    created_at: datetime
    external_id: str | None = None
    language: str | None = None


def find_by_external(
    connection: sa.Connection, account: str, external_ids: Sequence[str]
) -> dict[str, Customer]:
    if not external_ids:
        return {}
    source = rows.recordset(connection, "k", {"external_id": "text"})
    text = rows.prepared(
        "SELECT a.external_id, c.id, c.tenant_id, c.email, c.name, c.created_at"  # noqa: S608  # our own names
        f" FROM {source} CROSS JOIN customer_accounts a CROSS JOIN customers c"
        " WHERE a.provider_account_id = :account AND a.external_id = k.external_id AND c.id = a.customer_id"
    )
    keys = rows.json_of([{"external_id": e} for e in sorted(set(external_ids))])
    return {
        external: Customer(id_, tenant, email, name, certain(created), external)
        for external, id_, tenant, email, name, created in connection.execute(
            text, {"rows": keys, "account": account}
        )
    }


def get_many(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Customer]:
    query = sa.select(customers).where(customers.c.id.in_(ids))
    return {
        r["id"]: Customer(r["id"], r["tenant_id"], r["email"], r["name"], r["created_at"])
        for r in connection.execute(query).mappings()
    }


def find_by_email(connection: sa.Connection, tenant: str, email: str) -> Customer | None:
    """The oldest customer with this e-mail that no provider knows: staff made it."""
    query = (
        sa.select(customers)
        .where(customers.c.tenant_id == tenant, customers.c.email == email)
        .order_by(customers.c.id)
        .limit(1)
    )
    r = connection.execute(query).mappings().first()
    return None if r is None else Customer(r["id"], tenant, r["email"], r["name"], r["created_at"])


def find_by_emails(connection: sa.Connection, tenant: str, emails: Sequence[str]) -> dict[str, Customer]:
    """The same for many: by e-mail, those that are there."""
    query = sa.select(customers).where(customers.c.tenant_id == tenant, customers.c.email.in_(emails))
    found = [
        Customer(r["id"], tenant, r["email"], r["name"], r["created_at"])
        for r in connection.execute(query.order_by(customers.c.id.desc())).mappings()
    ]
    return {one.email or "": one for one in found}


def insert(connection: sa.Connection, made: Sequence[Customer], account: str | None) -> None:
    ordered = sorted(made, key=lambda c: c.id)
    rows.insert(
        connection,
        customers,
        [
            {
                "id": c.id,
                "tenant_id": c.tenant_id,
                "email": c.email,
                "name": c.name,
                "created_at": micros(c.created_at),
                "language": c.language,
            }
            for c in ordered
        ],
    )
    linked = sorted((c for c in ordered if c.external_id), key=lambda c: c.external_id or "")
    rows.insert(
        connection,
        customer_accounts,
        [
            {
                "provider_account_id": account,
                "external_id": c.external_id,
                "tenant_id": c.tenant_id,
                "customer_id": c.id,
            }
            for c in linked
        ],
    )


def link(connection: sa.Connection, tenant: str, account: str, links: Mapping[str, str]) -> None:
    """Give customers further names at a provider: external id -> customer. One that leads somewhere stays."""
    rows.insert(
        connection,
        customer_accounts,
        [
            {
                "provider_account_id": account,
                "external_id": external,
                "tenant_id": tenant,
                "customer_id": customer,
            }
            for external, customer in sorted(links.items())
        ],
        ignore=True,
    )


def learn(connection: sa.Connection, known: Sequence[Customer]) -> None:
    """Write an e-mail address that was learned later."""
    rows.update(
        connection,
        customers,
        [{"id": c.id, "email": c.email} for c in sorted(known, key=lambda c: c.id)],
    )


def speak(connection: sa.Connection, languages: Mapping[str, str]) -> None:
    """Write the languages of customers (id -> tag) whose own was not known."""
    for tag in sorted(set(languages.values())):
        ids = sorted(id_ for id_, spoken in languages.items() if spoken == tag)
        unknown = sa.and_(customers.c.id.in_(ids), customers.c.language.is_(None))
        connection.execute(sa.update(customers).where(unknown).values(language=tag))


def tell(connection: sa.Connection, account: str, told: Sequence[tuple[str, str, datetime]]) -> set[str]:
    """Write addresses that customers of this provider account changed: (external id, e-mail, when told).

    An address that was told earlier never replaces one that was told later. Returns who was changed.
    """
    changed: set[str] = set()
    for external, email, at in sorted(told):
        mine = sa.select(customer_accounts.c.customer_id).where(
            customer_accounts.c.provider_account_id == account, customer_accounts.c.external_id == external
        )
        written = connection.execute(
            sa.update(customers)
            .where(
                customers.c.id.in_(mine),
                sa.or_(customers.c.email_told_at.is_(None), customers.c.email_told_at < at),
            )
            .values(email=email, email_told_at=at)
            .returning(customers.c.id)
        )
        changed.update(written.scalars())
    return changed


def move(connection: sa.Connection, people: Sequence[str], email: str, now: datetime) -> None:
    """Write an address that a customer gave himself: what a provider tells of an earlier time is older."""
    connection.execute(
        sa.update(customers).where(customers.c.id.in_(people)).values(email=email, email_told_at=now)
    )
