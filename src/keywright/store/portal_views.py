"""What a customer sees of his own: everybody with his address, their licenses, and the machines on them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from keywright.domain.activation import Activation
from keywright.domain.email_address import folded
from keywright.domain.license import License
from keywright.domain.plan import Plan
from keywright.domain.purchase import Purchase
from keywright.store import licenses, wall
from keywright.store.catalog import decode_terms
from keywright.store.customers import Customer
from keywright.store.tables import activations, customers, plans, products, purchases
from keywright.store.tables import licenses as license_table

_purchase = msgspec.json.Decoder(Purchase).decode


class HeldPlan(msgspec.Struct, frozen=True):
    plan: Plan
    product: str
    product_slug: str


class Deal(msgspec.Struct, frozen=True):
    """With which account of the provider's a license was bought, and how its subscription stands there.

    `quantity`: how many are subscribed to, where the subscription is to one thing.
    """

    account: str
    subscription: str | None
    quantity: int | None = None


def find_people(connection: sa.Connection, tenant: str, email: str) -> list[Customer]:
    """The customers with this address, the oldest first. Capitals do not count, where they are ASCII.

    Only ASCII, because databases do not agree on the rest, and one that reads the Kelvin sign as a k would
    hand one person's licenses to another.
    """
    found: dict[str, Customer] = {}
    asked = [sa.func.lower(customers.c.email) == folded(email)]
    if not email.isascii():
        # PostgreSQL's lower() changes more than ASCII.
        asked += [customers.c.email == email, sa.func.lower(customers.c.email) == email.lower()]
    for condition in asked:
        query = sa.select(customers).where(customers.c.tenant_id == tenant, condition)
        # Under a policy PostgreSQL takes no index on lower(email), and read 100,000 for one (measured).
        with wall.lifted_on(connection):
            alike = connection.execute(query).mappings().all()
        for r in alike:
            if r["tenant_id"] == tenant and r["email"] is not None and folded(r["email"]) == folded(email):
                one = Customer(r["id"], r["tenant_id"], r["email"], r["name"], r["created_at"])
                found[one.id] = one
    return [found[id_] for id_ in sorted(found)]


def find_customer(
    connection: sa.Connection, tenant: str, customer_id: str, *, lock: bool = False
) -> str | None:
    """The address of a customer, as it is now; with `lock`, held until the transaction ends."""
    query = sa.select(customers.c.email).where(customers.c.tenant_id == tenant, customers.c.id == customer_id)
    email: str | None = connection.execute(query.with_for_update() if lock else query).scalar()
    return email


def has_license(connection: sa.Connection, tenant: str, people: Sequence[str]) -> bool:
    return connection.execute(_of(tenant, people).limit(1)).first() is not None


def list_licenses(
    connection: sa.Connection, tenant: str, people: Sequence[str], *, after: str | None, limit: int
) -> list[License]:
    """Their licenses, newest first, beyond `after`."""
    query = _of(tenant, people).order_by(sa.desc("id")).limit(limit)
    if after is not None:
        query = query.where(license_table.c.id + "" < after)
    found = [licenses.find(connection, tenant, id_) for id_ in connection.execute(query).scalars().all()]
    return [one for one in found if one is not None]


def _of(tenant: str, people: Sequence[str]) -> sa.Select[str]:
    """The ids of their licenses. As expressions, because in its own order by id the planner of SQLite would
    read all licenses of the tenant (measured: 150 ms with 100,000)."""
    return sa.select((license_table.c.id + "").label("id")).where(
        license_table.c.tenant_id + "" == tenant, license_table.c.customer_id.in_(people)
    )


def plans_of(connection: sa.Connection, plan_ids: Sequence[str]) -> dict[str, HeldPlan]:
    """By plan id. One that a license was led to by hand, and that does not exist, is not in it."""
    query = (
        sa.select(plans, products.c.name.label("product"), products.c.slug.label("product_slug"))
        .join(products, products.c.id == plans.c.product_id)
        .where(plans.c.id.in_(sorted(set(plan_ids))))
    )
    found = {}
    for r in connection.execute(query).mappings():
        terms = decode_terms(r["terms"])
        plan = Plan(r["id"], r["product_id"], r["slug"], r["name"], r["version"], terms)
        found[plan.id] = HeldPlan(plan, r["product"], r["product_slug"])
    return found


def deals_of(connection: sa.Connection, purchase_ids: Sequence[str]) -> dict[str, Deal]:
    """By purchase id. Read, not locked."""
    query = sa.select(purchases.c.id, purchases.c.provider_account_id, purchases.c.state).where(
        purchases.c.id.in_(sorted(set(purchase_ids)))
    )
    found = {}
    for id_, account, state in connection.execute(query):
        seen = _purchase(state).subscription
        items = seen.items if seen is not None else ()
        quantity = items[0].quantity if len(items) == 1 else None
        found[id_] = Deal(account, seen.status if seen is not None else None, quantity)
    return found


def machines_of(
    connection: sa.Connection, license_ids: Sequence[str], *, most: int
) -> dict[str, list[Activation]]:
    """License id -> the machines that hold it, at most so many each, the longest silent first."""
    place = sa.func.row_number().over(
        partition_by=activations.c.license_id,
        order_by=(sa.func.coalesce(activations.c.last_seen_at, activations.c.activated_at), activations.c.id),
    )
    ranked = (
        sa.select(
            activations.c.id,
            activations.c.license_id,
            activations.c.tenant_id,
            activations.c.fingerprint_hash,
            activations.c.name,
            activations.c.activated_at,
            activations.c.last_seen_at,
            activations.c.seat_until,
            activations.c.out_until,
            place.label("place"),
        )
        .where(activations.c.license_id.in_(license_ids), activations.c.released_at.is_(None))
        .subquery()
    )
    query = sa.select(ranked).where(ranked.c.place <= most).order_by(ranked.c.license_id, ranked.c.place)
    found: dict[str, list[Activation]] = {}
    for r in connection.execute(query).mappings():
        told = {name: value for name, value in r.items() if name != "place"}
        found.setdefault(r["license_id"], []).append(Activation(**told))
    return found
