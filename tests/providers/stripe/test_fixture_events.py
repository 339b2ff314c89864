"""Every file of the fixtures says what stands beside it in `expected/`: written once, and checked by eye."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from keywright.domain.errors import Unreadable
from keywright.providers.stripe.hook import StripeEvents

STRIPE = Path(__file__).parents[2] / "fixtures" / "stripe"
EXPECTED = STRIPE / "expected"
NAMES: Final = sorted(path.stem for path in STRIPE.glob("*.json"))
# What an object would be announced with, when a file holds the object alone.
KINDS: Final = {
    "account": "account.updated",
    "charge": "charge.refunded",
    "checkout.session": "checkout.session.completed",
    "customer": "customer.updated",
    "dispute": "charge.dispute.updated",
    "invoice": "invoice.paid",
    "invoice_payment": "invoice_payment.paid",
    "payment_intent": "payment_intent.succeeded",
    "price": "price.updated",
    "product": "product.updated",
    "radar.early_fraud_warning": "radar.early_fraud_warning.created",
    "refund": "refund.updated",
    "subscription": "customer.subscription.updated",
}


def event(kind: str, about: Any) -> bytes:
    envelope = {"id": "evt_1", "type": kind, "created": 1_795_200_000, "livemode": False}
    return json.dumps({**envelope, "data": {"object": about}}).encode()


def events_in(name: str) -> Iterator[tuple[str, bytes]]:
    """What a file holds, as events: its own, a delivery's body, or objects in an envelope of ours."""
    raw = (STRIPE / f"{name}.json").read_bytes()
    found = json.loads(raw)
    if "body" in found:
        yield json.loads(found["body"])["type"], found["body"].encode()
    elif name.startswith("resources_"):
        for kind, about in sorted(found.items()):
            if kind in KINDS:
                yield KINDS[kind], event(KINDS[kind], about)
    elif name.startswith("res_") and found.get("object") != "event":
        about = found.get("object")
        about = about if isinstance(about, dict) else found
        kind = KINDS[about["object"]]
        kind = "invoice.payment_failed" if "invoice.payment_failed" in name else kind
        yield kind, event(kind, about)
    else:
        # The recipes are no events, and are refused as anything else that is none.
        yield found.get("type", "none"), raw


def told(raw: bytes) -> dict[str, Any]:
    """What is made of an event, in JSON."""
    stripe = StripeEvents()
    try:
        projected = stripe.project(raw)
    except Unreadable as refusal:
        return {"unreadable": refusal.detail}
    if projected.standing != "read":
        return {"standing": projected.standing, "kept": json.loads(projected.body)}
    reading = stripe.read(projected)
    shown: dict[str, Any] = shortened(msgspec.to_builtins(reading), projected.digest)
    return shown


def shortened(value: Any, digest: str) -> Any:
    """The same without what is always so: a stamp in one line, nothing that is empty."""
    if isinstance(value, list | tuple):
        return [shortened(inner, digest) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"at", "rank", "digest"}:
        assert value["digest"] == digest
        return f"{value['at']} rank {value['rank']}"
    if value.keys() == {"kind", "external_id"}:
        return f"{value['kind']} {value['external_id']}"
    return {name: shortened(inner, digest) for name, inner in value.items() if inner not in (None, (), [])}


@pytest.mark.parametrize("name", NAMES)
def test_a_fixture_says_what_stands_beside_it(name: str) -> None:
    expected = json.loads((EXPECTED / f"{name}.json").read_text())
    assert {kind: told(raw) for kind, raw in events_in(name)} == expected


def test_nothing_is_expected_of_a_file_that_is_gone() -> None:
    assert sorted(path.stem for path in EXPECTED.glob("*.json")) == NAMES
