"""The console's pages of numbers and of what waits: home, mail, work, reconcile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa

from keywright.domain.facts import PaymentSeen, RefundPart, Stamp
from keywright.domain.plan import Terms
from keywright.domain.purchase import Purchase, absorb
from keywright.flows import alarms, numbers, operate, reconcile, reconciliation_views, staff_factors
from keywright.flows.context import Context
from keywright.store import revenue
from keywright.store.tables import announcements, licenses, timeline
from keywright.web.console import charts
from keywright.web.console.charts import Series
from keywright.workflows.views import Works
from tests.conftest import TurnableClock
from tests.flows.test_reconcile import bought
from tests.life import stripe, world
from tests.life.listing import Ledger, listed_by
from tests.web.test_console import House, send

only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def house(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with ExitStack() as stack:
        made = House(context, stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: made.phone)
        yield made


def text_of(page: httpx.Response) -> str:
    """A page as it is read: without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.text))


# -- home -----------------------------------------------------------------------------------------------


def book(context: Context, at: datetime, amount: int, currency: str, back: int = 0) -> None:
    bought = absorb(Purchase(), PaymentSeen(Stamp(at), "in_1", "paid", amount, currency, charge="ch_1"))
    if back:
        bought = absorb(bought, RefundPart(Stamp(at), "re_1", "done", back, currency, "ch_1"))
    account = context.channels["stripe"].account
    with context.database.write() as connection:
        revenue.book(connection, account, [(Purchase(), bought)])


def test_money_is_shown_by_month_and_each_currency_for_itself(house: House, clock: TurnableClock) -> None:
    owner = house.colleague()
    assert "No payment has come in" in owner.client.get("/console").text
    book(house.context, clock.now(), 123450, "USD", back=3450)
    book(house.context, clock.now(), 2, "USD")
    book(house.context, clock.now() - timedelta(days=31), 50000, "USD")
    book(house.context, clock.now(), 98000, "JPY")
    book(house.context, clock.now(), 12345, "KWD")
    book(house.context, clock.now() - timedelta(days=800), 777700, "EUR")
    page = owner.client.get("/console")
    read = text_of(page)
    assert "$1,200.02 in Nov 2026" in read
    assert "$1,234.52" in read  # what came in
    assert "$34.50" in read  # what was given back
    assert "$1,700.02 in twelve months" in read
    assert "¥98,000 in Nov 2026" in read
    assert "12.345 in Nov 2026" in read
    assert "EUR" not in read
    assert "no real money" in read
    assert page.text.count('role="img"') == 4
    assert "style=" not in page.text


def test_what_the_intake_takes_in_is_revenue_and_a_refund_is_not(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=Terms())
    world.hand_in(context, *bought(clock))
    (found,) = numbers.home(context, context.master.id).revenue
    assert (found.currency, found.months[-1]) == ("USD", (5000, 0))
    clock.turn(days=40)
    refund = stripe.refund("ch_1", "pi_sub_1")
    world.hand_in(context, stripe.event("charge.refunded", refund, clock.now()))
    (found,) = numbers.home(context, context.master.id).revenue
    assert found.months[-2:] == [(5000, 0), (0, 5000)]
    with context.database.write() as connection:
        before = revenue.since(connection, context.master.id, "2000-01")
        revenue.recount(connection)
        assert revenue.since(connection, context.master.id, "2000-01") == before


def test_licenses_are_counted_as_new_and_as_lost(house: House, clock: TurnableClock) -> None:
    context, month = house.context, timedelta(days=30)
    owner = house.colleague()
    held = house.license()
    found = numbers.home(context, context.master.id)
    assert (found.licenses, found.made[-1], sum(found.ended)) == ({"active": 1}, 1, 0)
    path = f"/console/licenses/{held.id}/revoke"
    send(owner.client, path, owner.client.get(path), step="do", reason="ticket 4")
    clock.turn(days=30)
    found = numbers.home(context, context.master.id)
    assert (found.licenses, found.made[-2:], found.ended[-2:]) == ({"revoked": 1}, [1, 0], [1, 0])
    alter(context, held.id, reason="merged")
    assert sum(numbers.home(context, context.master.id).ended) == 0
    end = clock.now() - 2 * month
    over = {"entitled_until": end, "active_until": end, "grace_until": end}
    alter(context, held.id, standing="ok", reason="", created_at=end - month, **over)
    found = numbers.home(context, context.master.id)
    assert (found.licenses, found.made[-4:], found.ended[-4:]) == ({"expired": 1}, [1, 0, 0, 0], [0, 1, 0, 0])


