"""S11: a code, a passkey's answer and a link are good once, for their time, and where they were asked for."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keywright.flows import staff_factors, staff_passkeys, staff_secrets, staff_sessions
from keywright.store.staff_tables import staff_sessions as staff_table
from keywright.store.tables import portal_sessions
from tests.conftest import TurnableClock
from tests.security.authenticator import PRESENT, VERIFIED, Authenticator
from tests.security.conftest import BUYER, ELSEWHERE, Phone, Serve
from tests.security.served import Browser, Person, Served, check_in, link_for

OWNER = "owner@example.com"
only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
VECTORS = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "crypto" / "rfc" / "rfc6238_totp.json").read_text()
)["vectors"]


def sessions_in(served: Served) -> int:
    """How many there are, of staff and of customers."""
    told = (sa.select(sa.func.count()).where(staff_table.c.stage == "full"), sa.select(sa.func.count()))
    with served.context.database.read() as connection:
        staff = connection.execute(told[0].select_from(staff_table)).scalar_one()
        return int(staff) + int(connection.execute(told[1].select_from(portal_sessions)).scalar_one())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried here is refused for what it is, not for how often it was tried."""
    monkeypatch.setattr(staff_sessions, "ACCOUNT_TRIES", 10**6)
    monkeypatch.setattr(staff_sessions, "PLACE_TRIES", 10**6)


# -- codes ----------------------------------------------------------------------------------------------


def test_the_codes_are_those_of_the_standard() -> None:
    right = 0
    for vector in VECTORS:
        secret = base64.b32encode(vector["seed_ascii"].encode()).decode()
        step, digest = vector["time"] // vector["step"], getattr(hashlib, vector["alg"])
        right += vector["code"] == staff_secrets.code_of(secret, step, digits=vector["digits"], digest=digest)
    assert (right, len(VECTORS)) == (18, 18)


