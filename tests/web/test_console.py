"""The console as its visitors meet it: who gets in, who does not, and what each may do."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from keywright.domain.errors import Conflict, TooMany
from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.flows import announce, license_views, operate, staff, staff_factors, staff_secrets
from keywright.flows import staff_sessions as sessions_of
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.ports import Mail
from keywright.store import audit
from keywright.store.staff_tables import staff_factors as factor_table
from keywright.store.staff_tables import staff_sessions, staff_tries
from keywright.store.tables import announcements
from keywright.web.app import create_app
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.web.conftest import BASE, IdleEngine
from tests.web.conftest import Client as Server

PASSWORD = "four words nobody says"
ORIGIN = {"origin": BASE}
OWNER = "owner@example.com"
YEARLY = Terms(term=365 * 86400)


class Post:
    """A mailer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []

    def send(self, mail: Mail) -> None:
        self.sent.append(mail)


class Colleague:
    """Somebody who was set up: what he knows, and his browser."""

    def __init__(
        self, client: httpx.Client, email: str, secret: str, codes: list[str], welcome: str = ""
    ) -> None:
        self.client = client
        self.email = email
        self.secret = secret
        self.codes = codes
        self.welcome = welcome  # the page that the set-up ended with


class House:
    """A shop, its console, and browsers to visit it with. The phones' clock stands still until turned."""

    def __init__(self, context: Context, stack: ExitStack) -> None:
        self.post = Post()
        self.context = replace(context, mailer=self.post)
        self.phone = 1_700_000_000.0
        self._stack = stack
        self._servers: dict[str, Server] = {}

    def browser(self, **policy: Any) -> httpx.Client:
        """A browser of its own, at one server for each policy: to start one takes longer than most tests."""
        named = repr(policy)
        if named not in self._servers:
            changed = replace(self.context, policy=replace(self.context.policy, **policy))
            server = TestClient(create_app(changed, IdleEngine()), base_url=changed.policy.base_url)
            self._servers[named] = self._stack.enter_context(server)
        server = self._servers[named]
        # Its transport is the server, which is closed at the end.
        return httpx.Client(transport=server._transport, base_url=server.base_url, follow_redirects=True)

    def code(self, secret: str, beside: int = 0) -> str:
        return staff_secrets.code_of(secret, int(self.phone // 30) + beside)

    def later(self) -> None:
        """The app shows another code."""
        self.phone += 30

    def colleague(
        self, email: str = OWNER, role: str = "owner", client: httpx.Client | None = None
    ) -> Colleague:
        """Somebody who is signed in."""
        _, link = staff.create(self.context, self.context.master.id, email, role, "test")
        return self.set_up(link, email, client or self.browser())

    def set_up(self, link: str, email: str, client: httpx.Client) -> Colleague:
        path = link.removeprefix(BASE)
        fields = {"email": email, "password": PASSWORD, "again": PASSWORD}
        page = send(client, path, client.get(path), **fields)
        found = re.search(r'<p class="secret"><code>([^<]*)', page.text)
        assert found, page.text
        secret = found[1].replace(" ", "")
        page = send(client, "/console/second-factor", page, code=self.code(secret))
        codes = re.findall(r"<li><code>([^<]+)", page.text)
        assert len(codes) == 10, page.text
        self.later()
        return Colleague(client, email, secret, codes, page.text)

    def license(self) -> License:
        world.stock(self.context, price_pro=YEARLY)
        order = Order("dashcaddy/plan-0", "holder@example.com")
        row, _ = operate.issue(self.context, self.context.master.id, order, Act("test"))
        return next(one for one in world.all_licenses(self.context) if one.id == row.id)

    def deliver(self) -> list[Mail]:
        """Send all that is owed."""
        with self.context.database.read() as connection:
            query = sa.select(announcements.c.batch).where(announcements.c.status == "pending").distinct()
            owed = connection.execute(query).scalars().all()
        for batch in owed:
            announce.send_due(self.context, batch)
        return self.post.sent

    def acts(self) -> list[str]:
        """What the audit says, oldest first."""
        with self.context.database.read() as connection:
            found = audit.list_page(connection, self.context.master.id, filters={}, before=None, limit=100)
            assert audit.first_break(connection, self.context.master.id) is None
        return [one.act for one in reversed(found)]


@pytest.fixture
def house(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with ExitStack() as stack:
        made = House(context, stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: made.phone)
        yield made


only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


def check_in(page: httpx.Response) -> str:
    found = re.search(r'name="check" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def send(client: httpx.Client, path: str, page: httpx.Response, **fields: str) -> httpx.Response:
    """Send a form of this page."""
    return client.post(path, data={"check": check_in(page), **fields}, headers=ORIGIN)


def knock(client: httpx.Client, email: str, password: str = PASSWORD) -> httpx.Response:
    """Type address and password."""
    page = client.get("/console/sign-in")
    return send(client, "/console/sign-in", page, email=email, password=password)


def sign_in(client: httpx.Client, email: str, code: str) -> httpx.Response:
    page = knock(client, email)
    assert "Now your second factor" in page.text, page.text
    return send(client, "/console/sign-in/second", page, code=code)


def is_in(client: httpx.Client) -> bool:
    return client.get("/console", follow_redirects=False).status_code == 200


def cookie(client: httpx.Client) -> str:
    return client.cookies.get("keywright_staff") or ""


# -- set-up ---------------------------------------------------------------------------------------------


def test_the_first_link_makes_an_owner_once(house: House) -> None:
    link = staff.first_link(house.context)
    other = staff.first_link(house.context)
    assert link is not None
    assert other is not None
    boss = house.set_up(link, "Boss@Example.com", house.browser())
    assert is_in(boss.client)
    assert staff.first_link(house.context) is None
    for over in (link, other):
        assert house.browser().get(over.removeprefix(BASE)).status_code == 410
    (row,) = staff.list_staff(house.context, house.context.master.id)
    assert (row.email, row.role, row.state) == ("boss@example.com", "owner", "active")
    assert house.acts() == ["staff.set_up"]
    assert [mail.to for mail in house.deliver()] == ["boss@example.com"]


@only_sqlite
def test_a_link_is_good_until_the_second_factor_is_confirmed(house: House, clock: TurnableClock) -> None:
    _, link = staff.create(house.context, house.context.master.id, OWNER, "owner", "test")
    path, client = link.removeprefix(BASE), house.browser()
    page = send(client, path, client.get(path), email=OWNER, password=PASSWORD, again=PASSWORD)
    assert "Add a second factor" in page.text
    assert not is_in(client)
    refused = send(client, "/console/second-factor", page, code="000000")
    assert refused.status_code == 403
    assert knock(house.browser(), OWNER).status_code == 403  # a password alone is no account
    clock.turn(hours=23, minutes=59)
    assert house.browser().get(path).status_code == 200
    clock.turn(minutes=1)
    assert house.browser().get(path).status_code == 410


@only_sqlite
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"password": "short12", "again": "short12"}, "at least 8 characters"),
        ({"password": PASSWORD, "again": "another one"}, "not the same"),
        ({"password": "password123!", "again": "password123!"}, "too easy to guess"),
        ({"password": "aaaaaaaaaa", "again": "aaaaaaaaaa"}, "repeats itself"),
        ({"password": "12345678", "again": "12345678"}, "repeats itself, or counts"),
        ({"password": "x" * 201, "again": "x" * 201}, "at most 200"),
        ({"password": PASSWORD, "again": PASSWORD, "email": "nobody"}, "not an e-mail address"),
    ],
)
def test_a_password_that_will_not_do_is_told_why(house: House, fields: dict[str, str], told: str) -> None:
    link = staff.first_link(house.context)
    assert link is not None
    path, client = link.removeprefix(BASE), house.browser()
    page = send(client, path, client.get(path), **{"email": OWNER, **fields})
    assert page.status_code == 422
    assert told in page.text


