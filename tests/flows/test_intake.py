"""The webhook's way in, on both databases: one effect per event, nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain.errors import BadSignature, TooLarge, Unavailable, Unreadable
from keywright.domain.facts import Alias
from keywright.domain.license import is_intact, status
from keywright.domain.plan import FOREVER, Terms
from keywright.domain.purchase import Purchase
from keywright.flows import intake, replay
from keywright.flows.context import Context
from keywright.flows.fulfillment import Fulfillment, Outcome
from keywright.store import checkouts, inbox
from keywright.store import purchases as purchase_rows
from keywright.store.checkouts import Checkout
from keywright.store.tables import announcements, customers, licenses, purchases, timeline
from keywright.store.tables import inbox as inbox_table
from tests.conftest import SECRET, TurnableClock
from tests.life import stripe, world

PRO = Terms()
LIFETIME = Terms(term="perpetual")
MONTH = timedelta(days=30)


def order(context: Context, reference: str, price: str, quantity: int = 1) -> None:
    now = context.clock.now()
    with context.database.write() as connection:
        checkouts.insert(
            connection,
            Checkout(
                reference=reference,
                tenant_id=context.master.id,
                provider_account_id=context.channels["stripe"].account.id,
                plan_id="pla_plan-0",
                price=price,
                quantity=quantity,
                amount=5000 * quantity,
                currency="USD",
                status="open",
                created_at=now,
                expires_at=now + timedelta(hours=24),
            ),
        )


def find_order(context: Context, reference: str) -> Checkout:
    with context.database.read() as connection:
        found = checkouts.find(connection, context.master.id, reference)
    assert found is not None
    return found


def bought(at: datetime, **more: object) -> stripe.Json:
    made = stripe.subscription("sub_1", at, at + MONTH, **more)  # type: ignore[arg-type]  # members of the object
    return stripe.event("customer.subscription.created", made, at)


def test_a_subscription_becomes_a_license(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=PRO)
    assert world.outcome(context, bought(clock.now(), quantity=3)) == "applied"
    held = world.the_license(context)
    assert (held.seats, held.entitled_until) == (3, clock.now() + MONTH)
    assert status(held, clock.now()) == "active"
    assert is_intact(held, context.vault.row_key(held.tenant_id))
    assert world.key_of(context, held).startswith("DC-")
    assert world.count(context, announcements) == 1


def test_a_second_delivery_is_a_duplicate_without_effect(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=PRO)
    event = bought(clock.now())
    assert [world.outcome(context, event) for _ in range(3)] == ["applied", "duplicate", "duplicate"]
    assert world.count(context, licenses) == 1
    assert world.count(context, timeline) == 1


def test_twins_in_one_batch_have_one_effect(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=PRO)
    event = bought(clock.now())
    found = [getattr(one, "outcome", one) for one in world.hand_in(context, *[event] * 20)]
    assert sorted(map(str, found)) == ["applied"] + ["duplicate"] * 19
    assert world.count(context, licenses) == 1


def test_a_renewal_moves_the_end_and_owes_nothing(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=PRO)
    world.outcome(context, bought(clock.now()))
    start = clock.now() + MONTH
    clock.turn(days=30)
    paid = stripe.event("invoice.paid", stripe.invoice("in_2", "sub_1", start, start + MONTH), clock.now())
    assert world.outcome(context, paid) == "applied"
    assert world.the_license(context).entitled_until == start + MONTH
    assert world.count(context, announcements) == 1
    assert world.count(context, timeline) == 2


def test_a_purchase_of_our_own_checkout_takes_price_and_quantity_from_it(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_once=LIFETIME)
    order(context, "KW-ABCDEFGH12345678", "price_once", quantity=2)
    paid = stripe.session("cs_1", reference="KW-ABCDEFGH12345678")
    assert world.outcome(context, stripe.event("checkout.session.completed", paid, clock.now())) == "applied"
    held = world.the_license(context)
    assert (held.seats, held.entitled_until) == (2, FOREVER)
    known = find_order(context, "KW-ABCDEFGH12345678")
    assert (known.status, known.purchase_id) == ("paid", held.purchase_id)


def test_an_unpaid_checkout_grants_nothing_until_the_money_comes(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_once=LIFETIME)
    order(context, "KW-ABCDEFGH12345678", "price_once")
    waiting = stripe.session("cs_1", reference="KW-ABCDEFGH12345678", payment_status="unpaid")
    world.outcome(context, stripe.event("checkout.session.completed", waiting, clock.now()))
    assert world.count(context, licenses) == 0
    clock.turn(days=2)
    paid = stripe.session("cs_1", reference="KW-ABCDEFGH12345678")
    world.outcome(context, stripe.event("checkout.session.async_payment_succeeded", paid, clock.now()))
    assert world.count(context, licenses) == 1


def test_a_refund_revokes_and_a_refund_that_came_first_waits(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_once=LIFETIME)
    order(context, "KW-ABCDEFGH12345678", "price_once")
    back = stripe.event("charge.refunded", stripe.refund("ch_1", "pi_1"), clock.now())
    assert world.outcome(context, back) == "parked WAITING_FOR_PURCHASE"
    paid = stripe.session("cs_1", reference="KW-ABCDEFGH12345678")
    assert world.outcome(context, stripe.event("checkout.session.completed", paid, clock.now())) == "applied"
    assert status(world.the_license(context), clock.now()) == "revoked"
    with context.database.read() as connection:
        assert inbox.counts(connection) == {"applied": 2}


def test_an_expired_checkout_is_written_down_and_makes_nothing(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_once=LIFETIME)
    order(context, "KW-ABCDEFGH12345678", "price_once")
    ended = stripe.session("cs_1", reference="KW-ABCDEFGH12345678", payment_status="unpaid", intent=None)
    event = stripe.event("checkout.session.expired", ended, clock.now())
    assert world.outcome(context, event) == "applied"
    known = find_order(context, "KW-ABCDEFGH12345678")
    assert (known.status, known.purchase_id, known.settled_at) == ("expired", None, None)
    assert (world.count(context, purchases), world.count(context, licenses)) == (0, 0)
    assert _only(context, "applied").next_attempt_at is None


@pytest.mark.parametrize("reference", [None, "KW-ZZZZZZZZ12345678", "somebody else's words"])
def test_an_expired_checkout_of_somebody_else_is_ignored(
    context: Context, clock: TurnableClock, reference: str | None
) -> None:
    ended = stripe.session("cs_1", reference=reference, payment_status="unpaid", intent=None)
    event = stripe.event("checkout.session.expired", ended, clock.now())
    assert world.outcome(context, event) == "ignored CHECKOUT_UNKNOWN"
    assert world.count(context, purchases) == 0
    assert _only(context, "ignored").next_attempt_at is None


def test_an_expiry_that_comes_late_takes_nothing_from_a_paid_checkout(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_once=LIFETIME)
    order(context, "KW-ABCDEFGH12345678", "price_once")
    early = clock.now() - timedelta(hours=1)
    paid = stripe.session("cs_1", reference="KW-ABCDEFGH12345678")
    world.outcome(context, stripe.event("checkout.session.completed", paid, clock.now()))
    ended = stripe.session("cs_1", reference="KW-ABCDEFGH12345678", payment_status="unpaid")
    assert world.outcome(context, stripe.event("checkout.session.expired", ended, early)) == "applied"
    assert find_order(context, "KW-ABCDEFGH12345678").status == "paid"
    assert status(world.the_license(context), clock.now()) == "active"


def test_a_parked_event_backs_off_and_its_partner_still_wakes_it(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_once=LIFETIME)
    order(context, "KW-ABCDEFGH12345678", "price_once")
    back = stripe.event("charge.refunded", stripe.refund("ch_1", "pi_1"), clock.now())
    assert world.outcome(context, back) == "parked WAITING_FOR_PURCHASE"
    pauses = []
    while (due := _only(context, "parked").next_attempt_at) is not None:
        pauses.append(due - clock.now())
        clock.time = due - timedelta(seconds=1)
        assert replay.retry_due(context) == 0
        clock.time = due
        assert replay.retry_due(context) == 1
    assert pauses == [timedelta(seconds=20 * 2**n) for n in range(17)]
    clock.turn(days=365)
    assert replay.retry_due(context) == 0
    paid = stripe.session("cs_1", reference="KW-ABCDEFGH12345678")
    assert world.outcome(context, stripe.event("checkout.session.completed", paid, clock.now())) == "applied"
    assert status(world.the_license(context), clock.now()) == "revoked"
    with context.database.read() as connection:
        assert inbox.counts(connection) == {"applied": 2}


def test_a_refund_of_a_subscription_is_linked_by_the_invoice_payment(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=PRO)
    at = clock.now()
    world.outcome(context, bought(at))
    world.outcome(context, stripe.event("invoice.paid", stripe.invoice("in_1", "sub_1", at, at + MONTH), at))
    back = stripe.event("charge.refunded", stripe.refund("ch_1", "pi_9"), at + timedelta(days=1))
    assert world.outcome(context, back) == "parked WAITING_FOR_PURCHASE"
    link = stripe.event("invoice_payment.paid", stripe.invoice_payment("in_1", "pi_9"), at)
    assert world.outcome(context, link) == "applied"
    assert status(world.the_license(context), at + timedelta(days=1)) == "revoked"
    assert status(world.the_license(context), at + timedelta(days=31)) == "expired"


def test_what_came_before_its_partner_in_one_batch_is_applied_in_it(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=PRO)
    at = clock.now()
    found = world.hand_in(
        context,
        stripe.event("charge.refunded", stripe.refund("ch_1", "pi_9"), at + timedelta(days=1)),
        stripe.event("invoice_payment.paid", stripe.invoice_payment("in_1", "pi_9"), at),
        stripe.event("invoice.paid", stripe.invoice("in_1", "sub_1", at, at + MONTH), at),
        bought(at),
    )
    assert [getattr(one, "outcome", one) for one in found] == ["applied"] * 4
    with context.database.read() as connection:
        assert inbox.counts(connection) == {"applied": 4}
    assert status(world.the_license(context), at + timedelta(days=1)) == "revoked"


def test_an_unmapped_price_is_parked_and_released_when_it_is_mapped(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context)
    assert world.outcome(context, bought(clock.now())) == "parked PRICE_UNMAPPED"
    assert world.count(context, purchases) == 0
    world.add_plan(context, "pro", "price_pro", PRO)
    account = context.channels["stripe"].account
    with context.database.write() as connection:
        tried = intake.release(context, connection, account, [("price", "price_pro")], clock.now())
    assert tried == 1
    assert world.count(context, licenses) == 1


def test_a_parked_event_is_retried_by_itself(context: Context, clock: TurnableClock) -> None:
    world.stock(context)
    world.outcome(context, bought(clock.now()))
    world.add_plan(context, "pro", "price_pro", PRO)
    assert replay.retry_due(context) == 0
    clock.turn(minutes=6)
    assert replay.retry_due(context) == 1
    assert world.count(context, licenses) == 1


def test_events_of_an_account_that_is_not_set_up_any_more_hold_nobody_up(
    context: Context, clock: TurnableClock
) -> None:
    """After the step from test keys to live ones: what was parked in test mode must not stop the sweep."""
    world.stock(context)
    world.outcome(context, bought(clock.now()))
    clock.turn(minutes=6)
    assert replay.retry_due(replace(context, channels={})) == 0
    assert replay.retry_due(context) == 1


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("plan.created", "ignored UNKNOWN_TYPE"), ("invoice.overdue", "ignored NOT_BUILT")],
)
def test_other_types_are_kept_and_ignored(
    context: Context, clock: TurnableClock, kind: str, answer: str
) -> None:
    event = stripe.event(kind, {"id": "x_1", "object": "thing"}, clock.now())
    assert world.outcome(context, event) == answer
    assert world.outcome(context, event) == "duplicate"


def test_events_of_the_other_mode_or_of_a_connected_account_are_ignored(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=PRO)
    live = bought(clock.now()) | {"livemode": True}
    assert world.outcome(context, live) == "ignored WRONG_MODE"
    foreign = bought(clock.now()) | {"account": "acct_other"}
    assert world.outcome(context, foreign) == "ignored WRONG_ACCOUNT"
    assert world.count(context, purchases) == 0
    with context.database.read() as connection:
        kept = sa.select(inbox_table.c.body).where(inbox_table.c.reason == "WRONG_ACCOUNT")
        assert connection.execute(kept).scalar_one() == "{}", "its buyers are another account's"


def test_one_bad_event_does_not_take_its_neighbors_down(
    context: Context, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.stock(context, price_pro=PRO)
    ours = Fulfillment._absorb

    def fails_for_one(self: Fulfillment, work: object) -> object:
        if "sub_7" in str(work):
            raise ArithmeticError("secret detail")
        return ours(self, work)  # type: ignore[arg-type]  # passed through

    # A bug in a rule, simulated: there is no event that makes the real rules raise.
    monkeypatch.setattr(Fulfillment, "_absorb", fails_for_one)
    at = clock.now()
    events = [
        stripe.event(
            "customer.subscription.created",
            stripe.subscription(f"sub_{n}", at, at + MONTH, customer=f"cus_{n}"),
            at,
        )
        for n in range(12)
    ]
    found = [
        str(getattr(one, "reason", None) or getattr(one, "outcome", one))
        for one in world.hand_in(context, *events)
    ]
    assert found.count("applied") == 11
    assert found[7] == "FAILED"
    assert world.count(context, licenses) == 11
    kept = _only(context, "failed")
    assert kept.error == "builtins.ArithmeticError"
    clock.turn(seconds=16)
    assert replay.retry_due(context) == 1
    assert _only(context, "failed").attempts == 2
    monkeypatch.undo()
    clock.turn(seconds=31)
    assert replay.retry_due(context) == 1
    assert world.count(context, licenses) == 12


def test_an_event_that_never_works_is_dead_and_the_operator_hears_of_it(
    context: Context, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.stock(context, price_pro=PRO)

    def fails(_self: Fulfillment, _work: object) -> object:
        raise ArithmeticError

    monkeypatch.setattr(Fulfillment, "_absorb", fails)
    world.outcome(context, bought(clock.now()))
    for _ in range(context.policy.attempts):
        clock.turn(hours=7)
        replay.retry_due(context)
    dead = _only(context, "dead")
    assert dead.attempts == context.policy.attempts
    assert world.count(context, announcements) == 1
    monkeypatch.undo()
    looked = replay.replay(context, [dead.id], dry_run=True)
    assert (looked[0].outcome, looked[0].changed) == ("applied", True)
    assert world.count(context, licenses) == 0
    replay.replay(context, [dead.id], dry_run=False)
    assert world.count(context, licenses) == 1


def _only(context: Context, state: str) -> inbox.InboxItem:
    with context.database.read() as connection:
        (one,) = inbox.list_page(
            connection, context.master.id, filters={"status": state}, after=None, limit=10
        )
    return one


def test_receive_refuses_what_is_not_authentic_and_keeps_what_is_not_readable(
    context: Context, clock: TurnableClock
) -> None:
    door = intake.Intake(context)

    async def ask(raw: bytes, headers: dict[str, str]) -> object:
        door.gatherer.start(asyncio.get_running_loop())
        try:
            return await door.receive("stripe", raw, headers)
        finally:
            door.gatherer.stop()

    raw = stripe.encoded(bought(clock.now()))
    with pytest.raises(BadSignature):
        asyncio.run(ask(raw, stripe.signed(raw, "whsec_another_0123456789", clock.now())))
    assert world.count(context, inbox_table) == 0

    door = intake.Intake(context)
    broken = raw[:-1]
    with pytest.raises(Unreadable):
        asyncio.run(ask(broken, stripe.signed(broken, SECRET, clock.now())))
    kept = _only(context, "ignored")
    assert (kept.reason, kept.projected.body, kept.projected.raw_size) == ("UNREADABLE", b"{}", len(broken))

    door = intake.Intake(context)
    with pytest.raises(TooLarge):
        asyncio.run(ask(b"x" * (intake.LARGEST_BODY + 1), {}))


def test_an_address_learned_later_frees_the_mail_that_waited_for_it(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=PRO)
    world.outcome(context, bought(clock.now()))
    with context.database.write() as connection:
        connection.execute(announcements.update().values(status="waiting"))
    done = stripe.session("cs_1", mode="subscription", sub="sub_1")
    world.outcome(context, stripe.event("checkout.session.completed", done, clock.now()))
    with context.database.read() as connection:
        assert connection.execute(announcements.select()).mappings().one()["status"] == "pending"
        assert connection.execute(customers.select()).mappings().one()["email"] == "buyer@example.com"


def test_two_purchases_that_turn_out_to_be_one_are_merged(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=PRO)
    at = clock.now()
    order(context, "KW-ABCDEFGH12345678", "price_pro")
    # The subscription alone, and the session alone; a third event names both.
    world.outcome(context, bought(at))
    told = stripe.session("cs_1", mode="subscription", sub=None, reference="KW-ABCDEFGH12345678")
    world.outcome(context, stripe.event("checkout.session.completed", told, at))
    assert world.count(context, purchases) == 2
    both = stripe.session("cs_1", mode="subscription", sub="sub_1", reference="KW-ABCDEFGH12345678")
    assert world.outcome(context, stripe.event("checkout.session.completed", both, at)) == "applied"
    held = world.the_license(context)
    assert is_intact(held, context.vault.row_key(held.tenant_id))
    assert (
        world.outcome(
            context,
            stripe.event(
                "customer.subscription.updated",
                stripe.subscription("sub_1", at, at + MONTH, quantity=4),
                at + timedelta(seconds=5),
            ),
        )
        == "applied"
    )
    assert world.the_license(context).seats == 4


def test_a_license_of_the_younger_purchase_moves_to_the_older_one_and_stays_whole(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=PRO)
    at = clock.now()
    order(context, "KW-ABCDEFGH12345678", "price_pro")
    told = stripe.session("cs_1", mode="subscription", sub=None, reference="KW-ABCDEFGH12345678")
    world.outcome(context, stripe.event("checkout.session.completed", told, at))
    world.outcome(context, bought(at))
    before = world.the_license(context)
    both = stripe.session("cs_1", mode="subscription", sub="sub_1", reference="KW-ABCDEFGH12345678")
    assert world.outcome(context, stripe.event("checkout.session.completed", both, at)) == "applied"
    after = world.the_license(context)
    assert (after.id, after.key_hash) == (before.id, before.key_hash)
    assert after.purchase_id != before.purchase_id
    assert is_intact(after, context.vault.row_key(after.tenant_id))


def test_a_license_beside_one_of_the_same_product_ends_when_their_purchases_are_one(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=PRO)
    at = clock.now()
    order(context, "KW-ABCDEFGH12345678", "price_pro")
    first = stripe.subscription("sub_1", at, at + MONTH)
    second = stripe.subscription("sub_2", at, at + MONTH)
    for seen in (first, second):
        world.outcome(context, stripe.event("customer.subscription.created", seen, at))
    younger, older = world.all_licenses(context)
    told = [
        stripe.session("cs_1", mode="subscription", sub=sub, reference="KW-ABCDEFGH12345678")
        for sub in ("sub_1", "sub_2")
    ]
    world.hand_in(context, *(stripe.event("checkout.session.completed", one, at) for one in told))
    ended, kept = world.all_licenses(context)
    assert [one.id for one in (ended, kept)] == [younger.id, older.id]
    assert (status(ended, at), ended.reason, status(kept, at)) == ("revoked", "merged", "active")
    for one in (ended, kept):
        assert is_intact(one, context.vault.row_key(one.tenant_id))


def test_an_event_that_waited_for_a_merge_follows_it(context: Context, clock: TurnableClock) -> None:
    """On PostgreSQL: another process merges while this one waits for the younger purchase's lock."""
    world.stock(context, price_pro=PRO)
    account = context.channels["stripe"].account.id
    for sub in ("sub_1", "sub_2"):
        seen = stripe.subscription(sub, clock.now(), clock.now() + MONTH)
        world.outcome(context, stripe.event("customer.subscription.created", seen, clock.now()))
    old, young = Alias("subscription", "sub_1"), Alias("subscription", "sub_2")
    waited: list[dict[Alias, str]] = []

    def follow() -> None:
        with context.database.write() as connection:
            waited.append(purchase_rows.find_by_aliases(connection, account, [young])[0])

    with context.database.write() as connection:
        links, found = purchase_rows.find_by_aliases(connection, account, [old, young])
        waiter = threading.Thread(target=follow)
        waiter.start()
        time.sleep(0.3)
        emptied = msgspec.structs.replace(found[links[young]], state=Purchase())
        purchase_rows.update(connection, [emptied], clock.now())
        purchase_rows.lead(connection, [links[young]], links[old])
    waiter.join()
    assert waited == [{young: links[old]}]


