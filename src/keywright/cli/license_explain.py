"""`license explain`: the facts, the rules and the outcome, as text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from keywright.cli.chosen import Which, found
from keywright.cli.session import AsJson, TenantSlug, print_json
from keywright.cli.show_license import show_license

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.flows.explain import EventSeen, Explained

app = typer.Typer()


@app.command()
def explain(which: Which, tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Why a license is what it is: facts, rules, acts, and what a replay would alter."""
    from keywright.flows import explain as flow

    with found(which, tenant) as (context, seller, id_):
        told = flow.explain(context, seller, id_)
        plans = _plan_names(context, seller)
    if json:
        print_json(told)
        return

    show_license(told.license)
    print(f"\n{told.why}")
    for note in told.notes:
        print(f"Note: {note}")
    _print_facts(told, plans)
    _print_timeline(told, plans)
    _print_altered(told)


def _print_facts(told: Explained, plans: dict[str, str]) -> None:
    if not told.arrival:
        return
    places = {one.id: place for place, one in enumerate(told.arrival, start=1)}
    print("\nFACTS, in order of arrival")
    for one in told.arrival:
        print(f"\n{places[one.id]:>3}  {one.received_at:%Y-%m-%d %H:%M:%S}Z  {one.type}  {one.event}")
        for line in _of_event(one, plans):
            print(f"     {line}")
    order = " ".join(str(places[id_]) for id_ in told.occurrence)
    print(f"\nIn order of occurrence: {order}")


def _of_event(one: EventSeen, plans: dict[str, str]) -> Iterator[str]:
    if one.occurred_at != one.received_at:
        yield f"occurred: {one.occurred_at:%Y-%m-%d %H:%M:%S}Z"
    for fact, rule in zip(one.facts, one.rules, strict=True):
        yield fact
        yield f"  {rule}"
    yield from lines_of({"before": one.before or None, "after": one.after}, plans)
    if not one.after:
        yield "changed nothing of this license"


def _print_timeline(told: Explained, plans: dict[str, str]) -> None:
    print("\nTIMELINE")
    for entry in told.timeline:
        print(f"\n{entry.at:%Y-%m-%d %H:%M:%S}Z  {entry.kind}")
        if entry.rule:
            print(f"    rule: {entry.rule}")
        if entry.causes:
            print(f"    because of: {', '.join(entry.causes)}")
        for line in lines_of(entry.detail, plans):
            print(f"    {line}")


def _print_altered(told: Explained) -> None:
    if told.altered is None:
        print("\nWhat a replay would alter cannot be told.")
        return
    if not told.altered:
        print("\nA replay of all its events would alter nothing.")
        return
    print("\nA replay of all its events would alter:")
    for one in told.altered:
        print(f"    {one.member}: {one.now} -> {one.replayed}")
    print("Run: keywright event replay EVENT --dry-run", file=sys.stderr)


def _plan_names(context: Context, seller: str) -> dict[str, str]:
    """`product/plan` by id: the timeline keeps ids, because slugs may change."""
    from keywright.store import catalog

    with context.database.read() as connection:
        offers = catalog.list_offers(connection, seller, retired=True)
    return {offer.plan.id: f"{offer.product.slug}/{offer.plan.slug}" for offer in offers}


def lines_of(detail: dict[str, object], plans: dict[str, str]) -> Iterator[str]:
    """A detail in lines: what changed as `before -> after`, the rest as it is."""
    before, after = detail.get("before"), detail.get("after")
    for name, value in detail.items():
        if name not in ("before", "after") and value not in (None, []):
            yield f"{name}: {value}"
    if not isinstance(after, dict):
        if after is not None:
            yield f"{before} -> {after}"
        return
    for name, value in after.items():
        was = before.get(name) if isinstance(before, dict) else None
        if was != value:
            new = _word(value, plans)
            yield f"{name}: {_word(was, plans)} -> {new}" if before else f"{name}: {new}"


def _word(value: object, plans: dict[str, str]) -> str:
    return "-" if value in (None, "") else plans.get(str(value), str(value))
