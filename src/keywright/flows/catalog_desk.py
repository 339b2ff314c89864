"""The catalog as staff edit it in the console: as text, or one plan in a form. Both are read as a file is.

Texts written as `"$NAME"` are refused here: the environment holds secrets, and whoever edits the catalog need
not be the one who set it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from keywright.domain.errors import Invalid, NotFound
from keywright.flows import catalog, catalog_file, catalog_toml
from keywright.flows.catalog_file import Catalog, CatalogPlan, CatalogRefused, Change
from keywright.flows.catalog_toml import array, inline, members_of, text
from keywright.flows.context import Context
from keywright.flows.operate import Act, text_of
from keywright.store import tenants
from keywright.store.tenants import Tenant

MOST_TEXT: Final = 256 * 1024
"""Characters in the editor; larger catalogs are applied from a file."""
_SOURCE: Final = "catalog"
_PROBLEM: Final = re.compile(rf"{_SOURCE}:(\d+): (.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")

Kind = Literal["text", "number", "texts", "numbers"]
# What the form of a plan has. Empty: as usual, so the member is left out.
FIELDS: Final[Mapping[str, Kind]] = {
    "name": "text",
    "quantity": "text",
    "seats_per_unit": "number",
    "max_activations": "number",
    "over_limit": "text",
    "moves": "text",
    "entitlements": "texts",
    "limits": "numbers",
    "term": "text",
    "trial": "text",
    "grace": "text",
    "offline": "text",
    "offline_file": "text",
    "on_cancel": "text",
    "on_refund": "text",
    "on_dispute": "text",
    "on_repurchase": "text",
}
PRICE_FIELDS: Final[Mapping[str, Kind]] = {
    "key": "text",
    "provider": "text",
    "id": "text",
    "amount": "number",
    "currency": "text",
    "interval": "text",
}
_EMPTY: Final = """# Nothing is on sale yet. An example; docs/reference/catalog.md explains every member.
[[product]]
slug = "my-app"
name = "My App"
key_prefix = "MYAPP"