@only_sqlite
def test_a_new_link_replaces_what_one_signed_in_with(house: House) -> None:
    owner = house.colleague()
    old = owner.codes[0]
    (row,) = staff.list_staff(house.context, house.context.master.id)
    link = staff.renew_link(house.context, house.context.master.id, row.id, "command line")
    assert is_in(owner.client)  # what he has goes on until the link is used
    again = house.set_up(link, OWNER, house.browser())
    assert is_in(again.client)
    assert not is_in(owner.client)
    refused = sign_in(house.browser(), OWNER, old)
    assert refused.status_code == 403
    assert "What waits" in sign_in(house.browser(), OWNER, again.codes[0]).text


# -- sign in --------------------------------------------------------------------------------------------


def test_password_and_code_let_in_and_each_code_once(house: House) -> None:
    owner = house.colleague()
    code = house.code(owner.secret)
    first, second = house.browser(), house.browser()
    assert "What waits" in sign_in(first, OWNER.upper(), code).text
    assert sign_in(second, OWNER, code).status_code == 403
    assert not is_in(second)
    assert house.acts()[-2:] == ["staff.signed_in", "staff.second_factor_failed"]


@only_sqlite
@pytest.mark.parametrize(("beside", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_is_good_beside_its_half_minute_and_no_further(house: House, beside: int, good: bool) -> None:
    owner = house.colleague()
    house.phone += 300
    page = sign_in(house.browser(), OWNER, house.code(owner.secret, beside))
    assert (page.status_code == 200) is good


@only_sqlite
def test_an_older_code_is_over_when_a_newer_one_was_used(house: House) -> None:
    owner = house.colleague()
    house.phone += 300
    assert sign_in(house.browser(), OWNER, house.code(owner.secret, 1)).status_code == 200
    assert sign_in(house.browser(), OWNER, house.code(owner.secret, 0)).status_code == 403


def test_of_many_at_once_one_gets_in_with_a_code(house: House) -> None:
    owner = house.colleague()
    clients = [house.browser() for _ in range(6)]
    pages = [knock(client, OWNER) for client in clients]
    code, barrier = house.code(owner.secret), threading.Barrier(6)

    def go(number: int) -> int:
        barrier.wait()
        return send(clients[number], "/console/sign-in/second", pages[number], code=code).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(go, range(6))) == [200, 403, 403, 403, 403, 403]


@only_sqlite
def test_a_recovery_code_lets_in_once_however_it_is_typed_and_is_told(house: House) -> None:
    owner = house.colleague()
    typed = owner.codes[3].lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert sign_in(house.browser(), OWNER, typed).status_code == 200
    assert sign_in(house.browser(), OWNER, owner.codes[3]).status_code == 403
    assert [mail.subject for mail in house.deliver()][-1] == "Keywright: A recovery code was used"


@only_sqlite
def test_a_sign_in_makes_a_new_session_and_the_old_one_is_dead(house: House) -> None:
    owner = house.colleague()
    client = house.browser()
    planted = "A" * 43
    client.cookies.set("keywright_staff", planted, domain="127.0.0.1", path="/")
    page = knock(client, OWNER)
    between = cookie(client)
    assert between != planted
    assert not is_in(client)  # the password alone is no session
    send(client, "/console/sign-in/second", page, code=house.code(owner.secret))
    assert is_in(client)
    inside = cookie(client)
    assert inside not in (planted, between)
    for dead in (planted, between):
        stranger = house.browser()
        stranger.cookies.set("keywright_staff", dead)
        assert not is_in(stranger)
    send(client, "/console/sign-out", client.get("/console/you"))
    stranger = house.browser()
    stranger.cookies.set("keywright_staff", inside)
    assert not is_in(stranger)


@only_sqlite
def test_a_session_ends_when_idle_and_when_old(house: House, clock: TurnableClock) -> None:
    owner = house.colleague()
    clock.turn(minutes=29)
    assert is_in(owner.client)
    clock.turn(minutes=30)
    assert not is_in(owner.client)
    sign_in(owner.client, OWNER, house.code(owner.secret))
    for _ in range(25):
        clock.turn(minutes=28)
        assert is_in(owner.client)
    clock.turn(minutes=20)
    assert not is_in(owner.client)


@only_sqlite
def test_the_second_page_lasts_ten_minutes(house: House, clock: TurnableClock) -> None:
    owner = house.colleague()
    client = house.browser()
    page = knock(client, OWNER)
    clock.turn(minutes=10, seconds=1)
    answer = send(client, "/console/sign-in/second", page, code=house.code(owner.secret))
    assert answer.status_code == 401
    assert not is_in(client)


# -- limits ---------------------------------------------------------------------------------------------


@only_sqlite
def test_ten_wrong_ones_stop_an_account_that_exists_and_one_that_does_not(
    house: House, clock: TurnableClock
) -> None:
    owner = house.colleague()
    for email in (OWNER, "nobody@example.com"):
        client = house.browser()
        answers = [knock(client, email, "wrong password") for _ in range(12)]
        assert [one.status_code for one in answers] == [403] * 10 + [429] * 2
        assert "retry-after" in answers[-1].headers
        assert len({re.sub(r'value="[^"]*"', "", one.text) for one in answers[:10]}) == 1
    assert knock(house.browser(), OWNER).status_code == 429  # the right one, too
    clock.turn(hours=1, seconds=1)
    assert sign_in(house.browser(), OWNER, house.code(owner.secret)).status_code == 200
    assert world.count(house.context, staff_tries) <= 1  # what is over an hour old is forgotten


@only_sqlite
def test_wrong_codes_count_and_a_right_password_does_not_clear_them(house: House) -> None:
    house.colleague()
    refused = []
    for _ in range(11):
        client = house.browser()
        page = knock(client, OWNER)
        if page.status_code == 200:
            page = send(client, "/console/sign-in/second", page, code="123456")
        refused.append(page.status_code)
    assert refused == [403] * 10 + [429]
    assert house.acts().count("staff.second_factor_failed") == 10


@only_sqlite
def test_whoever_guesses_at_the_door_keeps_nobody_out_who_is_in(house: House, clock: TurnableClock) -> None:
    owner = house.colleague()
    clock.turn(minutes=20)
    guesses = [knock(house.browser(), OWNER, "wrong password").status_code for _ in range(11)]
    assert guesses == [403] * 10 + [429]
    fields = {"password": PASSWORD, "code": house.code(owner.secret)}
    asked = owner.client.get("/console/you/prove")
    page = send(owner.client, "/console/you/prove", asked, **fields)
    assert page.status_code == 200
    wrong = [
        send(owner.client, "/console/you/prove", asked, password="no", code="1").status_code
        for _ in range(11)
    ]
    assert wrong == [403] * 10 + [429]


@only_sqlite
def test_a_hundred_wrong_ones_stop_an_address(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_of, "PLACE_TRIES", 15)
    client = house.browser()
    answers = [knock(client, f"person{number}@example.com", "wrong").status_code for number in range(17)]
    assert answers == [403] * 15 + [429] * 2


def test_of_fifty_tries_at_once_ten_are_looked_at(house: House) -> None:
    house.colleague()
    tries = sessions_of.tries_for(house.context, OWNER, "203.0.113.7")
    barrier = threading.Barrier(16)

    def go(_: int) -> int:
        barrier.wait()
        passed = 0
        for _ in range(3):
            with suppress(TooMany):
                sessions_of.count_try(house.context, tries)
                passed += 1
        return passed

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(go, range(16))) == sessions_of.ACCOUNT_TRIES


