"""`docs/explanation/data.md` lists everything that is stored: no more, no less than the code has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from keywright.domain import facts
from keywright.providers.paypal import shapes as paypal
from keywright.providers.paystack import reduce as paystack_events
from keywright.providers.paystack import shapes as paystack
from keywright.providers.stripe import shapes as stripe
from keywright.store.tables import metadata

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "data.md"
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)

# Words of columns and members that could hold what pays. A word is a whole part of a name.
CARD_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        card cards pan cvv cvc cvn expiry exp last4 brand bin bank iban bic swift routing sort_code
        account_number authorization authorization_code access_code email_token client_secret token tokens
        source payment_method wallet address phone surname
        """,
    )
)
# These say something else: when a checkout or a lease ends is no card's expiry, an API token pays nothing.
INNOCENT = frozenset({"tokens", "signing_keys.token_type"})


class Inner(msgspec.Struct):
    deep: int


class Outer(msgspec.Struct):
    one: tuple[Inner, ...] | None = None


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def section(*heads: str) -> str:
    """The text below a heading, down to the next of the same depth."""
    text = page()
    for head in heads:
        depth = len(head) - len(head.lstrip("#"))
        _, found, rest = text.partition(f"\n{head}\n")
        assert found, head
        text = re.split(rf"^#{{1,{depth}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return text


def rows(text: str, cells: int) -> Iterator[list[str]]:
    """The rows of the tables with so many cells, without their heads."""
    for row in ROW.findall(text):
        found = row.split(" | ")
        if len(found) == cells and found[0].startswith("`"):
            assert all(cell.strip() for cell in found), row
            yield [cell.strip("`") for cell in found]


def structs(roots: Iterable[Any]) -> dict[str, list[str]]:
    """Every struct that can be reached, with its members."""
    found: dict[str, list[str]] = {}

    def walk(seen: Any) -> None:
        if isinstance(seen, inspect.StructType):
            if seen.cls.__name__ in found:
                return
            found[seen.cls.__name__] = [field.name for field in seen.fields]
            for field in seen.fields:
                walk(field.type)
        for name in ("type", "types", "item_type", "item_types", "value_type"):
            inner = getattr(seen, name, ())
            for one in inner if isinstance(inner, tuple) else (inner,):
                walk(one)

    for root in roots:
        walk(inspect.type_info(root))
    return found


SHAPES: Mapping[str, dict[str, list[str]]] = {
    "Stripe": structs([*stripe.READ.values(), *stripe.FETCHED.values(), stripe.Later, stripe.Kept]),
    "Paystack": structs([paystack.Kept]),
    "PayPal": structs([paypal.Named, paypal.Kept]),
}
EVENTS: Mapping[str, set[str]] = {
    "Stripe": {*stripe.READ, *stripe.FETCHED, *stripe.LATER},
    "Paystack": set(paystack_events.PICKS),
    "PayPal": {*paypal.EVENT_TYPES, *(f"{paypal.FETCHED}{kind}" for kind in paypal.FETCHED_SHAPES)},
}


def test_every_table_has_its_place() -> None:
    told = re.findall(r"^### `(\w+)`$", section("## Tables"), re.MULTILINE)
    assert sorted(told) == sorted(metadata.tables)


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_every_column_is_told_with_its_reason(table: str) -> None:
    told = [column for column, _, _ in rows(section("## Tables", f"### `{table}`"), 3)]
    assert told == [column.name for column in metadata.tables[table].columns]


@pytest.mark.parametrize("provider", sorted(SHAPES))
def test_every_member_of_an_event_is_told_with_its_reason(provider: str) -> None:
    told = {(thing, member) for thing, member, _, _ in rows(section("## Events", f"### {provider}"), 4)}
    kept = {(thing, member) for thing, members in SHAPES[provider].items() for member in members}
    assert len(kept) > 25
    assert told == kept


@pytest.mark.parametrize("provider", sorted(EVENTS))
def test_every_event_is_told_with_its_shape(provider: str) -> None:
    told = dict(rows(section("## Events", f"### {provider}"), 2))
    assert set(told) == EVENTS[provider]
    assert set(told.values()) <= set(SHAPES[provider])
    if provider == "Stripe":
        shaped = {**stripe.READ, **stripe.FETCHED}
        assert told == {name: shaped.get(name, stripe.Later).__name__ for name in EVENTS[provider]}


def test_every_member_of_a_fact_is_told_with_its_reason() -> None:
    told = {(thing, member) for thing, member, _, _ in rows(section("## Facts"), 4)}
    assert told == {(name, member) for name, held in structs([facts.Fact]).items() for member in held}


def named(name: str) -> set[str]:
    """A name, and each word of it."""
    return {name.lower(), *name.lower().split("_")}


def test_no_column_is_for_what_pays() -> None:
    guilty = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if named(column.name) & CARD_WORDS
    }
    assert guilty - INNOCENT == set()
    assert set(metadata.tables) & CARD_WORDS <= INNOCENT


def test_no_member_is_for_what_pays() -> None:
    held = {
        f"{provider}.{thing}.{member}"
        for provider, shapes in SHAPES.items()
        for thing, members in shapes.items()
        for member in members
        if named(member) & CARD_WORDS
    }
    # The one address of a person that is kept, told as such on the page.
    assert held <= {"PayPal.Person.email_address"}


def test_what_is_personal_is_marked() -> None:
    text = page()
    for thing in (*rows(text, 3), *rows(text, 4)):
        name, personal = thing[-3], thing[-1]
        if "email" in name and name not in ("email_told_at", "email_hash"):
            assert personal.startswith(("**e-mail address**", "the seller's")), thing


def test_the_walk_reaches_what_is_nested() -> None:
    assert structs([Outer]) == {"Outer": ["one"], "Inner": ["deep"]}
