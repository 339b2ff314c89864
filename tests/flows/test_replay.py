"""Replays by hand: what they change of each license, and that a dry run leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from keywright.domain.errors import Conflict, Invalid, ProviderUnavailable
from keywright.domain.plan import Terms
from keywright.flows import events, refetching, tenants
from keywright.flows.context import Context
from keywright.flows.fulfillment import Fulfillment
from keywright.store import inbox
from keywright.store import tenants as stored_tenants
from keywright.store.tables import inbox as inbox_table
from tests.conftest import TurnableClock
from tests.flows.test_billing import REFERENCE, hinting
from tests.life import hints, stripe, world

MONTH = timedelta(days=30)


def dump(context: Context) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, those of the workflow engine included."""
    inspector = sa.inspect(context.database.engine)
    schemas = [None] if context.database.is_sqlite else [None, "dbos"]
    found: dict[str, list[tuple[Any, ...]]] = {}
    for schema in schemas:
        for name in inspector.get_table_names(schema=schema):
            table = name if schema is None else f'{schema}"."{name}'
            with context.database.read() as connection:
                rows = connection.execute(sa.text(f'SELECT * FROM "{table}"')).all()  # noqa: S608  # its own names
            found[table] = sorted((tuple(row) for row in rows), key=repr)
    return found


@pytest.fixture
def shop(context: Context, clock: TurnableClock) -> Context:
    """Has sold one subscription; an event about another price is parked."""
    world.stock(context, price_once=Terms(term="perpetual"), price_pro=Terms())
    start = clock.now()
    sold = stripe.subscription("sub_1", start, start + MONTH)
    world.hand_in(context, stripe.event("customer.subscription.created", sold, start, id_="evt_sold"))
    strange = stripe.subscription(
        "sub_2", start, start + MONTH, price="price_new", quantity=3, customer="cus_2"
    )
    parked = stripe.event("customer.subscription.created", strange, start, id_="evt_parked")
    assert world.outcome(context, parked) == "parked PRICE_UNMAPPED"
    return context


def test_a_new_license_is_shown_and_then_made(shop: Context) -> None:
    world.add_plan(shop, "new", "price_new", Terms())
    before = dump(shop)
    would = events.replay_one(shop, shop.master.id, "evt_parked", dry_run=True)
    assert dump(shop) == before
    (made,) = would.licenses
    assert (made.before, made.after["status"], made.after["seats"]) == (None, "active", 3)
    done = events.replay_one(shop, shop.master.id, "evt_parked", dry_run=False)
    assert [(c.before, c.after) for c in done.licenses] == [(None, made.after)]
    assert sorted(one.seats for one in world.all_licenses(shop)) == [1, 3]


def test_a_change_is_shown_before_and_after(
    shop: Context, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.turn(days=1)
    more = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH, quantity=4)
    told = stripe.event("customer.subscription.updated", more, clock.now(), id_="evt_more")

    def fails(_self: Fulfillment, _work: object) -> object:
        raise ArithmeticError

    with monkeypatch.context() as patched:
        # A bug in a rule, simulated: there is no event that makes the real rules raise.
        patched.setattr(Fulfillment, "_absorb", fails)
        world.outcome(shop, told)
    (held,) = world.all_licenses(shop)
    before = dump(shop)
    page = events.replay_page(shop, shop.master.id, {"status": "failed"}, dry_run=True)
    assert dump(shop) == before
    (one,) = page.items
    (change,) = one.licenses
    assert (change.license, one.outcome, one.changed) == (held.id, "applied", True)
    assert change.before is not None
    assert (change.before["seats"], change.after["seats"]) == (1, 4)
    assert change.after["entitled_until"] > change.before["entitled_until"]
    assert set(change.after) == {"seats", "entitled_until", "grace_until"}
    done = events.replay_one(shop, shop.master.id, "evt_more", dry_run=False)
    assert (done.licenses, world.the_license(shop).seats) == ((change,), 4)
    assert events.replay_one(shop, shop.master.id, "evt_more", dry_run=True).licenses == ()