def test_the_timeline_is_a_chain(context: Context, clock: TurnableClock) -> None:
    from keywright.store import timeline as history

    world.stock(context, price_pro=PRO)
    at = clock.now()
    world.outcome(context, bought(at))
    for quantity in (2, 3, 4):
        clock.turn(minutes=1)
        seen = stripe.subscription("sub_1", at, at + MONTH, quantity=quantity)
        world.outcome(context, stripe.event("customer.subscription.updated", seen, clock.now()))
    held = world.the_license(context)
    with context.database.read() as connection:
        entries = history.list_page(connection, held.tenant_id, held.id, after=0, limit=100)
    assert [entry.kind for entry in entries] == ["license.issued"] + ["license.seats_changed"] * 3
    assert history.first_break(entries, held.head) is None
    forged = [
        msgspec.structs.replace(entries[1], detail="{}") if n == 1 else e for n, e in enumerate(entries)
    ]
    assert history.first_break(forged, held.head) == 2
    assert history.first_break(entries[:-1], held.head) == 4


def test_a_payment_that_names_another_checkout_does_not_buy_it(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_once=LIFETIME)
    order(context, "KW-ABCDEFGH12345678", "price_once")
    with context.database.write() as connection:
        checkouts.opened(connection, context.master.id, "KW-ABCDEFGH12345678", "cs_expensive", "https://x")
    cheap = stripe.session("cs_cheap", reference="KW-ABCDEFGH12345678", amount=1)
    assert (
        world.outcome(context, stripe.event("checkout.session.completed", cheap, clock.now()))
        == "parked ORDER_UNKNOWN"
    )
    assert world.count(context, licenses) == 0
    right = stripe.session("cs_expensive", reference="KW-ABCDEFGH12345678")
    assert world.outcome(context, stripe.event("checkout.session.completed", right, clock.now())) == "applied"
    assert world.count(context, licenses) == 1
    linked = stripe.session("cs_link", intent="pi_2") | {"client_reference_id": "KW-ABCDEFGH12345678"}
    assert (
        world.outcome(context, stripe.event("checkout.session.completed", linked, clock.now()))
        == "parked ORDER_UNKNOWN"
    )


