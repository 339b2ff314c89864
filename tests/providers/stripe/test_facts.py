"""The rules of reading, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keywright.domain.errors import Unreadable
from keywright.domain.facts import (
    Alias,
    CheckoutSeen,
    HolderSeen,
    PaidLine,
    PaymentLinked,
    PaymentSeen,
    Reading,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
)

Read = Callable[..., Reading]
MakeEvent = Callable[..., bytes]
STRIPE = Path(__file__).parents[2] / "fixtures" / "stripe"
CREATED = datetime.fromtimestamp(1_795_200_000, UTC)
FREE = "price_1IDQm5JDPojXS6LNM31hxKzp"


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def aliases(**names: str) -> tuple[Alias, ...]:
    return tuple(Alias(kind, name) for kind, name in names.items())  # type: ignore[arg-type]  # kinds as keywords


def stamped(reading: Reading, rank: int, created: datetime = CREATED) -> Stamp:
    """The stamp all facts of a reading carry; its digest is the projection's, which only has to be there."""
    stamps = {fact.stamp for fact in reading.facts if not isinstance(fact, PaymentLinked)}  # type: ignore[union-attr]  # Ordered is never read
    (stamp,) = stamps
    assert len(stamp.digest) == 64
    assert stamp == Stamp(created, rank, stamp.digest)
    return stamp


OURS = {"keywright_reference": "KW-ABCDEFGH23456777"}
INVOICE = {
    "id": "in_1",
    "currency": "usd",
    "amount_paid": 900,
    "customer": "cus_1",
    "customer_email": "a@b.c",
}
SUBSCRIPTION = {"id": "sub_1", "status": "active", "items": {"data": [{"price": "price_a", "quantity": 1}]}}


def only(reading: Reading, kind: type) -> Any:
    (fact,) = [fact for fact in reading.facts if isinstance(fact, kind)]
    return fact


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("incomplete", "incomplete"), ("incomplete_expired", "abandoned"), ("trialing", "trialing"),
        ("active", "active"), ("past_due", "past_due"), ("unpaid", "unpaid"), ("paused", "paused"),
        ("canceled", "ended"), ("hibernating", "unknown"),
    ],
)  # fmt: skip
def test_every_status_has_a_word_of_ours(read: Read, theirs: str, ours: str) -> None:
    for kind in ("created", "updated", "paused", "resumed"):
        seen = only(
            read(f"customer.subscription.{kind}", {**SUBSCRIPTION, "status": theirs}), SubscriptionSeen
        )
        assert seen.status == ours


def test_within_a_second_the_status_further_along_wins(read: Read) -> None:
    statuses = ["hibernating", "incomplete", "paused", "unpaid", "past_due", "trialing", "active"]
    statuses += ["incomplete_expired", "canceled"]
    stamps = [
        only(
            read("customer.subscription.updated", {**SUBSCRIPTION, "status": status}), SubscriptionSeen
        ).stamp
        for status in statuses
    ]
    assert stamps == sorted(stamps)
    assert len({stamp.rank for stamp in stamps}) == len(statuses)


def test_a_deleted_subscription_has_ended_or_was_abandoned(read: Read) -> None:
    for status, expected in (("canceled", "ended"), ("active", "ended"), ("incomplete_expired", "abandoned")):
        reading = read("customer.subscription.deleted", {**SUBSCRIPTION, "status": status})
        assert only(reading, SubscriptionSeen).status == expected


@pytest.mark.parametrize(
    ("members", "canceling"),
    [
        ({}, False),
        ({"cancel_at_period_end": False, "cancel_at": None}, False),
        ({"cancel_at_period_end": True}, True),
        ({"cancel_at_period_end": False, "cancel_at": 1_800_000_000}, True),
    ],
)
def test_two_ways_to_be_canceling(read: Read, members: dict[str, Any], canceling: bool) -> None:
    seen = only(read("customer.subscription.updated", {**SUBSCRIPTION, **members}), SubscriptionSeen)
    assert seen.canceling is canceling


