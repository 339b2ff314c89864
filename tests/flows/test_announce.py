"""Mails that are owed: each goes out, is marked once, and shows on the license's timeline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain.errors import MailDelayed, MailRefused
from keywright.domain.license import License, is_intact
from keywright.domain.plan import Terms
from keywright.flows import alarms, announce, staff_mails, tenants
from keywright.flows.context import Context
from keywright.ports import Mail
from keywright.store import staff, tenant_ending, timeline
from keywright.store.engine import Database
from keywright.store.staff import Staff
from keywright.store.tables import announcements
from tests.conftest import TurnableClock
from tests.life import stripe, world

MONTH = timedelta(days=30)
DELAY = MailDelayed("the mail server cannot be used: it did not answer")
REFUSAL = MailRefused("the mail server refused the mail: 550 5.1.1")


class Post:
    """A mailer that keeps what it is given, after doing what a test wants to happen meanwhile."""

    def __init__(self, *meanwhile: Callable[[Mail], None]) -> None:
        self.meanwhile = list(meanwhile)
        self.sent: list[Mail] = []

    def send(self, mail: Mail) -> None:
        for act in self.meanwhile:
            act(mail)
        self.sent.append(mail)


def failing(error: Exception) -> Callable[[Mail], None]:
    def fail(_mail: Mail) -> None:
        raise error

    return fail


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def shop(context: Context, post: Post) -> Context:
    made = replace(context, mailer=post)
    world.stock(made, price_pro=Terms(), price_keys=Terms(quantity="keys", term="perpetual"))
    return made


def bought(shop: Context, number: int = 1, *, email: str | None = "buyer@example.com", **more: Any) -> None:
    """One subscription with its first invoice, in one batch."""
    sub, customer, now = f"sub_{number}", f"cus_{number}", shop.clock.now()
    made = stripe.subscription(sub, now, now + MONTH, customer=customer, **more)
    paid = stripe.invoice(f"in_{number}", sub, now, now + MONTH, customer=customer, email=email, **more)
    world.hand_in(
        shop,
        stripe.event("customer.subscription.created", made, now),
        stripe.event("invoice.paid", paid, now),
    )


def owed(shop: Context) -> list[dict[str, Any]]:
    with shop.database.read() as connection:
        query = sa.select(announcements).order_by(announcements.c.id)
        return [dict(row) for row in connection.execute(query).mappings()]


def batches(shop: Context) -> list[str]:
    return sorted({row["batch"] for row in owed(shop) if row["status"] == "pending"})


def drain(shop: Context) -> list[float | None]:
    return [announce.send_due(shop, batch) for batch in batches(shop)]


def story(shop: Context, held: License) -> list[timeline.Entry]:
    """The timeline of a license, after checking that its chain holds."""
    with shop.database.read() as connection:
        entries = timeline.list_page(connection, held.tenant_id, held.id, after=0, limit=100)
    assert timeline.first_break(entries, held.head) is None
    return entries


def kinds(shop: Context) -> list[str]:
    return [entry.kind for entry in story(shop, world.the_license(shop))]


def test_a_new_license_is_mailed_once(shop: Context, post: Post, clock: TurnableClock) -> None:
    bought(shop)
    [batch] = batches(shop)
    assert announce.send_due(shop, batch) is None
    assert announce.send_due(shop, batch) is None
    [mail] = post.sent
    [row] = owed(shop)
    held = world.the_license(shop)
    assert mail.to == "buyer@example.com"
    assert mail.message_id == f"<{row['id']}@127.0.0.1>"
    assert world.key_of(shop, held) in mail.text
    assert world.key_of(shop, held) in mail.html
    for words in ("DashCaddy", "Plan-0", "1 December 2026", "extended with each payment", "Software store"):
        assert words in mail.text
    assert (row["status"], row["sent_at"], row["attempts"]) == ("sent", clock.now(), 1)
    assert kinds(shop) == ["license.issued", "mail.sent"]
    assert is_intact(held, shop.vault.row_key(held.tenant_id))


def test_the_timeline_names_no_address(shop: Context) -> None:
    bought(shop)
    drain(shop)
    told = story(shop, world.the_license(shop))[-1]
    assert msgspec.json.decode(told.detail) == {
        "mail": "license.issued",
        "announcement": owed(shop)[0]["id"],
    }


def test_many_keys_are_many_mails(shop: Context, post: Post) -> None:
    bought(shop, price="price_keys", quantity=150)
    assert drain(shop) == [None]
    assert len({mail.message_id for mail in post.sent}) == 150
    assert {row["status"] for row in owed(shop)} == {"sent"}
    for held in world.all_licenses(shop):
        assert [entry.kind for entry in story(shop, held)] == ["license.issued", "mail.sent"]


def test_a_mail_waits_for_an_address_and_goes_out_when_it_is_learned(shop: Context, post: Post) -> None:
    bought(shop, email=None)
    assert drain(shop) == [None]
    assert post.sent == []
    assert owed(shop)[0]["status"] == "waiting"
    now = shop.clock.now()
    paid = stripe.invoice("in_2", "sub_1", now + MONTH, now + 2 * MONTH)
    world.hand_in(shop, stripe.event("invoice.paid", paid, now))
    assert drain(shop) == [None]
    assert [mail.to for mail in post.sent] == ["buyer@example.com"]


def test_an_address_that_is_learned_while_sending_is_not_missed(shop: Context, post: Post) -> None:
    now = shop.clock.now()

    def learn(_mail: Mail) -> None:
        post.meanwhile.clear()
        paid = stripe.invoice("in_3", "sub_2", now, now + MONTH, customer="cus_2", email="late@example.com")
        world.hand_in(shop, stripe.event("invoice.paid", paid, now))

    post.meanwhile.append(learn)
    first = stripe.subscription("sub_1", now, now + MONTH, customer="cus_1")
    paid = stripe.invoice("in_1", "sub_1", now, now + MONTH, customer="cus_1")
    second = stripe.subscription("sub_2", now, now + MONTH, customer="cus_2")
    world.hand_in(
        shop,
        stripe.event("customer.subscription.created", first, now),
        stripe.event("invoice.paid", paid, now),
        stripe.event("customer.subscription.created", second, now),
    )
    assert drain(shop) == [None]
    assert [mail.to for mail in post.sent] == ["buyer@example.com", "late@example.com"]


def test_a_delayed_mail_is_tried_again_with_growing_pauses(
    shop: Context, post: Post, clock: TurnableClock
) -> None:
    post.meanwhile.append(failing(DELAY))
    bought(shop)
    [batch] = batches(shop)
    pauses = []
    for _ in range(announce.ATTEMPTS - 1):
        pause = announce.send_due(shop, batch)
        assert pause is not None
        assert announce.send_due(shop, batch) == pause  # not due: nothing is tried
        clock.turn(seconds=pause)
        pauses.append(pause)
    assert pauses == [30, 60, 120, 240, 480, 960, 1920, 3840, 7200, 7200, 7200]
    assert kinds(shop) == ["license.issued"]
    assert announce.send_due(shop, batch) is None
    first, alarm = owed(shop)
    assert (first["status"], first["attempts"]) == ("failed", announce.ATTEMPTS)
    assert first["error"] == f"MAIL_DELAYED: {DELAY.detail}"
    assert alarm["kind"] == "alarm.mail_undeliverable"
    assert kinds(shop) == ["license.issued", "mail.failed"]


def test_a_server_that_comes_back_gets_the_mail(shop: Context, post: Post, clock: TurnableClock) -> None:
    post.meanwhile.append(failing(DELAY))
    bought(shop)
    [batch] = batches(shop)
    announce.send_due(shop, batch)
    post.meanwhile.clear()
    clock.turn(seconds=29)
    assert announce.send_due(shop, batch) == 1
    clock.turn(seconds=1)
    assert announce.send_due(shop, batch) is None
    assert len(post.sent) == 1
    assert (owed(shop)[0]["status"], owed(shop)[0]["error"]) == ("sent", None)


def test_a_refused_mail_fails_at_once_and_the_operator_hears_of_it(shop: Context, post: Post) -> None:
    post.meanwhile.append(failing(REFUSAL))
    bought(shop)
    assert drain(shop) == [None]
    assert kinds(shop) == ["license.issued", "mail.failed"]
    post.meanwhile.clear()
    assert drain(shop) == [None]
    [alarm] = post.sent
    first, raised = owed(shop)
    assert (first["status"], raised["status"]) == ("failed", "sent")
    assert alarm.to == "ops@example.com"
    assert first["id"] in alarm.text
    assert "550 5.1.1" in alarm.text
    assert "buyer@" not in alarm.text + alarm.html + raised["detail"] + first["error"]
    assert msgspec.json.decode(raised["detail"])["domain"] == "example.com"


def test_an_alarm_that_cannot_be_delivered_raises_no_other(shop: Context, post: Post) -> None:
    post.meanwhile.append(failing(REFUSAL))
    with shop.database.write() as connection:
        alarms.raise_alarm(shop, connection, "dead_letter", "evt_1", {"event": "evt_x"})
    assert drain(shop) == [None]
    [row] = owed(shop)
    assert (row["kind"], row["status"]) == ("alarm.dead_letter", "failed")


def test_without_an_alert_address_nobody_is_told(shop: Context, post: Post) -> None:
    with shop.database.write() as connection:
        alarms.raise_alarm(shop, connection, "dead_letter", "evt_1", {})
    silent = replace(shop, policy=replace(shop.policy, alert_email=None))
    assert drain(silent) == [None]
    assert [(row["status"], row["error"]) for row in owed(shop)] == [("failed", "NO_ALERT_EMAIL")]
    bought(silent)
    post.meanwhile.append(failing(REFUSAL))
    assert drain(silent) == [None]
    assert len(owed(shop)) == 2


def test_what_the_intake_writes_while_a_mail_is_sent_is_kept(shop: Context, post: Post) -> None:
    now = shop.clock.now()

    def renew(_mail: Mail) -> None:
        paid = stripe.invoice("in_2", "sub_1", now + MONTH, now + 2 * MONTH)
        world.hand_in(shop, stripe.event("invoice.paid", paid, now))

    post.meanwhile.append(renew)
    bought(shop)
    drain(shop)
    held = world.the_license(shop)
    assert held.entitled_until == now + 2 * MONTH
    assert kinds(shop) == ["license.issued", "license.renewed", "mail.sent"]
    assert is_intact(held, shop.vault.row_key(held.tenant_id))


def test_after_a_crash_the_same_mail_goes_out_again_under_the_same_id(shop: Context, post: Post) -> None:
    bought(shop)
    [batch] = batches(shop)
    crashing = replace(shop, database=Failing(shop.database, writes=1, error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        announce.send_due(crashing, batch)
    assert announce.send_due(shop, batch) is None
    assert len(post.sent) == 2
    assert len({mail.message_id for mail in post.sent}) == 1
    assert kinds(shop) == ["license.issued", "mail.sent"]


def test_a_deadlock_does_not_send_the_mail_again(shop: Context, post: Post) -> None:
    bought(shop)
    [batch] = batches(shop)
    deadlock = sa.exc.OperationalError("", {}, Exception("deadlock"))
    unlucky = replace(shop, database=Failing(shop.database, writes=2, error=deadlock))
    assert announce.send_due(unlucky, batch) is None
    assert len(post.sent) == 1
    assert kinds(shop) == ["license.issued", "mail.sent"]


def test_two_runs_at_once_mark_once(shop: Context, post: Post) -> None:
    both = threading.Barrier(2, timeout=10)

    def meet(_mail: Mail) -> None:
        both.wait()

    post.meanwhile.append(meet)
    bought(shop)
    [batch] = batches(shop)
    waits: list[float | None] = []
    runs = [threading.Thread(target=lambda: waits.append(announce.send_due(shop, batch))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert waits == [None, None]
    assert len({mail.message_id for mail in post.sent}) == 1
    assert kinds(shop) == ["license.issued", "mail.sent"]


def test_a_mail_does_not_make_an_altered_license_right(shop: Context) -> None:
    bought(shop)
    world.alter(shop, world.the_license(shop), seats=1000)
    drain(shop)
    held = world.the_license(shop)
    assert kinds(shop) == ["license.issued", "mail.sent"]
    assert not is_intact(held, shop.vault.row_key(held.tenant_id))


def test_one_broken_license_does_not_hold_up_the_others(shop: Context, post: Post) -> None:
    bought(shop, price="price_keys", quantity=3)
    broken = world.all_licenses(shop)[1]
    world.alter(shop, broken, key_sealed="v1.AAAA")
    assert drain(shop) == [30.0]
    assert len(post.sent) == 2
    [row] = [row for row in owed(shop) if row["license_id"] == broken.id]
    assert row["status"] == "pending"
    assert "VAULT_REFUSED" in row["error"]


def test_resend_owes_the_same_key_again(shop: Context, post: Post) -> None:
    bought(shop)
    drain(shop)
    for _ in range(2):
        with shop.database.write() as connection:
            announce.resend(shop, connection, world.the_license(shop))
        assert drain(shop) == [None]
    assert len({mail.message_id for mail in post.sent}) == 3
    assert len({mail.text for mail in post.sent}) == 1
    assert kinds(shop) == ["license.issued", "mail.sent", "mail.sent", "mail.sent"]


def test_a_tenant_that_is_being_shredded_holds_up_no_other(
    shop: Context, post: Post, clock: TurnableClock
) -> None:
    gone, stays = (tenants.create(shop, f"{slug} Ltd", slug, by="test").id for slug in ("gone", "stays"))
    with shop.database.write() as connection:
        for tenant in (stays, gone):
            person = Staff(shop.new_id("stf"), tenant, f"{tenant}@example.com", "owner", clock.now())
            staff.insert(connection, person)
            staff_mails.owe(shop, connection, person, "set_up")
        # What the clocks make due is one batch, whose tenants it is of.
        connection.execute(sa.update(announcements).values(batch="bat_of_both"))
        tenant_ending.close(connection, gone, clock.now())
    shop.shops.look_again()
    assert announce.send_due(shop, "bat_of_both") is None
    assert [mail.to for mail in post.sent] == [f"{stays}@example.com"]
    assert [row["status"] for row in owed(shop)] == ["sent", "outdated"]
    clock.turn(minutes=11)
    assert announce.owe_stranded(shop) == [], "else it would be sent again every ten seconds"


def test_stranded_is_what_should_have_been_looked_at(shop: Context, post: Post, clock: TurnableClock) -> None:
    bought(shop)
    [batch] = batches(shop)
    assert announce.owe_stranded(shop) == []
    clock.turn(minutes=11)
    assert announce.owe_stranded(shop) == [batch]
    post.meanwhile.append(failing(DELAY))
    pause = announce.send_due(shop, batch)
    assert pause is not None
    assert announce.owe_stranded(shop) == []  # old, but its next attempt is ahead
    clock.turn(seconds=pause, minutes=11)
    assert announce.owe_stranded(shop) == [batch]
    post.meanwhile.clear()
    announce.send_due(shop, batch)
    assert announce.owe_stranded(shop) == []


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://licenses.example.com/shop", "licenses.example.com"),
        ("http://[::1]:8000", "[::1]"),
        ("http://127.0.0.1:8000", "127.0.0.1"),
    ],
)
def test_the_message_id_carries_the_host(shop: Context, post: Post, base_url: str, host: str) -> None:
    bought(shop)
    drain(replace(shop, policy=replace(shop.policy, base_url=base_url)))
    assert post.sent[0].message_id == f"<{owed(shop)[0]['id']}@{host}>"


class Failing(Database):
    """A database whose first writes fail at their end."""

    def __init__(self, real: Database, *, writes: int, error: BaseException) -> None:
        self.__dict__.update(real.__dict__)
        self._left = writes
        self._error = error

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        with super().write() as connection:
            yield connection
            if self._left:
                self._left -= 1
                raise self._error
