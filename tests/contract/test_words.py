"""No provider's word survives into a fact, and no event of Paystack or PayPal grants anything by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import httpx
import msgspec
import pytest

from keywright import bootstrap
from keywright.domain import facts as domain
from keywright.domain.errors import Unreadable
from keywright.domain.facts import Fact, PaymentSeen, Reading, SubscriptionSeen
from keywright.flows.context import Channel
from keywright.sandbox import paypal_triggers, paystack_triggers, triggers
from keywright.sandbox.app import SandboxServer
from tests.conftest import Prepared, copy_of, test_settings
from tests.contract.dialects import PROVIDERS
from tests.contract.test_providers import settings_for

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECIPES: dict[str, Any] = {
    "stripe": triggers.RECIPES,
    "paystack": paystack_triggers.RECIPES,
    "paypal": paypal_triggers.RECIPES,
}
# What a fact may hold as free text: names that are somebody's own, and nothing that has a meaning.
NAMES = {
    "account",  # of a connected account, as is the next one: they are in no purchase
    "disabled_reason",
    "charge",
    "currency",
    "customer",
    "digest",
    "dispute",
    "email",
    "external_id",
    "fee",
    "firm",  # of our own checkout, as are the next one and the plan: no provider tells them
    "intent",
    "license",
    "payer",
    "payment",
    "plan_id",
    "price",
    "product",
    "reference",
    "refund",
    "session",
    "tenant",  # of our own: what our mark says
}
# Members in which providers say what something is, or how it stands.
TELLING = re.compile(
    r"status|state|event|event_type|type|object|domain|mode|channel|reason|resolution|category|outcome"
    r"|\w+_(status|state|type|reason|mode|method|behavior|stage)|(outcome|reason|decline)_code"
)
# The recorded refusals and requests are no events.
_EVENTS = ("evt_*.json", "signed_*.json")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(data_dir=tmp_path_factory.mktemp("stand-ins"), seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def channels(
    prepared_sqlite: Prepared, sandbox: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Channel]]:
    # The stand-in is asked, too, and only its own key opens it.
    told = {**settings_for(sandbox), "paystack_secret_key": sandbox.sandbox.paystack.secret_key}
    own = copy_of(prepared_sqlite, tmp_path_factory.mktemp("channels"))
    made = test_settings(own.url, own.folder, **told)
    database = bootstrap.open_database(made)
    yield dict(bootstrap.build(made, database).channels)
    database.dispose()


def recorded(provider: str) -> dict[str, bytes]:
    """Every event there is a file of, by the file's name."""
    found = {}
    for pattern in _EVENTS:
        for path in sorted((FIXTURES / provider).glob(pattern)):
            told = json.loads(path.read_text())
            found[path.name] = told["body"].encode() if path.name.startswith("signed_") else path.read_bytes()
    return found