def alter(context: Context, id_: str, **values: object) -> None:
    with context.database.write() as connection:
        connection.execute(sa.update(licenses).where(licenses.c.id == id_).values(**values))


@only_sqlite
def test_many_licenses_are_not_counted_each_time(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    world.stock(context, price_pro=Terms(term="perpetual"))
    passed = [0.0]
    board, tenant = numbers.Board(lambda: passed[0]), context.master.id
    assert [board.read(context, tenant)[1] for _ in range(2)] == [False, False]
    monkeypatch.setattr(numbers, "COUNTED_EACH_TIME", -1)
    monkeypatch.setattr(numbers, "_COUNTED_A_SECOND", 0.1)
    operate.issue(context, tenant, operate.Order("dashcaddy/plan-0", "a@example.com"), operate.Act("test"))
    assert [board.read(context, tenant)[1] for _ in range(2)] == [False, True]
    passed[0] = 10.1
    assert not board.read(context, tenant)[1]


def test_the_months_end_with_the_running_one() -> None:
    starts = numbers.months_until(datetime(2026, 2, 28, 23, 59, tzinfo=UTC))
    assert (len(starts), starts[0], starts[-1]) == (
        12,
        datetime(2025, 3, 1, tzinfo=UTC),
        datetime(2026, 2, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        ((0, 0), ["0", "1"]),
        ((3, 1), ["0", "1", "2", "3"]),
        ((1000, 3900), ["0", "1k", "2k", "3k", "4k"]),
        ((-400, 1200), ["-500", "0", "500", "1k", "1.5k"]),
        ((0, 5_000_000_000), ["0", "2B", "4B", "6B"]),
    ],
)
def test_a_chart_holds_all_of_its_values(values: tuple[int, int], rules: list[str]) -> None:
    made = charts.stacked(["2026-10", "2026-11"], [Series("New", values, 1)], str, charts.compact)
    assert [one.label for one in made.rules] == rules
    assert [one.label for one in made.columns] == ["Oct", "Nov"]
    assert len(made.bars) == sum(value != 0 for value in values)
    for bar in made.bars:
        assert 0 <= bar.y <= bar.y + bar.height <= charts.HEIGHT
        assert 0 <= bar.x <= bar.x + bar.width <= charts.WIDTH
        assert bar.y + bar.height <= made.zero + 0.2 or bar.y >= made.zero - 0.2


def test_bars_of_a_column_stand_on_one_another() -> None:
    made = charts.stacked(
        ["2026-11"], [Series("A", [30], 1), Series("B", [50], 2), Series("C", [-20], 3)], str, str
    )
    first, second, third = made.bars
    assert first.y + first.height == pytest.approx(made.zero, abs=0.2)
    assert second.y + second.height == pytest.approx(first.y, abs=0.2)
    assert third.y == pytest.approx(made.zero, abs=0.2)
    assert (first.title, first.series, third.series) == ("A, Nov 2026: 30", 1, 3)


# -- mail -----------------------------------------------------------------------------------------------


def set_mail(context: Context, **values: object) -> None:
    with context.database.write() as connection:
        connection.execute(sa.update(announcements).values(**values))


def mails_of(context: Context) -> list[tuple[str, str, int]]:
    with context.database.read() as connection:
        query = sa.select(announcements.c.kind, announcements.c.status, announcements.c.attempts)
        return [tuple(row) for row in connection.execute(query.order_by(announcements.c.id))]


def test_an_undeliverable_mail_is_found_and_sent_again(house: House) -> None:
    owner = house.colleague()
    held = house.license()
    house.deliver()
    house.post.sent.clear()
    set_mail(house.context, status="failed", attempts=12, error="MAIL_REFUSED: 550 <b>no</b>", sent_at=None)
    page = owner.client.get("/console/mail?status=failed&about=key")
    assert "holder@example.com" in page.text
    assert "550 &lt;b&gt;no&lt;/b&gt;" in page.text
    (path,) = re.findall(r'href="(/console/mail/ann_\w+/again)"', page.text)
    sure = send(owner.client, path, owner.client.get(path), reason="ticket 5")
    assert "Undeliverable" in text_of(sure)
    assert house.deliver() == []
    page = send(owner.client, path, sure, step="do", reason="ticket 5")
    assert "on its way again" in page.text
    assert [mail.to for mail in house.deliver()] == ["holder@example.com"]
    assert ("license.issued", "sent", 1) in mails_of(house.context)
    assert house.acts()[-1] == "mail.sent_again"
    # What has gone out brings a new one, and the license's timeline says so.
    send(owner.client, path, owner.client.get(path), step="do")
    assert len(house.deliver()) == 2
    with house.context.database.read() as connection:
        told = connection.execute(
            sa.select(timeline.c.kind).where(timeline.c.license_id == held.id)
        ).scalars()
        assert "license.resent" in list(told)


@only_sqlite
def test_all_undeliverable_mails_go_out_again_at_once(house: House) -> None:
    owner = house.colleague()
    house.license()
    house.deliver()
    house.post.sent.clear()
    form = owner.client.get("/console/mail/again")
    assert "no mail that could not be delivered" in send(owner.client, "/console/mail/again", form).text
    set_mail(house.context, status="failed", sent_at=None)
    assert "/console/mail/again" in owner.client.get("/console/mail?status=failed").text
    sure = send(owner.client, "/console/mail/again", form)
    assert "2 more" in text_of(sure)
    send(owner.client, "/console/mail/again", sure, step="do", reason="server was down")
    assert {mail.to for mail in house.deliver()} == {"holder@example.com", owner.email}


@only_sqlite
def test_mails_are_read_page_by_page_and_alarms_apart(house: House) -> None:
    owner = house.colleague()
    context = house.context
    with context.database.write() as connection:
        for number in range(60):
            detail = {"event": f"evt_{number}<i>"}
            alarms.raise_alarm(context, connection, "dead_letter", f"evt_{number}", detail)
    page = owner.client.get("/console/mail")
    assert "Newest alarms" in page.text
    assert "evt_59&lt;i&gt;" in page.text
    assert "ops@example.com" in page.text
    (older,) = re.findall(r'href="(/console/mail\?after=[^"]+)"', page.text)
    page = owner.client.get(older)
    assert page.text.count("<tr>") - 1 == 11  # ten alarms, and the mail about the account
    assert "Newest alarms" not in page.text
    assert "To staff: set up" in owner.client.get("/console/mail?about=person").text
    assert "Alarm" not in text_of(owner.client.get("/console/mail?about=notice")).partition("Show all")[2]
    assert owner.client.get("/console/mail?status=lost").status_code == 422
    assert owner.client.get("/console/mail?about=lost").status_code == 422
    assert owner.client.get("/console/mail/ann_none/again").status_code == 404


# -- work -----------------------------------------------------------------------------------------------


def set_work(context: Context, status: str) -> None:
    name = "workflow_status" if context.database.is_sqlite else "dbos.workflow_status"
    with context.database.write() as connection:
        connection.execute(sa.text(f"UPDATE {name} SET status = :status"), {"status": status})  # noqa: S608  # our own name


def test_work_is_ended_and_taken_up_again(house: House) -> None:
    owner = house.colleague()
    page = owner.client.get("/console/work")
    (path,) = re.findall(r'href="(/console/work/announce-[^"]+)"', page.text)
    assert "Waiting" in owner.client.get(path).text
    sure = send(owner.client, f"{path}/cancel", owner.client.get(f"{path}/cancel"), reason="ticket 6")
    assert "Ended by hand" in sure.text
    page = send(owner.client, f"{path}/cancel", sure, step="do", reason="ticket 6")
    assert "The work was ended" in page.text
    assert "Nothing runs or waits" in owner.client.get("/console/work").text
    assert path in owner.client.get("/console/work?show=failed").text
    refused = send(owner.client, f"{path}/cancel", owner.client.get(f"{path}/cancel"), step="do")
    assert "This work is done" in refused.text
    page = send(
        owner.client, f"{path}/retry", owner.client.get(f"{path}/retry"), step="do", reason="ticket 7"
    )
    assert "taken up again" in page.text
    assert "Waiting" in page.text
    assert house.acts()[-2:] == ["workflow.canceled", "workflow.retried"]


def test_what_ended_with_an_error_is_done_by_another(house: House) -> None:
    owner = house.colleague()
    set_work(house.context, "ERROR")
    page = owner.client.get("/console/work?show=failed")
    (path,) = re.findall(r'href="(/console/work/announce-[^"]+)"', page.text)
    sure = send(owner.client, f"{path}/retry", owner.client.get(f"{path}/retry"), reason="ticket 8")
    assert "This one stays as it ended" in sure.text
    page = send(owner.client, f"{path}/retry", sure, step="do", reason="ticket 8")
    assert path not in str(page.url)
    assert "Waiting" in page.text
    assert "Failed" in owner.client.get(path).text
    (waiting,) = Works(house.context.database).newest("open", now=datetime.now(UTC)).items
    assert (waiting.name, waiting.queue) == ("announce.1", "followups")


def test_work_of_one_moment_is_neither_left_out_nor_repeated(house: House) -> None:
    works, context = Works(house.context.database), house.context
    name = "workflow_status" if context.database.is_sqlite else "dbos.workflow_status"
    with context.database.write() as connection:
        for number in range(7):
            context.followups.announce(connection, f"bat_{number}")
        connection.execute(sa.text(f"UPDATE {name} SET created_at = (SELECT MAX(created_at) FROM {name})"))  # noqa: S608  # our own name
    for read in (works.list_page, lambda **asked: works.newest("all", now=datetime.now(UTC), **asked)):
        seen: list[str] = []
        page = read(limit=2)
        while page.next_cursor is not None:
            seen += [one.id for one in page.items]
            for one in page.items:  # a row that changes lies elsewhere in the table
                touch(context, name, one.id)
            page = read(limit=2, cursor=page.next_cursor)
        assert sorted(seen + [one.id for one in page.items]) == [f"announce-bat_{n}" for n in range(7)]


def touch(context: Context, table: str, work: str) -> None:
    with context.database.write() as connection:
        changed = sa.text(f"UPDATE {table} SET updated_at = updated_at + 1 WHERE workflow_uuid = :work")  # noqa: S608  # our own name
        connection.execute(changed, {"work": work})


@only_sqlite
def test_work_is_read_page_by_page(house: House) -> None:
    works, context = Works(house.context.database), house.context
    with context.database.write() as connection:
        for number in range(7):
            context.followups.announce(connection, f"bat_{number}")
    seen: list[str] = []
    cursor = ""
    while True:
        page = works.newest("all", cursor=cursor, limit=2, now=datetime.now(UTC))
        seen += [one.id for one in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert sorted(seen) == [f"announce-bat_{number}" for number in range(7)]
    owner = house.colleague()
    assert owner.client.get("/console/work?show=all&name=sweep.1").text.count("/console/work/announce") == 0
    for query in ("show=none", "name=none", "after=x", "after=x-1", "after=1-"):
        assert owner.client.get(f"/console/work?{query}").status_code == 422, query
    assert owner.client.get("/console/work/none").status_code == 404


@only_sqlite
def test_who_only_looks_is_offered_no_act(house: House) -> None:
    house.colleague()
    house.license()
    looker = house.colleague("looks@example.com", "read-only")
    for page in ("/console/mail", "/console/work", "/console/reconcile"):
        answer = looker.client.get(page)
        assert answer.status_code == 200
        assert not re.search(r'href="[^"]*/(again|retry|cancel|run|fix)"', answer.text), page
    assert looker.client.get("/console/reconcile/run").status_code == 403
    assert looker.client.get("/console/mail/again").status_code == 403


# -- reconcile ------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(clock: TurnableClock) -> Ledger:
    return Ledger(clock)


def run_background(house: House, wishes: list[str]) -> None:
    """What the workflow would do."""
    while wishes:
        reconcile.run(house.context, wishes.pop())


def test_differences_are_seen_and_repaired_one_and_all(
    house: House, ledger: Ledger, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.stock(house.context, price_pro=Terms())
    house.context = listed_by(house.context, ledger)
    wishes: list[str] = []
    known = type(house.context.followups).reconcile

    def note(self: object, connection: sa.Connection, batch: str, wish: str) -> str:
        wishes.append(wish)
        return known(self, connection, batch, wish)  # type: ignore[arg-type]  # it is one

    monkeypatch.setattr(type(house.context.followups), "reconcile", note)
    owner = house.colleague()
    assert "never compared" in owner.client.get("/console/reconcile").text
    for number in range(3):
        ledger.happened(*bought(clock, f"sub_{number}"))
    form = owner.client.get("/console/reconcile/run")
    sure = send(owner.client, "/console/reconcile/run", form, provider="stripe", reason="ticket 9")
    assert "Stripe is asked from where the last comparison began" in text_of(sure)
    assert not wishes
    send(owner.client, "/console/reconcile/run", sure, step="do", provider="stripe", reason="ticket 9")
    run_background(house, wishes)
    page = owner.client.get("/console/reconcile")
    assert page.text.count("Paid, and no license") == 3
    assert world.all_licenses(house.context) == []
    one = "/console/reconcile/stripe/fix?only=sub_1"
    assert one in page.text
    form = owner.client.get(one)
    assert 'value="sub_1"' in form.text
    path = "/console/reconcile/stripe/fix"
    sure = send(owner.client, path, form, only="sub_1", reason="ticket 10")
    assert "Give the license that was paid for" in text_of(sure)
    send(owner.client, path, sure, step="do", only="sub_1", reason="ticket 10")
    run_background(house, wishes)
    assert len(world.all_licenses(house.context)) == 1
    page = owner.client.get("/console/reconcile")
    assert (page.text.count("Paid, and no license"), page.text.count(">Repaired<")) == (3, 1)
    assert one not in page.text
    refused = send(owner.client, path, form, step="do", only="sub_1")
    assert "nothing to repair" in refused.text
    send(owner.client, path, owner.client.get(path), step="do", reason="ticket 11")
    run_background(house, wishes)
    assert len(world.all_licenses(house.context)) == 3
    page = owner.client.get("/console/reconcile")
    assert page.text.count(">Repaired<") == 2
    assert not re.search(r"reconcile/stripe/fix", page.text)
    assert house.acts()[-3:] == ["reconcile.asked"] * 3


@only_sqlite
def test_what_cannot_be_compared_is_told(house: House) -> None:
    owner = house.colleague()
    form = owner.client.get("/console/reconcile/run")
    for fields in ({"since": "tomorrow"}, {"since": "2999-01-01"}, {"provider": "paypal"}):
        answer = send(owner.client, "/console/reconcile/run", form, step="do", **fields)
        assert answer.status_code in (404, 422), fields
    assert owner.client.get("/console/reconcile/paypal/fix").status_code == 404
    (account,) = reconciliation_views.standings(house.context, house.context.master.id)
    assert (account.provider, account.report, account.running) == ("stripe", None, None)
    deaf = replace(house.context, channels={"stripe": replace(house.context.channels["stripe"], api=None)})
    assert not reconciliation_views.standings(deaf, house.context.master.id)[0].able