@pytest.mark.parametrize(
    ("customer", "email"),
    [
        ("cus_1", None),
        ({"id": "cus_1", "object": "customer", "deleted": True}, None),
        ({"id": "cus_1", "email": None}, None),
        ({"id": "cus_1", "email": "a@b.c", "phone": "123"}, "a@b.c"),
    ],
)
def test_an_expanded_customer_brings_the_address(read: Read, customer: object, email: str | None) -> None:
    reading = read("customer.subscription.created", {**SUBSCRIPTION, "customer": customer})
    stamp = only(reading, SubscriptionSeen).stamp
    assert only(reading, HolderSeen) == HolderSeen(stamp, customer="cus_1", email=email)


def test_our_reference_leads_a_subscription_to_its_checkout(read: Read) -> None:
    reading = read("customer.subscription.created", {**SUBSCRIPTION, "metadata": OURS})
    reference = OURS["keywright_reference"]
    assert reading.aliases == aliases(subscription="sub_1", reference=reference)
    assert reading.reference == reference
    assert reading.founds


@pytest.mark.parametrize(
    ("event", "payment_status", "payment", "checkout", "founds"),
    [
        ("completed", "paid", "paid", "paid", True),
        ("completed", "no_payment_required", "paid", "paid", True),
        ("completed", "unpaid", "pending", "processing", True),
        ("completed", "some_day", "pending", "processing", True),
        ("async_payment_succeeded", "paid", "paid", "paid", True),
        ("async_payment_failed", "unpaid", "failed", "failed", True),
        ("expired", "unpaid", "failed", "expired", False),
    ],
)
def test_what_a_checkout_says(
    read: Read, event: str, payment_status: str, payment: str, checkout: str, founds: bool
) -> None:
    session = {
        "id": "cs_1", "mode": "payment", "payment_status": payment_status, "amount_total": 900,
        "currency": "usd", "payment_intent": "pi_1", "metadata": OURS,
    }  # fmt: skip
    reading = read(f"checkout.session.{event}", session)
    assert only(reading, PaymentSeen).payment == "pi_1"
    assert reading.refetches == (), "for our own sessions nothing is asked"
    assert only(reading, PaymentSeen).state == payment
    assert only(reading, CheckoutSeen).state == checkout
    assert reading.founds is founds
    # A subscription is worth what its own events say: its checkout alone grants nothing.
    bought = {**session, "mode": "subscription", "subscription": "sub_1", "payment_intent": None}
    del bought["metadata"]
    reading = read(f"checkout.session.{event}", bought)
    assert reading.aliases == aliases(session="cs_1", subscription="sub_1")
    assert [type(fact) for fact in reading.facts] == [CheckoutSeen, HolderSeen]
    assert only(reading, CheckoutSeen).state == checkout
    assert reading.founds is founds


def test_a_checkout_that_only_saves_a_payment_method_sells_nothing(read: Read) -> None:
    for session in ({"mode": "setup"}, {"setup_intent": "seti_1"}):
        reading = read("checkout.session.completed", {"id": "cs_1", **session})
        assert [type(fact) for fact in reading.facts] == [HolderSeen]
        assert not reading.founds


def test_a_session_of_2019_without_mode_amount_or_status_was_paid(read: Read) -> None:
    session = {"id": "cs_1", "payment_intent": "pi_1", "metadata": OURS}
    reading = read("checkout.session.completed", session)
    stamp = stamped(reading, 2)
    assert only(reading, PaymentSeen) == PaymentSeen(stamp, "pi_1", "paid", 0, "XXX", intent="pi_1")


def test_an_invoice_of_a_quote_names_no_subscription(read: Read) -> None:
    parent = {"type": "quote_details", "subscription_details": {"subscription": "placeholder"}}
    reading = read("invoice.paid", {**INVOICE, "parent": parent})
    assert reading.aliases == aliases(invoice="in_1")
    assert not reading.founds


def test_a_line_without_a_price_pays_for_nothing_of_ours(read: Read) -> None:
    lines = {
        "data": [{"quantity": 1, "period": {"start": 1, "end": 2}, "pricing": None}, {"price": "price_a"}]
    }
    seen = only(read("invoice.paid", {**INVOICE, "lines": lines}), PaymentSeen)
    assert seen.lines == (PaidLine("price_a", None),)


