"""Webhooks to others, on both databases, with somebody on this machine who receives them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

import pytest
import sqlalchemy as sa

from keywright.delivery.safe_http import SafeHttp
from keywright.delivery.webhook import HttpWebhooks, sign
from keywright.domain import webhook
from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.plan import Terms
from keywright.flows import activating, licensing, operate, webhook_deliveries, webhooks
from keywright.flows.context import Context
from keywright.flows.license_writes import record
from keywright.flows.licensing import Ask
from keywright.flows.operate import Act
from keywright.flows.webhooks import Change, EndpointMade
from keywright.signing.keyring import Keyring
from keywright.store import audit, tenants, webhook_outbox
from keywright.store import webhooks as store
from keywright.store.tables import announcements
from keywright.store.tenants import Tenant
from keywright.store.webhook_tables import webhook_deliveries as table
from keywright.store.webhook_tables import webhook_endpoints
from keywright.workflows.courier import Courier
from tests.conftest import TurnableClock
from tests.e2e.server import wait_until
from tests.life import stripe, world
from tests.life.receiver import OK, Receiver, of_license, receiving

MONTH = timedelta(days=30)
MACHINE = "machine-number-1"
A_TEST = Act("a test")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def shop(context: Context, clock: TurnableClock) -> Context:
    world.stock(context, price_pro=Terms())
    sender = HttpWebhooks(SafeHttp(allow_private=True, total=5), now=lambda: clock.now().timestamp())
    return replace(context, webhooks=sender)


def listen(shop: Context, receiver: Receiver, *types: str) -> EndpointMade:
    return webhooks.create(shop, shop.master.id, receiver.url, types, act=A_TEST)


def sell(shop: Context, number: int = 1, **more: Any) -> None:
    now = shop.clock.now()
    made = stripe.subscription(f"sub_{number}", now, now + MONTH, customer=f"cus_{number}", **more)
    world.outcome(shop, stripe.event("customer.subscription.created", made, now))


def owed(shop: Context) -> list[dict[str, Any]]:
    with shop.database.read() as connection:
        return [dict(row) for row in connection.execute(sa.select(table).order_by(table.c.id)).mappings()]


def endpoint_row(shop: Context) -> dict[str, Any]:
    with shop.database.read() as connection:
        return dict(connection.execute(sa.select(webhook_endpoints)).mappings().one())


def alarms(shop: Context) -> list[str]:
    with shop.database.read() as connection:
        query = sa.select(announcements.c.kind).where(announcements.c.kind.startswith("alarm."))
        return list(connection.execute(query).scalars())


def test_a_sale_is_told_signed_and_once(shop: Context, receiver: Receiver) -> None:
    made = listen(shop, receiver)
    sell(shop)
    held = world.the_license(shop)
    assert webhook_deliveries.send_due(shop) == 1
    assert webhook_deliveries.send_due(shop) == 0
    [got] = receiver.got
    [row] = owed(shop)
    assert got.headers["webhook-id"] == row["id"]
    stamp = int(got.headers["webhook-timestamp"])
    assert got.headers["webhook-signature"] == sign([made.secret], row["id"], stamp, got.body)
    assert got.said["type"] == "license.issued"
    told = got.said["data"]["license"]
    assert (told["id"], told["product"], told["plan"]) == (held.id, "dashcaddy", "plan-0")
    assert (told["status"], told["seats"]) == ("active", 1)
    assert (row["status"], row["attempts"], row["last_status"]) == ("delivered", 1, 204)


def test_a_body_holds_no_key_no_address_and_nothing_typed(shop: Context, receiver: Receiver) -> None:
    listen(shop, receiver)
    now = shop.clock.now()
    paid = stripe.invoice("in_1", "sub_1", now, now + MONTH, email="buyer@example.com")
    sell(shop, metadata={"colour": "secret-of-the-buyer"})
    world.outcome(shop, stripe.event("invoice.paid", paid, now))
    held = world.the_license(shop)
    key = world.key_of(shop, held)
    operate.decide(shop, shop.master.id, held.id, Act("staff", "typed by somebody"), "suspend")
    webhook_deliveries.send_due(shop)
    sent = b"".join(got.body for got in receiver.got).decode()
    for private in (key, held.key_last5, held.key_hash, "buyer@example.com", "secret-of", "typed by"):
        assert private not in sent
    assert max(len(got.body) for got in receiver.got) < 20_000


def test_what_becomes_of_a_license_has_its_names(
    shop: Context, receiver: Receiver, clock: TurnableClock
) -> None:
    listen(shop, receiver)
    sell(shop)
    held = world.the_license(shop)
    asked = licensing.check(shop, Ask(world.key_of(shop, held), MACHINE), fingerprint_needed=True)
    bound = activating.activate(shop, asked).activation
    assert bound is not None
    act = Act("staff", None)
    operate.release_activation(shop, shop.master.id, bound.id, act)
    decisions: tuple[Literal["suspend", "reinstate", "revoke"], ...] = ("suspend", "reinstate", "revoke")
    for decision in decisions:
        operate.decide(shop, shop.master.id, held.id, act, decision)
    webhook_deliveries.send_due(shop)
    assert sorted(of_license(receiver.got)) == sorted(
        [
            ("license.issued", "active"),
            ("activation.created", "active"),
            ("activation.released", "active"),
            ("license.suspended", "suspended"),
            ("license.reinstated", "active"),
            ("license.revoked", "revoked"),
        ]
    )
    [activated] = [got.said for got in receiver.got if got.said["type"] == "activation.created"]
    assert activated["data"]["activation"] == {"id": bound.id}


@pytest.fixture
def asked(shop: Context) -> Iterator[list[str]]:
    """Every statement of a transaction, as it is sent."""
    found: list[str] = []

    def note(*told: Any) -> None:
        found.append(told[2])

    sa.event.listen(shop.database.engine, "before_cursor_execute", note)
    yield found
    sa.event.remove(shop.database.engine, "before_cursor_execute", note)


def test_where_nobody_listens_it_costs_no_statement(
    shop: Context, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a single one, of a webhook, an activation, a validation or an act of staff."""
    # A slow machine must not make it a matter of time; what the courier does each second counts until then.
    monkeypatch.setattr(webhook_outbox, "LOOK_AGAIN", 3600.0)
    assert webhook_deliveries.list_due(shop) == []
    assert asked == []
    sell(shop)
    held = world.the_license(shop)
    key = world.key_of(shop, held)
    question = licensing.check(shop, Ask(key, MACHINE), fingerprint_needed=True)
    activating.activate(shop, question)
    books = licensing.Bookkeeping()
    assert licensing.validate(shop, books, question).valid
    books.write(shop)
    operate.decide(shop, shop.master.id, held.id, Act("staff", None), "suspend")
    assert len([text for text in asked if "timeline" in text]) >= 3
    assert [text for text in asked if "webhook_" in text] == []
    assert owed(shop) == []


