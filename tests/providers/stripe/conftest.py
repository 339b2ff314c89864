"""Ways to get a Stripe event into a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keywright.domain.facts import Reading
from keywright.providers.stripe.hook import StripeEvents

FIXTURES = Path(__file__).parents[2] / "fixtures"
CREATED = 1_795_200_000  # 2026-11-20T18:40:00Z

MakeEvent = Callable[..., bytes]


@pytest.fixture
def fixtures() -> Path:
    return FIXTURES


@pytest.fixture
def make_event() -> MakeEvent:
    """`make_event(type, object, **envelope)` gives the bytes of an event."""

    def make(kind: str, about: dict[str, Any], **envelope: Any) -> bytes:
        event = {
            "id": "evt_1",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": CREATED,
            "livemode": False,
            "type": kind,
            "data": {"object": about},
        }
        return json.dumps({**event, **envelope}).encode()

    return make


@pytest.fixture
def read(make_event: MakeEvent) -> Callable[..., Reading]:
    """`read(type, object)` gives the facts."""

    def facts(kind: str, about: dict[str, Any], **envelope: Any) -> Reading:
        events = StripeEvents()
        return events.read(events.project(make_event(kind, about, **envelope)))

    return facts