@pytest.mark.parametrize(
    ("charge", "full"),
    [
        ({"amount": 900, "amount_refunded": 900, "refunded": False}, True),
        ({"amount": 900, "amount_refunded": 400, "refunded": False}, False),
        ({"amount": 900, "amount_refunded": 899}, False),
        ({"amount": 900, "amount_refunded": 400, "refunded": True}, True),
        ({"amount": 0, "amount_refunded": 0}, False),
    ],
)
def test_a_refund_is_full_when_nothing_is_left(read: Read, charge: dict[str, Any], full: bool) -> None:
    reading = read("charge.refunded", {"id": "ch_1", "currency": "usd", "payment_intent": "pi_1", **charge})
    refund = only(reading, RefundSeen)
    assert (refund.full, refund.amount, refund.payment) == (full, charge["amount_refunded"], None)
    assert reading.aliases == aliases(charge="ch_1", intent="pi_1")
    assert not reading.founds


def test_of_two_refunds_in_one_second_the_larger_total_is_the_newer(read: Read) -> None:
    charge = {"id": "ch_1", "currency": "usd", "amount": 900}
    some, more = (
        only(read("charge.refunded", {**charge, "amount_refunded": amount}), RefundSeen).stamp
        for amount in (99, 100)
    )
    assert some < more


def test_a_refund_of_our_own_order_names_our_reference(read: Read) -> None:
    charge = {"id": "ch_1", "currency": "usd", "amount": 9, "amount_refunded": 9, "metadata": OURS}
    assert read("charge.refunded", charge).reference == OURS["keywright_reference"]


def test_an_invoice_payment_links_intent_and_invoice(read: Read) -> None:
    about = {
        "id": "inpay_1",
        "invoice": "in_1",
        "payment": {"type": "payment_intent", "payment_intent": "pi_1"},
    }
    assert read("invoice_payment.paid", about) == Reading(
        aliases(invoice="in_1", intent="pi_1"), (PaymentLinked("pi_1", "in_1"),), founds=False
    )
    outside = {"id": "inpay_1", "invoice": {"id": "in_1"}, "payment": {"type": "payment_record"}}
    assert read("invoice_payment.paid", outside) == Reading(aliases(invoice="in_1"), (), founds=False)


@pytest.mark.parametrize(
    ("currency", "theirs", "iso"),
    [("usd", 900, 900), ("JPY", 900, 900), ("isk", 90000, 900), ("ugx", 90000, 900), ("mga", 900, 90000),
     ("kwd", 9000, 9000), ("huf", 90000, 90000)],
)  # fmt: skip
def test_amounts_are_iso_minor_units(read: Read, currency: str, theirs: int, iso: int) -> None:
    paid = only(read("invoice.paid", {**INVOICE, "currency": currency, "amount_paid": theirs}), PaymentSeen)
    assert (paid.amount, paid.currency) == (iso, currency.upper())
    charge = {"id": "ch_1", "currency": currency, "amount": theirs, "amount_refunded": theirs}
    assert only(read("charge.refunded", charge), RefundSeen).amount == iso


@pytest.mark.parametrize(
    ("kind", "about"),
    [
        ("customer.subscription.updated", {"id": "sub_1", "status": "active"}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "items": {"data": [{"quantity": 1}]}}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "items": []}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "cancel_at": "soon"}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "cancel_at": 253402300800}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "cancel_at": -5}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "ended_at": True}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "cancel_at_period_end": 1}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "metadata": OURS["keywright_reference"]}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "items": {"data": [{"price": 5}]}}),
        ("customer.subscription.updated", {**SUBSCRIPTION, "quantity": -1}),
        ("invoice.paid", {**INVOICE, "currency": None}),
        ("invoice.paid", {**INVOICE, "currency": "usd\n"}),
        ("invoice.paid", {**INVOICE, "amount_paid": "900"}),
        ("invoice.paid", {**INVOICE, "amount_paid": 10**15}),
        ("invoice.paid", {**INVOICE, "customer_email": {"a": 1}}),
        ("charge.refunded", {"id": "ch_1", "currency": "usd", "amount": 5}),
        ("invoice_payment.paid", {"id": "inpay_1", "payment": {"payment_intent": "pi_1"}}),
        ("checkout.session.completed", {"id": None}),
    ],
)  # fmt: skip
def test_nonsense_is_unreadable(read: Read, kind: str, about: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(kind, about)
