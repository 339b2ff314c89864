"""Reminders and ends: found by the clocks, mailed once, and not when they are no news any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain.license import License
from keywright.domain.notice import Notice
from keywright.domain.plan import NOTICE_KINDS, Terms
from keywright.flows import announce, notices, operate
from keywright.flows.context import Context
from keywright.flows.key_import import import_keys
from keywright.flows.operate import Act, Order
from keywright.ports import Mail
from keywright.store import announcements, timeline
from keywright.store.tables import announcements as announcement_table
from keywright.workflows.sweep import Sweep
from tests.conftest import TurnableClock
from tests.life import stripe, world

MONTH = timedelta(days=30)
DAY = timedelta(days=1)


class Post:
    """A mailer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []

    def send(self, mail: Mail) -> None:
        self.sent.append(mail)


@pytest.fixture
def post() -> Post:
    return Post()


Shop = Callable[..., Context]


@pytest.fixture
def shop(context: Context, post: Post) -> Shop:
    """Opens a shop with these terms."""

    def open_(**terms: Any) -> Context:
        made = replace(context, mailer=post)
        world.stock(made, price_pro=Terms(**terms))
        return made

    return open_


def bought(
    context: Context, number: int = 1, *, email: str | None = "buyer@example.com", **more: Any
) -> None:
    sub, now = f"sub_{number}", context.clock.now()
    made = stripe.subscription(sub, now, now + MONTH, customer=f"cus_{number}", **more)
    paid = stripe.invoice(f"in_{number}", sub, now, now + MONTH, customer=f"cus_{number}", email=email)
    events = [stripe.event("customer.subscription.created", made, now)]
    if more.get("status") != "trialing":
        events.append(stripe.event("invoice.paid", paid, now))
    elif email is not None:
        free = stripe.invoice(
            f"in_{number}", sub, now, now + MONTH, customer=f"cus_{number}", email=email, amount=0
        )
        events.append(stripe.event("invoice.paid", free, now))
    world.hand_in(context, *events)
    send(context)


def send(context: Context) -> None:
    with context.database.read() as connection:
        query = sa.select(announcement_table.c.batch).where(announcement_table.c.status == "pending")
        found = sorted(set(connection.execute(query).scalars()))
    for batch in found:
        announce.send_due(context, batch)


def look(context: Context) -> list[str]:
    """One look at the clocks, and what was mailed because of it."""
    before = len(rows(context))
    made = notices.owe_due(context)
    send(context)
    found = rows(context)[before:]
    assert len(found) == made
    return [row["kind"].removeprefix("notice.") for row in found if row["status"] == "sent"]


def rows(context: Context) -> list[dict[str, Any]]:
    with context.database.read() as connection:
        query = sa.select(announcement_table).order_by(announcement_table.c.id)
        return [dict(row) for row in connection.execute(query).mappings()]


def at(clock: TurnableClock, moment: datetime) -> None:
    clock.time = moment


# --- by the clocks ---


def test_grace_is_told_before_it_ends_and_the_end_when_it_came(
    shop: Shop, post: Post, clock: TurnableClock
) -> None:
    context = shop()
    start = clock.time
    bought(context)
    end = start + MONTH + 14 * DAY
    told = []
    for moment in (start + MONTH, end - 4 * DAY, end - 3 * DAY, end - 2 * DAY, end, end + DAY):
        at(clock, moment)
        told.append(look(context))
    assert told == [[], [], ["grace_ending"], [], ["expired"], []]
    reminder, over = post.sent[-2:]
    assert reminder.subject == "Your DashCaddy license stops on 15 December 2026"
    assert "has stopped" in over.subject
    assert "http://127.0.0.1:8000/portal" in over.text


def test_the_timeline_knows_each_mail(shop: Shop, clock: TurnableClock) -> None:
    context = shop()
    bought(context)
    clock.turn(days=42)
    assert look(context) == ["grace_ending"]
    held = world.the_license(context)
    with context.database.read() as connection:
        entries = timeline.list_page(connection, held.tenant_id, held.id, after=0, limit=100)
    assert timeline.first_break(entries, held.head) is None
    assert entries[-1].kind == "mail.sent"
    assert msgspec.json.decode(entries[-1].detail)["mail"] == "notice.grace_ending"


def test_several_reminders_go_out_one_by_one_and_never_together(shop: Shop, clock: TurnableClock) -> None:
    context = shop(grace_reminders=(5 * 86400, 86400))
    start = clock.time
    end = start + MONTH + 14 * DAY
    bought(context)
    at(clock, end - 5 * DAY)
    assert look(context) == ["grace_ending"]
    at(clock, end - DAY)
    assert look(context) == ["grace_ending"]
    assert look(context) == []


def test_of_two_reminders_that_are_due_the_nearer_goes_out(shop: Shop, clock: TurnableClock) -> None:
    context = shop(grace_reminders=(5 * 86400, 86400))
    bought(context)
    clock.turn(days=43.5)
    assert look(context) == ["grace_ending"]
    assert look(context) == []


