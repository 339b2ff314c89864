"""Whatever a body holds, reading it ends in facts or in Unreadable."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keywright.domain.card_numbers import find_card_numbers
from keywright.domain.errors import BadSignature, Unproven, Unreadable
from keywright.domain.facts import Reading
from keywright.providers.paypal.hook import PayPalEvents
from tests.providers.paypal import test_facts as told
from tests.providers.paypal.deliveries import Recorded, certificates
from tests.providers.paypal.test_fixture_events import EVENTS as NAMES
from tests.providers.paypal.test_fixture_events import raw_of

MANY = int(os.environ.get("KEYWRIGHT_FUZZ_EXAMPLES", "300"))
ADAPTER = PayPalEvents(certificates(live=False), live=False)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1.5, 1e308, 2**63 - 1, -(2**63), 10**12]),
    st.sampled_from(
        ["", "7", "-1", "ACTIVE", "1e5", "NaN", "\u202e", "a" * 300, "4242424242424242", "0.00001"]
    ),
    st.sampled_from(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2018-19-12T22:20:32.000Z"]),
    st.sampled_from([[], {}, [[]], [{}], {"value": "x"}, {"id": 5}]),
    st.text(max_size=20),
).map(copy.deepcopy)

BODIES: list[dict[str, Any]] = [
    *(json.loads(raw_of(name)) for name in NAMES),
    json.loads(told.subscription()),
    json.loads(told.subscription("SUSPENDED", paid=(told.AT, told.AT), plan=told.TRIAL, info=told.OWING)),
    json.loads(told.order()),
    json.loads(told.order(capture="REFUNDED", refunds=[{"id": "1Y1", "status": "COMPLETED"}])),
    json.loads(told.fetched("sale", {"id": told.SALE, "state": "reversed", "billing_agreement_id": "I-1"})),
    json.loads(told.fetched("refund", {"id": "1Y1", "sale_id": told.SALE, "amount": {"total": "-1.00"}})),
    json.loads(
        told.fetched(
            "dispute",
            {"dispute_id": "PP-D-1", "disputed_transactions": [{"seller_transaction_id": told.SALE}]},
        )
    ),
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in inner:
        yield (*path, name)
        yield from _places(member, (*path, name))


PLACES = [list(_places(body)) for body in BODIES]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A real body with one to three members dropped or replaced by something else."""
    which = draw(st.integers(0, len(BODIES) - 1))
    body = copy.deepcopy(BODIES[which])
    for place in draw(st.lists(st.sampled_from(PLACES[which]), min_size=1, max_size=3)):
        owner: Any = body
        try:
            for name in place[:-1]:
                owner = owner[name]
            if draw(st.booleans()):
                owner[place[-1]] = draw(ODD)
            else:
                del owner[place[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation took the place away
    return body


@settings(max_examples=MANY, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated(), st.booleans())
def test_a_body_is_read_or_refused(body: dict[str, Any], fetched: bool) -> None:
    try:
        projected = ADAPTER.project(json.dumps(body).encode(), fetched=fetched)
        assert not find_card_numbers(projected.body.decode())
        if projected.standing == "read":
            assert isinstance(ADAPTER.read(projected), Reading)
    except Unreadable:
        return
    assert ADAPTER.project(json.dumps(body).encode(), fetched=fetched) == projected


@settings(max_examples=MANY, deadline=None)
@given(
    st.sampled_from(sorted(Recorded("signed_PAYMENT.SALE.COMPLETED__2016sandbox.json").headers)),
    st.text(max_size=200),
    st.binary(max_size=50),
)
def test_any_header_and_body_is_refused(name: str, value: str, raw: bytes) -> None:
    recorded = Recorded("signed_PAYMENT.SALE.COMPLETED__2016sandbox.json")
    headers = {**recorded.headers, name: value}
    with pytest.raises((BadSignature, Unproven)):
        ADAPTER.authenticate(raw, headers, [recorded.webhook_id], recorded.at)
