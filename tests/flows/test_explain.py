"""Why a license is what it is: facts in both orders, rules, causes, and what a replay would alter."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.errors import NotFound
from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.flows import explain, operate
from keywright.flows.context import Context
from keywright.flows.explain import Explained
from keywright.flows.operate import Act, Order
from keywright.store.tables import inbox_purchases
from tests.conftest import TurnableClock
from tests.flows.test_billing import hinting
from tests.life import stripe, world

MONTH = timedelta(days=30)
ACT = Act("command line", "why not")


@pytest.fixture
def shop(context: Context) -> Context:
    world.stock(context, price_once=Terms(term="perpetual"), price_pro=Terms())
    return context


def live(shop: Context, clock: TurnableClock) -> License:
    """A life out of order: the second month before the first, a late snapshot, a refund of the second."""
    start = clock.now()
    second = start + MONTH
    running = stripe.subscription("sub_1", start, second, quantity=2)
    paid = stripe.invoice("in_2", "sub_1", second, second + MONTH, quantity=2, payment_intent="pi_2")
    later = stripe.subscription("sub_1", second, second + MONTH, quantity=3)
    clock.turn(days=31)
    world.hand_in(shop, stripe.event("invoice.paid", paid, clock.now(), id_="evt_paid"))
    clock.turn(seconds=1)
    world.hand_in(shop, stripe.event("customer.subscription.updated", later, clock.now(), id_="evt_more"))
    clock.turn(seconds=1)
    world.hand_in(shop, stripe.event("customer.subscription.created", running, start, id_="evt_late"))
    clock.turn(hours=1)
    back = stripe.refund("ch_2", "pi_2")
    world.hand_in(shop, stripe.event("charge.refunded", back, clock.now(), id_="evt_back"))
    return world.the_license(shop)


def of(shop: Context, held: License) -> Explained:
    return explain.explain(shop, held.tenant_id, held.id)


def test_a_life_is_told_in_both_orders(shop: Context, clock: TurnableClock) -> None:
    told = of(shop, live(shop, clock))
    names = {one.id: one.event for one in told.arrival}
    assert list(names.values()) == ["evt_paid", "evt_more", "evt_late", "evt_back"]
    assert [names[id_] for id_ in told.occurrence] == ["evt_late", "evt_paid", "evt_more", "evt_back"]
    paid, more, late, back = told.arrival
    assert "payment in_2 paid: 50.00 USD" in paid.facts[0]
    assert paid.after["seats"] == 2
    assert (more.before["seats"], more.after["seats"]) == (2, 3)
    assert late.rules[0] == "An older snapshot tells of its own period only; the newer one stays."
    assert late.after == {}
    assert back.after["reason"] == "refunded"
    assert (told.altered, told.notes) == ([], [])
    assert told.why == "Revoked: a payment that was given back in full stops counting."


def test_every_change_names_its_rule_and_its_cause(shop: Context, clock: TurnableClock) -> None:
    held = live(shop, clock)
    clock.turn(hours=1)
    operate.decide(shop, held.tenant_id, held.id, ACT, "suspend")
    told = of(shop, held)
    ids = {one.event: one.id for one in told.arrival}
    causes = {entry.kind: entry.causes for entry in told.timeline}
    assert causes["license.issued"] == [ids["evt_paid"]]
    assert causes["license.seats_changed"] == [ids["evt_more"]]
    assert causes["license.refunded"] == [ids["evt_back"]]
    assert causes["license.suspended"] == []
    assert all(entry.rule for entry in told.timeline)
    assert told.timeline[-1].rule.startswith("A decision of staff")
    assert told.altered == []


def test_what_a_replay_would_alter_is_listed(shop: Context, clock: TurnableClock) -> None:
    held = live(shop, clock)
    world.alter(shop, held, seats=99)
    told = of(shop, held)
    assert told.why.startswith("Tampered")
    assert told.altered is not None
    assert [(one.member, one.now, one.replayed) for one in told.altered] == [("seats", 99, 3)]
    assert world.the_license(shop).seats == 99


def test_a_license_of_staff_has_no_facts(shop: Context) -> None:
    order = Order("dashcaddy/plan-0", "ann@example.com")
    made, _ = operate.issue(shop, shop.master.id, order, ACT)
    told = explain.explain(shop, shop.master.id, made.id)
    assert (told.arrival, told.altered, told.why) == ([], [], "Active: it never ends.")
    assert "Staff issued it" in told.notes[0]
    with pytest.raises(NotFound):
        explain.explain(shop, "ten_other", made.id)


def test_an_order_of_ours_is_one_of_the_facts(shop: Context, clock: TurnableClock) -> None:
    hinted, _, _ = hinting(shop, clock)
    told = of(hinted, world.the_license(hinted))
    assert [one.type for one in told.arrival] == ["order.changed", "fetched.order"]
    assert any(fact.startswith("order KW-") for fact in told.arrival[-1].facts)
    assert (told.altered, told.notes) == ([], [])
    assert "buyer@example.com" not in str([one.facts for one in told.arrival])


def test_events_that_were_never_linked_are_missed(shop: Context, clock: TurnableClock) -> None:
    """As those that were taken in before there were links."""
    held = live(shop, clock)
    with shop.database.write() as connection:
        some = connection.execute(sa.select(inbox_purchases.c.inbox_id)).scalars().all()
        last = sa.delete(inbox_purchases).where(inbox_purchases.c.inbox_id == max(some))
        connection.execute(last)
    told = of(shop, held)
    assert told.altered
    assert "were not linked" in told.notes[0]
    with shop.database.write() as connection:
        connection.execute(sa.delete(inbox_purchases))
    told = of(shop, held)
    assert (told.altered, len(told.notes)) == (None, 1)


def test_a_merged_license_says_so(shop: Context, clock: TurnableClock) -> None:
    start = clock.now()
    once = stripe.subscription("sub_1", start, start + MONTH)
    world.hand_in(shop, stripe.event("customer.subscription.created", once, start))
    paid = stripe.invoice("in_9", "sub_2", start, start + MONTH)
    world.hand_in(shop, stripe.event("invoice.paid", paid, start))
    both = stripe.session("cs_1", mode="subscription", sub="sub_1", invoice="in_9")
    world.hand_in(shop, stripe.event("checkout.session.completed", both, start))
    older, younger = sorted(world.all_licenses(shop), key=lambda one: one.id)
    assert of(shop, older).altered == []
    told = of(shop, younger)
    assert (told.altered, told.why) == (
        [],
        "Revoked: two purchases turned out to be one; the older license stays.",
    )


def a_life(number: int, start: datetime) -> list[stripe.Json]:
    """Sold, renewed with more seats, failed, paid after all, given back in part and in full, over."""
    sub, later = f"sub_{number}", start + MONTH
    first = stripe.invoice(f"in_{number}a", sub, start, later)
    second = stripe.invoice(
        f"in_{number}b", sub, later, later + MONTH, quantity=3, payment_intent=f"pi_{number}"
    )
    half = stripe.refund(f"ch_{number}", f"pi_{number}", refunded=2500)
    sold = stripe.subscription(sub, start, later)
    more = stripe.subscription(sub, later, later + MONTH, quantity=3)
    over = stripe.subscription(sub, later, later + MONTH, quantity=3, status="canceled")
    told = [
        ("customer.subscription.created", sold),
        ("invoice.paid", first),
        ("customer.subscription.updated", more),
        ("invoice.payment_failed", second),
        ("invoice.paid", second),
        ("charge.refunded", half),
        ("charge.refunded", stripe.refund(f"ch_{number}", f"pi_{number}")),
        ("customer.subscription.deleted", over),
    ]
    return [stripe.event(kind, seen, start + timedelta(hours=hour)) for hour, (kind, seen) in enumerate(told)]


_numbers = itertools.count(100)


@given(order=st.permutations(range(8)), twice=st.integers(0, 7), cut=st.integers(1, 7))
def test_a_healthy_license_would_become_the_same_again(
    shop: Context, clock: TurnableClock, order: list[int], twice: int, cut: int
) -> None:
    """Whatever the order of arrival, in however many batches."""
    number = next(_numbers)
    life = a_life(number, clock.now())
    events = [life[place] for place in (*order, twice)]
    for batch in (events[:cut], events[cut:]):
        world.hand_in(shop, *batch)
        clock.turn(hours=1)
    held = max(world.all_licenses(shop), key=lambda one: one.id)
    told = of(shop, held)
    assert (told.altered, told.notes) == ([], [])
    assert len(told.arrival) == len(told.occurrence) == 8
    assert all(entry.rule for entry in told.timeline)


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (0, "Active: paid until"),
        (30, "to be collected"),
        (31, "In grace"),
        (60, "Expired"),
    ],
)
def test_one_sentence_says_why(shop: Context, clock: TurnableClock, days: int, words: str) -> None:
    start = clock.now()
    sold = stripe.subscription("sub_1", start, start + MONTH)
    world.hand_in(shop, stripe.event("customer.subscription.created", sold, start))
    clock.turn(days=days)
    assert words in of(shop, world.the_license(shop)).why
