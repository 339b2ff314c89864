"""Every event of the fixtures, with what it must say beside it."""

from __future__ import annotations

import json
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
    Item,
    PaidLine,
    PaymentLinked,
    PaymentSeen,
    Reading,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
)
from keywright.providers.stripe.hook import StripeEvents

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


def of_file(name: str, kind: str | None = None) -> Reading:
    """The facts of a fixture: an event, a signed delivery, or an object that `kind` puts into an event."""
    found = json.loads((STRIPE / f"{name}.json").read_text())
    if "body" in found:
        raw = found["body"].encode()
    elif kind is not None:
        event = {"id": "evt_1", "type": kind, "created": 1_795_200_000, "livemode": False}
        raw = json.dumps({**event, "data": {"object": found["object"]}}).encode()
    else:
        raw = json.dumps(found).encode()
    events = StripeEvents()
    return events.read(events.project(raw))


def test_fixture_subscription_created_with_a_metered_item() -> None:
    reading = of_file("evt_subscription_created__supabase")
    stamp = stamped(reading, 6, at(1623148918))
    period = (at(1623148918), at(1625740918))
    assert reading == Reading(
        aliases(subscription="sub_JdIzvfy6o5GZRd"),
        (
            SubscriptionSeen(stamp, "active", (Item(FREE, 1, *period), Item(FREE, None, *period))),
            HolderSeen(stamp, customer="cus_IhGfebO16cMIGN"),
        ),
        founds=True,
        prices=(FREE,),
    )


def test_fixture_subscription_updated() -> None:
    reading = of_file("evt_subscription_updated__supabase")
    stamp = stamped(reading, 6, at(1619706820))
    assert reading.facts == (
        SubscriptionSeen(stamp, "active", (Item(FREE, 1, at(1618980344), at(1621572344)),)),
        HolderSeen(stamp, customer="cus_IhGfebO16cMIGN"),
    )


def test_fixture_subscription_created_2020() -> None:
    reading = of_file("evt_customer.subscription.created__rubymock")
    stamp = stamped(reading, 6, at(1648320110))
    price = "price_000000000000000000000000"
    assert reading.aliases == aliases(subscription="sub_000000000000000000000000")
    assert reading.facts == (
        SubscriptionSeen(stamp, "active", (Item(price, 1, at(1648320110), at(1650998510)),)),
        HolderSeen(stamp, customer="cus_00000000000000"),
    )


def test_fixture_subscription_deleted_2017() -> None:
    reading = of_file("signed_customer.subscription.deleted__localstripe")
    stamp = stamped(reading, 8, at(1795204477))
    item = Item("pro-month", 5, at(1795204477), at(1797796477))
    assert reading.facts == (
        SubscriptionSeen(stamp, "ended", (item,), canceling=True, ended_at=at(1795204477)),
        HolderSeen(stamp, customer="cus_DaK4WMdfxqqV3x"),
    )


@pytest.mark.parametrize(
    ("name", "status", "rank", "ended_at"),
    [
        ("res_subscription.created__payrails", "active", 6, None),
        ("res_subscription.updated__payrails", "ended", 8, at(1487872069)),
    ],
)
def test_fixture_subscription_objects(name: str, status: Any, rank: int, ended_at: datetime | None) -> None:
    """One has its period on the subscription, the other on the item."""
    reading = of_file(name, "customer.subscription.updated")
    stamp = stamped(reading, rank)
    item = Item("FFBEGINNER_00000000000000", 2, at(1486568724), at(1488987924))
    assert reading.facts == (
        SubscriptionSeen(stamp, status, (item,), ended_at=ended_at),
        HolderSeen(stamp, customer="cus_00000000000000"),
    )


def test_fixture_invoice_paid_of_nothing() -> None:
    reading = of_file("evt_invoice_paid__supabase")
    stamp = stamped(reading, 2, at(1642649111))
    invoice = "in_1KJqKBJDPojXS6LNJbvLUgEy"
    line = PaidLine(FREE, 1, at(1642645280), at(1645323680))
    assert reading == Reading(
        aliases(invoice=invoice, subscription="sub_JsuPyCPhXWfZar"),
        (
            PaymentSeen(stamp, invoice, "paid", 0, "USD", (line,)),
            HolderSeen(stamp, customer="cus_JsuO3bmrj0QlAw"),
        ),
        founds=True,
        prices=(FREE,),
    )


def test_fixture_invoice_that_a_person_wrote() -> None:
    reading = of_file("evt_invoice.payment_failed__rubymock")
    stamp = stamped(reading, 1, at(1648320009))
    zeros = "0" * 24
    line = PaidLine(f"price_{zeros}", 1, at(1648320006), at(1648320006))
    assert reading == Reading(
        aliases(invoice=f"in_{zeros}", intent=f"pi_{zeros}", charge=f"ch_{zeros}"),
        (
            PaymentSeen(
                stamp,
                f"in_{zeros}",
                "failed",
                2000,
                "USD",
                (line,),
                intent=f"pi_{zeros}",
                charge=f"ch_{zeros}",
            ),
            HolderSeen(stamp, customer="cus_00000000000000"),
        ),
        founds=False,
        prices=(f"price_{zeros}",),
    )


def test_fixture_invoice_payment_failed_basil() -> None:
    reading = of_file("res_invoice.payment_failed__payrails", "invoice.payment_failed")
    stamp = stamped(reading, 1)
    line = PaidLine("price_1234", 1, at(1745433906), at(1776969906))
    assert reading == Reading(
        aliases(invoice="in_1234", subscription="sub_1234"),
        (
            PaymentSeen(stamp, "in_1234", "failed", 24900, "USD", (line,)),
            HolderSeen(stamp, customer="cus_1234", email="customer@example.org"),
        ),
        founds=True,
        prices=("price_1234",),
    )