@only_sqlite
def test_eight_hashes_wait_and_the_next_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_of, "ACCOUNT_TRIES", 1000)
    monkeypatch.setattr(sessions_of, "PLACE_TRIES", 1000)
    key, gate = world.key_of(house.context, house.license()), threading.Event()
    slow = staff_secrets.is_right

    def waiting(encoded: str, password: str) -> bool:
        gate.wait(10)
        return slow(encoded, password)

    monkeypatch.setattr(staff_secrets, "is_right", waiting)
    client = house.browser()
    page = client.get("/console/sign-in")

    def go(number: int) -> int:
        return send(
            client, "/console/sign-in", page, email=f"p{number}@example.com", password="x"
        ).status_code

    with ThreadPoolExecutor(14) as pool:
        work = [pool.submit(go, number) for number in range(14)]
        until = time.monotonic() + 10
        while sum(one.done() for one in work) < 4 and time.monotonic() < until:
            time.sleep(0.02)
        assert [one.result() for one in work if one.done()] == [429] * 4
        # The sold software is answered meanwhile.
        asked = client.post("/api/license/validate", json={"key": key})
        assert (asked.status_code, asked.json()["code"]) == (200, "VALID")
        gate.set()
        assert sorted(one.result() for one in work) == [403] * 10 + [429] * 4