def test_without_a_courier_it_is_one_look_in_two_seconds(shop: Context, asked: list[str]) -> None:
    webhook_outbox.listeners_changed()
    sell(shop)
    [look] = [text for text in asked if "webhook_" in text]
    assert "SELECT DISTINCT webhook_endpoints.tenant_id" in look


def test_only_what_was_asked_for_and_only_while_on(shop: Context, receiver: Receiver) -> None:
    made = listen(shop, receiver, "license.revoked")
    sell(shop)
    assert owed(shop) == []
    held = world.the_license(shop)
    webhooks.change(shop, shop.master.id, made.id, Change(enabled=False), act=A_TEST)
    operate.decide(shop, shop.master.id, held.id, Act("staff", None), "revoke")
    assert owed(shop) == []


def test_a_batch_that_is_rolled_back_owes_nothing(shop: Context, receiver: Receiver) -> None:
    listen(shop, receiver)
    sell(shop)
    before = owed(shop)
    held = world.the_license(shop)
    connection = shop.database.engine.connect()
    with connection, connection.begin() as transaction:
        record(shop, connection, held, held, "license.renewed", detail={}, now=shop.clock.now())
        transaction.rollback()
    assert owed(shop) == before


def test_it_is_tried_by_the_schedule_and_then_given_up(
    shop: Context, receiver: Receiver, clock: TurnableClock
) -> None:
    listen(shop, receiver)
    receiver.otherwise = (500, {}, b"")
    sell(shop)
    waited = []
    for _ in range(webhook.ATTEMPTS):
        assert webhook_deliveries.send_due(shop) == 1
        assert webhook_deliveries.send_due(shop) == 0
        [row] = owed(shop)
        if row["next_attempt_at"] is not None:
            waited.append((row["next_attempt_at"] - clock.now()).total_seconds())
            clock.time = row["next_attempt_at"]
    nominal = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    for took, wanted in zip(waited, nominal, strict=True):
        assert wanted * 0.9 <= took <= wanted * 1.1
    assert waited != nominal
    assert (row["status"], row["attempts"], row["last_error"]) == ("failed", webhook.ATTEMPTS, "HTTP 500")
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    assert len({got.headers["webhook-timestamp"] for got in receiver.got}) == webhook.ATTEMPTS
    assert len({got.body for got in receiver.got}) == 1


