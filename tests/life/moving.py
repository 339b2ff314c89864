"""A seller who moves here with what there was at a provider, and what is here afterwards, row for row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.domain.purchase import Purchase
from keywright.flows import importing
from keywright.flows.context import Context
from keywright.flows.import_pages import Counts
from keywright.flows.importing import Wish
from keywright.flows.pacing import Pace
from keywright.sandbox.app import SandboxServer
from keywright.sandbox.paypal_api import CLIENT_ID, CLIENT_SECRET
from keywright.sandbox.paystack import SECRET_KEY
from keywright.store import catalog, tables
from keywright.store.import_tables import import_conflicts, import_lines, imports
from keywright.store.imports import Import

Rows = list[tuple[Any, ...]]
SOLD = ("basic", "pro", "team")
FAST = 10_000.0
_TIMES = frozenset({"stamp", "since"})


def settings_of(sandbox: SandboxServer) -> dict[str, Any]:
    """What the environment says to whom the stand-ins are the providers."""
    return {
        "stripe_secret_key": sandbox.api_key,
        "stripe_api_base": sandbox.url,
        "paystack_secret_key": SECRET_KEY,
        "paystack_api_base": f"{sandbox.url}/paystack",
        "paypal_client_id": CLIENT_ID,
        "paypal_client_secret": CLIENT_SECRET,
        "paypal_webhook_id": "WH-1",
        "paypal_api_base": sandbox.url,
    }


def lever(sandbox: SandboxServer, name: str, **told: Any) -> dict[str, Any]:
    """Pull a lever of the sandbox."""
    url = f"{sandbox.url}/_sandbox/{name}"
    answer = httpx.post(url, json=told, timeout=120, trust_env=False)
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    return done


def sell(context: Context, provider: str, prices: Mapping[str, str], terms: Terms | None = None) -> None:
    """Have the three products with their prices; what is called otherwise stays unsold."""
    tenant = context.master.id
    with context.database.write() as connection:
        for slug in SOLD:
            row = {"id": f"pro_{slug}", "tenant_id": tenant, "slug": slug, "name": slug.title()}
            connection.execute(sa.insert(tables.products).values(**row, key_prefix=slug[:2].upper()))
            plan = {"id": f"pla_{slug}", "tenant_id": tenant, "product_id": f"pro_{slug}", "slug": "plan"}
            told = catalog.encode_terms(terms or Terms()).decode()
            connection.execute(sa.insert(tables.plans).values(**plan, name="Plan", version=1, terms=told))
        for name, external in prices.items():
            slug, _, interval = name.partition("/")
            if slug in SOLD:
                price = {"id": f"pri_{slug}_{interval}", "tenant_id": tenant, "plan_id": f"pla_{slug}"}
                price |= {"provider": provider, "key": interval, "external_id": external}
                connection.execute(
                    sa.insert(tables.prices).values(**price, amount=900, currency="USD", interval=interval)
                )


def bring(
    context: Context, provider: str, file: bytes | None = None, *, pace: Pace | None = None, **wished: Any
) -> Import:
    """Import in this process, as fast as it goes."""
    begun = importing.begin(context, Wish(provider, "test", a_second=FAST, **wished), file)
    return importing.run(context, begun.id, pace=pace or Pace(FAST))


def counts_of(run: Import) -> Counts:
    return msgspec.json.decode(run.counts, type=Counts)


def encoded(event: Mapping[str, Any]) -> bytes:
    """An event as it is sent."""
    return msgspec.json.encode(event)


def every(context: Context, table: sa.Table) -> list[dict[str, Any]]:
    with context.database.read() as connection:
        return [dict(found) for found in connection.execute(sa.select(table)).mappings()]


def conflicts_of(context: Context, run: Import) -> dict[str, list[str]]:
    """By kind, what they are about."""
    found: dict[str, list[str]] = {}
    for one in every(context, import_conflicts):
        if one["import_id"] == run.id:
            found.setdefault(one["kind"], []).append(one["object"])
    return {kind: sorted(several) for kind, several in found.items()}


def row_counts(context: Context) -> dict[str, int]:
    """How many rows each table has, less those that tell of imports themselves."""
    own = {imports.name, import_conflicts.name, import_lines.name, "reconciliations", "audit", "audit_heads"}
    found = {}
    with context.database.read() as connection:
        for table in tables.metadata.sorted_tables:
            if table.name not in own:
                query = sa.select(sa.func.count()).select_from(table)
                found[table.name] = int(connection.execute(query).scalar_one())
    return found


def everything(context: Context) -> dict[str, list[Any]]:
    """Every row as it is, less those that tell of imports: what may not change."""
    return {
        name: sorted(map(repr, every(context, tables.metadata.tables[name])))
        for name in row_counts(context)
        if name not in ("provider_accounts",)
    }


def content(context: Context) -> dict[str, Rows]:
    """What was imported, by the provider's own names: without our ids, our keys, and when we wrote it."""
    aliases = every(context, tables.purchase_aliases)
    purchases, people = _purchase_names(aliases), _customer_names(context)
    slugs = {one["id"]: one["slug"] for one in every(context, tables.products)}
    held = every(context, tables.licenses)
    names = {
        one["id"]: (purchases.get(one["purchase_id"]), slugs[one["product_id"]], one["unit"]) for one in held
    }
    found: dict[str, Rows] = {
        "customers": [
            (people[one["id"]], one["email"], one["name"], one["language"])
            for one in every(context, tables.customers)
        ],
        "aliases": [(one["kind"], one["external_id"], purchases[one["purchase_id"]]) for one in aliases],
        "purchases": [
            (purchases.get(one["id"]), people.get(one["customer_id"]), _timeless(one["state"]))
            for one in every(context, tables.purchases)
        ],
        "licenses": [(names[one["id"]], people.get(one["customer_id"]), *_of_license(one)) for one in held],
        # A machine's hash is keyed: in another database it is another one.
        "activations": [(names[one["license_id"]],) for one in every(context, tables.activations)],
        "timeline": [
            (names[one["license_id"]], one["seq"], one["kind"]) for one in every(context, tables.timeline)
        ],
        "inbox": [
            (one["type"], one["dedupe_key"], one["status"], one["reason"], one["body"])
            for one in every(context, tables.inbox)
        ],
        "announcements": [
            (names[one["license_id"]], one["kind"]) for one in every(context, tables.announcements)
        ],
    }
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