def test_a_reminder_longer_than_the_grace_never_comes(shop: Shop, clock: TurnableClock) -> None:
    context = shop(grace=2 * 86400)
    bought(context)
    clock.turn(days=31)
    assert look(context) == []
    clock.turn(days=1)
    assert look(context) == ["expired"]


def test_a_trial_is_told_before_it_ends(shop: Shop, post: Post, clock: TurnableClock) -> None:
    context = shop()
    bought(context, status="trialing")
    clock.turn(days=26)
    assert look(context) == []
    clock.turn(days=1)
    assert look(context) == ["trial_ending"]
    assert post.sent[-1].subject == "Your DashCaddy trial ends on 1 December 2026"


def test_a_trial_that_was_canceled_is_left_in_peace(shop: Shop, post: Post, clock: TurnableClock) -> None:
    context = shop()
    bought(context, status="trialing", cancel_at_period_end=True)
    clock.turn(days=28)
    assert look(context) == []
    clock.turn(days=3)
    assert look(context) == ["expired"]
    assert "trial of DashCaddy is over" in post.sent[-1].text


def test_an_end_that_was_wanted_is_told_kindly(shop: Shop, post: Post, clock: TurnableClock) -> None:
    context = shop()
    bought(context, cancel_at_period_end=True)
    clock.turn(days=28)
    assert look(context) == []
    clock.turn(days=2)
    assert look(context) == ["expired"]
    assert "was canceled" in post.sent[-1].text
    assert "you are welcome" in post.sent[-1].text
    assert "http://127.0.0.1:8000/buy/dashcaddy" in post.sent[-1].text


def test_an_end_long_ago_is_no_news(shop: Shop, clock: TurnableClock) -> None:
    context = shop()
    bought(context)
    clock.turn(days=60)
    assert look(context) == []


def test_what_staff_issued_ends_as_well(shop: Shop, post: Post, clock: TurnableClock) -> None:
    context = shop()
    until = clock.time + 10 * DAY
    order = Order("dashcaddy/plan-0", "buyer@example.com", until=until)
    operate.issue(context, context.master.id, order, Act("staff"))
    send(context)
    clock.turn(days=9)
    assert look(context) == []
    clock.turn(days=1)
    assert look(context) == ["expired"]
    assert "the time that you bought" in " ".join(post.sent[-1].text.split()).lower()


def test_a_trial_from_staff_promises_no_subscription(shop: Shop, post: Post, clock: TurnableClock) -> None:
    context = shop()
    order = Order("dashcaddy/plan-0", "buyer@example.com", kind="trial")
    operate.issue(context, context.master.id, order, Act("staff"))
    send(context)
    clock.turn(days=11)
    assert look(context) == ["trial_ending"]
    words = " ".join(post.sent[-1].text.split())
    assert "Your trial ends on 15 November 2026" in words
    assert "Nothing is charged. To go on, get a license." in words
    assert "subscription" not in words
    assert "http://127.0.0.1:8000/buy/dashcaddy" in words
    clock.turn(days=3)
    assert look(context) == ["expired"]
    assert "trial of DashCaddy is over" in post.sent[-1].text


def test_an_end_before_a_key_was_brought_here_is_no_news(
    shop: Shop, post: Post, clock: TurnableClock, tmp_path: Path
) -> None:
    context = shop()
    days = [(clock.now() + timedelta(days=n)).strftime("%Y-%m-%d") for n in (-400, -2, 2)]
    lines = [f"key-of-old-{day},dashcaddy/plan-0,buyer@example.com,1,{day},{days[0]}" for day in days[1:]]
    path = tmp_path / "keys.csv"
    path.write_text("\n".join(["key,plan,email,seats,until,issued_at", *lines]))
    assert import_keys(context, context.master.id, path, Act("staff")).made == 2
    assert look(context) == []
    clock.turn(days=2)
    assert look(context) == ["expired"]


@pytest.mark.parametrize("act", ["suspend", "revoke"])
def test_staff_have_the_last_word(shop: Shop, clock: TurnableClock, act: Any) -> None:
    context = shop()
    bought(context)
    operate.decide(context, context.master.id, world.the_license(context).id, Act("staff"), act)
    for days in (42, 3):
        clock.turn(days=days)
        assert look(context) == []


@pytest.mark.parametrize(("kind", "days"), [("grace_ending", 42), ("expired", 45)])
def test_what_is_switched_off_is_not_sent(shop: Shop, clock: TurnableClock, kind: Any, days: int) -> None:
    context = shop(notices=tuple(one for one in NOTICE_KINDS if one != kind))
    bought(context)
    clock.turn(days=days)
    assert look(context) == []


def test_of_many_keys_one_speaks(shop: Shop, clock: TurnableClock) -> None:
    context = shop(quantity="keys")
    bought(context, quantity=3)
    clock.turn(days=42)
    assert look(context) == ["grace_ending"]