# -- forms ----------------------------------------------------------------------------------------------

FORMS = (
    "/console/sign-out",
    "/console/staff",
    "/console/you/add",
    "/console/you/codes",
    "/console/you/password",
    "/console/licenses/lic_1/revoke",
    "/console/events/evt_1/replay",
)


@only_sqlite
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {},
        {"origin": "null"},
        {"origin": BASE, "sec-fetch-site": "cross-site"},
        {"origin": BASE, "sec-fetch-site": "same-site"},
    ],
    ids=["foreign", "without", "null", "cross-site", "same-site"],
)
def test_a_form_of_another_page_does_nothing(house: House, headers: dict[str, str]) -> None:
    owner = house.colleague()
    check = check_in(owner.client.get("/console/you"))
    for path in FORMS:
        answer = owner.client.post(path, data={"check": check}, headers=headers, follow_redirects=False)
        assert answer.status_code == 403, path
    assert is_in(owner.client)


@only_sqlite
def test_a_form_without_its_check_or_with_anothers_does_nothing(house: House) -> None:
    owner, other = house.colleague(), house.colleague("other@example.com")
    foreign = check_in(other.client.get("/console/you"))
    for fields in ({}, {"check": foreign}, {"check": ""}):
        for path in FORMS:
            answer = owner.client.post(path, data=fields, headers=ORIGIN, follow_redirects=False)
            assert answer.status_code == 403, path
    page = house.browser().get("/console/sign-in")
    stranger = house.browser()
    fields = {"check": check_in(page), "email": OWNER, "password": PASSWORD}
    assert stranger.post("/console/sign-in", data=fields, headers=ORIGIN).status_code == 403