@pytest.mark.parametrize("status", [301, 308, 404, 503])
def test_nothing_but_2xx_is_success(shop: Context, receiver: Receiver, status: int) -> None:
    listen(shop, receiver)
    receiver.answer(status, Location=receiver.url)
    sell(shop)
    webhook_deliveries.send_due(shop)
    [row] = owed(shop)
    assert (row["status"], row["last_status"], len(receiver.got)) == ("pending", status, 1)


def test_a_name_that_leads_inside_by_now_gets_nothing(shop: Context, receiver: Receiver) -> None:
    """It was public when the endpoint was made. What counts is what it is at the attempt."""
    answers = ["93.184.215.14"]
    strict = HttpWebhooks(SafeHttp(resolve=lambda _name: answers))
    moved = replace(shop, webhooks=strict)
    webhooks.create(moved, shop.master.id, "https://hooks.example.com/", act=A_TEST)
    answers[:] = ["127.0.0.1"]
    sell(moved)
    assert webhook_deliveries.send_due(moved) == 1
    [row] = owed(shop)
    assert (row["status"], row["last_status"], row["last_error"]) == ("pending", None, "address refused")
    assert receiver.got == []


def test_who_asks_for_a_rest_gets_it(shop: Context, receiver: Receiver, clock: TurnableClock) -> None:
    listen(shop, receiver)
    receiver.answer(429, Retry_After="1800")
    sell(shop)
    assert webhook_deliveries.send_due(shop) == 1
    sell(shop, 2)
    clock.turn(minutes=29)
    assert webhook_deliveries.send_due(shop) == 0
    clock.turn(minutes=2)
    assert webhook_deliveries.send_due(shop) == 2
    assert {row["status"] for row in owed(shop)} == {"delivered"}
    assert endpoint_row(shop)["failing_since"] is None


def test_410_turns_an_endpoint_off_with_notice(shop: Context, receiver: Receiver) -> None:
    made = listen(shop, receiver)
    receiver.answer(410)
    sell(shop)
    webhook_deliveries.send_due(shop)
    row = endpoint_row(shop)
    assert (row["enabled"], row["off_reason"]) == (False, "gone")
    assert owed(shop)[0]["status"] == "failed"
    assert alarms(shop) == ["alarm.webhook_disabled"]
    with shop.database.read() as connection:
        [last] = audit.list_page(connection, shop.master.id, filters={}, before=None, limit=1)
    assert (last.act, last.subject) == ("webhook_endpoint.disabled", made.id)


def fail_daily(shop: Context, clock: TurnableClock, first: int, days: int) -> None:
    """A sale a day that does not arrive."""
    for number in range(first, first + days):
        clock.turn(days=1)
        sell(shop, number)
        webhook_deliveries.send_due(shop)


def test_five_days_of_failure_turn_it_off_and_one_success_begins_anew(
    shop: Context, receiver: Receiver, clock: TurnableClock
) -> None:
    listen(shop, receiver)
    receiver.otherwise = (500, {}, b"")
    fail_daily(shop, clock, first=0, days=5)
    assert endpoint_row(shop)["enabled"]
    receiver.otherwise = OK
    clock.turn(hours=23)
    webhook_deliveries.send_due(shop)
    assert endpoint_row(shop)["failing_since"] is None
    receiver.otherwise = (500, {}, b"")
    fail_daily(shop, clock, first=5, days=5)
    assert endpoint_row(shop)["enabled"]
    assert alarms(shop) == []
    fail_daily(shop, clock, first=10, days=1)
    row = endpoint_row(shop)
    assert (row["enabled"], row["off_reason"]) == (False, "failing")
    assert alarms(shop) == ["alarm.webhook_disabled"]