def test_fixture_invoice_payment_succeeded_is_never_acted_on() -> None:
    raw = json.loads((STRIPE / "signed_invoice.payment_succeeded__localstripe.json").read_text())["body"]
    events = StripeEvents()
    projected = events.project(raw.encode())
    assert projected.standing == "later"
    with pytest.raises(Unreadable):
        events.read(projected)
    # The same body as the event that we do act on: charge expanded, subscription in both places.
    reading = events.read(events.project(raw.replace("invoice.payment_succeeded", "invoice.paid").encode()))
    stamp = stamped(reading, 2, at(1795204477))
    line = PaidLine("pro-month", 3, at(1795204477), at(1797796477))
    means = {"intent": "pi_HDjROyvasJw5oN", "charge": "ch_EIjL7mTVV7Xpui"}
    assert reading == Reading(
        aliases(invoice="in_YRkA2AzoDDeofv", subscription="sub_DguIYKa8OBgDPE", **means),
        (
            PaymentSeen(stamp, "in_YRkA2AzoDDeofv", "paid", 2700, "EUR", (line,), **means),
            HolderSeen(stamp, customer="cus_DaK4WMdfxqqV3x", email="a@example.com"),
        ),
        founds=True,
        prices=("pro-month",),
    )


def test_fixture_checkout_completed() -> None:
    reading = of_file("evt_checkout_session_completed__supabase")
    stamp = stamped(reading, 2, at(1619697430))
    session = "cs_live_9RBjcHiy2i5p99Tf1MYM90c3SHK1grU0E6Ae6pKWR2KPA4ZiuKiB2X1Y3X"
    intent = "pi_1IqxJOJDPojXS6LN9uOebAea"
    assert reading == Reading(
        aliases(session=session, intent=intent, invoice="in_1KJqKBJDPojXS6LNJbvLUgEy"),
        (
            CheckoutSeen(stamp, session, "paid"),
            HolderSeen(stamp, "cus_IhGfebO16cMIGN", "personbe8c@example.com"),
            PaymentSeen(stamp, session, "paid", 999, "EUR", intent=intent),
        ),
        founds=True,
    )


def test_fixture_checkout_completed_2012_envelope() -> None:
    reading = of_file("evt_checkout.session.completed.payment_mode__rubymock")
    stamp = stamped(reading, 2, at(1326853478))
    assert reading.facts == (
        CheckoutSeen(stamp, "cs_00000000000000", "paid"),
        HolderSeen(stamp, "cus_00000000000000", "example@example.com"),
        PaymentSeen(stamp, "cs_00000000000000", "paid", 25000, "USD", intent="pi_00000000000000"),
    )


def test_fixture_charge_refunded() -> None:
    reading = of_file("evt_charge_refunded__supabase")
    stamp = stamped(reading, 2500, at(1619701111))
    charge, intent = "ch_3Kl36gJDPojXS6LN0DCM4A8l", "pi_3Kl36gJDPojXS6LN02fQVtKR"
    invoice = "in_1KJdKkJDPojXS6LNSwSWkZSN"
    assert reading == Reading(
        aliases(charge=charge, intent=intent, invoice=invoice),
        (RefundSeen(stamp, charge, True, 2500, "USD", intent, invoice),),
        founds=False,
    )


@pytest.mark.parametrize(
    ("name", "standing"),
    [
        ("evt_account.updated__rubymock", "later"),
        ("evt_account_updated_express__djstripe", "later"),
        ("evt_charge.dispute.closed__rubymock", "later"),
        ("evt_charge_dispute_created__supabase", "later"),
        ("evt_charge_dispute_funds_withdrawn__supabase", "later"),
        ("evt_customer.subscription.trial_will_end__rubymock", "later"),
        ("evt_customer_updated__supabase", "later"),
        ("evt_early_fraud_warning_created__supabase", "later"),
        ("evt_invoice.created__rubymock", "unknown"),
        ("evt_invoice_updated__supabase", "unknown"),
        ("evt_payment_intent_payment_failed__supabase", "later"),
        ("evt_payment_intent_succeeded__supabase", "later"),
        ("evt_payment_link.created__rubymock", "unknown"),
        ("evt_price_updated__supabase", "later"),
        ("evt_refund_created__supabase", "later"),
        ("evt_subscription_schedule_created__supabase", "unknown"),
    ],
)
def test_fixture_events_that_are_not_read(name: str, standing: str) -> None:
    assert StripeEvents().project((STRIPE / f"{name}.json").read_bytes()).standing == standing


@pytest.mark.parametrize(
    "book", ["resources_2024-08-pre-acacia__openapi", "resources_2026-07-dahlia__openapi"]
)
@pytest.mark.parametrize(
    ("kind", "name", "alias"),
    [
        ("customer.subscription.updated", "subscription", "sub_1Pgc6rB7WZ01zgkWNy0Cn5nw"),
        ("invoice.paid", "invoice", "in_1Pgc6tB7WZ01zgkWu9fdqL6I"),
        (
            "checkout.session.completed",
            "checkout.session",
            "cs_test_a1YS1URlnyQCN5fUUduORoQ7Pw41PJqDWkIVQCpJPqkfIhd6tVY8XB1OLY",
        ),
        ("charge.refunded", "charge", "ch_1PgafuB7WZ01zgkWXYmPNZs8"),
    ],
)
def test_the_official_samples_of_both_ages_are_readable(
    read: Read, book: str, kind: str, name: str, alias: str
) -> None:
    reading = read(kind, json.loads((STRIPE / f"{book}.json").read_text())[name])
    assert reading.aliases[0].external_id == alias
    assert reading.facts
