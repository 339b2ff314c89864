"""One meaning in the shape of yesterday and of today must be the same facts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keywright.domain.facts import (
    Alias,
    Fact,
    HolderSeen,
    PaidLine,
    PaymentLinked,
    PaymentSeen,
    Reading,
    Stamp,
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


def without_digest(reading: Reading) -> Reading:
    """Two shapes of one thing are two projections: only the tie-breaking digest may differ."""
    facts: list[Fact] = []
    for fact in reading.facts:
        stamp = getattr(fact, "stamp", None)
        facts.append(
            fact if stamp is None else type(fact)(**{**_members(fact), "stamp": Stamp(stamp.at, stamp.rank)})
        )
    return Reading(reading.aliases, tuple(facts), reading.founds, reading.prices, reading.reference)


def _members(fact: Fact) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in fact.__struct_fields__}


OURS = {"keywright_reference": "KW-ABCDEFGH23456777"}
OLD_LINE = {
    "price": {"id": "price_a", "object": "price"},
    "plan": {"id": "price_a", "object": "plan"},
    "quantity": 5,
    "period": {"start": 100, "end": 200},
    "proration": False,
    "metadata": OURS,
}
NEW_LINE = {
    "pricing": {"type": "price_details", "price_details": {"price": "price_a", "product": "prod_1"}},
    "parent": {
        "type": "subscription_item_details",
        "subscription_item_details": {"proration": False, "subscription": "sub_1"},
        "invoice_item_details": None,
    },
    "quantity": 5,
    "period": {"start": 100, "end": 200},
    "metadata": OURS,
}
PRORATED_NEW_LINE = {
    **NEW_LINE,
    "quantity": 2,
    "parent": {"type": "invoice_item_details", "invoice_item_details": {"proration": True}},
}
INVOICE = {
    "id": "in_1",
    "currency": "usd",
    "amount_paid": 900,
    "customer": "cus_1",
    "customer_email": "a@b.c",
}
PAIRS = {
    "subscription": (
        "customer.subscription.updated",
        {
            "id": "sub_1",
            "status": "active",
            "customer": "cus_1",
            "current_period_start": 100,
            "current_period_end": 200,
            "cancel_at_period_end": True,
            "items": {"data": [{"plan": {"id": "price_a"}, "quantity": 5}], "has_more": False},
            "metadata": OURS,
        },
        {
            "id": "sub_1",
            "status": "active",
            "customer": {"id": "cus_1", "object": "customer"},
            "cancel_at_period_end": False,
            "cancel_at": 200,
            "items": {
                "data": [
                    {
                        "price": {"id": "price_a"},
                        "quantity": 5,
                        "current_period_start": 100,
                        "current_period_end": 200,
                    }
                ]
            },
            "metadata": OURS,
        },
    ),
    "subscription without items": (
        "customer.subscription.created",
        {
            "id": "sub_1",
            "status": "trialing",
            "plan": {"id": "price_a"},
            "quantity": 5,
            "current_period_end": 9,
        },
        {
            "id": "sub_1",
            "status": "trialing",
            "items": {"data": [{"price": "price_a", "quantity": 5, "current_period_end": 9}]},
        },
    ),
    "invoice": (
        "invoice.paid",
        {
            **INVOICE,
            "subscription": "sub_1",
            "subscription_details": {"metadata": OURS},
            "payment_intent": "pi_1",
            "charge": "ch_1",
            "lines": {"data": [OLD_LINE, {**OLD_LINE, "quantity": 2, "proration": True}]},
        },
        {
            **INVOICE,
            "customer": {"id": "cus_1"},
            "parent": {
                "type": "subscription_details",
                "subscription_details": {"subscription": {"id": "sub_1"}, "metadata": OURS},
            },
            "payments": {
                "data": [
                    {"status": "canceled", "payment": {"type": "payment_intent", "payment_intent": "pi_0"}},
                    {"status": "paid", "payment": {"payment_intent": {"id": "pi_1"}, "charge": "ch_1"}},
                ]
            },
            "lines": {"data": [NEW_LINE, PRORATED_NEW_LINE]},
        },
    ),
    "reference on the line alone": (
        "invoice.payment_failed",
        {**INVOICE, "subscription": "sub_1", "amount_due": 5, "lines": {"data": [OLD_LINE]}},
        {
            **INVOICE,
            "amount_due": 5,
            "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
            "lines": {"data": [NEW_LINE]},
        },
    ),
    "manual invoice": (
        "invoice.paid",
        {**INVOICE, "subscription": None, "subscription_details": {"metadata": None}, "lines": {"data": []}},
        {**INVOICE, "parent": None, "lines": {"data": []}},
    ),
    "checkout": (
        "checkout.session.completed",
        {
            "id": "cs_1",
            "payment_intent": {"id": "pi_1"},
            "amount_total": 900,
            "currency": "usd",
            "customer_email": "a@b.c",
            "metadata": OURS,
        },
        {
            "id": "cs_1",
            "mode": "payment",
            "payment_status": "paid",
            "payment_intent": "pi_1",
            "amount_total": 900,
            "currency": "usd",
            "customer_details": {"email": "a@b.c", "name": None},
            "client_reference_id": "KW-FORGEDFORGED1234",
            "metadata": OURS,
        },
    ),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_both_shapes_say_the_same(read: Read, pair: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    kind, old, new = pair
    assert without_digest(read(kind, old)) == without_digest(read(kind, new))


def test_the_invoice_pair_says_what_it_should(read: Read) -> None:
    kind, _, new = PAIRS["invoice"]
    reading = read(kind, new)
    stamp = stamped(reading, 2)
    lines = (
        PaidLine("price_a", 5, at(100), at(200)),
        PaidLine("price_a", 2, at(100), at(200), prorated=True),
    )
    reference = OURS["keywright_reference"]
    assert reading == Reading(
        aliases(invoice="in_1", subscription="sub_1", intent="pi_1", charge="ch_1", reference=reference),
        (
            PaymentSeen(stamp, "in_1", "paid", 900, "USD", lines, "pi_1", "ch_1"),
            HolderSeen(stamp, customer="cus_1", email="a@b.c"),
        ),
        founds=True,
        prices=("price_a",),
        reference=reference,
    )
