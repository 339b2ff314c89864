"""A catalog as a file, as `catalog apply` reads it. Reading it again gives the same catalog."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from keywright.domain.plan import Terms
from keywright.flows.catalog_file import Catalog, CatalogPlan, CatalogPrice, CatalogProduct, show_notices
from keywright.flows.toml_table import show_duration

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_USUAL: Final = Terms()
_DURATIONS: Final = ("trial", "grace", "slack", "offline", "offline_file", "checkout", "reclaim")
# In the order of the reference; the rest of the terms is written in their own way.
_PLAIN: Final = (
    *("quantity", "seats_per_unit", "max_activations", "over_limit", "moves", "rebinds", "floating"),
    *("checkout", "reclaim", "entitlements", "limits", "term", "trial", "grace", "slack", "offline"),
    *("offline_file", "portable_file", "on_cancel", "on_repurchase", "on_refund", "on_dispute"),
    *("seat_decrease", "profile", "notices"),
)
_ALWAYS: Final = frozenset({"quantity", "term", "grace"})

Members = Mapping[str, str]
"""The members of a table: name -> TOML value."""


def written(catalog: Catalog, changed: Mapping[tuple[str, str], Members] | None = None) -> str:
    """The catalog as TOML.

    Args:
        catalog: what is on sale.
        changed: other members of plans, by product and plan: what stands in a form, right or wrong.
    """
    other = changed or {}
    return "\n".join(line for product in catalog.products for line in _product(product, other))


def members_of(plan: CatalogPlan) -> dict[str, str]:
    """A plan's members as they are written, those that are as usual left out, `prices` the last."""
    members = {"slug": text(plan.slug), "name": text(plan.name)}
    if plan.code is not None:
        members["code"] = str(plan.code)
    members |= _terms(plan.terms)
    if plan.prices:
        members["prices"] = array(inline(_price(price)) for price in plan.prices)
    return members


def text(value: str) -> str:
    """A TOML string. Catalogs hold printable characters alone, and of those JSON writes the same."""
    return json.dumps(value, ensure_ascii=False)


def array(values: Iterable[str]) -> str:
    """A TOML array, one element a line when they are tables."""
    found = list(values)
    if any(value.startswith("{") for value in found):
        return "[\n" + "".join(f"  {value},\n" for value in found) + "]"
    return f"[{', '.join(found)}]"


def inline(members: Members) -> str:
    """A TOML inline table."""
    told = ", ".join(f"{_name(name)} = {value}" for name, value in members.items())
    return f"{{ {told} }}" if told else "{}"


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else text(name)


def _product(product: CatalogProduct, changed: Mapping[tuple[str, str], Members]) -> Iterator[str]:
    yield "[[product]]"
    members = {
        "slug": text(product.slug),
        "name": text(product.name),
        "key_prefix": text(product.key_prefix),
    }
    if product.code is not None:
        members["code"] = str(product.code)
    scheme = next((plan.terms.key_scheme for plan in product.plans if plan.terms.key_scheme), None)
    if scheme is not None:
        members["key_scheme"] = text(scheme)
    if product.baseline:
        members["baseline"] = inline({name: _value(value) for name, value in product.baseline.items()})
    yield from _lines(members)
    for plan in product.plans:
        yield "[[product.plan]]"
        yield from _lines(changed.get((product.slug, plan.slug)) or members_of(plan))


def _lines(members: Members) -> Iterator[str]:
    yield from (f"{_name(name)} = {value}" for name, value in members.items())
    yield ""


def _terms(terms: Terms) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PLAIN:
        if name == "notices":
            if (notices := _notices(terms)) is not None:
                found[name] = notices
        elif name in ("moves", "rebinds"):
            if _budget(terms, name) != _budget(_USUAL, name):
                found[name] = text(_budget(terms, name) or "")
        elif name in _ALWAYS or getattr(terms, name) != getattr(_USUAL, name):
            found[name] = _term(name, getattr(terms, name))
    return found


def _term(name: str, value: object) -> str:
    if isinstance(value, int) and (name in _DURATIONS or name == "term"):
        return text(show_duration(value))
    return _value(value)


def _budget(terms: Terms, name: str) -> str | None:
    """`5/30d`; None: as often as one likes."""
    often, period = getattr(terms, name), getattr(terms, f"{name}_period")
    return None if often is None else f"{often}/{show_duration(period)}"


def _notices(terms: Terms) -> str | None:
    """Kinds that are not as usual. Reminders as usual are written `true`: they need no grace to fit into."""
    usual, shown = show_notices(_USUAL), show_notices(terms)
    members = {kind: "true" if said == usual[kind] != "false" else said for kind, said in shown.items()}
    told = {kind: said for kind, said in members.items() if shown[kind] != usual[kind]}
    return inline(told) if told else None


def _price(price: CatalogPrice) -> dict[str, str]:
    members = {"key": text(price.key), "provider": text(price.provider)}
    if price.external_id is not None:
        members["id"] = text(price.external_id)
    members |= {"amount": str(price.amount), "currency": text(price.currency)}
    if price.interval is not None:
        members["interval"] = text(price.interval)
    return members


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return text(value)
        case tuple() | list():
            return array(_value(one) for one in value)
        case dict():
            return inline({str(name): _value(one) for name, one in value.items()})
        case _:
            return text(msgspec.json.encode(value).decode())