def test_one_failure_long_ago_and_one_today_are_not_five_days(
    shop: Context, receiver: Receiver, clock: TurnableClock
) -> None:
    listen(shop, receiver)
    receiver.otherwise = (500, {}, b"")
    sell(shop)
    webhook_deliveries.send_due(shop)
    clock.turn(days=40)
    sell(shop, 2)
    webhook_deliveries.send_due(shop)
    row = endpoint_row(shop)
    assert row["enabled"]
    assert row["failing_since"] == clock.now()


def test_a_delivery_is_sent_again_under_its_id(shop: Context, receiver: Receiver) -> None:
    made, tenant = listen(shop, receiver), shop.master.id
    sell(shop)
    webhook_deliveries.send_due(shop)
    [row] = owed(shop)
    assert webhook_deliveries.redeliver(shop, tenant, row["id"], act=A_TEST).status == "pending"
    webhook_deliveries.send_due(shop)
    assert [got.headers["webhook-id"] for got in receiver.got] == [row["id"]] * 2
    webhooks.change(shop, tenant, made.id, Change(enabled=False), act=A_TEST)
    with pytest.raises(Conflict) as refused:
        webhook_deliveries.redeliver(shop, tenant, row["id"], act=A_TEST)
    assert refused.value.code == "WEBHOOK_ENDPOINT_OFF"


def test_every_act_stands_in_the_audit_with_who_and_why(shop: Context, receiver: Receiver) -> None:
    tenant, act = shop.master.id, Act("token tok_1", "ticket 7")
    made = webhooks.create(shop, tenant, f"{receiver.url}/secret-path", act=act)
    webhooks.change(shop, tenant, made.id, Change(note="the shop"), act=act)
    turned = webhooks.rotate_secret(shop, tenant, made.id, act=act)
    tried = webhooks.try_out(shop, tenant, made.id, act=act)
    webhook_deliveries.redeliver(shop, tenant, tried.delivery, act=act)
    webhooks.delete(shop, tenant, made.id, act=act)
    with shop.database.read() as connection:
        found = audit.list_page(connection, tenant, filters={"actor": act.by}, before=None, limit=10)
    assert [one.act for one in reversed(found)] == [
        "webhook_endpoint.created",
        "webhook_endpoint.changed",
        "webhook_endpoint.secret_rotated",
        "webhook_endpoint.tested",
        "webhook_delivery.redelivered",
        "webhook_endpoint.deleted",
    ]
    for one in found:
        assert "ticket 7" in one.detail
        for private in ("secret-path", made.secret, turned.secret):
            assert private not in one.detail


def test_a_test_is_sent_at_once_and_kept(shop: Context, receiver: Receiver) -> None:
    made, tenant = listen(shop, receiver), shop.master.id
    receiver.answer(200)
    receiver.answer(500)
    first, second = (webhooks.try_out(shop, tenant, made.id, act=A_TEST) for _ in range(2))
    assert (first.taken, second.taken, second.error) == (True, False, "HTTP 500")
    assert receiver.types == ["webhook.test"] * 2
    became = {row["id"]: row["status"] for row in owed(shop)}
    assert (became[first.delivery], became[second.delivery]) == ("delivered", "failed")
    assert webhook_deliveries.send_due(shop) == 0


def test_two_secrets_sign_while_one_is_replaced(
    shop: Context, receiver: Receiver, clock: TurnableClock
) -> None:
    made, tenant = listen(shop, receiver), shop.master.id
    turned = webhooks.rotate_secret(shop, tenant, made.id, overlap_hours=2, act=A_TEST)
    assert turned.secret != made.secret
    webhooks.try_out(shop, tenant, made.id, act=A_TEST)
    clock.turn(hours=3)
    webhooks.try_out(shop, tenant, made.id, act=A_TEST)
    for got, secrets in zip(receiver.got, ([turned.secret, made.secret], [turned.secret]), strict=True):
        stamp = int(got.headers["webhook-timestamp"])
        signed = sign(secrets, got.headers["webhook-id"], stamp, got.body)
        assert got.headers["webhook-signature"] == signed
    row = endpoint_row(shop)
    assert made.secret not in repr(row)
    assert turned.secret not in repr(row)


