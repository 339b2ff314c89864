"""What a seller changes at the provider: written down, asked for, and brought by the provider's events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain.errors import (
    Conflict,
    Invalid,
    KeywrightError,
    NotFound,
    ProviderUnavailable,
    Unsupported,
)
from keywright.domain.license import License, seats_at, status
from keywright.domain.plan import Terms
from keywright.flows import activating, billing, license_views, licensing, operate, refetching
from keywright.flows.context import Context
from keywright.flows.licensing import Ask
from keywright.flows.operate import Act, Order
from keywright.store import licenses
from keywright.store.tables import prices, refetches
from tests.conftest import TurnableClock
from tests.life import hints, stripe, world
from tests.life.billing import MONTH, BillDesk, billed_by

ACT = Act("token tok_1", "asked by mail")
KEY = "0123456789abcdef0123456789"
REFERENCE = "KW-AAAABBBBCCCCDDDD"


@pytest.fixture
def desk(clock: TurnableClock) -> BillDesk:
    return BillDesk(clock)


@pytest.fixture
def shop(context: Context, desk: BillDesk) -> Context:
    """Has sold two seats for a month; the payment is known by its invoice, and an intent is linked to it."""
    world.stock(context, price_pro=Terms(seat_decrease="now"), price_once=Terms(term="perpetual"))
    start = context.clock.now()
    paid = stripe.invoice("in_1", "sub_1", start, start + MONTH, quantity=2, amount=10000)
    world.hand_in(context, desk.told(), stripe.event("invoice.paid", paid, start))
    world.hand_in(
        context, stripe.event("invoice_payment.paid", stripe.invoice_payment("in_1", "pi_1"), start)
    )
    return billed_by(context, desk)


@pytest.fixture
def sold(shop: Context) -> License:
    return world.the_license(shop)


def acts(context: Context, held: License) -> list[dict[str, Any]]:
    """The billing entries of the timeline, without their keys."""
    page = license_views.timeline_of(context, held.tenant_id, held.id)
    found = [entry for entry in page.items if entry.kind.startswith("billing.")]
    return [{k: v for k, v in entry.detail.items() if k != "key"} for entry in found]


def test_seats_are_looked_at_first_and_brought_by_the_event(
    shop: Context, sold: License, desk: BillDesk, clock: TurnableClock
) -> None:
    shown = billing.preview_seats(shop, sold.tenant_id, sold.id, 5)
    assert (shown.quantity, shown.due_now, shown.currency) == (5, 4200, "USD")
    assert acts(shop, sold) == []
    done = billing.change_seats(shop, sold.tenant_id, sold.id, ACT, 5, expected=shown.due_now)
    assert (done.accepted, done.approval_url) == (True, None)
    assert world.the_license(shop).seats == 2
    assert acts(shop, sold) == [
        {"act": "seats", "by": ACT.by, "why": ACT.reason, "quantity": 5},
        {"act": "seats", "answer": "accepted"},
    ]
    clock.turn(seconds=5)
    world.hand_in(shop, desk.told())
    assert world.the_license(shop).seats == 5


def test_the_provider_is_told_the_names_it_gave(shop: Context, sold: License, desk: BillDesk) -> None:
    billing.change_seats(shop, sold.tenant_id, sold.id, ACT, 3)
    deal: Any = desk.heard[0][1]
    assert msgspec.structs.asdict(deal) == {
        "subscription": "sub_1",
        "customer": "cus_1",
        "price": "price_pro",
        "charge": None,
        "intent": "pi_1",
        "payment": "in_1",
        "email": "buyer@example.com",
    }


def test_what_became_dearer_is_not_done(shop: Context, sold: License, desk: BillDesk) -> None:
    desk.due_now = 4242
    assert billing.change_seats(shop, sold.tenant_id, sold.id, ACT, 5, expected=4200).accepted
    desk.due_now = 4243
    with pytest.raises(Conflict) as refused:
        billing.change_seats(shop, sold.tenant_id, sold.id, ACT, 7, expected=4200)
    assert refused.value.code == "PREVIEW_CHANGED"
    assert desk.quantity == 5
    assert acts(shop, sold)[-1] == {"act": "seats", "answer": "PREVIEW_CHANGED"}


@pytest.mark.parametrize("quantity", [0, -1, billing.MOST + 1])
def test_no_seats_at_all_are_refused(shop: Context, sold: License, desk: BillDesk, quantity: int) -> None:
    with pytest.raises(Invalid):
        billing.change_seats(shop, sold.tenant_id, sold.id, ACT, quantity)
    with pytest.raises(Invalid):
        billing.preview_seats(shop, sold.tenant_id, sold.id, quantity)
    assert (desk.heard, acts(shop, sold)) == ([], [])


def test_fewer_seats_than_machines_cut_nobody_off(
    shop: Context, sold: License, desk: BillDesk, clock: TurnableClock
) -> None:
    key = world.key_of(shop, sold)
    for number in range(2):
        asked = licensing.check(shop, Ask(key, f"machine-number-{number}"), fingerprint_needed=True)
        assert activating.activate(shop, asked).activation is not None
    assert billing.change_seats(shop, sold.tenant_id, sold.id, ACT, 1).accepted
    clock.turn(seconds=5)
    world.hand_in(shop, desk.told())
    held = world.the_license(shop)
    assert seats_at(held, shop.clock.now()) == 1
    with shop.database.read() as connection:
        assert licenses.count_machines(connection, [held.id]) == {held.id: 2}


def test_a_renewal_is_canceled_and_taken_up_again(
    shop: Context, sold: License, desk: BillDesk, clock: TurnableClock
) -> None:
    assert billing.cancel(shop, sold.tenant_id, sold.id, ACT).accepted
    clock.turn(seconds=5)
    world.hand_in(shop, desk.told())
    held = world.the_license(shop)
    assert (held.canceling, held.entitled_until, status(held, clock.now())) == (
        True,
        sold.entitled_until,
        "active",
    )
    assert billing.resume(shop, sold.tenant_id, sold.id, ACT).accepted
    clock.turn(seconds=5)
    world.hand_in(shop, desk.told())
    assert not world.the_license(shop).canceling
    assert [one["act"] for one in acts(shop, sold)] == ["cancel", "cancel", "resume", "resume"]


def test_money_goes_back_once_for_each_key(
    shop: Context, sold: License, desk: BillDesk, clock: TurnableClock
) -> None:
    for _ in range(2):
        assert billing.refund(shop, sold.tenant_id, sold.id, ACT, amount=4000, key=KEY).accepted
    assert [call[2:4] for call in desk.heard] == [(4000, "USD")]
    assert acts(shop, sold)[0] == {
        "act": "refund",
        "by": ACT.by,
        "why": ACT.reason,
        "payment": "in_1",
        "amount": 4000,
        "currency": "USD",
    }
    with pytest.raises(Conflict) as refused:
        billing.refund(shop, sold.tenant_id, sold.id, ACT, amount=5000, key=KEY)
    assert refused.value.code == "IDEMPOTENCY_MISMATCH"
    with pytest.raises(Conflict):
        billing.cancel(shop, sold.tenant_id, sold.id, ACT, key=KEY)
    back = stripe.refund("ch_1", "pi_1", amount=10000, refunded=4000)
    world.hand_in(shop, stripe.event("charge.refunded", back, clock.now()))
    with pytest.raises(Invalid, match="6000"):
        billing.refund(shop, sold.tenant_id, sold.id, ACT, amount=6001)
    assert billing.refund(shop, sold.tenant_id, sold.id, ACT, payment="pi_1").accepted
    clock.turn(seconds=5)
    world.hand_in(
        shop, stripe.event("charge.refunded", stripe.refund("ch_1", "pi_1", amount=10000), clock.now())
    )
    with pytest.raises(Conflict) as nothing_left:
        billing.refund(shop, sold.tenant_id, sold.id, ACT)
    assert nothing_left.value.code == "REFUNDED_ALREADY"
    assert billing.refund(shop, sold.tenant_id, sold.id, ACT, amount=4000, key=KEY).accepted
    with pytest.raises(NotFound) as unknown:
        billing.refund(shop, sold.tenant_id, sold.id, ACT, payment="in_9")
    assert unknown.value.code == "PAYMENT_UNKNOWN"
    assert status(world.the_license(shop), clock.now()) == "revoked"


def test_a_key_of_one_payment_gives_back_no_other(
    shop: Context, sold: License, desk: BillDesk, clock: TurnableClock
) -> None:
    later = stripe.invoice("in_2", "sub_1", clock.now(), clock.now() + MONTH, quantity=2, amount=10000)
    world.hand_in(shop, stripe.event("invoice.paid", later, clock.now()))
    assert billing.refund(shop, sold.tenant_id, sold.id, ACT, payment="in_1", key=KEY).accepted
    with pytest.raises(Conflict) as refused:
        billing.refund(shop, sold.tenant_id, sold.id, ACT, payment="in_2", key=KEY)
    assert refused.value.code == "IDEMPOTENCY_MISMATCH"
    assert billing.refund(shop, sold.tenant_id, sold.id, ACT, payment="pi_1", key=KEY).accepted
    assert len(desk.heard) == 1


def test_an_answer_that_was_lost_is_asked_for_under_the_same_key(
    shop: Context, sold: License, desk: BillDesk
) -> None:
    desk.trouble = ProviderUnavailable("it hangs")
    with pytest.raises(ProviderUnavailable):
        billing.change_seats(shop, sold.tenant_id, sold.id, ACT, 4, key=KEY)
    assert acts(shop, sold)[-1] == {"act": "seats", "answer": "PROVIDER_UNAVAILABLE"}
    desk.trouble = None
    assert billing.change_seats(shop, sold.tenant_id, sold.id, ACT, 4, key=KEY).accepted
    first, second = (call[-1] for call in desk.heard)
    assert first == second
    assert KEY not in str(first)


@pytest.mark.parametrize("error", [Invalid("no"), Unsupported("not here"), NotFound("gone")])
def test_a_refusal_is_written_down_and_passed_on(
    shop: Context, sold: License, desk: BillDesk, error: KeywrightError
) -> None:
    desk.trouble = error
    with pytest.raises(type(error)):
        billing.cancel(shop, sold.tenant_id, sold.id, ACT)
    assert acts(shop, sold)[-1] == {"act": "cancel", "answer": error.code}
    assert "no" not in acts(shop, sold)[-1].values()


def test_the_buyer_may_have_to_agree(shop: Context, sold: License, desk: BillDesk) -> None:
    desk.approval = "https://pay.example/agree?token=secret"
    done = billing.change_seats(shop, sold.tenant_id, sold.id, ACT, 4, key=KEY)
    assert done.approval_url == desk.approval
    assert "secret" not in str(acts(shop, sold))
    assert billing.change_seats(shop, sold.tenant_id, sold.id, ACT, 4, key=KEY) == done


def test_a_portal_link_is_shown_and_not_kept(shop: Context, sold: License, desk: BillDesk) -> None:
    home = f"{shop.policy.base_url}/thanks"
    link = billing.portal(shop, sold.tenant_id, sold.id, ACT, home)
    assert link.url == "https://pay.example/portal/secret"
    assert [one["act"] for one in acts(shop, sold)] == ["portal", "portal"]
    assert "secret" not in str(acts(shop, sold))
    with pytest.raises(Invalid) as refused:
        billing.portal(shop, sold.tenant_id, sold.id, ACT, "https://elsewhere.example/")
    assert refused.value.code == "RETURN_URL_REFUSED"
    assert len(desk.heard) == 1


def test_where_nothing_can_be_changed_the_refusal_says_what_to_do(
    shop: Context, sold: License, clock: TurnableClock
) -> None:
    tenant = sold.tenant_id
    made, _ = operate.issue(shop, tenant, Order("dashcaddy/plan-0", "ann@example.com"), ACT)
    with pytest.raises(Unsupported, match="extend") as comp:
        billing.cancel(shop, tenant, made.id, ACT)
    assert (comp.value.status, comp.value.code) == (422, "NO_PURCHASE")
    bare = replace(shop, channels={"stripe": replace(shop.channels["stripe"], billing=None)})
    with pytest.raises(Unsupported, match="secret key"):
        billing.preview_seats(bare, tenant, sold.id, 3)
    with pytest.raises(NotFound):
        billing.cancel(replace(shop, channels={}), tenant, sold.id, ACT)
    with pytest.raises(NotFound):
        billing.cancel(shop, "ten_other", sold.id, ACT)
    over = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH, quantity=2, status="canceled")
    world.hand_in(shop, stripe.event("customer.subscription.deleted", over, clock.now()))
    with pytest.raises(Conflict) as ended:
        billing.resume(shop, tenant, sold.id, ACT)
    assert ended.value.code == "SUBSCRIPTION_OVER"


def test_what_was_bought_once_has_no_renewal_but_can_be_given_back(
    context: Context, clock: TurnableClock
) -> None:
    """At a provider whose events prove nothing: it is asked again after the act."""
    world.stock(context, price_stripe=Terms(term="perpetual"))
    hinted, _, till = hinting(context, clock)
    held = world.the_license(hinted)
    with pytest.raises(Unsupported, match="bought once") as once:
        billing.change_seats(hinted, held.tenant_id, held.id, ACT, 3)
    assert once.value.code == "NOT_A_SUBSCRIPTION"
    for act in (billing.cancel, billing.resume):
        with pytest.raises(Unsupported):
            act(hinted, held.tenant_id, held.id, ACT)
    assert acts(hinted, held) == []
    assert world.count(hinted, refetches) == 0
    assert billing.refund(hinted, held.tenant_id, held.id, ACT).accepted
    assert [call[0] for call in till.heard] == ["refund"]
    assert till.heard[0][2:4] == (None, "NGN")
    with hinted.database.read() as connection:
        due = connection.execute(sa.select(refetches.c.kind, refetches.c.external_id)).all()
    assert due == [("order", REFERENCE)]


def hinting(context: Context, clock: TurnableClock) -> tuple[Context, hints.HintDesk, BillDesk]:
    """A shop that sold one perpetual license through a provider whose events only name what to ask for."""
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
    hinted, desk = hints.open_desk(context, clock)
    hints.order(hinted, REFERENCE, plan="pla_plan-0", price="pri_naira")
    desk.orders[REFERENCE] = {"amount": 5000, "currency": "NGN"}
    hints.tell(hinted, {"id": "h1", "order": REFERENCE})
    till = BillDesk(clock)
    channel = replace(hinted.channels[hints.NAME], billing=till)
    # This one alone: what Stripe is to be asked is no matter here.
    hinted = replace(hinted, channels={hints.NAME: channel})
    refetching.run_due(hinted)
    return hinted, desk, till


@pytest.mark.parametrize("key", ["short", "x" * 300, "é" * 30, " " * 30])
def test_a_bad_key_is_refused(shop: Context, sold: License, desk: BillDesk, key: str) -> None:
    with pytest.raises(Invalid) as refused:
        billing.cancel(shop, sold.tenant_id, sold.id, ACT, key=key)
    assert refused.value.code == "IDEMPOTENCY_KEY_INVALID"
    with pytest.raises(Invalid):
        billing.cancel(shop, sold.tenant_id, sold.id, Act("x", "a" * 501))
    assert desk.heard == []
