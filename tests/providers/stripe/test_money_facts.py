"""Refunds, disputes, intents, customers, cut lists: the rules of reading, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from keywright.domain.facts import (
    Alias,
    CheckoutSeen,
    DisputeSeen,
    HolderSeen,
    PaidLine,
    PaymentSeen,
    Reading,
    Refetch,
    RefundPart,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
)
from keywright.providers.stripe.hook import StripeEvents

Read = Callable[..., Reading]
MakeEvent = Callable[..., bytes]
CREATED = datetime.fromtimestamp(1_795_200_000, UTC)
EARLIER = 1_795_100_000
OURS = {"keywright_reference": "KW-ABCDEFGH23456777"}
REFUND = {"id": "re_1", "amount": 500, "currency": "usd", "charge": "ch_1", "payment_intent": "pi_1"}
DISPUTE = {"id": "dp_1", "amount": 500, "currency": "usd", "charge": "ch_1", "payment_intent": "pi_1"}
SUBSCRIPTION = {"id": "sub_1", "status": "active", "items": {"data": [{"price": "price_a", "quantity": 1}]}}
INVOICE = {"id": "in_1", "currency": "usd", "amount_due": 900, "amount_paid": 900, "subscription": "sub_1"}
INTENT = {"id": "pi_1", "amount": 900, "currency": "usd", "latest_charge": "ch_1", "metadata": OURS}


def only(reading: Reading, kind: type) -> Any:
    (fact,) = [fact for fact in reading.facts if isinstance(fact, kind)]
    return fact


@pytest.fixture
def read_fetched(make_event: MakeEvent) -> Read:
    """`read_fetched(type, object)` gives the facts of an answer."""

    def facts(kind: str, about: dict[str, Any]) -> Reading:
        events = StripeEvents()
        return events.read(events.project(make_event(kind, about), fetched=True))

    return facts


# --- refunds ---


@pytest.mark.parametrize(
    "kind", ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"]
)
@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("succeeded", "done"), ("pending", "pending"), ("requires_action", "pending"), ("failed", "failed"),
        ("canceled", "failed"), (None, "done"), ("pondered", "pending"),
    ],
)  # fmt: skip
def test_a_refund_by_itself(read: Read, kind: str, status: str | None, state: str) -> None:
    reading = read(kind, {**REFUND, "status": status})
    part = only(reading, RefundPart)
    assert part == RefundPart(part.stamp, "re_1", state, 500, "USD", "ch_1", "pi_1")  # type: ignore[arg-type]  # states as text
    assert reading.aliases == (Alias("charge", "ch_1"), Alias("intent", "pi_1"))
    assert not reading.founds
    assert reading.fallback == (Refetch("payment_intent", "pi_1"),)
    # Only the charge itself knows its sum again, when a refund came back.
    assert reading.refetches == ((Refetch("charge", "ch_1"),) if state == "failed" else ())


def test_within_a_second_a_refund_goes_on(read: Read) -> None:
    stamps = [
        only(read("refund.updated", {**REFUND, "status": s}), RefundPart).stamp
        for s in ("pending", "succeeded", "failed")
    ]
    assert stamps == sorted(stamps)


def test_what_was_asked_for_stands_above_what_was_sent(read: Read, read_fetched: Read) -> None:
    pairs = [
        ("refund.failed", "fetched.refund", {**REFUND, "status": "failed"}, RefundPart),
        ("charge.dispute.closed", "fetched.dispute", {**DISPUTE, "status": "lost"}, DisputeSeen),
        ("customer.subscription.deleted", "fetched.subscription", SUBSCRIPTION, SubscriptionSeen),
        ("charge.refunded", "fetched.charge",
         {"id": "ch_1", "amount": 900, "amount_refunded": 900, "currency": "usd"}, RefundSeen),
    ]  # fmt: skip
    for sent, asked, about, fact in pairs:
        told, answered = only(read(sent, about), fact).stamp, only(read_fetched(asked, about), fact).stamp
        assert told.at == answered.at == CREATED
        assert told.rank < answered.rank
        assert read_fetched(asked, about).refetches == (), "an answer that asks would never end"


def test_a_webhook_cannot_claim_to_be_an_answer(make_event: MakeEvent) -> None:
    for kind in ("subscription", "invoice", "charge", "refund", "dispute", "payment_intent"):
        projected = StripeEvents().project(make_event(f"fetched.{kind}", {**SUBSCRIPTION}))
        assert (projected.standing, projected.body) == ("unknown", b"{}")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({"invoice": "in_1", "payment_intent": "pi_1"}, Refetch("invoice", "in_1")),
        ({"payment_intent": "pi_1"}, Refetch("payment_intent", "pi_1")),
        ({}, Refetch("charge", "ch_1")),
    ],
)
def test_a_refunded_charge_tells_whom_to_ask(read: Read, names: dict[str, str], wanted: Refetch) -> None:
    charge = {"id": "ch_1", "amount": 900, "amount_refunded": 900, "currency": "usd", **names}
    assert read("charge.refunded", charge).fallback == (wanted,)


# --- disputes ---


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("warning_needs_response", "inquiry"), ("warning_under_review", "inquiry"),
        ("warning_closed", "over"), ("needs_response", "open"), ("under_review", "open"),
        ("appeal_needs_response", "open"), ("appeal_under_review", "open"), ("won", "won"),
        ("lost", "lost"), ("prevented", "over"), ("charge_refunded", "over"),
    ],
)  # fmt: skip
def test_every_status_of_a_dispute(read: Read, status: str, state: str) -> None:
    for name in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated"):
        reading = read(f"charge.dispute.{name}", {**DISPUTE, "status": status})
        seen = only(reading, DisputeSeen)
        assert seen == DisputeSeen(seen.stamp, "dp_1", state, 500, "USD", "ch_1", "pi_1")  # type: ignore[arg-type]  # states as text
        assert reading.aliases == (Alias("charge", "ch_1"), Alias("intent", "pi_1"))
        assert reading.fallback == (Refetch("payment_intent", "pi_1"),)
        assert not reading.founds


def test_a_status_from_the_future_leaves_a_dispute_as_it_was(read: Read) -> None:
    reading = read("charge.dispute.updated", {**DISPUTE, "status": "under_seventh_review"})
    assert reading.facts == ()
    assert reading.aliases


def test_within_a_second_a_dispute_goes_on(read: Read) -> None:
    statuses = ("warning_needs_response", "needs_response", "prevented", "won", "lost")
    stamps = [
        only(read("charge.dispute.updated", {**DISPUTE, "status": s}), DisputeSeen).stamp for s in statuses
    ]
    assert stamps == sorted(stamps)


def test_a_warning_of_fraud_names_no_amount(read: Read) -> None:
    reading = read("radar.early_fraud_warning.created", {"id": "issfr_1", "charge": "ch_1"})
    seen = only(reading, DisputeSeen)
    assert seen == DisputeSeen(seen.stamp, "issfr_1", "warning", 0, "XXX", "ch_1")
    assert reading.fallback == (Refetch("charge", "ch_1"),)


# --- one-off payments ---


@pytest.mark.parametrize(("kind", "state"), [("succeeded", "paid"), ("processing", "pending")])
def test_an_intent_that_names_us(read: Read, kind: str, state: str) -> None:
    about = {**INTENT, "amount_received": 900, "customer": "cus_1", "receipt_email": "ada@example.com"}
    reading = read(f"payment_intent.{kind}", about)
    paid = only(reading, PaymentSeen)
    assert paid == PaymentSeen(paid.stamp, "pi_1", state, 900, "USD", intent="pi_1", charge="ch_1")  # type: ignore[arg-type]  # states as text
    assert only(reading, HolderSeen).email == "ada@example.com"
    assert reading.founds
    assert reading.reference == OURS["keywright_reference"]


def test_a_card_that_was_declined_is_no_fact(make_event: MakeEvent) -> None:
    """The buyer tries another one, on a checkout that has not ended; most of them would wait for ever."""
    assert StripeEvents().project(make_event("payment_intent.payment_failed", INTENT)).standing == "later"


def test_an_intent_and_its_checkout_are_one_payment(read: Read) -> None:
    session = {"id": "cs_1", "mode": "payment", "payment_status": "paid", "amount_total": 900,
               "currency": "usd", "payment_intent": "pi_1", "metadata": OURS}  # fmt: skip
    told = only(read("checkout.session.completed", session), PaymentSeen)
    assert told.payment == only(read("payment_intent.succeeded", INTENT), PaymentSeen).payment
    free = {**session, "payment_intent": None, "payment_status": "no_payment_required", "amount_total": 0}
    assert only(read("checkout.session.completed", free), PaymentSeen).payment == "cs_1"


@pytest.mark.parametrize("metadata", [None, {}, {"keywright_reference": "order 66"}])
def test_an_intent_of_somebody_else_is_nothing(make_event: MakeEvent, metadata: Any) -> None:
    raw = make_event("payment_intent.succeeded", {**INTENT, "metadata": metadata})
    projected = StripeEvents().project(raw)
    assert (projected.standing, projected.body) == ("unknown", b"{}")


LINES = {"data": [{"price": {"id": "price_a"}, "quantity": 2}, {"price": None, "quantity": 1}]}


def test_a_shop_of_the_seller_s_own_is_asked_what_it_sold(read: Read) -> None:
    session = {"id": "cs_1", "mode": "payment", "payment_status": "paid", "amount_total": 900,
               "currency": "usd", "created": EARLIER, "payment_intent": "pi_1"}  # fmt: skip
    sent = read("checkout.session.completed", session)
    assert sent.refetches == (Refetch("checkout", "cs_1"),)
    assert [type(fact) for fact in sent.facts] == [CheckoutSeen, HolderSeen]
    intent = {"id": "pi_1", "created": EARLIER + 60, "client_secret": "pi_1_secret_x"}
    asked = read("checkout.session.completed", {**session, "payment_intent": intent, "line_items": LINES})
    assert asked.refetches == ()
    paid = only(asked, PaymentSeen)
    assert (paid.lines, asked.prices) == ((PaidLine("price_a", 2),), ("price_a",))
    assert paid.payment == paid.intent == "pi_1"
    assert paid.stamp.at == datetime.fromtimestamp(EARLIER + 60, UTC), "a bought year begins when it was paid"
    assert only(asked, CheckoutSeen).stamp.at == CREATED
    free = {**session, "payment_intent": None, "line_items": LINES}
    paid = only(read("checkout.session.completed", free), PaymentSeen)
    assert paid.stamp.at == datetime.fromtimestamp(EARLIER, UTC)


def test_our_own_checkout_says_the_same_whether_sent_or_asked_for(read: Read) -> None:
    session = {"id": "cs_1", "mode": "payment", "payment_status": "paid", "amount_total": 900,
               "currency": "usd", "payment_intent": "pi_1", "metadata": OURS}  # fmt: skip
    sent = only(read("checkout.session.completed", session), PaymentSeen)
    asked = read("checkout.session.completed", {**session, "line_items": LINES, "created": EARLIER})
    assert only(asked, PaymentSeen).lines == sent.lines == ()
    assert asked.prices == ()
    assert asked.refetches == ()


# --- customers ---


def test_a_changed_customer_is_a_person_and_no_purchase(read: Read) -> None:
    reading = read("customer.updated", {"id": "cus_1", "email": "ada@example.com", "name": "Ada"})
    assert reading.person == HolderSeen(reading.person.stamp, "cus_1", "ada@example.com")  # type: ignore[union-attr]  # it is there, or this fails
    assert (reading.aliases, reading.facts, reading.founds) == ((), (), False)


def test_an_address_that_is_none_is_not_kept(read: Read) -> None:
    person = read("customer.updated", {"id": "cus_1", "email": "not an address"}).person
    assert person is not None
    assert person.email is None


# --- subscriptions ---


def test_all_snapshots_are_read_alike(read: Read) -> None:
    kinds = ("updated", "trial_will_end", "pending_update_applied", "pending_update_expired")
    told = [only(read(f"customer.subscription.{kind}", SUBSCRIPTION), SubscriptionSeen) for kind in kinds]
    assert len({(seen.status, seen.items) for seen in told}) == 1


def test_seats_that_wait_for_their_money_are_no_seats(read: Read) -> None:
    waiting = {"subscription_items": [{"price": "price_a", "quantity": 9}], "expires_at": EARLIER}
    reading = read("customer.subscription.updated", {**SUBSCRIPTION, "pending_update": waiting})
    assert [item.quantity for item in only(reading, SubscriptionSeen).items] == [1]


def test_paused_collection_is_said(read: Read) -> None:
    paused = {**SUBSCRIPTION, "pause_collection": {"behavior": "void", "resumes_at": None}}
    assert not only(read("customer.subscription.updated", paused), SubscriptionSeen).collecting
    assert only(read("customer.subscription.updated", SUBSCRIPTION), SubscriptionSeen).collecting


@pytest.mark.parametrize(
    ("why", "status"),
    [
        ("pause_requested", "paused"), ("trial_end_without_payment_method", "paused"), ("system", "paused"),
        ("final_payment_failure", "unpaid"), ("first_payment_failure", "unpaid"), (None, "paused"),
    ],
)  # fmt: skip
def test_a_pause_for_want_of_money_is_unpaid(read: Read, why: str | None, status: str) -> None:
    details = {"paused": {"subscription": {"type": why}, "transitioned_at": EARLIER}}
    paused = {**SUBSCRIPTION, "status": "paused", "status_details": details}
    assert only(read("customer.subscription.paused", paused), SubscriptionSeen).status == status


@pytest.mark.parametrize(("later", "canceling"), [(-1, True), (0, True), (1, False)])
def test_an_end_behind_the_running_period_lets_it_renew(read: Read, later: int, canceling: bool) -> None:
    items = {"data": [{"price": "price_a", "quantity": 1, "current_period_end": EARLIER}]}
    ending = {**SUBSCRIPTION, "items": items, "cancel_at": EARLIER + later}
    assert only(read("customer.subscription.updated", ending), SubscriptionSeen).canceling is canceling


def test_a_snapshot_tells_whom_to_ask_when_another_of_its_second_differs(
    read: Read, read_fetched: Read
) -> None:
    assert read("customer.subscription.updated", SUBSCRIPTION).fallback == (Refetch("subscription", "sub_1"),)
    assert read_fetched("fetched.subscription", SUBSCRIPTION).fallback == ()


# --- invoices ---


def test_an_invoice_that_is_given_up_is_not_paid(read: Read) -> None:
    for kind in ("payment_failed", "marked_uncollectible", "voided"):
        assert only(read(f"invoice.{kind}", INVOICE), PaymentSeen).state == "failed"


@pytest.mark.parametrize(
    ("members", "state"),
    [
        ({"status": "paid"}, "paid"), ({"status": "draft"}, "pending"), ({"status": "open"}, "pending"),
        ({"status": "open", "attempted": True}, "failed"), ({"status": "void"}, "failed"),
        ({"status": "uncollectible"}, "failed"),
    ],
)  # fmt: skip
def test_a_fetched_invoice_says_how_it_stands(
    read_fetched: Read, members: dict[str, Any], state: str
) -> None:
    assert only(read_fetched("fetched.invoice", {**INVOICE, **members}), PaymentSeen).state == state


# --- lists that Stripe cut ---


def test_half_of_the_items_ends_nobody_s_license(read: Read) -> None:
    items = {**SUBSCRIPTION["items"], "has_more": True}  # type: ignore[dict-item]  # a dictionary
    reading = read("customer.subscription.updated", {**SUBSCRIPTION, "customer": "cus_1", "items": items})
    assert [type(fact) for fact in reading.facts] == [HolderSeen]
    assert reading.refetches == (Refetch("subscription", "sub_1"),)
    assert reading.founds


def test_a_cut_invoice_pays_for_what_it_names_until_the_rest_is_here(read: Read, read_fetched: Read) -> None:
    paid = 1_795_200_000 - 2
    paid_at = {"status": "paid", "status_transitions": {"paid_at": paid}}
    lines = [{"price": f"price_{n}", "quantity": 1} for n in range(12)]
    cut = {**INVOICE, **paid_at, "lines": {"data": lines[:10], "has_more": True}}
    reading = read("invoice.paid", cut)
    sent = only(reading, PaymentSeen)
    assert len(sent.lines) == 10
    assert reading.refetches == (Refetch("invoice", "in_1"),)
    whole = read_fetched("fetched.invoice", {**cut, "lines": {"data": lines, "has_more": False}})
    asked = only(whole, PaymentSeen)
    assert len(asked.lines) == 12
    assert whole.refetches == ()
    assert asked.stamp > sent.stamp, "the whole one is the one that counts"
    assert asked.stamp.at == datetime.fromtimestamp(paid, UTC)
    uncut = only(read("invoice.paid", {**INVOICE, **paid_at, "lines": {"data": lines}}), PaymentSeen)
    assert uncut.stamp == Stamp(CREATED, 2, uncut.stamp.digest)


def test_of_new_members_only_words_and_times_are_kept(make_event: MakeEvent) -> None:
    about = {
        **SUBSCRIPTION,
        "pause_collection": {"behavior": "void", "note": "planted"},
        "status_details": {"paused": {"subscription": {"type": "system"}, "note": "planted"}},
        "cancellation_details": {"reason": "payment_disputed", "comment": "planted", "feedback": "planted"},
        "pending_update": {"note": "planted"},
    }
    body = StripeEvents().project(make_event("customer.subscription.updated", about)).body
    assert b"planted" not in body
    kept = json.loads(body)["object"]
    assert kept["cancellation_details"] == {"reason": "payment_disputed"}
    assert kept["pause_collection"] == {"behavior": "void"}
