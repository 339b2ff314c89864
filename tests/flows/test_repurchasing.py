"""Buying again: the older license is extended in the transaction that writes the newer purchase."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from keywright.domain.errors import KeywrightError
from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.flows import checkout, license_views, operate
from keywright.flows.checkout import Ask
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.flows.renewing import NO_PROOF, Proof
from keywright.store.tables import announcements as owed_table
from keywright.store.tables import licenses as license_table
from keywright.store.tables import products, timeline
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.life.payments import PayDesk, selling_through

YEAR = timedelta(days=365)
ACT = Act("staff stf_1")
# For what asks the database nothing that others do not ask it.
on_one_database = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def shop(context: Context, clock: TurnableClock) -> Context:
    """Sells `dashcaddy/plan-0` for a year, again and again for the same license."""
    world.stock(
        context,
        price_year=Terms(term=365 * 86400, on_repurchase="extend"),
        price_other=Terms(term=365 * 86400, on_repurchase="extend"),
        price_new=Terms(term=365 * 86400),
    )
    return selling_through(context, PayDesk(clock))


def wish(shop: Context, *, proof: Proof = NO_PROOF, plan: int = 0, **more: Any) -> str:
    return checkout.open_checkout(shop, Ask(f"dashcaddy/plan-{plan}", **more), proof=proof).reference


def paid(shop: Context, reference: str) -> stripe.Json:
    intent = f"pi_{reference[3:]}"
    session = stripe.session(f"cs_{reference[3:]}", reference=reference, intent=intent)
    return stripe.event("checkout.session.completed", session, shop.clock.now())


def refunded(shop: Context, reference: str, amount: int | None = None) -> stripe.Json:
    given = stripe.refund(f"ch_{reference[3:]}", f"pi_{reference[3:]}", refunded=amount)
    return stripe.event("charge.refunded", given, shop.clock.now())


def bought(shop: Context) -> License:
    """A license that was bought once."""
    assert world.outcome(shop, paid(shop, wish(shop))) == "applied"
    return world.the_license(shop)


def kinds(shop: Context, held: License) -> list[str]:
    query = sa.select(timeline.c.kind).where(timeline.c.license_id == held.id).order_by(timeline.c.seq)
    with shop.database.read() as connection:
        return list(connection.execute(query).scalars())


def test_a_year_more_for_the_same_key(shop: Context, clock: TurnableClock) -> None:
    held = bought(shop)
    key = world.key_of(shop, held)
    start = clock.now()
    clock.turn(days=100)
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0", renew_key=key))
    event = paid(shop, opened.reference)
    assert world.outcome(shop, event) == "applied"
    for _ in range(3):
        world.hand_in(shop, event, {**event, "id": f"{event['id']}_again"})
    after = world.the_license(shop)
    assert after.entitled_until == start + YEAR + YEAR
    assert world.key_of(shop, after) == key
    assert kinds(shop, after).count("license.renewed") == 1
    (shown,) = checkout.claim(shop, opened.reference, opened.claim_token).licenses or ()
    assert (shown.id, shown.key, shown.hmac_key) == (held.id, key, None)
    with shop.database.read() as connection:
        owed = connection.execute(sa.select(owed_table.c.occurrence)).scalars().all()
    assert sorted(owed) == ["first", f"renewed {opened.reference}"]
    clock.turn(days=1)
    assert world.outcome(shop, refunded(shop, opened.reference)) == "applied"
    back = world.the_license(shop)
    assert back.entitled_until == start + YEAR
    assert license_views.check_integrity(shop, shop.master.id).damaged == []


def test_purchases_that_arrive_in_any_order_end_alike(shop: Context, clock: TurnableClock) -> None:
    """Two renewals, one of them given back, beside what the old purchase still tells."""
    ends = set()
    for order in itertools.permutations(range(3)):
        first = wish(shop)
        begun = paid(shop, first)
        world.hand_in(shop, begun)
        held = world.all_licenses(shop)[0]
        key, start = world.key_of(shop, held), clock.now()
        clock.turn(days=400)
        one = wish(shop, renew_key=key)
        told = [paid(shop, one)]
        clock.turn(days=10)
        two = wish(shop, renew_key=key)
        told.append(paid(shop, two))
        clock.turn(days=10)
        told.append(refunded(shop, one))
        world.hand_in(shop, *(told[number] for number in order))
        for number in order:
            world.hand_in(shop, told[number], begun)
        (after,) = (one for one in world.all_licenses(shop) if one.id == held.id)
        assert after.entitled_until is not None
        ends.add(after.entitled_until - start)
    assert ends == {timedelta(days=410) + YEAR}


def test_old_and_new_in_one_batch(shop: Context, clock: TurnableClock) -> None:
    """The webhooks of a refund of the old purchase and of the new one come together."""
    first = wish(shop)
    world.hand_in(shop, paid(shop, first))
    held = world.the_license(shop)
    clock.turn(days=10)
    again = wish(shop, renew_key=world.key_of(shop, held))
    world.hand_in(shop, paid(shop, again), refunded(shop, first))
    after = world.the_license(shop)
    assert after.entitled_until == clock.now() + YEAR
    assert license_views.check_integrity(shop, shop.master.id).damaged == []


@on_one_database
def test_another_product_beside_it_is_a_license_of_its_own(shop: Context, clock: TurnableClock) -> None:
    with shop.database.write() as connection:
        connection.execute(
            sa.insert(products).values(
                id="pro_2", tenant_id=shop.master.id, slug="other", name="Other", key_prefix="OT"
            )
        )
    world.add_plan(shop, "month", "price_month", Terms(on_repurchase="extend"))
    world.add_plan(shop, "beside", "price_beside", Terms(on_repurchase="extend"), product="pro_2")
    order = Order("dashcaddy/month", "a@example.com", until=clock.now() + timedelta(days=5))
    row, key = operate.issue(shop, shop.master.id, order, ACT)
    opened = checkout.open_checkout(shop, Ask("dashcaddy/month", renew_key=key))
    at, until = clock.now(), clock.now() + timedelta(days=30)
    sub = f"sub_{opened.reference[3:]}"
    session = stripe.session(
        f"cs_{opened.reference[3:]}", mode="subscription", reference=opened.reference, sub=sub
    )
    running = stripe.subscription(sub, at, until, price="price_month", reference=opened.reference)
    beside = {**running["items"]["data"][0], "id": "si_2", "price": {"id": "price_beside", "object": "price"}}
    running["items"]["data"].append(beside)
    world.hand_in(
        shop,
        stripe.event("checkout.session.completed", session, at),
        stripe.event("customer.subscription.updated", running, at),
    )
    found = {one.product_id: one for one in world.all_licenses(shop)}
    assert set(found) == {"pro_1", "pro_2"}
    assert found["pro_1"].id == row.id
    assert found["pro_1"].entitled_until == until + timedelta(days=5)
    assert found["pro_2"].entitled_until == until


@on_one_database
def test_what_staff_gave_is_extended_and_stays_theirs(shop: Context, clock: TurnableClock) -> None:
    order = Order("dashcaddy/plan-0", "a@example.com", seats=7, until=clock.now() + timedelta(days=50))
    row, key = operate.issue(shop, shop.master.id, order, ACT)
    world.hand_in(shop, paid(shop, wish(shop, renew_key=key)))
    after = world.the_license(shop)
    assert (after.id, after.seats, after.purchase_id) == (row.id, 7, None)
    assert after.entitled_until == clock.now() + timedelta(days=50) + YEAR
    operate.decide(shop, shop.master.id, row.id, ACT, "suspend")
    operate.decide(shop, shop.master.id, row.id, ACT, "reinstate")
    assert world.the_license(shop).entitled_until == after.entitled_until


def test_whoever_is_signed_in_renews_his_own(shop: Context) -> None:
    held = bought(shop)
    mine, others = Proof(people=(held.customer_id or "",)), Proof(people=("cus_of_somebody",))
    world.hand_in(shop, paid(shop, wish(shop, proof=mine)))
    assert world.the_license(shop).overrides.renewals
    world.hand_in(shop, paid(shop, wish(shop, proof=others)))
    assert len(world.all_licenses(shop)) == 2


@on_one_database
@pytest.mark.parametrize(
    ("plan", "code"), [(1, "RENEW_KEY_MISMATCH"), (2, "RENEW_UNSUPPORTED")], ids=["other plan", "new"]
)
def test_what_cannot_be_extended(shop: Context, plan: int, code: str) -> None:
    key = world.key_of(shop, bought(shop))
    with pytest.raises(KeywrightError) as caught:
        wish(shop, plan=plan, renew_key=key)
    assert caught.value.code == code


@on_one_database
def test_an_altered_license_is_not_extended_and_staff_hear_of_it(shop: Context) -> None:
    held = bought(shop)
    again = wish(shop, renew_key=world.key_of(shop, held))
    world.alter(shop, held, seats=99)
    world.hand_in(shop, paid(shop, again))
    assert world.the_license(shop).overrides.renewals == ()
    with shop.database.read() as connection:
        told = connection.execute(sa.select(owed_table.c.kind)).scalars().all()
    assert "alarm.renewal_refused" in told


def test_a_row_that_was_put_back_is_not_extended_once_more(shop: Context) -> None:
    held = bought(shop)
    again = wish(shop, renew_key=world.key_of(shop, held))
    columns = {name: getattr(held, name) for name in ("entitled_until", "active_until", "grace_until", "mac")}
    world.hand_in(shop, paid(shop, again))
    world.alter(shop, held, **columns, overrides="{}")
    world.hand_in(shop, refunded(shop, again, 100))  # a part: the purchase counts as before
    with shop.database.read() as connection:
        kept = connection.execute(sa.select(license_table.c.overrides)).scalar()
        told = connection.execute(sa.select(owed_table.c.kind)).scalars().all()
    assert kept == "{}"
    assert "alarm.renewal_refused" in told
