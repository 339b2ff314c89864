"""Events that prove nothing are kept; what they name is asked for, once, and taken in like an event."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from keywright.domain.errors import ProviderUnavailable
from keywright.domain.plan import Terms
from keywright.flows import refetching
from keywright.flows.context import Context
from keywright.store.engine import Database
from keywright.store.tables import announcements, inbox, inbox_purchases, inbox_waits, prices, refetches
from tests.conftest import TurnableClock
from tests.life import hints, stripe, world
from tests.life.payments import PayDesk

REFERENCE = "KW-AAAABBBBCCCCDDDD"
PAID = {"amount": 5000, "currency": "NGN"}


@pytest.fixture
def shop(context: Context, clock: TurnableClock) -> tuple[Context, hints.HintDesk]:
    """Sells one perpetual plan through a provider whose events prove nothing."""
    world.stock(context, price_stripe=Terms(term="perpetual"))
    with context.database.write() as connection:
        connection.execute(
            sa.insert(prices).values(
                id="pri_naira",
                tenant_id=context.master.id,
                plan_id="pla_plan-0",
                provider=hints.NAME,
                key="once",
                amount=5000,
                currency="NGN",
            )
        )
    shop = hints.open_desk(context, clock)
    hints.order(shop[0], REFERENCE, plan="pla_plan-0", price="pri_naira")
    return shop


def statuses(context: Context) -> dict[str, tuple[str, str | None]]:
    with context.database.read() as connection:
        rows = connection.execute(sa.select(inbox.c.type, inbox.c.status, inbox.c.reason)).all()
    return {kind: (status, reason) for kind, status, reason in rows}


def test_nothing_is_granted_before_the_provider_was_asked(shop: tuple[Context, hints.HintDesk]) -> None:
    context, desk = shop
    desk.orders[REFERENCE] = PAID
    assert hints.tell(context, {"id": "h1", "order": REFERENCE}) == ["accepted"]
    assert world.all_licenses(context) == []
    assert desk.asked == []

    assert refetching.run_due(context) == 1
    assert world.the_license(context).entitled_until is not None
    assert statuses(context) == {"order.changed": ("applied", None), "fetched.order": ("applied", None)}
    assert world.count(context, refetches) == 0
    assert world.count(context, inbox_waits) == 0
    assert world.count(context, inbox_purchases) == 2
    assert refetching.run_due(context) == 0


def test_many_events_about_one_object_ask_once(shop: tuple[Context, hints.HintDesk]) -> None:
    context, desk = shop
    desk.orders[REFERENCE] = PAID
    told = hints.tell(context, *({"id": f"h{n}", "order": REFERENCE} for n in range(20)))
    assert told == ["accepted"] * 20
    refetching.run_due(context)
    assert desk.asked == [REFERENCE]
    assert len(world.all_licenses(context)) == 1
    assert world.count(context, announcements) == 1


def test_a_redelivery_is_a_duplicate(shop: tuple[Context, hints.HintDesk], clock: TurnableClock) -> None:
    context, desk = shop
    desk.orders[REFERENCE] = PAID
    event = {"id": "h1", "order": REFERENCE, "at": 1}
    assert hints.tell(context, event, event) == ["accepted", "duplicate"]
    refetching.run_due(context)
    assert hints.tell(context, event) == ["duplicate"]
    assert refetching.run_due(context) == 0
    clock.turn(minutes=1)
    # Without ids of their own two events may look alike and be two.
    assert refetching.run_due(context) == 1
    assert desk.asked == [REFERENCE, REFERENCE]
    assert len(world.all_licenses(context)) == 1


def test_an_object_that_changes_while_it_is_asked_for_is_asked_for_again(
    shop: tuple[Context, hints.HintDesk],
) -> None:
    context, desk = shop
    desk.orders[REFERENCE] = PAID
    hints.tell(context, {"id": "h1", "order": REFERENCE})

    def once() -> None:
        desk.meanwhile = lambda: None
        hints.tell(context, {"id": "h2", "order": REFERENCE})

    desk.meanwhile = once
    refetching.run_due(context)
    assert desk.asked == [REFERENCE, REFERENCE]
    assert world.count(context, refetches) == 0
    assert world.count(context, inbox_waits) == 0
    assert len(world.all_licenses(context)) == 1


def test_a_silent_provider_is_asked_again_and_never_given_up(
    shop: tuple[Context, hints.HintDesk], clock: TurnableClock
) -> None:
    context, desk = shop
    desk.orders[REFERENCE] = PAID
    desk.trouble = ProviderUnavailable("down")
    hints.tell(context, {"id": "h1", "order": REFERENCE})
    for _ in range(30):
        refetching.run_due(context)
        clock.turn(minutes=20)
    assert len(desk.asked) == 30
    assert statuses(context)["order.changed"] == ("accepted", "ASKING")
    desk.trouble = None
    refetching.run_due(context)
    assert len(world.all_licenses(context)) == 1


def test_a_silent_provider_is_asked_one_question_at_a_time_with_pauses(
    shop: tuple[Context, hints.HintDesk], clock: TurnableClock
) -> None:
    context, desk = shop
    desk.trouble = ProviderUnavailable("down")
    hints.tell(context, *({"id": f"h{n}", "order": f"KW-{n:016d}"} for n in range(100)))
    refetching.run_due(context)
    first = len(desk.asked)
    assert first <= 32
    for _ in range(20):
        hints.tell(context, {"id": f"more{_}", "order": f"KW-{_:015d}X"})
        refetching.run_due(context)
    assert len(desk.asked) == first
    for _ in range(10):
        clock.turn(minutes=2)
        refetching.run_due(context)
    assert len(desk.asked) == first + 10
    desk.trouble = None
    desk.orders[REFERENCE] = PAID
    hints.tell(context, {"id": "last", "order": REFERENCE})
    clock.turn(minutes=2)
    refetching.run_due(context)
    assert len(world.all_licenses(context)) == 1


def test_a_silence_ends_with_the_shop_that_met_it(shop: tuple[Context, hints.HintDesk]) -> None:
    context, desk = shop
    desk.refused = {"KW-1", "KW-2"}
    hints.tell(context, {"id": "h1", "order": "KW-1"})
    gone = replace(context)
    place = id(gone)
    refetching.run_due(gone)
    del gone
    hints.tell(context, {"id": "h2", "order": "KW-2"})
    database = Database(context.database.url.render_as_string(hide_password=False))
    # Python gives the place of what is gone to the next of its size: one of many gets it.
    others = [replace(context, database=database) for _ in range(1000)]
    refetching.run_due(next((other for other in others if id(other) == place), others[0]))
    database.dispose()
    assert desk.asked == ["KW-1", "KW-2"]


def test_one_object_that_is_never_answered_for_holds_up_no_other(
    shop: tuple[Context, hints.HintDesk], clock: TurnableClock
) -> None:
    context, desk = shop
    desk.orders[REFERENCE] = PAID
    desk.refused.add("KW-POISON")
    hints.tell(context, {"id": "bad", "order": "KW-POISON"})
    for _ in range(3):
        refetching.run_due(context)
        clock.turn(minutes=2)
    hints.tell(context, {"id": "good", "order": REFERENCE})
    for _ in range(2):
        refetching.run_due(context)
        clock.turn(minutes=2)
    assert len(world.all_licenses(context)) == 1


def test_what_the_provider_does_not_know_grants_nothing(
    shop: tuple[Context, hints.HintDesk], clock: TurnableClock
) -> None:
    context, _ = shop
    hints.tell(context, {"id": "h1", "order": "KW-EEEEFFFFGGGGHHHH"})
    for _ in range(6):
        refetching.run_due(context)
        clock.turn(hours=1)
    assert statuses(context)["order.changed"] == ("ignored", "NOT_CONFIRMED")
    assert world.count(context, refetches) == 0
    assert world.all_licenses(context) == []


def test_an_answer_that_cannot_be_taken_in_is_kept_for_staff(
    shop: tuple[Context, hints.HintDesk], clock: TurnableClock
) -> None:
    context, desk = shop
    desk.trouble = ValueError("surprise")
    hints.tell(context, {"id": "h1", "order": REFERENCE})
    for _ in range(context.policy.attempts + 1):
        refetching.run_due(context)
        clock.turn(hours=6)
    assert statuses(context)["order.changed"] == ("dead", "FAILED")
    assert world.count(context, refetches) == 0


@pytest.mark.parametrize("paid", [{"amount": 4999, "currency": "NGN"}, {"amount": 5000, "currency": "USD"}])
def test_an_amount_that_was_not_ordered_buys_nothing(
    shop: tuple[Context, hints.HintDesk], paid: dict[str, object]
) -> None:
    context, desk = shop
    desk.orders[REFERENCE] = paid
    hints.tell(context, {"id": "h1", "order": REFERENCE})
    refetching.run_due(context)
    assert world.all_licenses(context) == []
    assert statuses(context)["fetched.order"] == ("parked", "AMOUNT_MISMATCH")


def test_an_event_that_claims_to_be_an_answer_is_ignored(shop: tuple[Context, hints.HintDesk]) -> None:
    context, desk = shop
    told = {"id": "h1", "order": REFERENCE, "fetched": 1, **PAID}
    assert hints.tell(context, told) == ["ignored"]
    assert refetching.run_due(context) == 0
    assert desk.asked == []
    assert world.all_licenses(context) == []


def wanted(context: Context) -> list[tuple[str, str]]:
    with context.database.read() as connection:
        found = connection.execute(sa.select(refetches.c.kind, refetches.c.external_id)).all()
    return [(kind, name) for kind, name in found]


def test_two_snapshots_of_one_second_that_differ_are_settled_by_asking(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=Terms())
    channel = replace(context.channels["stripe"], api=PayDesk(clock))
    asking = replace(context, channels={"stripe": channel})
    at, until = clock.now(), clock.now() + timedelta(days=30)

    def seen(quantity: int, second: int) -> stripe.Json:
        told = stripe.subscription("sub_1", at, until, price="price_pro", quantity=quantity)
        return stripe.event("customer.subscription.updated", told, at + timedelta(seconds=second))

    world.hand_in(asking, seen(2, 0), seen(3, 1))
    assert wanted(asking) == []
    world.hand_in(asking, seen(4, 1))
    assert wanted(asking) == [("subscription", "sub_1")]


def test_a_refund_of_a_charge_that_nobody_here_knows_is_asked_about(
    context: Context, clock: TurnableClock
) -> None:
    asking = replace(context, channels={"stripe": replace(context.channels["stripe"], api=PayDesk(clock))})
    told = world.outcome(asking, stripe.event("charge.refunded", stripe.refund("ch_1", "pi_1"), clock.now()))
    assert told == "parked WAITING_FOR_PURCHASE"
    assert [kind for kind, _ in wanted(asking)] == ["payment_intent"]