@only_sqlite
def test_no_text_breaks_a_form(house: House) -> None:
    owner = house.colleague()
    held = house.license()
    page = owner.client.get(f"/console/licenses/{held.id}/suspend")
    for text in (
        "\x00",
        "x" * 501,
        "\u202e\u2066",
        "'; DROP TABLE licenses; --",
        "<script>alert(1)</script>",
    ):
        answer = send(owner.client, f"/console/licenses/{held.id}/suspend", page, reason=text)
        assert answer.status_code in (200, 422), text
        assert "<script>alert" not in answer.text
    for query in ("%00", "%ff", "a" * 400, "%3Cscript%3E"):
        assert owner.client.get(f"/console/licenses?q={query}").status_code in (200, 422)
    for path in ("/console/licenses/%00", "/console/events/..%2f..", "/console/licenses/lic_'"):
        assert owner.client.get(path).status_code in (404, 422)


# -- headers --------------------------------------------------------------------------------------------


@only_sqlite
@pytest.mark.parametrize("base", ["https://licenses.example.com", BASE])
def test_every_answer_carries_its_headers(house: House, base: str) -> None:
    owner = house.colleague()
    with_tls = base.startswith("https")
    client = house.browser(base_url=base)
    name = "__Host-keywright_staff" if with_tls else "keywright_staff"
    client.cookies.set(name, cookie(owner.client))
    pages = ["/console", "/console/licenses", "/console/events", "/console/staff", "/console/you"]
    pages += ["/console/nowhere", "/console/licenses/lic_none", "/console/sign-in", "/console/setup/none"]
    answers = [client.get(path, follow_redirects=False) for path in pages]
    answers += [house.browser(base_url=base).get(path, follow_redirects=False) for path in pages]
    answers.append(client.post("/console/you/codes", data={}, headers={"origin": base}))
    for answer in answers:
        assert answer.status_code < 500
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self';" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert ("strict-transport-security" in answer.headers) is with_tls
    door = house.browser(base_url=base).get("/console/sign-in").headers["set-cookie"]
    assert "HttpOnly" in door
    assert ("__Host-" in door and "Secure" in door) is with_tls
    assert "Domain" not in door


