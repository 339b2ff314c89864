"""Whatever an event holds, reading it ends in facts or in Unreadable."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keywright.domain.card_numbers import find_card_numbers
from keywright.domain.errors import Unreadable
from keywright.providers.stripe.hook import StripeEvents

STRIPE = Path(__file__).parents[2] / "fixtures" / "stripe"
MANY = int(os.environ.get("KEYWRIGHT_FUZZ_EXAMPLES", "300"))

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1.5, 1e308, 2**31, 2**63 - 1, -(2**63), 253402300799, 253402300800, 10**12]),
    st.sampled_from(["", "x", "7", "active", "\u202e", "\U0010ffff", "a" * 300, "4242424242424242", "usd"]),
    st.sampled_from([[], {}, [[]], [{}], {"id": 5}, {"data": None}, {"data": [None]}, {"object": {}}]),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20),
).map(copy.deepcopy)  # a sampled list is one list, and later mutations would go into it


def _events() -> Iterator[dict[str, Any]]:
    for path in sorted(STRIPE.glob("evt_*.json")):
        yield json.loads(path.read_text())
    for path in sorted(STRIPE.glob("signed_*.json")):
        body = json.loads(path.read_text())["body"]
        yield json.loads(body.replace("invoice.payment_succeeded", "invoice.paid"))
    failed = json.loads((STRIPE / "res_invoice.payment_failed__payrails.json").read_text())
    yield {"id": "evt_1", "type": "invoice.payment_failed", "created": 1, "livemode": True, "data": failed}
    paid = {"id": "inpay_1", "invoice": "in_1", "payment": {"payment_intent": "pi_1", "charge": None}}
    envelope = {"id": "evt_1", "type": "invoice_payment.paid", "created": 1, "livemode": True}
    yield {**envelope, "data": {"object": paid}}


EVENTS = list(_events())


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in inner:
        yield (*path, name)
        yield from _places(member, (*path, name))


PLACES = [list(_places(event)) for event in EVENTS]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A real event with one to three members dropped or replaced by something else."""
    which = draw(st.integers(0, len(EVENTS) - 1))
    event = copy.deepcopy(EVENTS[which])
    for place in draw(st.lists(st.sampled_from(PLACES[which]), min_size=1, max_size=3)):
        owner: Any = event
        try:
            for name in place[:-1]:
                owner = owner[name]
            if draw(st.booleans()):
                owner[place[-1]] = draw(ODD)
            else:
                del owner[place[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation took the place away
    return event


@settings(max_examples=MANY, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_mutated_event_is_read_or_unreadable(event: dict[str, Any]) -> None:
    events = StripeEvents()
    raw = json.dumps(event).encode()
    told = ""
    try:
        projected = events.project(raw)
        assert events.project(raw) == projected
        told = f"{projected.dedupe_key}\n{projected.type}\n{projected.account}\n{projected.body.decode()}"
        if projected.standing == "read":
            assert events.read(projected) == events.read(projected)
    except Unreadable as refusal:
        told += refusal.detail
    assert not find_card_numbers(told)


@settings(max_examples=MANY, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        StripeEvents().project(raw)