def test_grace_and_end_come_by_the_clock_once(
    shop: Context, receiver: Receiver, clock: TurnableClock
) -> None:
    listen(shop, receiver)
    sell(shop)
    webhook_deliveries.send_due(shop)
    held = world.the_license(shop)
    assert held.active_until is not None
    assert held.grace_until is not None
    assert webhook_deliveries.owe_clocks(shop) == 0
    clock.time = held.active_until + timedelta(minutes=1)
    assert [webhook_deliveries.owe_clocks(shop) for _ in range(2)] == [1, 0]
    clock.time = held.grace_until + timedelta(minutes=1)
    assert [webhook_deliveries.owe_clocks(shop) for _ in range(2)] == [1, 0]
    webhook_deliveries.send_due(shop)
    assert of_license(receiver.got) == [
        ("license.issued", "active"),
        ("license.grace_started", "grace"),
        ("license.expired", "expired"),
    ]


def test_an_end_before_the_endpoint_is_no_news(
    shop: Context, receiver: Receiver, clock: TurnableClock
) -> None:
    sell(shop)
    held = world.the_license(shop)
    assert held.grace_until is not None
    clock.time = held.grace_until + timedelta(hours=1)
    listen(shop, receiver)
    assert webhook_deliveries.owe_clocks(shop) == 0


def test_old_deliveries_are_forgotten(shop: Context, receiver: Receiver, clock: TurnableClock) -> None:
    listen(shop, receiver)
    sell(shop)
    clock.turn(days=29)
    assert webhook_deliveries.forget_old(shop) == 0
    clock.turn(days=2)
    assert webhook_deliveries.forget_old(shop) == 1
    assert owed(shop) == []


def test_another_tenant_sees_and_reaches_nothing(shop: Context, receiver: Receiver) -> None:
    made = listen(shop, receiver)
    sell(shop)
    other = Tenant(shop.new_id("ten"), "other", "Other seller")
    with shop.database.write() as connection:
        tenants.insert(connection, other, shop.clock.now())
    [row] = owed(shop)
    acts: list[Callable[[], object]] = [
        lambda: webhooks.show(shop, other.id, made.id),
        lambda: webhooks.change(shop, other.id, made.id, Change(enabled=False), act=A_TEST),
        lambda: webhooks.rotate_secret(shop, other.id, made.id, act=A_TEST),
        lambda: webhooks.try_out(shop, other.id, made.id, act=A_TEST),
        lambda: webhooks.delete(shop, other.id, made.id, act=A_TEST),
        lambda: webhook_deliveries.redeliver(shop, other.id, row["id"], act=A_TEST),
    ]
    for act in acts:
        with pytest.raises(NotFound):
            act()
    assert webhooks.list_endpoints(shop, other.id).items == []
    assert webhook_deliveries.list_deliveries(shop, other.id, {}).items == []
    assert receiver.got == []


def test_an_endpoint_goes_with_all_that_it_was_owed(shop: Context, receiver: Receiver) -> None:
    made = listen(shop, receiver)
    sell(shop)
    webhooks.delete(shop, shop.master.id, made.id, act=A_TEST)
    assert owed(shop) == []
    sell(shop, 2)
    assert owed(shop) == []


def test_an_endpoint_that_cannot_be_is_refused(shop: Context, receiver: Receiver) -> None:
    tenant = shop.master.id
    with pytest.raises(Invalid):
        webhooks.create(shop, tenant, receiver.url, ["license.painted"], act=A_TEST)
    with pytest.raises(Invalid):
        webhooks.create(shop, tenant, receiver.url, [], "x" * 201, act=A_TEST)
    strict = replace(shop, webhooks=HttpWebhooks(SafeHttp()))
    with pytest.raises(Invalid) as refused:
        webhooks.create(strict, tenant, receiver.url, act=A_TEST)
    assert refused.value.code == "WEBHOOK_URL_REFUSED"
    for _ in range(webhooks.MOST):
        listen(shop, receiver)
    with pytest.raises(Conflict):
        listen(shop, receiver)


def test_a_list_goes_on_page_by_page(shop: Context, receiver: Receiver) -> None:
    made = listen(shop, receiver)
    for number in range(3):
        sell(shop, number)
    first = webhook_deliveries.list_deliveries(shop, shop.master.id, {"endpoint": made.id}, limit=2)
    assert first.next_cursor is not None
    rest = webhook_deliveries.list_deliveries(shop, shop.master.id, {}, cursor=first.next_cursor)
    assert len({one.id for one in (*first.items, *rest.items)}) == 3
    assert webhook_deliveries.list_deliveries(shop, shop.master.id, {"status": "failed"}).items == []