# -- roles ----------------------------------------------------------------------------------------------


@only_sqlite
def test_each_role_may_what_it_may(house: House) -> None:
    held = house.license()
    people = {role: house.colleague(f"{role}@example.com", role) for role in ("owner", "admin", "support")}
    people["read-only"] = house.colleague("read@example.com", "read-only")
    wanted = {
        "read-only": {"/console/events"},
        "support": {"/console/events", f"/console/licenses/{held.id}/suspend"},
        "admin": {
            "/console/events",
            f"/console/licenses/{held.id}/suspend",
            f"/console/licenses/{held.id}/revoke",
            "/console/staff",
        },
    }
    wanted["owner"] = wanted["admin"]
    for role, person in people.items():
        seen = {
            path
            for path in wanted["owner"]
            if person.client.get(path, follow_redirects=False).status_code == 200
        }
        assert seen == wanted[role], role
        page = person.client.get("/console/you")
        invited = send(person.client, "/console/staff", page, email=f"new-{role}@example.com", role="owner")
        assert (invited.status_code == 200) is (role == "owner")
        shown = person.client.get(f"/console/licenses/{held.id}").text
        assert ("Revoke" in shown) is (role in ("owner", "admin"))
    assert "/revoke" not in people["support"].client.get(f"/console/licenses/{held.id}").text


def test_a_changed_role_counts_with_the_next_page_and_an_owner_stays(house: House) -> None:
    owner = house.colleague()
    other = house.colleague("other@example.com", "admin")
    rows = {one.email: one.id for one in staff.list_staff(house.context, house.context.master.id)}
    page = owner.client.get("/console/staff")
    path = f"/console/staff/{rows['other@example.com']}"
    send(owner.client, f"{path}/role", page, role="read-only")
    assert other.client.get("/console/staff").status_code == 403
    last = send(owner.client, f"/console/staff/{rows[OWNER]}/role", page, role="admin")
    assert last.status_code == 409
    assert "last owner" in last.text
    send(owner.client, f"{path}/end-sessions", page)
    assert not is_in(other.client)
    sign_in(other.client, "other@example.com", house.code(other.secret))
    assert is_in(other.client)
    send(owner.client, f"{path}/close", page)
    assert not is_in(other.client)
    assert knock(house.browser(), "other@example.com").status_code == 403
    again = house.colleague("other@example.com", "support")
    assert is_in(again.client)
    assert sign_in(house.browser(), "other@example.com", other.codes[0]).status_code == 403
    acts = house.acts()
    for act in ("staff.role_changed", "staff.session_ended", "staff.closed"):
        assert act in acts


# -- one's own account ----------------------------------------------------------------------------------


@only_sqlite
def test_changing_what_one_signs_in_with_asks_for_a_proof(house: House, clock: TurnableClock) -> None:
    owner = house.colleague()
    clock.turn(minutes=11)
    page = owner.client.get("/console/you/password")
    assert page.url.path == "/console/you/prove"
    refused = send(owner.client, "/console/you/prove", page, password="wrong", code=house.code(owner.secret))
    assert refused.status_code == 403
    fields = {"password": PASSWORD, "code": house.code(owner.secret), "onward": "/console/you/password"}
    page = send(owner.client, "/console/you/prove", page, **fields)
    assert page.url.path == "/console/you/password"
    elsewhere = house.browser()
    house.later()
    sign_in(elsewhere, OWNER, house.code(owner.secret))
    new = "quite another long one"
    done = send(owner.client, "/console/you/password", page, password=new, again=new)
    assert "Your password was changed." in done.text
    assert is_in(owner.client)
    assert not is_in(elsewhere)
    assert knock(house.browser(), OWNER).status_code == 403
    assert knock(house.browser(), OWNER, new).status_code == 200
    assert "Keywright: Your password was changed" in [mail.subject for mail in house.deliver()]


