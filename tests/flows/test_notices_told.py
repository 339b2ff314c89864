"""What events change is mailed in whatever order they come, and each thing once."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa

from keywright.domain.plan import NOTICE_KINDS, Terms
from keywright.flows.context import Context
from keywright.store.tables import announcements
from tests.conftest import TurnableClock
from tests.life import stripe, world

MONTH = timedelta(days=30)
DAY = timedelta(days=1)


def life(context: Context, clock: TurnableClock) -> list[stripe.Json]:
    """A renewal, more seats, half the money back, and a payment that fails for good. Ends now."""
    start = clock.now()
    end, last = start + MONTH, start + 2 * MONTH
    clock.time = end + 2 * DAY

    return [
        stripe.event("customer.subscription.created", stripe.subscription("sub_1", start, end), start),
        stripe.event("invoice.paid", stripe.invoice("in_1", "sub_1", start, end), start),
        stripe.event("customer.subscription.updated", stripe.subscription("sub_1", end, last), end),
        stripe.event("invoice.paid", stripe.invoice("in_2", "sub_1", end, last), end),
        stripe.event("invoice_payment.paid", stripe.invoice_payment("in_2", "pi_2"), end),
        stripe.event(
            "customer.subscription.updated",
            stripe.subscription("sub_1", end, last, quantity=3),
            end + DAY,
        ),
        stripe.event("charge.refunded", stripe.refund("ch_2", "pi_2", refunded=1000), end + DAY),
        stripe.event("charge.refunded", stripe.refund("ch_2", "pi_2", refunded=2500), end + 1.5 * DAY),
        stripe.event(
            "customer.subscription.updated",
            stripe.subscription("sub_1", end, last, quantity=3, status="past_due"),
            end + 2 * DAY,
        ),
    ]


def mails(context: Context) -> list[tuple[str, str]]:
    with context.database.read() as connection:
        query = sa.select(announcements.c.kind, announcements.c.detail).order_by(announcements.c.id)
        return [(kind, detail) for kind, detail in connection.execute(query)]  # rows, not pairs


def test_in_order(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=Terms(notices=NOTICE_KINDS))
    for event in life(context, clock):
        world.hand_in(context, event)
    assert [kind for kind, _ in mails(context)] == [
        "license.issued",
        "notice.renewed",
        "notice.seats_changed",
        "notice.refunded",
        "notice.refunded",
        "notice.payment_failed",
    ]


@pytest.mark.parametrize("seed", range(12))
def test_in_any_order_and_again(context: Context, clock: TurnableClock, seed: int) -> None:
    world.stock(context, price_pro=Terms(notices=NOTICE_KINDS))
    chance = random.Random(seed)
    events = life(context, clock)
    events += chance.choices(events, k=6)
    chance.shuffle(events)
    while events:
        size = chance.randrange(1, 4)
        world.hand_in(context, *events[:size])
        del events[:size]
    found = Counter(kind.removeprefix("notice.") for kind, _ in mails(context))
    assert found["license.issued"] == 1
    assert found["payment_failed"] == 1
    assert all(found[kind] <= 1 for kind in ("renewed", "seats_changed"))
    sums = [detail for kind, detail in mails(context) if kind == "notice.refunded"]
    assert 1 <= len(sums) <= 2
    assert '"amount":2500' in sums[-1]