def test_an_intent_that_names_another_checkout_does_not_buy_it(
    context: Context, clock: TurnableClock
) -> None:
    """It tells no session: what was paid must be what was ordered, or a session that is ours must name it."""
    reference = "KW-ABCDEFGH12345678"
    world.stock(context, price_once=LIFETIME)
    order(context, reference, "price_once")
    with context.database.write() as connection:
        checkouts.opened(connection, context.master.id, reference, "cs_expensive", "https://x")

    def paid(intent: str, amount: int, kind: str = "succeeded") -> str:
        about = {"id": intent, "object": "payment_intent", "amount": amount, "currency": "usd",
                 "metadata": {"keywright_reference": reference}}  # fmt: skip
        return world.outcome(context, stripe.event(f"payment_intent.{kind}", about, clock.now()))

    assert paid("pi_cheap", 100, "processing") == "parked ORDER_UNKNOWN"
    assert paid("pi_cheap", 100) == "parked ORDER_UNKNOWN"
    assert paid("pi_discount", 4000) == "parked ORDER_UNKNOWN"
    assert world.count(context, licenses) == 0
    right = stripe.session("cs_expensive", reference=reference, intent="pi_discount", amount=4000)
    assert world.outcome(context, stripe.event("checkout.session.completed", right, clock.now())) == "applied"
    assert world.count(context, licenses) == 1
    assert paid("pi_late", 100) == "parked ORDER_UNKNOWN"
    with context.database.read() as connection:
        parked = inbox.list_page(
            connection, context.master.id, filters={"status": "parked"}, after=None, limit=10
        )
    assert len(parked) == 3, "the discounted one was let in with its checkout"