@only_sqlite
def test_factors_are_added_and_removed_and_the_last_one_stays(house: House) -> None:
    owner = house.colleague()
    page = owner.client.get("/console/you")
    page = send(owner.client, "/console/you/add", page)
    found = re.search(r'<p class="secret"><code>([^<]*)', page.text)
    assert found
    secret = found[1].replace(" ", "")
    added = send(owner.client, "/console/you/add/confirm", page, code=house.code(secret), name="Tablet")
    assert "The second factor was added." in added.text
    assert "Tablet" in added.text
    factors = re.findall(r"factors/(fac_\w+)/remove", added.text)
    assert len(factors) == 2
    send(owner.client, f"/console/you/factors/{factors[0]}/remove", added)
    last = send(owner.client, f"/console/you/factors/{factors[1]}/remove", added)
    assert last.status_code == 409
    house.later()
    assert sign_in(house.browser(), OWNER, house.code(owner.secret)).status_code == 403
    assert sign_in(house.browser(), OWNER, house.code(secret)).status_code == 200
    subjects = [mail.subject for mail in house.deliver()]
    assert "Keywright: A second factor was added" in subjects
    assert "Keywright: A second factor was removed" in subjects


@only_sqlite
def test_one_ends_ones_own_sessions_and_nobody_elses(house: House) -> None:
    owner, other = house.colleague(), house.colleague("other@example.com")
    elsewhere = house.browser()
    sign_in(elsewhere, OWNER, house.code(owner.secret))
    page = owner.client.get("/console/you")
    (there,) = re.findall(r"sessions/(sss_\w+)/end", page.text)
    refused = send(other.client, f"/console/you/sessions/{there}/end", other.client.get("/console/you"))
    assert refused.status_code == 404
    assert is_in(elsewhere)
    send(owner.client, f"/console/you/sessions/{there}/end", page)
    assert not is_in(elsewhere)


@only_sqlite
def test_new_recovery_codes_end_the_old_ones(house: House) -> None:
    owner = house.colleague()
    page = send(owner.client, "/console/you/codes", owner.client.get("/console/you"))
    codes = re.findall(r"<li><code>([^<]+)", page.text)
    assert len(set(codes) - set(owner.codes)) == 10
    assert sign_in(house.browser(), OWNER, owner.codes[0]).status_code == 403
    assert sign_in(house.browser(), OWNER, codes[0]).status_code == 200


# -- what is stored -------------------------------------------------------------------------------------


@only_sqlite
def test_nothing_that_lets_in_is_stored_in_the_clear(house: House) -> None:
    owner = house.colleague()
    client = house.browser()
    knock(client, OWNER)
    kept = []
    with house.context.database.read() as connection:
        for table in (factor_table, staff_sessions):
            kept += [str(value) for row in connection.execute(sa.select(table)) for value in row]
        kept += [str(v) for row in connection.execute(sa.text("SELECT * FROM staff")) for v in row]
    text = "\n".join(kept)
    secrets = [owner.secret, PASSWORD, cookie(owner.client), cookie(client), "$argon2id"]
    secrets += [code.replace("-", "") for code in owner.codes]
    assert [secret for secret in secrets if secret in text] == []


# -- licenses -------------------------------------------------------------------------------------------


def test_a_preview_changes_nothing_and_the_act_does(house: House) -> None:
    owner = house.colleague()
    held = house.license()
    one = f"/console/licenses/{held.id}"
    for act, fields, told in (
        ("suspend", {}, "suspended"),
        ("reinstate", {}, "active"),
        ("extend", {"days": "10"}, "Entitled until"),
        ("transfer", {"email": "new@example.com"}, "new@example.com"),
        ("rotate-key", {}, "Key ends in"),
        ("resend", {}, "A mail with the key goes to new@example.com"),
        ("revoke", {}, "revoked"),
    ):
        before = world.the_license(house.context)
        owed = world.count(house.context, announcements)
        page = send(owner.client, f"{one}/{act}", owner.client.get(f"{one}/{act}"), **fields)
        assert told in page.text, act
        assert world.the_license(house.context) == before
        assert world.count(house.context, announcements) == owed
        done = send(owner.client, f"{one}/{act}", page, step="do", reason=f"ticket {act}", **fields)
        assert done.status_code == 200, done.text
        assert world.the_license(house.context) != before
        assert f"ticket {act}" in done.text
    rows = license_views.timeline_of(house.context, held.tenant_id, held.id).items
    assert {str(row.detail.get("by")).partition("_")[0] for row in rows[1:]} == {"staff stf"}


