"""Products, plans and prices as stored. Editing never re-grants: a plan's version rises, licenses stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec
import sqlalchemy as sa

from keywright.domain.plan import Plan, Price, Product, Terms
from keywright.store import rows
from keywright.store.tables import plans, prices, products

# The same few texts come with every license that is read.
decode_terms = lru_cache(maxsize=2048)(msgspec.json.Decoder(Terms).decode)
encode_terms = msgspec.json.Encoder(order="deterministic").encode


def plans_by_price(
    connection: sa.Connection, tenant: str, provider: str, external_ids: Iterable[str]
) -> dict[str, Plan]:
    """The plans that these provider price ids lead to. Retired prices still lead to theirs."""
    wanted = sorted(set(external_ids))
    if not wanted:
        return {}
    source = rows.recordset(connection, "k", {"external_id": "text"})
    text = rows.prepared(
        "SELECT x.external_id, p.id, p.product_id, p.slug, p.name, p.version, p.terms"  # noqa: S608  # our own names
        f" FROM {source} CROSS JOIN prices x CROSS JOIN plans p WHERE x.tenant_id = :tenant"
        " AND x.provider = :provider AND x.external_id = k.external_id AND p.id = x.plan_id"
    )
    # Where a provider knows no price ids, a one-off price goes by our own.
    ours = [id_ for id_ in wanted if id_.startswith("pri_")]
    keys = rows.json_of([{"external_id": e} for e in wanted])
    found = connection.execute(text, {"rows": keys, "tenant": tenant, "provider": provider})
    plans = {
        external: Plan(id_, product, slug, name, version, decode_terms(terms))
        for external, id_, product, slug, name, version, terms in found
    }
    return plans | _plans_by_our_price(connection, tenant, provider, ours) if ours else plans


def _plans_by_our_price(
    connection: sa.Connection, tenant: str, provider: str, ids: Sequence[str]
) -> dict[str, Plan]:
    query = (
        sa.select(prices.c.id.label("price"), plans)
        .join(plans, plans.c.id == prices.c.plan_id)
        .where(prices.c.tenant_id == tenant, prices.c.provider == provider, prices.c.id.in_(ids))
    )
    return {
        r["price"]: Plan(
            r["id"], r["product_id"], r["slug"], r["name"], r["version"], decode_terms(r["terms"])
        )
        for r in connection.execute(query).mappings()
    }


class Offer(msgspec.Struct, frozen=True):
    """A plan for sale with its product and prices."""

    product: Product
    plan: Plan
    prices: tuple[Price, ...]


def list_offers(connection: sa.Connection, tenant: str, *, retired: bool = False) -> list[Offer]:
    """Everything in the catalog, in order of product and plan slug."""
    by_plan: dict[str, list[Price]] = {}
    query = sa.select(prices).where(prices.c.tenant_id == tenant).order_by(prices.c.provider, prices.c.key)
    for r in connection.execute(query).mappings():
        if r["retired"] and not retired:
            continue
        price = Price(
            r["id"],
            r["plan_id"],
            r["provider"],
            r["key"],
            r["external_id"],
            r["amount"],
            r["currency"],
            r["interval"],
        )
        by_plan.setdefault(price.plan_id, []).append(price)
    found = (
        sa.select(
            products.c.id,
            products.c.slug,
            products.c.name,
            products.c.key_prefix,
            products.c.baseline,
            plans.c.id,
            plans.c.slug,
            plans.c.name,
            plans.c.version,
            plans.c.terms,
            plans.c.retired,
        )
        .join(plans, plans.c.product_id == products.c.id)
        .where(products.c.tenant_id == tenant)
        .order_by(products.c.slug, plans.c.slug)
    )
    offers = []
    for (
        id_,
        slug,
        name,
        prefix,
        baseline,
        plan_id,
        plan_slug,
        plan_name,
        version,
        terms,
        gone,
    ) in connection.execute(found):
        if gone and not retired:
            continue
        product = Product(id_, tenant, slug, name, prefix, msgspec.json.decode(baseline))
        plan = Plan(plan_id, id_, plan_slug, plan_name, version, decode_terms(terms))
        offers.append(Offer(product, plan, tuple(by_plan.get(plan_id, ()))))
    return offers


def find_offer(connection: sa.Connection, tenant: str, product: str, plan: str) -> Offer | None:
    for offer in list_offers(connection, tenant):
        if offer.product.slug == product and offer.plan.slug == plan:
            return offer
    return None


def prefixes(connection: sa.Connection, product_ids: Iterable[str]) -> dict[str, str]:
    """Product id -> key prefix."""
    query = sa.select(products.c.id, products.c.key_prefix).where(products.c.id.in_(list(product_ids)))
    return {id_: prefix for id_, prefix in connection.execute(query)}  # noqa: C416  # rows, not pairs