@pytest.mark.parametrize(("ours", "ends"), [(False, "parked AMOUNT_MISMATCH"), (True, "applied")])
def test_a_subscription_at_a_price_of_its_own_founds_only_what_was_ordered_here(
    context: Context, clock: TurnableClock, *, ours: bool, ends: str
) -> None:
    reference = "KW-ABCDEFGH12345678"
    world.stock(context, price_pro=PRO)
    order(context, reference, "price_pro")
    seen = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH)
    raw = stripe.encoded(stripe.event("customer.subscription.created", seen, clock.now()))
    arrival = intake.arrive(context.channels["stripe"], raw, clock.now())
    assert arrival.reading is not None
    told = msgspec.structs.replace(arrival.reading, custom=True, reference=reference if ours else None)
    (became,) = intake.take_in(context, [msgspec.structs.replace(arrival, reading=told)])
    assert isinstance(became, Outcome)
    assert " ".join(filter(None, (became.outcome, became.reason))) == ends
    assert world.count(context, licenses) == (1 if ours else 0)


def test_whose_an_event_is_cannot_be_found_out_for_ever(context: Context) -> None:
    """A database that is there and silent: the provider is told to send it again."""
    way_in = intake.Intake(replace(context, policy=replace(context.policy, answer_within=0.05)))
    silent = threading.Event()
    try:
        with pytest.raises(Unavailable):
            asyncio.run(way_in.look_up(silent.wait))
    finally:
        silent.set()
