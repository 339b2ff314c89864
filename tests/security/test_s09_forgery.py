"""S9: nothing is done because a page of somebody else asked a browser of ours to do it.

Every route that changes something is asked with the cookies of somebody who may do everything, and with the
hidden field that only our own pages know: what is left to refuse is where the request comes from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from litestar import Request

from keywright.flows.context import Context
from keywright.flows.renewing import NO_PROOF
from keywright.store.tables import metadata
from keywright.web.proof import proof_of
from tests.security.conftest import ELSEWHERE, Serve
from tests.security.everything import Tour
from tests.web.route_table import RULES, Rule

# Where a form comes from is looked at before any database is.
only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)

FOREIGN: Mapping[str, Mapping[str, str]] = {
    "another origin": {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    "another origin, an old browser": {"origin": "https://evil.example"},
    "no origin": {"sec-fetch-site": "cross-site"},
    "neither": {},
    "null": {"origin": "null"},
    "null, and says it is ours": {"origin": "null", "sec-fetch-site": "same-origin"},
    "a neighbor that says it is us": {"origin": "{base}", "sec-fetch-site": "same-site"},
    "a stranger that says it is us": {"origin": "{base}", "sec-fetch-site": "cross-site"},
    "our name with another port": {"origin": "{base}1"},
    "our name within another": {"origin": "{base}.evil.example"},
    "by its referrer alone": {"referer": "{base}/console/you"},
}
"""What a request says of where it comes from."""

BY_COOKIE = ("staff", "customer", "link", "claim")
"""Credentials that a browser sends along by itself. All others must be put into the request by whoever makes
it, which a page of another site cannot do for our visitor."""

OPEN = {
    "POST /api/checkout/session": "anybody may open a checkout; a session counts only from our own page",
    "POST /api/checkout/session/{reference:str}/verify": "anybody may have the provider asked",
}
FORMS_OF_STRANGERS = {"POST /portal", "POST /buy/{product:str}", "POST /console/sign-in"}
FORMS_OF_STRANGERS |= {"POST /console/sign-in/second", "POST /console/second-factor"}


def changing() -> list[Rule]:
    return [rule for rule in RULES.values() if rule.method not in ("GET", "ANY")]


def by_cookie(rule: Rule) -> bool:
    return rule.credential.startswith(BY_COOKIE) or rule.name in FORMS_OF_STRANGERS


def rows_of(context: Context) -> dict[str, list[str]]:
    """All that the database holds, less when sessions were last used."""
    found = {}
    with context.database.read() as connection:
        for table in metadata.sorted_tables:
            columns = [column for column in table.c if column.name != "seen_at"]
            found[table.name] = sorted(map(repr, connection.execute(sa.select(*columns)).all()))
    return found


def from_where(headers: Mapping[str, str], base: str) -> dict[str, str]:
    return {name: value.replace("{base}", base) for name, value in headers.items()}


def test_every_route_that_changes_something_is_of_one_kind_or_the_other() -> None:
    rest = [
        rule.name
        for rule in changing()
        if not by_cookie(rule) and not rule.credential.startswith("token:") and rule.name not in OPEN
    ]
    assert rest == []
    assert len(changing()) > 70


@only_sqlite
def test_nothing_is_accepted_that_comes_from_elsewhere(serve: Serve) -> None:
    tour = Tour(serve())
    browser = tour.everybody()
    before = rows_of(tour.context)
    accepted = []
    for called, headers in FOREIGN.items():
        sent = from_where(headers, tour.served.base_url)
        for number, rule in enumerate(filter(by_cookie, changing())):
            fields = {"check": tour.check_of(rule, browser), "step": "do", "reason": "forged"}
            browser.place = f"198.51.100.{number}"  # limits by address are not what refuses here
            answer = browser.ask(rule.method, tour.path_of(rule), headers=sent, data=fields)
            # Nor is the limit on a person's acts: it is counted before a form is looked at.
            if answer.status_code not in (403, 429) or answer.headers.get("set-cookie"):
                accepted.append((called, rule.name, answer.status_code))
    assert accepted == []
    assert rows_of(tour.context) == before
    assert browser.is_in()


@only_sqlite
def test_a_cookie_is_no_token(serve: Serve) -> None:
    tour = Tour(serve())
    browser = tour.everybody()
    before = rows_of(tour.context)
    ours = {"origin": tour.served.base_url, "sec-fetch-site": "same-origin"}
    for rule in changing():
        if rule.credential.startswith("token:"):
            for headers in (ours, {"origin": "https://evil.example"}, {}):
                answer = browser.ask(rule.method, tour.path_of(rule), headers=headers, json={})
                assert answer.status_code == 401, rule.name
    assert rows_of(tour.context) == before


@only_sqlite
def test_the_same_forms_from_our_own_page_are_taken(serve: Serve) -> None:
    """What refuses above is where a request comes from, and nothing else."""
    tour = Tour(serve())
    browser = tour.everybody()
    suspend = RULES["POST /console/licenses/{license_id:str}/suspend"]
    resend = RULES["POST /portal/licenses/{license_id:str}/resend"]
    for origin in ({}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
        headers = {"origin": tour.served.base_url, **origin}
        for rule, taken in ((suspend, (200,)), (resend, (303, 429))):
            fields = {"check": tour.check_of(rule, browser)}
            answer = browser.ask("POST", tour.path_of(rule), headers=headers, data=fields)
            assert answer.status_code in taken, answer.text


@only_sqlite
@pytest.mark.parametrize("base", ["", ELSEWHERE], ids=["http", "https"])
def test_a_session_opens_no_checkout_for_another_site(serve: Serve, base: str) -> None:
    tour = Tour(serve(base))
    cookies = "; ".join(f"{name}={value}" for name, value in tour.everybody().cookies.items())

    def proof(headers: Mapping[str, str]) -> object:
        told = {"cookie": cookies, "host": "127.0.0.1", **from_where(headers, tour.served.base_url)}
        pairs = [(name.encode(), value.encode()) for name, value in told.items()]
        scope: Any = {"type": "http", "headers": pairs}  # all of it that is looked at
        request: Request[Any, Any, Any] = Request(scope)
        return asyncio.run(proof_of(tour.context, request))

    for called, headers in FOREIGN.items():
        assert proof(headers) == NO_PROOF, called
    assert proof({"origin": "{base}", "sec-fetch-site": "same-origin"}) != NO_PROOF


@only_sqlite
def test_reading_changes_nothing(serve: Serve) -> None:
    """Whatever may be fetched by a link, a picture or a scanner of mails."""
    tour = Tour(serve())
    browser = tour.everybody()
    for page in ("/console/you/prove", "/console/you", "/console/sign-in/second"):
        browser.get(page)  # a question to a passkey is thought of when it is first asked
    before = rows_of(tour.context)
    for rule, method, path in tour.requests():
        if method == "GET" and "stream" not in path:
            for headers in ({}, {"authorization": f"Bearer {tour.bearer}"}):
                answer = browser.ask(method, path, headers=headers)
                assert answer.status_code < 500, rule.name
    after = rows_of(tour.context)
    changed = {name: after[name] for name in after if after[name] != before[name]}
    changed.pop("revocation_lists", None)  # made and signed when it is first asked for
    assert changed == {}