def test_more_than_a_page(shop: Shop, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    context = shop()
    for number in range(7):
        bought(context, number)
    monkeypatch.setattr(notices, "_AT_ONCE", 3)
    clock.turn(days=42)
    assert look(context) == ["grace_ending"] * 7
    assert look(context) == []


def test_altered_rows_end_nothing(shop: Shop, clock: TurnableClock) -> None:
    """A clock that is none, a tenant that does not exist: their neighbors are told all the same."""
    context = shop()
    for number in range(3):
        bought(context, number)
    one, other, good = world.all_licenses(context)
    world.alter_past_rules(context, one, tenant_id="ten_nowhere")
    if context.database.is_sqlite:
        world.alter_past_rules(context, other, grace_until="tomorrow")
    clock.turn(days=42)
    notices.owe_due(context)
    found = {row["subject_id"] for row in rows(context) if row["kind"] == "notice.grace_ending"}
    assert good.id in found
    assert one.id not in found


# --- too late ---


def test_a_reminder_that_waited_for_an_address_until_it_was_untrue(
    shop: Shop, post: Post, clock: TurnableClock
) -> None:
    context = shop()
    start = clock.time
    bought(context, email=None)
    clock.turn(days=42)
    assert look(context) == []
    assert [row["status"] for row in rows(context)] == ["waiting", "waiting"]
    paid = stripe.invoice("in_9", "sub_1", start + MONTH, start + 3 * MONTH)
    world.hand_in(context, stripe.event("invoice.paid", paid, clock.time))
    send(context)
    known = {row["kind"]: row["status"] for row in rows(context)}
    assert known["license.issued"] == "sent"
    assert known["notice.grace_ending"] == "outdated"
    assert "stops on" not in " ".join(mail.subject for mail in post.sent)


def test_an_end_that_waited_for_days_is_no_news(shop: Shop, clock: TurnableClock) -> None:
    context = shop()
    start = clock.time
    bought(context, email=None, cancel_at_period_end=True)
    clock.turn(days=30)
    assert look(context) == []
    clock.turn(days=5)
    paid = stripe.invoice("in_1", "sub_1", start, start + MONTH)
    world.hand_in(context, stripe.event("invoice.paid", paid, clock.time))
    send(context)
    known = {row["kind"]: row["status"] for row in rows(context)}
    assert known == {"license.issued": "sent", "notice.expired": "outdated"}


def test_money_that_was_given_back_is_told_however_late(shop: Shop, clock: TurnableClock) -> None:
    context = shop()
    bought(context)
    held = world.the_license(context)
    assert owe(context, held, Notice("refunded", held.tenant_id, "ch_1:5", {"amount": 5, "currency": "USD"}))
    clock.turn(days=40)
    send(context)
    assert rows(context)[-1]["status"] == "sent"


@pytest.mark.parametrize("kind", NOTICE_KINDS)
def test_a_broken_row_is_a_failed_mail_and_no_more(shop: Shop, kind: Any) -> None:
    context = shop()
    bought(context)
    held = world.the_license(context)
    owe(context, held, Notice(kind, held.id, "x", {}))
    with context.database.write() as connection:
        broken = announcement_table.c.kind == f"notice.{kind}"
        connection.execute(sa.update(announcement_table).where(broken).values(detail="[]"))
    send(context)
    row = rows(context)[-1]
    assert (row["status"], row["attempts"]) == ("pending", 1)
    assert row["error"] == "msgspec.ValidationError"


def owe(context: Context, held: License, *found: Notice) -> int:
    now = context.clock.now()
    owed = notices.owed(context, held, found, context.new_id("bat"), now)
    with context.database.write() as connection:
        return announcements.insert_counted(connection, owed)


def test_the_same_occurrence_is_owed_once(shop: Shop) -> None:
    context = shop()
    bought(context)
    held = world.the_license(context)
    notice = Notice("refunded", held.tenant_id, "ch_1:5", {"amount": 5, "before": 0, "currency": "USD"})
    assert [owe(context, held, notice, notice), owe(context, held, notice)] == [1, 0]


# --- the schedule ---


def owed_by(sweep: Sweep, context: Context) -> list[str]:
    before = len(rows(context))
    sweep()
    return [row["kind"] for row in rows(context)[before:]]


def test_the_sweep_looks_every_ten_minutes(shop: Shop, clock: TurnableClock) -> None:
    context = shop()
    start = clock.time
    sweep = Sweep(context)
    bought(context)
    at(clock, start + MONTH + 11 * DAY - timedelta(seconds=25))
    assert owed_by(sweep, context) == []
    clock.turn(seconds=10)
    assert owed_by(sweep, context) == []  # looked, and nothing was due
    found = []
    for _ in range(62):
        clock.turn(seconds=10)
        found.append(owed_by(sweep, context))
    assert [kinds for kinds in found if kinds] == [["notice.grace_ending"]]
    assert found[59] == ["notice.grace_ending"]


def test_a_clock_that_jumped_is_looked_at_when_the_renewals_had_time_to_come(
    shop: Shop, clock: TurnableClock
) -> None:
    context = shop()
    sweep = Sweep(context)
    bought(context)
    for _ in range(3):
        clock.turn(seconds=10)
        assert owed_by(sweep, context) == []
    clock.turn(days=42)
    assert owed_by(sweep, context) == []
    clock.turn(seconds=10)
    assert owed_by(sweep, context) == ["notice.grace_ending"]