[[product.plan]]
slug = "pro"
name = "Pro"
term = "perpetual"
prices = [
  { key = "once", provider = "stripe", id = "price_...", amount = 4900, currency = "USD" },
]
"""


class Problem(msgspec.Struct, frozen=True):
    """`line`: of the text; None: of no line."""

    line: int | None
    message: str


class TextRefused(Invalid):
    """The text is no catalog; every problem of it."""

    code = CatalogRefused.code

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("The catalog was not changed: something in it is wrong.")
        self.problems = problems


class Difference(msgspec.Struct, frozen=True):
    """What a text would change. `mark`: what `apply` has to be given, so that nothing else is done."""

    changes: tuple[Change, ...]
    mark: str


def load_text(context: Context, tenant: str) -> str:
    """The catalog as a file. An example when nothing is on sale."""
    found = catalog.load(context, _tenant(context, tenant))
    return catalog_toml.written(found) if found is not None else _EMPTY


def load(context: Context, tenant: str) -> Catalog:
    """What is on sale; maybe nothing."""
    return catalog.load(context, _tenant(context, tenant)) or Catalog(())


def get_plan(context: Context, tenant: str, product: str, plan: str) -> CatalogPlan:
    """Raises NotFound."""
    for one in load(context, tenant).products:
        for found in one.plans:
            if (one.slug, found.slug) == (product, plan):
                return found
    raise NotFound("There is no such plan on sale.", code="PLAN_UNKNOWN")


def compare(context: Context, tenant: str, typed: str) -> Difference:
    """What the text would change. Writes nothing. Raises TextRefused with every problem."""
    wanted = _read(typed)
    try:
        changes = catalog.apply(context, wanted, tenant=_tenant(context, tenant), dry_run=True).changes
    except CatalogRefused as error:
        raise TextRefused(_problems(error)) from None
    return Difference(changes, catalog.mark(changes))


def apply(context: Context, tenant: str, typed: str, mark: str, act: Act) -> int:
    """Make the catalog agree with the text, when it would still change what was looked at. Returns how many
    parked events new prices set free.

    Raises TextRefused; Invalid for a reason that is none; Conflict when the catalog was changed meanwhile.
    """
    wanted, why = _read(typed), text_of("reason", act.reason)
    try:
        done = catalog.apply(context, wanted, tenant=_tenant(context, tenant), only=mark, by=act.by, why=why)
    except CatalogRefused as error:
        raise TextRefused(_problems(error)) from None
    return done.released


def _read(typed: str) -> Catalog:
    if len(typed) > MOST_TEXT:
        raise TextRefused([Problem(None, f"The text is longer than {MOST_TEXT:,} characters: apply a file.")])
    try:
        return catalog_file.parse(typed, source=_SOURCE, environment={})
    except CatalogRefused as error:
        raise TextRefused(_problems(error)) from None


def _problems(error: CatalogRefused) -> list[Problem]:
    found = []
    for told in error.problems:
        placed = _PROBLEM.fullmatch(told)
        found.append(Problem(int(placed[1]), placed[2]) if placed else Problem(None, told))
    return found


def _tenant(context: Context, tenant: str) -> Tenant:
    if tenant == context.tenant.id:
        return context.tenant
    with context.database.read() as connection:
        found = tenants.find(connection, tenant)
    if found is None:
        raise NotFound("There is no such tenant.", code="TENANT_UNKNOWN")
    return found


# -- one plan in a form ---------------------------------------------------------------------------------


class PlanForm(msgspec.Struct, frozen=True):
    """A plan as fields: texts as typed, lists one a line, limits as `name = 5`."""

    fields: dict[str, str]
    prices: list[dict[str, str]]


def form_of(plan: CatalogPlan) -> PlanForm:
    """A plan as its form begins."""
    members = catalog_toml.members_of(plan)
    fields = {name: _shown(members.get(name), kind, plan, name) for name, kind in FIELDS.items()}
    prices = [
        {
            "key": price.key,
            "provider": price.provider,
            "id": price.external_id or "",
            "amount": str(price.amount),
            "currency": price.currency,
            "interval": price.interval or "",
        }
        for price in plan.prices
    ]
    return PlanForm(fields, prices)


def text_with(context: Context, tenant: str, product: str, slug: str, form: PlanForm) -> str:
    """The whole catalog as a file, with a plan as its form says, right or wrong. Raises NotFound."""
    plan = get_plan(context, tenant, product, slug)
    members = {name: value for name, value in members_of(plan).items() if name != "prices"}
    for name, kind in FIELDS.items():
        typed = form.fields.get(name, "").strip()
        members.pop(name, None)
        if typed or name == "name":
            members[name] = _literal(typed, kind)
    prices = [
        {
            name: _literal(one.get(name, ""), kind)
            for name, kind in PRICE_FIELDS.items()
            if one.get(name, "").strip()
        }
        for one in form.prices
    ]
    if kept := [one for one in prices if one]:
        members["prices"] = array(inline(one) for one in kept)
    return catalog_toml.written(load(context, tenant), {(product, slug): members})


def _literal(typed: str, kind: Kind) -> str:
    """What was typed, as a TOML value. What is no number stays text, and is refused as a text."""
    typed = typed.strip()
    if kind == "number":
        return str(int(typed)) if _NUMBER.fullmatch(typed) else text(typed)
    if kind == "texts":
        return array(text(line.strip()) for line in typed.splitlines() if line.strip())
    if kind == "numbers":
        told = []
        for line in filter(None, map(str.strip, typed.splitlines())):
            name, _, value = map(str.strip, line.partition("="))
            told.append(f"{text(name)} = {_literal(value, 'number')}")
        return f"{{ {', '.join(told)} }}"  # a name that is there twice stays so, and is refused
    return text(typed)


def _shown(value: str | None, kind: Kind, plan: CatalogPlan, name: str) -> str:
    if value is None:
        return ""
    if kind == "texts":
        return "\n".join(plan.terms.entitlements)
    if kind == "numbers":
        return "\n".join(f"{limit} = {number}" for limit, number in plan.terms.limits.items())
    if kind == "number":
        return value
    return plan.name if name == "name" else value.strip('"')