def test_a_page_can_begin_at_a_time(shop: Context, clock: TurnableClock) -> None:
    clock.turn(days=1)
    since = clock.now().isoformat()
    late = stripe.subscription("sub_3", clock.now(), clock.now() + MONTH, customer="cus_3")
    world.hand_in(shop, stripe.event("customer.subscription.created", late, clock.now(), id_="evt_late"))
    tenant = shop.master.id
    assert [row.event for row in events.list_events(shop, tenant, {"since": since}).items] == ["evt_late"]
    page = events.list_events(shop, tenant, {"since": since}, limit=1)
    assert len(page.items) == 1
    if page.next_cursor is not None:
        rest = events.list_events(shop, tenant, {"since": since}, limit=1, cursor=page.next_cursor)
        assert (rest.items, rest.next_cursor) == ([], None)
    done = events.replay_page(shop, tenant, {"since": since}, dry_run=True)
    assert [(one.event, one.outcome) for one in done.items] == [("evt_late", "applied")]
    for wrong in ("yesterday", "2026-11-01T00:00:00"):
        with pytest.raises(Invalid):
            events.list_events(shop, tenant, {"since": wrong})


def test_the_provider_is_asked_again(shop: Context, clock: TurnableClock) -> None:
    context, desk, _ = hinting(shop, clock)
    tenant = context.master.id
    clock.turn(seconds=5)
    before = dump(context)
    would = events.replay_one(context, tenant, "h1", dry_run=True, refetch=True)
    assert dump(context) == before
    assert (would.outcome, would.reason, would.licenses) == ("accepted", "ASKED", ())
    assert [(one.kind, one.external_id) for one in would.asked] == [("order", REFERENCE)]
    asked = len(desk.asked)
    page = events.replay_page(context, tenant, {"provider": hints.NAME}, dry_run=False, refetch=True)
    assert [(one.outcome, one.reason) for one in page.items] == [
        ("accepted", "ASKING"),
        ("ignored", "NOTHING_TO_ASK"),
    ]
    assert len(desk.asked) == asked
    assert refetching.run_due(context) == 1
    assert len(desk.asked) == asked + 1


def test_what_an_answer_would_change_is_shown(shop: Context, clock: TurnableClock) -> None:
    hinted, desk, _ = hinting(shop, clock)
    reference = "KW-EEEEFFFFGGGGHHHH"
    hints.order(hinted, reference, plan="pla_plan-0", price="pri_naira")
    assert hints.tell(hinted, {"id": "h2", "order": reference}) == ["accepted"]
    desk.orders[reference] = {"amount": 5000, "currency": "NGN"}
    before = dump(hinted)
    would = events.replay_one(hinted, hinted.master.id, "h2", dry_run=True, refetch=True)
    assert dump(hinted) == before
    assert [(c.before, c.after["status"]) for c in would.licenses] == [(None, "active")]
    assert (would.changed, len(world.all_licenses(hinted))) == (True, 2)


def test_a_provider_that_does_not_answer_is_told_by_its_code(shop: Context, clock: TurnableClock) -> None:
    hinted, desk, _ = hinting(shop, clock)
    desk.trouble = ProviderUnavailable("it hangs")
    tenant = hinted.master.id
    with pytest.raises(ProviderUnavailable):
        events.replay_one(hinted, tenant, "h1", dry_run=True, refetch=True)
    wanted = {"provider": hints.NAME, "type": "order.changed"}
    (one,) = events.replay_page(hinted, tenant, wanted, dry_run=True, refetch=True).items
    assert (one.outcome, one.reason) == ("failed", "PROVIDER_UNAVAILABLE")
    mute = replace(hinted, channels={hints.NAME: replace(hinted.channels[hints.NAME], api=None)})
    with pytest.raises(Conflict) as refused:
        events.replay_one(mute, tenant, "h1", dry_run=False, refetch=True)
    assert refused.value.code == "PROVIDER_NOT_ASKED"


def test_an_account_with_many_events_that_are_due_holds_up_no_other(
    shop: Context, clock: TurnableClock
) -> None:
    flooding = tenants.create(shop, "Flood Ltd", "flood", by="test").id
    with shop.database.write() as connection:
        (parked,) = connection.execute(
            sa.select(inbox_table).where(inbox_table.c.status == "parked")
        ).mappings()
        theirs = stored_tenants.get_account(
            connection, flooding, "stripe", live=False, new_id=shop.new_id("pac"), now=clock.now()
        )
        # Signed by their tenant, and for longer.
        more = {"tenant_id": flooding, "provider_account_id": theirs.id, "next_attempt_at": clock.now()}
        rows = [{**parked, **more, "id": f"evt_{n}", "dedupe_key": f"evt_{n}"} for n in range(50)]
        connection.execute(sa.insert(inbox_table), rows)
    clock.turn(days=1)
    with shop.database.read() as connection:
        accounts = inbox.accounts_due(connection, clock.now())
        due = inbox.list_due(connection, accounts, clock.now(), 10)
    assert len(accounts) == 2
    assert (len(due), parked["id"] in due) == (10, True)
