"""Bought from inside the program: whose machine the license is activated for, when, and how often."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from keywright.domain.errors import Conflict, Invalid, NotFound, Unauthorized
from keywright.domain.plan import Terms
from keywright.flows import activating, checkout, licensing, pay_page, streams
from keywright.flows.checkout import Ask, Opened
from keywright.flows.context import Context
from keywright.flows.licensing import Bookkeeping
from keywright.flows.streams import Glimpse
from keywright.store import tables
from tests.conftest import TurnableClock
from tests.life import world
from tests.life.payments import PayDesk, selling_through

MACHINE = "ann-laptop-0123456789abcdef"


@pytest.fixture
def desk(clock: TurnableClock) -> PayDesk:
    return PayDesk(clock)


@pytest.fixture
def shop(context: Context, desk: PayDesk) -> Context:
    """Sells `plan-0` once, `plan-1` monthly, `plan-2` as keys, and `plan-3` with floating seats."""
    world.stock(
        context,
        price_once=Terms(term="perpetual"),
        price_monthly=Terms(),
        price_keys=Terms(term="perpetual", quantity="keys"),
        price_float=Terms(term="perpetual", floating=True),
    )
    return selling_through(context, desk)


def open_for(context: Context, plan: str = "plan-0", **more: Any) -> Opened:
    ask = Ask(f"dashcaddy/{plan}", device=MACHINE, device_name="Ann's laptop", **more)
    return checkout.open_checkout(context, ask)


def machines(context: Context) -> list[Any]:
    held = tables.activations.c
    with context.database.read() as connection:
        query = sa.select(held.license_id, held.name, held.released_at).order_by(held.id)
        return [tuple(row) for row in connection.execute(query)]


def ask_of(context: Context, machine: str = MACHINE) -> licensing.Asked:
    held = min(world.all_licenses(context), key=lambda one: one.unit)
    ask = licensing.Ask(world.key_of(context, held), fingerprint=machine)
    return licensing.check(context, ask, fingerprint_needed=True)


def look(context: Context, opened: Opened, token: str | None = None) -> Glimpse:
    asked = licensing.Ask("", fingerprint=MACHINE)
    subject = streams.by_claim(context, token or opened.claim_token, asked)
    assert subject is not None
    (glimpse,) = streams.look(context, Bookkeeping(), [subject])
    return glimpse


# -- the machine ----------------------------------------------------------------------------------------


def test_the_license_is_active_on_the_machine_with_the_commit_that_makes_it(
    shop: Context, desk: PayDesk
) -> None:
    opened = open_for(shop)
    assert world.outcome(shop, desk.paid(opened.reference)) == "applied"
    held = world.the_license(shop)
    assert machines(shop) == [(held.id, "Ann's laptop", None)]
    verdict = licensing.validate(shop, Bookkeeping(), ask_of(shop))
    assert (verdict.code, verdict.lease is not None) == ("VALID", True)
    another = activating.activate(shop, ask_of(shop, "another-machine"))
    assert another.code == "TOO_MANY_ACTIVATIONS"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (0, 2, 1), (2, 0, 1)])
def test_whichever_event_brings_the_license_the_machine_is_activated_once(
    shop: Context, desk: PayDesk, order: tuple[int, ...]
) -> None:
    opened = open_for(shop, "plan-1")
    told = desk.subscribed(opened.reference, "price_monthly")
    for number in order:
        world.hand_in(shop, told[number])
    assert [name for _, name, _ in machines(shop)] == ["Ann's laptop"]
    freed, refusal = licensing.deactivate(shop, ask_of(shop))
    assert (freed.code, refusal) == ("NOT_ACTIVATED", None)
    for event in told:
        world.hand_in(shop, {**event, "id": f"{event['id']}_again"})
    assert all(released is not None for _, _, released in machines(shop))


def test_of_many_keys_the_first_is_for_the_machine(shop: Context, desk: PayDesk) -> None:
    opened = open_for(shop, "plan-2", quantity=3)
    world.outcome(shop, desk.paid(opened.reference))
    first = min(world.all_licenses(shop), key=lambda one: one.unit)
    assert [license_id for license_id, _, _ in machines(shop)] == [first.id]
    glimpse = look(shop, opened)
    assert glimpse.verdict is not None
    assert glimpse.standing is not None
    assert (glimpse.verdict.code, len(glimpse.standing.licenses or ())) == ("VALID", 3)


def test_a_floating_seat_waits_for_the_program_and_is_held_while_it_listens(
    shop: Context, desk: PayDesk, clock: TurnableClock
) -> None:
    opened = open_for(shop, "plan-3")
    world.outcome(shop, desk.paid(opened.reference))
    for _ in range(5):
        glimpse = look_by_key(shop)
        assert (lease_of(glimpse), glimpse.renews) == ("VALID", True)
        assert glimpse.due is not None
        clock.time = glimpse.due
    clock.turn(days=60)
    gone = look_by_key(shop).verdict
    assert gone is not None
    assert gone.code == "NOT_ACTIVATED"


def lease_of(glimpse: Glimpse) -> str | None:
    """The code of a verdict that brings a lease."""
    verdict = glimpse.verdict
    return verdict.code if verdict is not None and verdict.lease is not None else None


def test_a_purchase_that_extends_brings_the_older_license_to_the_machine(
    shop: Context, desk: PayDesk, clock: TurnableClock
) -> None:
    world.add_plan(
        shop, "year", "price_year", Terms(term=31_536_000, on_repurchase="extend", max_activations=2)
    )
    first = checkout.open_checkout(shop, Ask("dashcaddy/year"))
    world.outcome(shop, desk.paid(first.reference))
    held = world.the_license(shop)
    clock.turn(days=30)
    opened = open_for(shop, "year", renew_key=world.key_of(shop, held))
    paid = desk.paid(opened.reference)
    paid["data"]["object"]["payment_intent"] = "pi_of_the_second"
    assert world.outcome(shop, paid) == "applied"
    assert world.the_license(shop).id == held.id
    assert machines(shop) == [(held.id, "Ann's laptop", None)]
    assert lease_of(look(shop, opened)) == "VALID"


def look_by_key(context: Context) -> Glimpse:
    subject = streams.by_key(context, ask_of(context).ask)
    (glimpse,) = streams.look(context, Bookkeeping(), [subject])
    return glimpse


def test_nothing_of_the_machine_is_stored_in_the_clear(shop: Context, desk: PayDesk) -> None:
    opened = open_for(shop)
    world.outcome(shop, desk.paid(opened.reference))
    with shop.database.read() as connection:
        for table in (tables.checkouts, tables.activations, tables.timeline, tables.inbox):
            for row in connection.execute(sa.select(table)):
                assert MACHINE not in str(row)
    # Nor can it be guessed from the hash that recognizes a repeated request.
    key = "an-idempotency-key-0001"
    repeated = Ask("dashcaddy/plan-0", device=MACHINE)
    first = checkout.open_checkout(shop, repeated, idempotency_key=key)
    assert checkout.open_checkout(shop, repeated, idempotency_key=key) == first
    other = Ask("dashcaddy/plan-0", device="another-machine")
    with pytest.raises(Conflict):
        checkout.open_checkout(shop, other, idempotency_key=key)


@pytest.mark.parametrize("device", ["short", "x" * 257, "with\nbreak", "ümlaut-machine"])
def test_a_device_that_is_none_is_refused(shop: Context, device: str) -> None:
    with pytest.raises(Invalid) as caught:
        checkout.open_checkout(shop, Ask("dashcaddy/plan-0", device=device))
    assert caught.value.code == "DEVICE_INVALID"
    with pytest.raises(Invalid):
        checkout.open_checkout(shop, Ask("dashcaddy/plan-0", device_name="a name alone"))


def test_the_page_before_the_payment_names_the_machine_and_leads_to_the_provider(
    shop: Context, desk: PayDesk
) -> None:
    opened = open_for(shop)
    assert opened.url == f"http://127.0.0.1:8000/checkout/{opened.reference}/pay"
    shown = pay_page.pay_page(shop, opened.reference)
    assert (shown.device, shown.product, shown.amount) == ("Ann's laptop", "DashCaddy", 5000)
    assert shown.url == f"https://checkout.stripe.com/c/pay/cs_{opened.reference[3:]}"
    world.outcome(shop, desk.paid(opened.reference))
    assert pay_page.pay_page(shop, opened.reference).url is None
    plain = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    for reference in (plain.reference, "KW-AAAAAAAAAAAAAAAA", "x"):
        with pytest.raises(NotFound):
            pay_page.pay_page(shop, reference)


# -- the claim ------------------------------------------------------------------------------------------


def test_a_claim_is_of_its_own_checkout_and_of_no_other(shop: Context, desk: PayDesk) -> None:
    mine, theirs = open_for(shop), open_for(shop)
    world.outcome(shop, desk.paid(theirs.reference))
    with pytest.raises(Unauthorized):
        checkout.claim(shop, theirs.reference, mine.claim_token)
    ask = licensing.Ask("")
    assert streams.by_claim(shop, mine.claim_token, ask, theirs.reference) is None
    found = streams.by_claim(shop, mine.claim_token, ask)
    assert found is not None
    assert found.reference == mine.reference
    assert look(shop, mine).standing == checkout.Standing(mine.reference, "open")


def test_a_claim_that_was_planted_in_the_database_opens_nothing(shop: Context, desk: PayDesk) -> None:
    """Whoever may write rows could lead a token of his to a checkout of somebody else: it is made again."""
    theirs = open_for(shop)
    world.outcome(shop, desk.paid(theirs.reference))
    planted = {"claim_hash": checkout.claim_hash_of("a-token-of-my-own")}
    with shop.database.write() as connection:
        connection.execute(sa.update(tables.checkouts).values(**planted))
    assert streams.by_claim(shop, "a-token-of-my-own", licensing.Ask("")) is None


def test_a_claim_shows_keys_for_a_day_and_then_ends(
    shop: Context, desk: PayDesk, clock: TurnableClock
) -> None:
    opened = open_for(shop)
    world.outcome(shop, desk.paid(opened.reference))
    clock.turn(hours=23, minutes=59)
    glimpse = look(shop, opened)
    assert glimpse.over is None
    assert glimpse.verdict is not None
    assert glimpse.due is not None
    assert glimpse.due <= clock.now() + checkout_left(shop)
    clock.turn(minutes=1)
    glimpse = look(shop, opened)
    assert (glimpse.over, glimpse.verdict) == ("claim", None)
    assert glimpse.standing is not None
    assert glimpse.standing.licenses is None


def checkout_left(context: Context) -> Any:
    return context.policy.claim_for / 24 / 60


def test_a_checkout_that_runs_out_ends_its_stream(shop: Context, clock: TurnableClock) -> None:
    opened = open_for(shop)
    glimpse = look(shop, opened)
    assert (glimpse.over, glimpse.due) == (None, opened.expires_at)
    clock.time = opened.expires_at
    assert look(shop, opened).over == "expired"