def _purchase_names(aliases: list[dict[str, Any]]) -> dict[str, str]:
    names: dict[str, list[str]] = {}
    for one in aliases:
        names.setdefault(one["purchase_id"], []).append(f"{one['kind']} {one['external_id']}")
    # A subscription's own name is the last in order.
    return {purchase: max(several) for purchase, several in names.items()}


def _customer_names(context: Context) -> dict[str, tuple[str, ...]]:
    names: dict[str, list[str]] = {}
    for one in every(context, tables.customer_accounts):
        names.setdefault(one["customer_id"], []).append(one["external_id"])
    return {one["id"]: tuple(sorted(names.get(one["id"], ()))) for one in every(context, tables.customers)}


def _of_license(one: Mapping[str, Any]) -> tuple[Any, ...]:
    ours = {
        "id",
        "tenant_id",
        "purchase_id",
        "customer_id",
        "product_id",
        "unit",
        "created_at",
        "head",
        "mac",
    }
    keys = {"key_hash", "key_last5", "key_sealed"}
    return tuple((name, value) for name, value in one.items() if name not in ours | keys)


def _timeless(state: str) -> str:
    return repr(_without(msgspec.to_builtins(msgspec.json.decode(state, type=Purchase))))


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without(inner) for name, inner in sorted(value.items()) if name not in _TIMES}
    return [_without(one) for one in value] if isinstance(value, list | tuple) else value