@pytest.mark.usefixtures("patient")
def test_a_code_is_good_in_its_time_and_once(serve: Serve, phone: Phone) -> None:
    served = serve()
    person = Person(served, OWNER)
    phone.later(10)

    def enter(beside: int) -> bool:
        browser = served.browser()
        assert browser.knock(OWNER).status_code == 303
        browser.second(staff_secrets.code_of(person.secret, int(phone.time // 30) + beside))
        return browser.is_in()

    before = sessions_in(served)
    assert [enter(beside) for beside in (-3, -2, 2, 3)] == [False] * 4
    assert sessions_in(served) == before
    assert enter(0)
    assert [enter(beside) for beside in (0, -1, 0)] == [False] * 3  # used, or older than one that was
    assert enter(1)
    assert [enter(beside) for beside in (1, 0, -1)] == [False] * 3
    phone.later(3)
    assert enter(-1)
    assert sessions_in(served) == before + 3


@pytest.mark.usefixtures("patient")
def test_of_many_at_once_one_gets_in_with_a_code(serve: Serve, phone: Phone) -> None:
    served = serve()
    person = Person(served, OWNER)
    phone.later(10)
    code = staff_secrets.code_of(person.secret, int(phone.time // 30))
    before = sessions_in(served)

    ways = []
    for _ in range(8):
        browser = served.browser()
        assert browser.knock(OWNER).status_code == 303
        check = check_in(browser.get("/console/sign-in/second"))
        ways.append(sending(browser, "/console/sign-in/second", check, code=code))
    assert sorted(at_once(ways)) == [303] + [403] * 7
    assert sessions_in(served) == before + 1


def sending(browser: Browser, path: str, check: str, **fields: str) -> Callable[[], int]:
    """What sends a form, and tells how it was answered."""
    return lambda: browser.post(path, check=check, **fields).status_code


def at_once(calls: list[Callable[[], int]]) -> list[int]:
    barrier = threading.Barrier(len(calls))

    def go(call: Callable[[], int]) -> int:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(go, calls))


# -- passkeys -------------------------------------------------------------------------------------------

SITE = "licenses.example.com"


class Holder:
    """Somebody with a passkey, and his way to the page that asks for it."""

    def __init__(self, served: Served, email: str = OWNER) -> None:
        self.served = served
        self.person = Person(served, email)
        self.passkey = Authenticator(SITE, ELSEWHERE)
        context = served.context
        signed = staff_sessions.find(context, self.person.session)
        assert signed is not None
        staff_factors.begin_adding(context, signed)
        signed = staff_sessions.find(context, self.person.session)
        assert signed is not None
        shown = staff_factors.adding(context, signed)
        assert shown is not None
        assert shown.question is not None
        answer = self.passkey.make(shown.question)
        assert staff_factors.add(context, signed, code="", answer=answer, name="Key")

    def knock(self) -> tuple[Browser, dict[str, Any]]:
        """The password is right: a browser that is asked, and what it is asked."""
        browser = self.served.browser()
        assert browser.knock(self.person.email).status_code == 303
        assert browser.get("/console/sign-in/second").status_code == 200
        signed = staff_sessions.find(self.served.context, browser.session, "second")
        assert signed is not None
        question = staff_factors.question_for(self.served.context, signed)
        assert question is not None
        return browser, question

    def enter(self, browser: Browser, answer: str) -> bool:
        check = check_in(browser.get("/console/sign-in/second"))
        browser.post("/console/sign-in/second", check=check, answer=answer)
        return browser.is_in()


WRONG: dict[str, dict[str, Any]] = {
    "another origin": {"origin": "https://licenses.example.com.evil.example"},
    "the same name without https": {"origin": "http://licenses.example.com"},
    "another port": {"origin": "https://licenses.example.com:8443"},
    "another site": {"site": "evil.example"},
    "another challenge": {"challenge": staff_passkeys.new_challenge()},
    "no challenge": {"challenge": "AA"},
    "for making one": {"kind": "webauthn.create"},
    "nobody verified": {"flags": PRESENT},
    "nobody there": {"flags": VERIFIED},
    "the count stands still": {"count": 2},
    "the count goes back": {"count": 1},
    "the count is nothing": {"count": 0},
}


@only_sqlite
@pytest.mark.usefixtures("patient")
def test_a_passkey_that_answers_anything_else_lets_nobody_in(serve: Serve) -> None:
    served = serve(ELSEWHERE)
    holder = Holder(served)
    browser, question = holder.knock()
    assert holder.enter(browser, holder.passkey.answer(question))
    assert holder.passkey.count == 2
    before, let_in = sessions_in(served), []
    for called, wrong in WRONG.items():
        browser, question = holder.knock()
        if holder.enter(browser, holder.passkey.answer(question, **wrong)):
            let_in.append(called)
    assert let_in == []
    assert sessions_in(served) == before
    browser, question = holder.knock()
    assert holder.enter(browser, holder.passkey.answer(question))


@pytest.mark.usefixtures("patient")
def test_a_passkeys_answer_is_good_once_and_for_its_own_question(serve: Serve) -> None:
    served = serve(ELSEWHERE)
    holder, other = Holder(served), Holder(served, "other@example.com")
    first, asked = holder.knock()
    second, _ = holder.knock()
    before = sessions_in(served)
    answer = holder.passkey.answer(asked)
    assert not holder.enter(second, answer)  # asked in another session
    assert holder.enter(first, answer)
    again, _ = holder.knock()
    assert not holder.enter(again, answer)  # used
    browser, asked = holder.knock()
    assert not holder.enter(browser, other.passkey.answer(asked))  # somebody else's
    named = json.loads(other.passkey.answer(asked))
    named["id"] = named["rawId"] = json.loads(answer)["id"]
    browser, asked = holder.knock()
    assert not holder.enter(browser, json.dumps(named))  # under the name of ours
    browser, asked = holder.knock()
    assert not holder.enter(browser, holder.passkey.answer(asked, challenge="AAAA"))
    assert not holder.enter(browser, holder.passkey.answer(asked))  # a question is asked once
    assert sessions_in(served) == before + 1


@pytest.mark.usefixtures("patient")
def test_of_many_at_once_one_gets_in_with_a_passkeys_answer(serve: Serve) -> None:
    served = serve(ELSEWHERE)
    holder = Holder(served)
    browser, asked = holder.knock()
    check, answer = check_in(browser.get("/console/sign-in/second")), holder.passkey.answer(asked)
    before = sessions_in(served)
    calls = [
        sending(served.browser().carry(browser.session), "/console/sign-in/second", check, answer=answer)
        for _ in range(6)
    ]
    at_once(calls)
    assert sessions_in(served) == before + 1


# -- links by mail --------------------------------------------------------------------------------------


class Letter:
    """A link that was asked for in a browser."""

    def __init__(self, served: Served, email: str = BUYER) -> None:
        self.browser = served.browser()
        self.browser.get("/portal")
        self.name = self.browser.cookies[served.named("keywright_browser")]
        self.path = f"/portal/link/{link_for(served.context, email, self.name)}"

    def confirm(self, browser: Browser | None = None) -> int:
        """Open it and press the button, as far as the page has one."""
        opened = browser or self.browser
        page = opened.get(self.path)
        if page.status_code != 200:
            return page.status_code
        return opened.post(self.path, check=check_in(page)).status_code


def test_a_link_lets_in_once(serve: Serve) -> None:
    served = serve()
    letter = Letter(served)
    page = letter.browser.get(letter.path)
    check = check_in(page)
    copies = [served.browser() for _ in range(6)]
    for copy in copies:
        copy.cookies = dict(letter.browser.cookies)
    told = at_once([sending(copy, letter.path, check) for copy in copies])
    assert sorted(told) == [303] + [410] * 5
    assert sessions_in(served) == 1
    assert letter.confirm(copies[told.index(410)]) == 410
    assert sessions_in(served) == 1


@pytest.mark.parametrize(
    ("seconds", "status"), [(599, 303), (600, 410), (601, 410)], ids=["before", "at", "after"]
)
@only_sqlite
def test_a_link_lives_ten_minutes(serve: Serve, clock: TurnableClock, seconds: int, status: int) -> None:
    served = serve()
    letter = Letter(served)
    clock.turn(seconds=seconds)
    assert letter.confirm() == status
    assert sessions_in(served) == (1 if status == 303 else 0)


@only_sqlite
def test_a_page_that_was_opened_in_time_is_over_with_the_link(serve: Serve, clock: TurnableClock) -> None:
    served = serve()
    letter = Letter(served)
    check = check_in(letter.browser.get(letter.path))
    clock.turn(minutes=10, seconds=1)
    assert letter.browser.post(letter.path, check=check).status_code == 410
    assert sessions_in(served) == 0


@only_sqlite
def test_another_browser_gets_nothing_from_a_link(serve: Serve) -> None:
    served = serve()
    letter, other = Letter(served), Letter(served, "stranger@example.com")
    blank = served.browser("203.0.113.50")
    assert letter.confirm(blank) == 403
    assert letter.confirm(other.browser) == 403
    # With the hidden field of its own page, too.
    check = check_in(other.browser.get("/portal"))
    assert other.browser.post(letter.path, check=check).status_code == 403
    assert blank.post(letter.path, check=check).status_code == 403
    assert sessions_in(served) == 0
    assert letter.confirm() == 303


@only_sqlite
def test_whoever_looks_at_a_link_before_its_reader_uses_nothing_up(serve: Serve) -> None:
    served = serve()
    letter = Letter(served)
    scanner = served.browser("203.0.113.60")
    for browser in (scanner, letter.browser):
        for headers in ({}, {"purpose": "prefetch"}, {"sec-purpose": "prefetch;prerender"}):
            for method in ("GET", "HEAD", "OPTIONS"):
                answer = browser.ask(method, letter.path, headers=headers)
                assert answer.status_code < 500
                assert served.named("keywright_session") not in browser.cookies
    assert sessions_in(served) == 0
    assert letter.confirm() == 303