def test_somebody_who_does_not_answer_holds_up_nobody(shop: Context, receiver: Receiver) -> None:
    """Everything for the one who answers arrives while the other hangs: it never answers before that."""
    ended = threading.Event()
    with receiving() as hanging:

        def hang() -> tuple[int, dict[str, str], bytes]:
            ended.wait(60)
            return 500, {}, b""

        hanging.otherwise = hang
        listen(shop, hanging)
        listen(shop, receiver)
        for number in range(12):
            sell(shop, number)
        patient = HttpWebhooks(SafeHttp(allow_private=True, total=90))
        courier = Courier(replace(shop, webhooks=patient), "here", pause=0.05)
        courier.start()
        try:
            wait_until(lambda: len(receiver.got) == 12, 30, "all for the one who answers")
            assert not ended.is_set()
            assert len(hanging.got) == 1  # one turn waits for it, and no more
        finally:
            ended.set()
            courier.stop()
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 12


def test_all_receivers_of_a_tenant_hang_and_another_one_is_told(shop: Context, receiver: Receiver) -> None:
    """As many as there are turns, and the other tenant's still comes before any of them is done."""
    ended, other = threading.Event(), Tenant(shop.new_id("ten"), "other", "Other seller")
    with shop.database.write() as connection:
        tenants.insert(connection, other, shop.clock.now())
        assert isinstance(shop.signer, Keyring)
        shop.signer.create(connection, other.id, shop.clock.now())
    with receiving() as hanging:

        def hang() -> tuple[int, dict[str, str], bytes]:
            ended.wait(60)
            return 500, {}, b""

        hanging.otherwise = hang
        for _ in range(20):
            listen(shop, hanging)
        sell(shop)
        mine = webhooks.create(shop, other.id, receiver.url, act=A_TEST)
        owe_test(shop, other.id, mine.id)
        patient = HttpWebhooks(SafeHttp(allow_private=True, total=90))
        courier = Courier(replace(shop, webhooks=patient), "here", pause=0.05)
        courier.start()
        try:
            wait_until(lambda: receiver.got, 30, "the other tenant is told")
            assert not ended.is_set()
        finally:
            ended.set()
            courier.stop()


def owe_test(shop: Context, tenant: str, endpoint: str) -> None:
    """Something to send, for a tenant that sells nothing."""
    now = shop.clock.now()
    body = webhook.test_body(now)
    one = webhook_outbox.delivery(tenant, endpoint, webhook.TEST, "once", body, now, now)
    with shop.database.write() as connection:
        store.insert_deliveries(connection, [one])


def test_who_bears_the_name_of_a_dead_process_sends_what_it_took(shop: Context, receiver: Receiver) -> None:
    """Without waiting until the claim is over; and what others hold stays theirs."""
    listen(shop, receiver)
    sell(shop)
    [due] = webhook_deliveries.list_due(shop)
    webhook_deliveries.send_some(shop, due, holder="slot-1", may_write=lambda: False)
    for name in ("slot-10", "slot"):
        webhook_deliveries.let_go(shop, name)
        assert webhook_deliveries.send_due(shop) == 0
    courier = Courier(shop, "slot-1", pause=0.05)
    courier.start()
    try:
        wait_until(lambda: owed(shop)[0]["status"] == "delivered", 30, "it is sent again")
    finally:
        courier.stop()
    assert [got.headers["webhook-id"] for got in receiver.got] == [due_id(shop)] * 2


def due_id(shop: Context) -> str:
    [row] = owed(shop)
    return str(row["id"])


def test_what_a_process_took_and_never_sent_is_sent_by_another(
    shop: Context, receiver: Receiver, clock: TurnableClock
) -> None:
    listen(shop, receiver)
    sell(shop)
    [due] = webhook_deliveries.list_due(shop)
    # Sent, and killed before it could be written down.
    webhook_deliveries.send_some(shop, due, may_write=lambda: False)
    assert webhook_deliveries.send_due(shop) == 0
    clock.turn(minutes=3)
    assert webhook_deliveries.send_due(shop) == 1
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


def test_another_process_notices_an_endpoint_in_seconds(
    shop: Context, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sell(shop)
    # As if it had been made elsewhere: nobody tells this process.
    monkeypatch.setattr(webhook_outbox, "listeners_changed", lambda: None)
    monkeypatch.setattr(webhook_outbox, "LOOK_AGAIN", 0.0)
    webhook_outbox._looks.forget()
    sell(shop, 2)
    listen(shop, receiver)
    sell(shop, 3)
    assert len(owed(shop)) == 1
