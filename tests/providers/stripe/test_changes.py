"""What is fetched when an event leaves something out, and listed when events were missed: over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from keywright.domain.errors import Invalid, NotFound
from keywright.domain.facts import (
    Alias,
    CheckoutSeen,
    DisputeSeen,
    PaymentLinked,
    PaymentSeen,
    Refetch,
    RefundPart,
    RefundSeen,
    SubscriptionSeen,
)
from keywright.providers.stripe import shapes
from keywright.providers.stripe.changes import EVENTS_KEPT, next_place, phases, place_of
from keywright.providers.stripe.platform import ACCOUNT_EVENTS, FEE_EVENTS
from keywright.sandbox.app import SandboxServer
from keywright.sandbox.triggers import RECIPES
from tests.providers.stripe.selling import Selling

REFERENCE = "KW-ABCDEFGH23456777"
DAY = 86_400
# Stripe has renamed it, and the sandbox speaks the newest version alone.
OLD = {"charge.refund.updated"}


@pytest.fixture
def selling(tmp_path: Path) -> Iterator[Selling]:
    with SandboxServer(data_dir=tmp_path) as server:
        yield Selling(server)


# --- fetching ---


def test_a_refund_that_names_no_invoice_leads_to_its_subscription(selling: Selling) -> None:
    deal = selling.buy([selling.price()], quantity=2)
    (link,) = selling.shop.v1.invoice_payments.list({"invoice": str(deal.payment)}).data
    intent = str(link.payment.payment_intent)
    selling.billing.refund(deal, 500, "USD", "half")
    told = {seen.type: one for seen, one in selling.changes(selling.now() - timedelta(hours=1))}
    (asked,) = told["charge.refunded"].fallback
    assert asked == Refetch("payment_intent", intent)
    answers = selling.ask(asked.kind, asked.external_id)
    assert [seen.type for seen, _ in answers] == ["fetched.invoice", "fetched.invoice_payment"]
    invoice, linked = (one for _, one in answers)
    assert Alias("subscription", str(deal.subscription)) in invoice.aliases
    assert invoice.founds
    assert linked.facts == (PaymentLinked(intent, str(deal.payment)),)
    assert set(linked.aliases) & set(told["charge.refunded"].aliases)
    paid = invoice.facts[0]
    assert isinstance(paid, PaymentSeen)
    assert (paid.state, paid.amount, [line.quantity for line in paid.lines]) == ("paid", 2000, [2])
    assert not [one for _, one in answers if one.refetches or one.fallback]


def test_a_refund_of_a_one_off_order_leads_to_its_checkout(selling: Selling) -> None:
    deal = selling.buy([selling.price(None)], mode="payment", metadata={"keywright_reference": REFERENCE})
    ((seen, reading),) = selling.ask("payment_intent", deal.intent)
    assert seen.type == "checkout.session.completed"
    assert reading.reference == REFERENCE
    assert isinstance(reading.facts[0], CheckoutSeen)


def test_a_payment_without_a_checkout_tells_of_itself(selling: Selling) -> None:
    deal = selling.buy([selling.price(None)], mode="payment")
    intent = selling.sandbox.sandbox.state.get("payment_intent", str(deal.intent))
    intent["metadata"] = {"keywright_reference": REFERENCE}
    selling.sandbox.sandbox.state.drop("checkout.session", str(deal.payment))
    ((seen, reading),) = selling.ask("payment_intent", deal.intent)
    assert (seen.type, reading.reference) == ("fetched.payment_intent", REFERENCE)
    paid = reading.facts[0]
    assert isinstance(paid, PaymentSeen)
    assert (paid.state, paid.amount) == ("paid", 1000)


def test_a_shop_of_the_seller_s_own_tells_its_lines_when_asked(selling: Selling) -> None:
    prices = [selling.price(None), selling.price(None, amount=300)]
    deal = selling.buy(prices, quantity=3, mode="payment")
    told = {seen.type: one for seen, one in selling.changes(selling.now() - timedelta(hours=1))}
    (asked,) = told["checkout.session.completed"].refetches
    assert asked == Refetch("checkout", str(deal.payment))
    (_, first), (_, second) = (selling.ask(asked.kind, asked.external_id)[0] for _ in range(2))
    assert first.prices == tuple(sorted(prices))
    assert first.refetches == ()
    paid, again = (next(f for f in one.facts if isinstance(f, PaymentSeen)) for one in (first, second))
    assert [(line.price, line.quantity) for line in paid.lines] == [(price, 3) for price in prices]
    assert paid.stamp.at == again.stamp.at


@pytest.mark.parametrize("status", ["lost", "won"])
def test_disputes_and_refunds_are_fetched_by_their_own_names(selling: Selling, status: str) -> None:
    deal = selling.buy([selling.price(None)], mode="payment")
    opened = selling.lever(f"stripe/charges/{deal.intent}/dispute")["dispute"]
    selling.lever(f"stripe/disputes/{opened}", status=status)
    ((seen, reading),) = selling.ask("dispute", opened)
    assert seen.type == "fetched.dispute"
    dispute = reading.facts[0]
    assert isinstance(dispute, DisputeSeen)
    assert (dispute.state, dispute.amount, dispute.intent) == (status, 1000, deal.intent)
    other = selling.buy([selling.price(None)], mode="payment")
    selling.billing.refund(other, 300, "USD", "some")
    (refund,) = selling.shop.v1.refunds.list({"payment_intent": str(other.intent)}).data
    ((seen, reading),) = selling.ask("refund", refund.id)
    assert seen.live is False, "a refund does not say, so the key does"
    part = reading.facts[0]
    assert isinstance(part, RefundPart)
    assert (part.state, part.amount) == ("done", 300)


def test_a_refund_that_failed_makes_the_charge_tell_its_sum_again(selling: Selling) -> None:
    deal = selling.buy([selling.price(None)], mode="payment")
    selling.billing.refund(deal, None, "USD", "all")
    (refund,) = selling.shop.v1.refunds.list({"payment_intent": str(deal.intent)}).data
    selling.lever(f"stripe/refunds/{refund.id}/fail")
    told = {seen.type: one for seen, one in selling.changes(selling.now() - timedelta(hours=1))}
    (asked,) = told["refund.failed"].refetches
    facts = [fact for _, one in selling.ask(asked.kind, asked.external_id) for fact in one.facts]
    (now,) = [fact for fact in facts if isinstance(fact, RefundSeen)]
    (before,) = [fact for fact in told["charge.refunded"].facts if isinstance(fact, RefundSeen)]
    assert (before.full, before.amount) == (True, 1000)
    assert (now.full, now.amount) == (False, 0)
    assert now.stamp > before.stamp


@pytest.mark.parametrize(
    "kind", ["checkout", "subscription", "invoice", "charge", "payment_intent", "refund", "dispute"]
)
def test_what_is_not_there_is_not_found(selling: Selling, kind: str) -> None:
    with pytest.raises(NotFound):
        selling.api.fetch(Refetch(kind, "x_unknown"))


def test_nothing_else_is_asked_for(selling: Selling) -> None:
    with pytest.raises(Invalid):
        selling.api.fetch(Refetch("weather", "x_1"))


# --- listing ---


def test_everything_that_happened_is_listed_once_and_by_its_own_bytes(selling: Selling) -> None:
    since = selling.now() - timedelta(minutes=1)
    for event in RECIPES:
        selling.trigger(event)
    state = selling.sandbox.sandbox.state
    made = [event for event in state.every("event") if event["type"] in shapes.READ]
    assert len(made) > 200, "more than two pages of one question"
    # Of connected accounts, and the platform's fees: tests/sandbox/test_connect.py.
    assert {event["type"] for event in made} == shapes.READ.keys() - OLD - ACCOUNT_EVENTS - FEE_EVENTS
    found = selling.changes(since)
    keys = [seen.dedupe_key for seen, _ in found]
    # An intent that names no reference of ours is nobody's order here.
    nobodys = [event for event in made if event["type"].startswith("payment_intent.")]
    assert {key for key in keys if key.startswith("evt_")} == {
        event["id"] for event in made if event not in nobodys
    }
    assert len(keys) == len(set(keys))
    fetched = [one for seen, one in found if seen.type == "fetched.subscription"]
    assert len(fetched) == len(state.every("subscription"))


def test_what_happened_before_is_not_listed(selling: Selling) -> None:
    selling.buy([selling.price()])
    selling.lever("clock/advance", seconds=DAY)
    assert selling.changes(selling.now() - timedelta(hours=1)) == []


def test_behind_the_events_that_stripe_keeps_the_objects_are_listed(selling: Selling) -> None:
    since = selling.now()
    subscribed = selling.buy([selling.price("year")])
    once = selling.buy([selling.price(None)], mode="payment", metadata={"keywright_reference": REFERENCE})
    refunded = selling.buy([selling.price(None)], mode="payment")
    selling.billing.refund(refunded, 300, "USD", "some")
    opened = selling.lever(f"stripe/charges/{once.intent}/dispute")["dispute"]
    selling.lever("clock/advance", seconds=40 * DAY)
    # Stripe has forgotten its events by then.
    state = selling.sandbox.sandbox.state
    for event in state.every("event"):
        state.drop("event", event["id"])
    found = selling.changes(since - timedelta(minutes=1))
    facts = [fact for _, one in found for fact in one.facts]
    names = {alias.external_id for _, one in found for alias in one.aliases}
    assert {subscribed.subscription, once.payment, once.intent, refunded.payment} <= names
    assert [f.amount for f in facts if isinstance(f, RefundPart)] == [300]
    assert [f.dispute for f in facts if isinstance(f, DisputeSeen)] == [opened]
    assert {f.status for f in facts if isinstance(f, SubscriptionSeen)} == {"active"}
    recent = selling.changes(selling.now() - timedelta(days=1))
    assert recent == [], "nothing of it is new"


def test_more_types_are_asked_for_than_stripe_takes_at_once(selling: Selling) -> None:
    now = selling.now()
    asked = [phase.params["types"] for phase in phases(now, now) if "types" in phase.params]
    assert all(len(types) <= 20 for types in asked)
    assert sorted(kind for types in asked for kind in types) == sorted(shapes.READ)
    assert len(phases(now - EVENTS_KEPT, now)) < len(phases(now - EVENTS_KEPT - timedelta(days=1), now))


@pytest.mark.parametrize("cursor", ["", "x", "7:", "-1:", "99999:evt_1", ":evt_1", "\u0661:"])
def test_a_cursor_that_is_none_is_refused(selling: Selling, cursor: str) -> None:
    with pytest.raises(Invalid):
        selling.api.list_changes(selling.now(), cursor)


def test_a_cursor_goes_on_where_it_was() -> None:
    assert place_of(None, 3) == (0, None)
    assert place_of(next_place(1, "evt_1", 3), 3) == (1, "evt_1")
    assert place_of(next_place(1, None, 3), 3) == (2, None)
    assert next_place(2, None, 3) is None