def happened(sandbox: SandboxServer, provider: str) -> dict[str, bytes]:
    """Every event that a recipe of the stand-in makes, by recipe and number."""
    state: Any = {
        "stripe": sandbox.sandbox.state,
        "paystack": sandbox.sandbox.paystack.state,
        "paypal": sandbox.sandbox.paypal.state,
    }[provider]
    found = {}
    for recipe in RECIPES[provider]:
        before = len(state.every("event"))
        wish = {"event": f"paystack:{recipe}" if provider == "paystack" else recipe}
        answer = httpx.post(f"{sandbox.url}/_sandbox/trigger", json=wish, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        for number, event in enumerate(state.every("event")[before:]):
            body = event.get("told") or event.get("body") or event
            found[f"{recipe} {number}"] = msgspec.json.encode(body)
    return found


def read(channel: Channel, raw: bytes, *, fetched: bool = False) -> Reading | None:
    """What a body says; None when it is nothing for us."""
    try:
        projected = channel.events.project(raw, fetched=fetched)
        return channel.events.read(projected) if projected.standing == "read" else None
    except Unreadable:
        return None


def answers(channel: Channel, reading: Reading) -> Iterator[Reading]:
    """What the provider's answers say that an event asks for."""
    assert channel.api is not None
    for wanted in (*reading.refetches, *reading.fallback):
        for raw in channel.api.fetch(wanted):
            found = read(channel, raw, fetched=True)
            if found is not None:
                yield found


def words_of(value: Any) -> frozenset[str]:
    """The words by which this says what something is."""
    if isinstance(value, list):
        return frozenset().union(*(words_of(member) for member in value))
    if not isinstance(value, dict):
        return frozenset()
    told = {one for name, one in value.items() if isinstance(one, str) and TELLING.fullmatch(name)}
    return frozenset(told - {""}).union(*(words_of(member) for member in value.values()))


@cache
def vocabulary(provider: str) -> frozenset[str]:
    """A provider's words, as far as they were recorded: in events and in answers."""
    told = [json.loads(path.read_text()) for path in (FIXTURES / provider).glob("*.json")]
    bodies = [json.loads(one["body"]) if isinstance(one.get("body"), str) else one for one in told]
    return words_of(bodies)


def shapes() -> list[type[msgspec.Struct]]:
    """Every shape that may be in a fact."""
    made = [one for one in vars(domain).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    return [
        one for one in made if one not in (domain.Reading, domain.Projected, domain.Refetch, msgspec.Struct)
    ]


def literals(hint: Any) -> set[str]:
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    return set().union(*(literals(part) for part in get_args(hint)))


def texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a fact, with the member that holds it."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, msgspec.Struct):
        for member in value.__struct_fields__:
            yield from texts(getattr(value, member), member)
    elif isinstance(value, tuple):
        for one in value:
            yield from texts(one, name)


def check(words: frozenset[str], where: str, reading: Reading) -> int:
    """Raises AssertionError for a word that is not ours. Returns how many facts were looked at."""
    ours = {word for shape in shapes() for hint in get_type_hints(shape).values() for word in literals(hint)}
    for fact in reading.facts:
        # Every word is one of those that its member may hold.
        assert msgspec.convert(msgspec.to_builtins(fact), Fact) == fact, where
        for name, text in texts(fact):
            if name in NAMES:
                assert text not in words, (where, name, text)
                assert not re.search(r"\s", text), (where, name, text)
                assert name != "currency" or re.fullmatch(r"[A-Z]{3}", text), (where, text)
            else:
                assert text in ours, (where, name, text)
    for alias in reading.aliases:
        assert msgspec.convert(msgspec.to_builtins(alias), domain.Alias) == alias, where
        assert alias.external_id not in words, (where, alias)
    return len(reading.facts)


def test_a_fact_has_room_for_our_words_and_for_names() -> None:
    free = {
        name
        for shape in shapes()
        for name, hint in get_type_hints(shape).items()
        if hint in (str, str | None)
    }
    assert free == NAMES


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_words_of_a_provider_are_known(provider: str) -> None:
    known = {
        "stripe": {"customer.subscription.updated", "warning_needs_response", "subscription_cycle"},
        "paystack": {"charge.success", "awaiting-merchant-feedback", "non-renewing"},
        "paypal": {"PAYMENT.SALE.COMPLETED", "ACTIVE", "INSTANT_TRANSFER"},
    }
    assert known[provider] <= vocabulary(provider)
    assert len(vocabulary(provider)) > 30


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_word_of_a_recorded_event_survives(provider: str, channels: dict[str, Channel]) -> None:
    readings = {name: read(channels[provider], raw) for name, raw in recorded(provider).items()}
    read_ones = {name: reading for name, reading in readings.items() if reading is not None}
    facts = sum(check(vocabulary(provider), name, reading) for name, reading in read_ones.items())
    assert len(read_ones) >= 9
    assert (facts > 10) is (provider == "stripe")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_word_of_the_stand_in_survives(
    provider: str, sandbox: SandboxServer, channels: dict[str, Channel]
) -> None:
    facts, fetched = 0, 0
    told = happened(sandbox, provider)
    words = vocabulary(provider) | words_of([json.loads(raw) for raw in told.values()])
    for name, raw in told.items():
        reading = read(channels[provider], raw)
        if reading is None:
            continue
        facts += check(words, name, reading)
        for answer in answers(channels[provider], reading):
            fetched += check(words, f"{name}, fetched", answer)
    assert fetched > 20 if provider != "stripe" else facts > 50


@pytest.mark.parametrize("provider", ["paystack", "paypal"])
def test_no_event_that_proves_nothing_grants_anything(
    provider: str, sandbox: SandboxServer, channels: dict[str, Channel]
) -> None:
    told = {**recorded(provider), **happened(sandbox, provider)}
    seen = 0
    for name, raw in told.items():
        reading = read(channels[provider], raw)
        if reading is None:
            continue
        assert not any(isinstance(fact, PaymentSeen | SubscriptionSeen) for fact in reading.facts), name
        assert reading.facts == (), name
        assert not reading.founds, name
        assert reading.refetches or reading.fallback, name
        seen += 1
    assert seen > 20
