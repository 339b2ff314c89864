"""Ways to get an event or an answer of Paystack's into a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keywright.domain.facts import Reading
from keywright.providers.paystack.hook import PaystackEvents

FIXTURES = Path(__file__).parents[2] / "fixtures"
AT = 1_795_200_000  # 2026-11-20T18:40:00Z

Read = Callable[..., Reading]


@pytest.fixture
def told() -> Read:
    """`told(event, data)` gives the reading of an event."""

    def read(kind: str, data: Any) -> Reading:
        events = PaystackEvents()
        return events.read(events.project(json.dumps({"event": kind, "data": data}).encode()))

    return read


@pytest.fixture
def fetched() -> Read:
    """`fetched(kind, data)` gives the reading of an answer."""

    def read(kind: str, data: Any, at: int = AT) -> Reading:
        events = PaystackEvents()
        raw = json.dumps({"event": f"fetched.{kind}", "data": data, "at": at}).encode()
        return events.read(events.project(raw, fetched=True))

    return read
