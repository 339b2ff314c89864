"""The portal as its visitors meet it: who gets in, who does not, and what each may do."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from keywright.domain.errors import KeywrightError, MailDelayed, MailRefused, ProviderUnavailable, Unsupported
from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.flows import activating, announce, license_views, licensing, operate, portal_sign_in
from keywright.flows.context import Context
from keywright.flows.licensing import Ask
from keywright.flows.operate import Act, Order
from keywright.ports import Mail
from keywright.store.tables import announcements, customers, portal_links, portal_sessions
from keywright.web.app import create_app
from keywright.web.portal import gate
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.life.billing import BillDesk, billed_by
from tests.web.conftest import BASE, Client, IdleEngine

BUYER = "buyer@example.com"
ORIGIN = {"origin": BASE}

# What has nothing to do with the database is tried on one of them.
only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


class Post:
    """A mailer that keeps what it is given, or raises `trouble`."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.trouble: KeywrightError | None = None

    def send(self, mail: Mail) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.sent.append(mail)


class House:
    """A shop with one subscription of the buyer, and browsers to visit its portal with."""

    def __init__(self, context: Context, desk: BillDesk, stack: ExitStack) -> None:
        self.post = Post()
        self.desk = desk
        self.context = billed_by(replace(context, mailer=self.post), desk)
        self._stack = stack
        world.stock(self.context, price_pro=Terms(moves=1))
        start = self.context.clock.now()
        world.hand_in(self.context, desk.told())
        paid = stripe.invoice("in_1", "sub_1", start, start + timedelta(days=30), quantity=2, amount=10000)
        world.hand_in(self.context, stripe.event("invoice.paid", paid, start, id_="evt_paid"))
        self.bought = world.the_license(self.context)
        self.deliver()
        self.post.sent.clear()

    def browser(self, **policy: Any) -> Client:
        changed = replace(self.context, policy=replace(self.context.policy, **policy))
        client = TestClient(create_app(changed, IdleEngine()), base_url=changed.policy.base_url)
        return self._stack.enter_context(client)

    def deliver(self) -> None:
        """Send all that is owed."""
        with self.context.database.read() as connection:
            query = sa.select(announcements.c.batch).where(announcements.c.status == "pending").distinct()
            owed = connection.execute(query).scalars().all()
        for batch in owed:
            announce.send_due(self.context, batch)

    def links(self, at_least: int = 1) -> list[str]:
        """The paths of the links in the mails that went out, for which no answer waits."""
        until = time.monotonic() + 10
        while True:
            self.deliver()
            matches = [re.search(rf"{BASE}(/portal/link/\S+)", mail.text) for mail in self.post.sent]
            found = [match[1] for match in matches if match]
            if len(found) >= at_least or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def wait_for_links(self, number: int) -> None:
        """Until so many links were made."""
        until = time.monotonic() + 10
        while self.made() < number and time.monotonic() < until:
            time.sleep(0.05)
        assert self.made() == number

    def made(self) -> int:
        return world.count(self.context, portal_links)

    def visitor(self, email: str = BUYER) -> Client:
        """A browser that is signed in, by a link that was never mailed."""
        client, browser = self.browser(), gate.fresh_browser()
        portal_sign_in.ask(self.context, email, browser)
        with self.context.database.read() as connection:
            newest = sa.select(portal_links.c.id).order_by(portal_links.c.id.desc()).limit(1)
            secret = portal_sign_in.secret_of(self.context, str(connection.execute(newest).scalar_one()))
        standing, session = portal_sign_in.enter(self.context, secret, browser)
        assert standing == "good"
        client.cookies.set("keywright_session", session)
        return client

    def bind(self, held: License, *machines: str) -> None:
        for machine in machines:
            question = Ask(
                key=world.key_of(self.context, held), fingerprint=f"machine-{machine}", name=machine
            )
            asked = licensing.check(self.context, question, fingerprint_needed=True)
            assert activating.activate(self.context, asked).valid

    def issue(self, email: str) -> License:
        row, _ = operate.issue(
            self.context, self.context.master.id, Order("dashcaddy/plan-0", email), Act("test")
        )
        self.deliver()
        return next(one for one in world.all_licenses(self.context) if one.id == row.id)

    def machine_ids(self, held: License) -> list[str]:
        page = license_views.list_machines(self.context, held.tenant_id, license_id=held.id)
        return [one.id for one in page.items]

    def kinds(self, held: License) -> list[tuple[str, str]]:
        rows = license_views.timeline_of(self.context, held.tenant_id, held.id).items
        return [(row.kind, str(row.detail.get("by", ""))) for row in rows]