@only_sqlite
def test_a_form_that_will_not_do_is_told_why_and_keeps_what_was_typed(house: House) -> None:
    owner = house.colleague()
    held = house.license()
    one = f"/console/licenses/{held.id}"
    for act, fields in (
        ("extend", {}),
        ("extend", {"days": "0"}),
        ("extend", {"days": "99999999"}),
        ("extend", {"until": "2001-01-01"}),
        ("extend", {"until": "soon"}),
        ("transfer", {"email": "nobody"}),
    ):
        page = owner.client.get(f"{one}/{act}")
        answer = send(owner.client, f"{one}/{act}", page, reason="because of it", **fields)
        assert answer.status_code == 422, (act, fields)
        assert "because of it" in answer.text


@only_sqlite
def test_one_box_finds_a_license_by_all_its_names(house: House) -> None:
    owner = house.colleague()
    held = house.license()
    names = [held.id, held.key_last5.lower(), world.key_of(house.context, held), "HOLDER@example.com"]
    for name in names:
        found = owner.client.get("/console/licenses", params={"q": f" {name} "})
        assert found.url.path == f"/console/licenses/{held.id}", name
    found = owner.client.get("/console/licenses", params={"q": "nobody@example.com"})
    assert "Nothing is called so" in found.text


@only_sqlite
def test_events_are_seen_tried_and_replayed(house: House, clock: TurnableClock) -> None:
    owner = house.colleague()
    now = clock.now()
    sub = stripe.subscription("sub_1", now, now + timedelta(days=30), price="price_late")
    world.hand_in(house.context, stripe.event("customer.subscription.created", sub, now, id_="evt_one"))
    paid = stripe.invoice("in_1", "sub_1", now, now + timedelta(days=30), price="price_late")
    world.hand_in(house.context, stripe.event("invoice.paid", paid, now, id_="evt_two"))
    page = owner.client.get("/console/events?status=parked")
    ids = re.findall(r'href="/console/events/(evt_\w+)"', page.text)
    assert len(ids) == 2
    found = owner.client.get("/console/licenses", params={"q": "evt_two"})
    assert found.url.path.startswith("/console/events/")
    world.stock(house.context, price_late=YEARLY)
    path = f"{found.url.path}/replay"
    tried = send(owner.client, path, owner.client.get(found.url.path))
    assert "would be made" in tried.text
    assert world.all_licenses(house.context) == []
    send(owner.client, path, tried, step="do")
    assert len(world.all_licenses(house.context)) == 1
    assert house.acts()[-1] == "event.replayed"


@only_sqlite
def test_many_events_are_tried_and_replayed_at_once(house: House, clock: TurnableClock) -> None:
    owner = house.colleague()
    now = clock.now()
    for number in range(3):
        end = now + timedelta(days=30)
        paid = stripe.invoice(f"in_{number}", f"sub_{number}", now, end, price="price_late")
        world.hand_in(house.context, stripe.event("invoice.paid", paid, now))
    world.stock(house.context, price_late=YEARLY)
    page = owner.client.get("/console/events?status=parked")
    tried = send(owner.client, "/console/events/replay", page, status="parked")
    assert tried.text.count("1 would change") == 3, tried.text
    assert world.all_licenses(house.context) == []
    done = send(owner.client, "/console/events/replay", tried, status="parked", step="do")
    assert "They were applied again" in done.text
    assert len(world.all_licenses(house.context)) == 3
    refused = send(owner.client, "/console/events/replay", page)
    assert refused.status_code == 422


# -- the last owner, by the command line ----------------------------------------------------------------


@only_sqlite
def test_the_last_owner_is_not_closed(house: House) -> None:
    house.colleague()
    (row,) = staff.list_staff(house.context, house.context.master.id)
    with pytest.raises(Conflict, match="last owner"):
        staff.close(house.context, house.context.master.id, row.id, "command line")
