"""Every recorded event and answer of PayPal, and what it means: the expected reading lies in `expected/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keywright.domain.errors import Unreadable
from keywright.providers.paypal.hook import PayPalEvents
from tests.providers.paypal.deliveries import FIXTURES, certificates

EXPECTED = Path(__file__).parent / "expected"
EVENTS = sorted(path.name for path in FIXTURES.glob("*.json") if path.name.startswith(("evt_", "signed_")))
AT = "2026-11-20T10:00:00+00:00"
# What an answer is an answer to. A body that only opens a checkout says nothing.
ANSWERS = {
    "api_7D51924877811803R__djpaypal.json": "sale",
    "api_POST_v1_billing_subscriptions_201__spec.json": "subscription",
}
# The first API's agreement has a state where the second has a status, and a revision repeats only its terms;
# the specification's order is a request. None of them is ever fetched.
UNREAD = {
    "api_I-W0Y05RHBK9VG__djpaypal.json": "subscription",
    "api_POST_v1_billing_subscriptions_id_revise_200__spec.json": "subscription",
    "api_POST_v2_checkout_orders_201__spec.json": "order",
}


def events() -> PayPalEvents:
    return PayPalEvents(certificates(live=False), live=False)


def raw_of(name: str) -> bytes:
    told = json.loads((FIXTURES / name).read_text())
    return str(told["body"]).encode() if name.startswith("signed_") else json.dumps(told).encode()


def fetched(name: str, kind: str) -> bytes:
    resource = json.loads((FIXTURES / name).read_text())
    return json.dumps({"event_type": f"fetched.{kind}", "at": AT, "resource": resource}).encode()


def meaning(raw: bytes, *, is_fetched: bool = False) -> Any:
    adapter = events()
    projected = adapter.project(raw, fetched=is_fetched)
    told: dict[str, Any] = {
        "type": projected.type,
        "dedupe_key": projected.dedupe_key,
        "occurred_at": projected.occurred_at,
        "standing": projected.standing,
        "body": json.loads(projected.body),
    }
    if projected.standing == "read":
        told["reading"] = adapter.read(projected)
    return json.loads(msgspec.json.encode(told))


def test_every_fixture_has_its_place() -> None:
    answers = {path.name for path in FIXTURES.glob("api_*.json")}
    assert answers == ANSWERS.keys() | UNREAD.keys()
    assert {path.name for path in EXPECTED.iterdir()} == {*EVENTS, *ANSWERS}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_means_what_is_expected(name: str) -> None:
    assert meaning(raw_of(name)) == json.loads((EXPECTED / name).read_text())


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_an_answer_means_what_is_expected(name: str) -> None:
    told = meaning(fetched(name, ANSWERS[name]), is_fetched=True)
    assert told == json.loads((EXPECTED / name).read_text())


@pytest.mark.parametrize("name", sorted(UNREAD))
def test_an_answer_of_another_shape_is_refused(name: str) -> None:
    with pytest.raises(Unreadable):
        events().project(fetched(name, UNREAD[name]), fetched=True)


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_proves_nothing_and_keeps_no_person(name: str) -> None:
    told = meaning(raw_of(name))
    assert not told.get("reading", {}).get("facts")
    kept = json.dumps(told["body"])
    for word in ("@", "John", "Doe", "San Jose", "customer", "Market"):
        assert word not in kept
    assert told["standing"] == "unknown" or told["reading"]["refetches"]