@pytest.fixture
def house(context: Context, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    # All are answered after the same time; only one test looks at the time.
    monkeypatch.setattr(gate, "ANSWER_AFTER", 0.0)
    with ExitStack() as stack:
        yield House(context, BillDesk(clock), stack)


def check_of(page: str) -> str:
    found = re.search(r'name="check" value="([^"]+)"', page)
    assert found, page
    return found[1]


def send(
    client: Client, path: str, page: str, headers: dict[str, str] = ORIGIN, /, **more: str
) -> httpx.Response:
    """Post the form of a page."""
    return client.post(path, data={"check": check_of(page), **more}, headers=headers, follow_redirects=False)


def ask(client: Client, email: str) -> httpx.Response:
    return send(client, "/portal", client.get("/portal").text, email=email)


def confirm(client: Client, link: str) -> httpx.Response:
    return send(client, link, client.get(link).text)


def act(client: Client, held: License, name: str) -> httpx.Response:
    return send(client, f"/portal/licenses/{held.id}/{name}", client.get("/portal/licenses").text)


def is_in(client: Client) -> bool:
    return client.get("/portal/licenses", follow_redirects=False).status_code == 200


# -- the link -----------------------------------------------------------------------------------------


def test_a_customer_gets_in_by_the_link_in_the_mail(house: House) -> None:
    client = house.browser()
    answer = ask(client, "  Buyer@Example.com ")
    assert answer.status_code == 200
    assert "If we know this address, a link is on its way." in answer.text
    (link,) = house.links()
    assert house.post.sent[0].to == BUYER
    entered = confirm(client, link)
    assert (entered.status_code, entered.headers["location"]) == (303, "/portal/licenses")
    page = client.get("/portal/licenses").text
    assert "Your licenses" in page
    assert f"ends in {house.bought.key_last5}" in page
    assert client.get("/portal", follow_redirects=False).headers["location"] == "/portal/licenses"


@only_sqlite
def test_the_cookies_are_for_this_host_and_no_script(house: House) -> None:
    client = house.browser()
    asked = client.get("/portal").headers["set-cookie"]
    assert re.match(r"keywright_browser=[A-Za-z0-9_-]{32};", asked)
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=86400"} <= set(asked.split("; "))
    ask(client, BUYER)
    entered = confirm(client, house.links()[-1]).headers["set-cookie"]
    assert entered.startswith("keywright_session=")
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=1800"} <= set(entered.split("; "))
    secure = house.browser(base_url="https://pay.shop.example").get("/portal").headers["set-cookie"]
    assert secure.startswith("__Host-keywright_browser=")
    assert "Secure" in secure.split("; ")


def test_a_link_works_once(house: House) -> None:
    client = house.browser()
    ask(client, BUYER)
    (link,) = house.links()
    page = client.get(link).text
    assert send(client, link, page).status_code == 303
    again = send(client, link, page)
    assert again.headers["location"] == "/portal/licenses"  # in already, by a button pressed twice
    send(client, "/portal/leave", client.get("/portal/licenses").text)
    replayed = send(client, link, page)
    assert (replayed.status_code, "no good any more" in replayed.text) == (410, True)
    assert client.get(link).status_code == 410
    assert not is_in(client)


def test_of_many_at_once_one_gets_in(house: House) -> None:
    client = house.browser()
    ask(client, BUYER)
    (link,) = house.links()
    page = client.get(link).text
    cookies = dict(client.cookies)
    statuses = []

    def press() -> None:
        headers = {**ORIGIN, "cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        statuses.append(
            house_browser.post(
                link, data={"check": check_of(page)}, headers=headers, follow_redirects=False
            ).status_code
        )

    house_browser = client
    threads = [threading.Thread(target=press) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.count(house.context, portal_sessions) == 1
    assert set(statuses) <= {303, 410}


@only_sqlite
def test_looking_at_a_link_does_not_use_it_up(house: House) -> None:
    client, scanner = house.browser(), house.browser()
    ask(client, BUYER)
    (link,) = house.links()
    for _ in range(3):
        assert scanner.get(link).status_code == 403
        assert scanner.head(link).status_code in (403, 405)
        assert client.get(link).status_code == 200
    assert not is_in(client)
    assert confirm(client, link).status_code == 303
    assert is_in(client)


def test_a_link_lives_ten_minutes(house: House, clock: TurnableClock) -> None:
    client = house.browser()
    ask(client, BUYER)
    (link,) = house.links()
    page = client.get(link).text
    clock.turn(minutes=10, seconds=-1)
    assert client.get(link).status_code == 200
    clock.turn(seconds=1)
    assert client.get(link).status_code == 410
    assert send(client, link, page).status_code == 410
    assert not is_in(client)


@only_sqlite
def test_another_browser_does_not_get_in_and_uses_nothing_up(house: House) -> None:
    client, thief = house.browser(), house.browser()
    ask(client, BUYER)
    (link,) = house.links()
    assert thief.post(link, data={"check": "x"}, headers=ORIGIN).status_code == 403
    stolen = send(thief, link, thief.get("/portal").text)
    assert (stolen.status_code, "where you asked for it" in stolen.text) == (403, True)
    assert not is_in(thief)
    assert confirm(client, link).status_code == 303


@only_sqlite
def test_nobody_gets_in_by_an_altered_link(house: House) -> None:
    client = house.browser()
    ask(client, BUYER)
    (link,) = house.links()
    page = client.get(link).text
    turned = link[:-1] + ("A" if link[-1] != "A" else "B")
    for wrong in (turned, link[:-1], link + "A", "/portal/link/x", "/portal/link/%00", "/portal/link/é"):
        assert client.get(wrong).status_code == 410
        assert send(client, wrong, page).status_code == 410
    assert not is_in(client)
    assert send(client, link, page).status_code == 303


def test_a_link_dies_with_the_address_it_was_asked_for(house: House) -> None:
    """A provider lets a buyer change his address without asking the new one's owner."""
    client = house.browser()
    ask(client, BUYER)
    (link,) = house.links()
    page = client.get(link).text
    house.issue("victim@example.com")
    rename(house.context, BUYER, "victim@example.com")
    assert send(client, link, page).status_code == 410
    house.post.sent.clear()
    ask(client, "victim@example.com")
    house.wait_for_links(2)
    rename(house.context, "victim@example.com", "other@example.com")
    assert house.links(0) == []


def rename(context: Context, before: str, after: str) -> None:
    with context.database.write() as connection:
        connection.execute(sa.update(customers).where(customers.c.email == before).values(email=after))


@only_sqlite
def test_a_link_that_is_too_old_is_not_mailed(house: House, clock: TurnableClock) -> None:
    ask(house.browser(), BUYER)
    house.wait_for_links(1)
    clock.turn(minutes=11)
    assert house.links(0) == []
    assert owed(house) == ["outdated"]


@only_sqlite
def test_a_mail_that_is_held_up_brings_a_link_that_still_works(house: House, clock: TurnableClock) -> None:
    client = house.browser()
    house.post.trouble = MailDelayed("the mail server did not answer")
    ask(client, BUYER)
    house.wait_for_links(1)
    assert house.links(0) == []
    assert owed(house) == ["pending"]
    house.post.trouble = None
    clock.turn(minutes=8)
    (link,) = house.links()
    assert "for 2 minutes" in house.post.sent[0].text
    assert confirm(client, link).status_code == 303


@only_sqlite
def test_a_link_that_cannot_be_delivered_is_told_to_the_operator(house: House) -> None:
    house.post.trouble = MailRefused("550 5.1.1")
    ask(house.browser(), BUYER)
    house.wait_for_links(1)
    assert house.links(0) == []
    assert owed(house) == ["failed"]
    house.post.trouble = None
    house.deliver()
    (alarm,) = house.post.sent
    assert alarm.to == "ops@example.com"
    assert BUYER not in alarm.text


def owed(house: House) -> list[str]:
    with house.context.database.read() as connection:
        query = sa.select(announcements.c.status).where(announcements.c.kind == "portal.link")
        return list(connection.execute(query.order_by(announcements.c.id)).scalars())


def test_no_secret_is_stored(house: House) -> None:
    client = house.browser()
    ask(client, BUYER)
    link = house.links()[-1]
    confirm(client, link)
    secrets = [link.rsplit("/", 1)[1], *client.cookies.values(), BUYER]
    assert len(secrets) == 4
    with house.context.database.read() as connection:
        rows = [
            str(row)
            for table in (portal_links, portal_sessions, announcements)
            for row in connection.execute(sa.select(table))
        ]
    assert rows
    assert [secret for secret in secrets for row in rows if secret in row] == []


# -- who is told what ---------------------------------------------------------------------------------


def test_strangers_are_told_the_same_and_get_no_mail(house: House) -> None:
    with house.context.database.write() as connection:
        connection.execute(
            sa.insert(customers).values(
                id="cus_bare",
                tenant_id=house.context.master.id,
                email="bare@example.com",
                created_at=house.context.clock.now(),
            )
        )
    answers = set()
    for email in (BUYER, "nobody@example.com", "bare@example.com", "no address", "", "a@b.example\x00", "%"):
        answer = ask(house.browser(), email)
        answers.add((answer.status_code, answer.text, answer.headers["content-length"]))
    assert len(answers) == 1
    assert [mail.to for mail in house.post.sent] == []
    assert len(house.links()) == 1
    assert world.count(house.context, portal_links) == 1


def test_the_time_of_the_answer_tells_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody can write no link can be made, and still all are answered: none waits for its link."""
    monkeypatch.setattr(gate, "ANSWER_AFTER", 0.3)
    client = house.browser()
    page = client.get("/portal").text
    taken = []
    with house.context.database.write() as connection:
        connection.execute(sa.update(customers).values(name=None))
        for email in ("nobody@example.com", BUYER) * 3:
            began = time.monotonic()
            assert send(client, "/portal", page, email=email).status_code == 200
            taken.append(time.monotonic() - began)
        assert house.made() == 0
    assert min(taken) >= gate.ANSWER_AFTER
    house.wait_for_links(3)


def test_nobody_is_flooded_with_mails(house: House, clock: TurnableClock) -> None:
    for _ in range(7):
        assert ask(house.browser(), BUYER).status_code == 200
    assert len(house.links(5)) == 5
    clock.turn(hours=1)
    ask(house.browser(), BUYER.upper())
    assert len(house.links(6)) == 6


@only_sqlite
def test_one_address_does_not_ask_without_end(house: House) -> None:
    client = house.browser()
    page = client.get("/portal").text
    statuses = [send(client, "/portal", page, email="nobody@example.com").status_code for _ in range(22)]
    assert statuses[:10] == [200] * 10
    assert 429 in statuses  # the minute may turn once in between


# -- the session --------------------------------------------------------------------------------------


def test_a_session_ends_after_half_an_hour(house: House, clock: TurnableClock) -> None:
    client = house.visitor()
    page = client.get("/portal/licenses").text
    clock.turn(minutes=30, seconds=-1)
    assert is_in(client)
    clock.turn(seconds=1)
    assert not is_in(client)
    assert send(client, f"/portal/licenses/{house.bought.id}/stop", page).headers["location"] == "/portal"
    assert not house.desk.canceling


@only_sqlite
def test_signing_out_ends_the_session_for_every_copy_of_the_cookie(house: House) -> None:
    client = house.visitor()
    session = client.cookies["keywright_session"]
    left = send(client, "/portal/leave", client.get("/portal/licenses").text)
    assert (left.status_code, left.headers["location"]) == (303, "/portal")
    assert "Max-Age=0" in left.headers["set-cookie"]
    thief = house.browser()
    thief.cookies.set("keywright_session", session)
    assert not is_in(thief)


@pytest.mark.parametrize(
    "alter", [str.swapcase, lambda s: s[:-1], lambda s: s + "A", lambda _: "", lambda _: "x" * 43]
)
@only_sqlite
def test_an_altered_cookie_opens_nothing(house: House, alter: Callable[[str], str]) -> None:
    client = house.visitor()
    altered = alter(client.cookies["keywright_session"])
    other = house.browser()
    other.cookies.set("keywright_session", altered)
    assert not is_in(other)
    assert is_in(client)


def test_a_session_does_not_follow_an_address_that_changes(house: House) -> None:
    client = house.visitor()
    house.issue("victim@example.com")
    rename(house.context, BUYER, "victim@example.com")
    assert not is_in(client)


def test_what_is_over_is_forgotten(house: House, clock: TurnableClock) -> None:
    house.visitor()
    clock.turn(days=1, hours=1)
    house.visitor()
    assert house.made() == 1
    assert world.count(house.context, portal_sessions) == 1


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "https://evil.example"}, {"origin": "null"}, {**ORIGIN, "sec-fetch-site": "cross-site"}],
    ids=["no origin", "foreign", "null", "by fetch metadata"],
)
@only_sqlite
def test_forms_from_elsewhere_do_nothing(house: House, headers: dict[str, str]) -> None:
    client = house.visitor()
    page = client.get("/portal/licenses").text
    for path in (f"/portal/licenses/{house.bought.id}/stop", "/portal/leave"):
        assert send(client, path, page, headers).status_code == 403
    stranger = house.browser()
    assert send(stranger, "/portal", stranger.get("/portal").text, headers, email=BUYER).status_code == 403
    assert is_in(client)
    assert not house.desk.canceling


@only_sqlite
def test_forms_without_their_check_do_nothing(house: House) -> None:
    client, other = house.visitor(), house.visitor()
    path = f"/portal/licenses/{house.bought.id}/stop"
    foreign = check_of(other.get("/portal/licenses").text)
    for check in ("", "x", "é", foreign):
        assert client.post(path, data={"check": check}, headers=ORIGIN).status_code == 403
    assert client.get(path).status_code == 405
    assert not house.desk.canceling


# -- licenses -----------------------------------------------------------------------------------------


@only_sqlite
def test_the_page_tells_how_a_license_is(house: House) -> None:
    house.bind(house.bought, "Desk <b>", "Laptop")
    page = house.visitor().get("/portal/licenses").text
    assert "Renews on 1 December 2026, 12:00 UTC." in page
    assert "2 of 2" in page
    assert "Desk &lt;b&gt;" in page
    assert page.count("Last contact 1 November 2026, 12:00 UTC") == 2
    assert page.count("Free this machine") == 2
    assert world.key_of(house.context, house.bought) not in page


def test_every_license_of_the_address_is_there_and_no_other(house: House) -> None:
    second, foreign = house.issue("Buyer@Example.COM"), house.issue("other@example.com")
    page = house.visitor().get("/portal/licenses").text
    assert page.count("ends in ") == 2
    assert second.id in page
    assert foreign.id not in page


def test_many_licenses_come_page_by_page(house: House) -> None:
    for _ in range(20):
        house.issue(BUYER)
    client = house.visitor()
    first = client.get("/portal/licenses").text
    older = re.search(r'href="(/portal/licenses\?after=[^"]+)"', first)
    assert older
    rest = client.get(older[1]).text
    assert (first.count("ends in "), rest.count("ends in ")) == (20, 1)
    assert "Older licenses" not in rest
    assert client.get("/portal/licenses?after=%00").status_code == 404


def test_a_machine_is_freed_within_the_moves(house: House) -> None:
    house.bind(house.bought, "Desk", "Laptop")
    client = house.visitor()
    desk, laptop = sorted(house.machine_ids(house.bought))
    freed = act(client, house.bought, f"machines/{desk}/free")
    assert freed.headers["location"] == "/portal/licenses?done=freed"
    page = client.get(freed.headers["location"]).text
    assert "The machine is free." in page
    assert "Free this machine" not in page
    assert house.machine_ids(house.bought) == [laptop]
    refused = act(client, house.bought, f"machines/{laptop}/free")
    assert (refused.status_code, "No more machines can be freed for now" in refused.text) == (409, True)
    assert act(client, house.bought, f"machines/{desk}/free").status_code == 404
    kind, by = house.kinds(house.bought)[-1]
    assert (kind, by) == ("activation.released", f"customer {house.bought.customer_id}")


@only_sqlite
def test_the_renewal_is_ended_and_taken_up_again(house: House, clock: TurnableClock) -> None:
    client = house.visitor()
    page = client.get("/portal/licenses").text
    assert "Do not renew" in page
    stopped = act(client, house.bought, "stop")
    assert stopped.headers["location"] == "/portal/licenses?done=stopped"
    assert house.desk.canceling
    clock.turn(minutes=1)
    world.hand_in(house.context, house.desk.told())
    page = client.get("/portal/licenses").text
    assert "It works until 1 December 2026, 12:00 UTC, and is not renewed." in page
    assert "Do not renew" not in page
    assert act(client, house.bought, "resume").headers["location"] == "/portal/licenses?done=resumed"
    assert not house.desk.canceling
    assert ("billing.asked", f"customer {house.bought.customer_id}") in house.kinds(house.bought)


@only_sqlite
def test_a_subscription_that_is_over_is_neither_ended_nor_taken_up(
    house: House, clock: TurnableClock
) -> None:
    clock.turn(minutes=1)
    start = house.desk.start
    gone = stripe.subscription("sub_1", start, start + timedelta(days=30), quantity=2, status="canceled")
    world.hand_in(house.context, stripe.event("customer.subscription.deleted", gone, clock.now()))
    client = house.visitor()
    page = client.get("/portal/licenses").text
    assert "It works until 1 December 2026" in page
    for button in ("Do not renew", "Renew after all"):
        assert button not in page
    assert "Payment and invoices" in page
    assert "buy again in the store" in act(client, house.bought, "resume").text


@only_sqlite
def test_the_payment_is_managed_at_the_provider(house: House) -> None:
    client = house.visitor()
    away = act(client, house.bought, "manage")
    assert away.status_code == 200
    assert 'content="0;url=https://pay.example/portal/secret"' in away.text
    assert house.desk.heard[-1][-1] == f"{BASE}/portal/licenses"
    known = house.browser(pay_origins=("https://pay.example",))
    known.cookies.set("keywright_session", client.cookies["keywright_session"])
    assert act(known, house.bought, "manage").headers["location"] == "https://pay.example/portal/secret"


@pytest.mark.parametrize(
    ("name", "trouble", "told"),
    [
        ("manage", Unsupported("sell another one"), "has no page for this purchase"),
        ("stop", Unsupported("x"), "does not let us end this renewal"),
        ("resume", Unsupported("x"), "cannot take this renewal up again"),
        ("stop", ProviderUnavailable("x"), "does not answer"),
    ],
)
@only_sqlite
def test_what_a_provider_cannot_do_is_told_with_what_to_do_instead(
    house: House, name: str, trouble: KeywrightError, told: str
) -> None:
    client = house.visitor()
    house.desk.trouble = trouble
    answer = act(client, house.bought, name)
    assert answer.status_code == trouble.status
    assert told in answer.text
    assert trouble.detail not in re.findall(r'role="alert">([^<]*)<', answer.text)


@only_sqlite
def test_a_license_without_a_payment_has_none_to_manage(house: House) -> None:
    given = house.issue("given@example.com")
    client = house.visitor("given@example.com")
    page = client.get("/portal/licenses").text
    assert "Payment and invoices" not in page
    assert "Do not renew" not in page
    assert "given to you without a payment" in act(client, given, "manage").text


def test_the_key_is_sent_again_to_the_address_alone(house: House) -> None:
    client = house.visitor()
    house.post.sent.clear()
    statuses = [act(client, house.bought, "resend").status_code for _ in range(5)]
    assert statuses[:2] == [303, 303]
    assert 429 in statuses  # the minute may turn once in between
    house.deliver()
    assert {mail.to for mail in house.post.sent} == {BUYER}
    assert world.key_of(house.context, house.bought) in house.post.sent[0].text


def test_another_customers_license_is_as_unknown_as_none(house: House) -> None:
    foreign = house.issue("other@example.com")
    house.bind(foreign, "Desk")
    house.bind(house.bought, "Laptop")
    (machine,), (mine,) = house.machine_ids(foreign), house.machine_ids(house.bought)
    client = house.visitor()
    page = client.get("/portal/licenses").text
    before = house.kinds(foreign)
    paths = [f"{foreign.id}/{name}" for name in ("resend", "stop", "resume", "manage")]
    paths += [f"{foreign.id}/machines/{machine}/free", f"{foreign.id}/machines/{mine}/free"]
    paths += [
        f"{house.bought.id}/machines/{machine}/free",
        "lic_0/stop",
        "%00/stop",
        "lic_0/machines/%00/free",
    ]
    for path in paths:
        answer = send(client, f"/portal/licenses/{path}", page)
        assert answer.status_code == 404, path
    assert house.kinds(foreign) == before
    assert house.machine_ids(foreign) == [machine]
    assert house.desk.heard == []


# -- pages --------------------------------------------------------------------------------------------


@only_sqlite
def test_every_page_has_the_strict_policy_and_no_script(house: House) -> None:
    client = house.browser()
    seen = [client.get("/portal"), ask(client, BUYER)]
    (link,) = house.links()
    seen += [client.get(link), house.browser().get(link)]
    confirm(client, link)
    seen += [client.get(link, follow_redirects=True), act(client, house.bought, "manage")]
    for answer in seen:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] in ("same-origin", "no-referrer")
        assert not re.search(r"<script|style=|onclick|<style", answer.text)
