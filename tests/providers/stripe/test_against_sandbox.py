"""Our Stripe adapter and our Stripe stand-in, over real HTTP through the real SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import stripe

from keywright.domain.errors import Misconfigured, NotFound
from keywright.domain.facts import (
    CheckoutSeen,
    PaymentLinked,
    PaymentSeen,
    Reading,
    Refetch,
    SubscriptionSeen,
)
from keywright.ports import CheckoutCreated, CheckoutRequest
from keywright.providers.stripe.api import StripeApi
from keywright.providers.stripe.hook import StripeEvents
from keywright.sandbox.app import SandboxServer

REFERENCE = "KW-ABCDEFGH23456777"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(data_dir=tmp_path) as server:
        yield server


@pytest.fixture
def api(sandbox: SandboxServer) -> StripeApi:
    return StripeApi(sandbox.api_key, sandbox.sandbox.clock, base=sandbox.url)


def open_checkout(
    sandbox: SandboxServer, api: StripeApi, interval: str | None, trial_days: int = 0
) -> CheckoutCreated:
    shop = stripe.StripeClient(sandbox.api_key, base_addresses={"api": sandbox.url})
    product = shop.v1.products.create({"name": "Program"})
    recurring = {"recurring": {"interval": interval}} if interval else {}
    price = shop.v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 900, **recurring}  # type: ignore[typeddict-item]  # interval is any string here
    )
    request = CheckoutRequest(
        reference=REFERENCE,
        price_external_id=price.id,
        amount=900,
        currency="USD",
        interval=interval,
        quantity=3,
        success_url="https://shop.example/ok",
        cancel_url="https://shop.example/no",
        expires_at=sandbox.sandbox.clock.now() + timedelta(hours=1),
        email="ada@example.com",
        trial_days=trial_days,
    )
    created = api.create_checkout(request)
    assert api.create_checkout(request) == created, "asked twice, opened once"
    return created


def pay(sandbox: SandboxServer, session: str) -> None:
    answer = httpx.post(
        f"{sandbox.url}/_sandbox/stripe/pay", json={"session": session, "email": "ada@example.com"}
    )
    assert answer.json()["status"] == "complete"


def readings(sandbox: SandboxServer) -> dict[str, Reading]:
    """What every event so far says; of one type, the last."""
    events = StripeEvents()
    found = {}
    for event in sandbox.sandbox.state.every("event"):
        projected = events.project(json.dumps(event).encode())
        if projected.standing == "read":
            found[projected.type] = events.read(projected)
    return found


def fetched(api: StripeApi, session: str) -> list[Reading]:
    events = StripeEvents()
    return [
        events.read(events.project(told, fetched=True)) for told in api.fetch(Refetch("checkout", session))
    ]


def test_a_one_off_order_is_read_alike_from_event_and_fetch(sandbox: SandboxServer, api: StripeApi) -> None:
    checkout = open_checkout(sandbox, api, None)
    (told,) = api.fetch(Refetch("checkout", checkout.session))
    assert StripeEvents().project(told).standing == "unknown"
    pay(sandbox, checkout.session)
    announced = readings(sandbox)["checkout.session.completed"]
    (asked,) = fetched(api, checkout.session)
    assert announced.reference == asked.reference == REFERENCE
    assert announced.aliases == asked.aliases
    for reading in (announced, asked):
        (payment,) = [fact for fact in reading.facts if isinstance(fact, PaymentSeen)]
        assert (payment.payment, payment.state, payment.amount) == (payment.intent, "paid", 2700)
        assert payment.intent is not None


def test_a_subscription_is_tied_together_by_its_events(sandbox: SandboxServer, api: StripeApi) -> None:
    checkout = open_checkout(sandbox, api, "month")
    pay(sandbox, checkout.session)
    said = readings(sandbox)
    subscription = said["customer.subscription.created"]
    assert subscription.founds
    seen = subscription.facts[0]
    assert isinstance(seen, SubscriptionSeen)
    assert [item.quantity for item in seen.items] == [3]
    invoice = said["invoice.paid"]
    paid = invoice.facts[0]
    assert isinstance(paid, PaymentSeen)
    assert paid.lines[0].ends_at == seen.items[0].ends_at
    assert invoice.prices == subscription.prices
    (link,) = said["invoice_payment.paid"].facts
    assert isinstance(link, PaymentLinked)
    assert link.payment == paid.payment
    session = said["checkout.session.completed"]
    assert isinstance(session.facts[0], CheckoutSeen)
    for reading in (subscription, invoice, session):
        assert reading.reference == REFERENCE
        assert subscription.aliases[0] in reading.aliases


def test_a_subscription_is_read_alike_from_event_and_fetch(sandbox: SandboxServer, api: StripeApi) -> None:
    checkout = open_checkout(sandbox, api, "month")
    pay(sandbox, checkout.session)
    announced = readings(sandbox)["customer.subscription.created"]
    session, asked = fetched(api, checkout.session)
    assert isinstance(session.facts[0], CheckoutSeen)
    assert announced.aliases == asked.aliases
    seen, known = asked.facts[0], announced.facts[0]
    assert isinstance(seen, SubscriptionSeen)
    assert isinstance(known, SubscriptionSeen)
    assert (seen.status, seen.items) == ("active", known.items)


def test_a_trial_is_asked_for(sandbox: SandboxServer, api: StripeApi) -> None:
    checkout = open_checkout(sandbox, api, "month", trial_days=14)
    pay(sandbox, checkout.session)
    seen = readings(sandbox)["customer.subscription.created"].facts[0]
    assert isinstance(seen, SubscriptionSeen)
    assert seen.status == "trialing"
    (item,) = seen.items
    assert item.starts_at is not None
    assert item.ends_at == item.starts_at + timedelta(days=14)


def test_refusals_of_the_stand_in_are_told_apart(sandbox: SandboxServer, api: StripeApi) -> None:
    assert api.check()
    with pytest.raises(NotFound, match="resource_missing"):
        api.fetch(Refetch("checkout", "cs_test_nobody"))
    with pytest.raises(Misconfigured):
        StripeApi("sk_test_wrong", sandbox.sandbox.clock, base=sandbox.url).check()
