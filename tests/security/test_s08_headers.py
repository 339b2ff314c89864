"""S8: every answer carries its headers, and every cookie is for this host alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from keywright.store.engine import Database
from tests.life import world
from tests.security.conftest import BUYER, ELSEWHERE, Serve
from tests.security.everything import Tour
from tests.security.served import Browser, Served, check_in, link_for

# Headers come from no database.
pytestmark = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)

ALL = {
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
}
HELD_BY_CACHES = re.compile(r"/static/|/buy\.js|(/t/[\w-]+)?/(\.well-known|brand)/")
"""What anybody may read, and may be kept: the same for everybody, signed in or not."""


def problems(answer: httpx.Response, *, secure: bool) -> Iterator[str]:
    """What is wrong with the headers of an answer."""
    told = answer.headers
    for name, value in ALL.items():
        if told.get(name) != value:
            yield f"{name}: {told.get(name)}"
    if not HELD_BY_CACHES.match(answer.url.path) and told.get("cache-control") != "no-store":
        yield f"cache-control: {told.get('cache-control')}"
    if told.get("referrer-policy") not in ("no-referrer", "same-origin"):
        yield f"referrer-policy: {told.get('referrer-policy')}"
    hsts = re.fullmatch(r"max-age=(\d+)", told.get("strict-transport-security", ""))
    if secure is not (hsts is not None and int(hsts[1]) >= 31536000):
        yield f"strict-transport-security: {told.get('strict-transport-security')}"
    yield from (f"{known}: {told[known]}" for known in ("server", "x-powered-by") if known in told)
    for known in ("content-security-policy", "cache-control"):
        if len(told.get_list(known)) != 1:
            yield f"{known}: {told.get_list(known)}"
    yield from policy_problems(told.get("content-security-policy", ""))


def policy_problems(policy: str) -> Iterator[str]:
    """What is wrong with a policy."""
    for must in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
        if must not in policy:
            yield f"no {must} in {policy!r}"
    if "unsafe-inline" in policy or "unsafe-eval" in policy or "*" in policy or " http:" in policy:
        yield f"a policy that lets in too much: {policy}"


def test_every_answer_of_every_route_carries_its_headers(serve: Serve) -> None:
    tour = Tour(serve(ELSEWHERE))
    stranger, everybody = tour.served.browser(), tour.everybody()
    wrong: dict[str, list[str]] = {}
    statuses: dict[str, set[int]] = {}

    def note(name: str, answer: httpx.Response) -> None:
        found = list(problems(answer, secure=tour.served.secure))
        statuses.setdefault(name, set()).add(answer.status_code)
        if found or answer.status_code >= 500:
            wrong[f"{name} {answer.status_code}"] = found

    for rule, method, path in tour.requests():
        for browser, headers in (
            (stranger, {}),
            (everybody, {"authorization": f"Bearer {tour.bearer}"}),
            (everybody, {"authorization": f"License {tour.key}"}),
        ):
            note(rule.name, browser.ask(method, path, headers=headers))
        # Another method, and one that nobody knows.
        note(rule.name, stranger.ask("PUT", path))
    for path in tour.files():
        note(path, stranger.get(path))
        note(path, stranger.ask("HEAD", path))
        assert statuses[path] & {200}, path
    assert wrong == {}
    # The pages were there, not only refusals of them.
    shown = [name for name, seen in statuses.items() if 200 in seen and name.startswith("GET ")]
    assert len(shown) > 40, shown
    assert {code for seen in statuses.values() for code in seen} >= {200, 303, 401, 403, 404, 405}


@pytest.mark.parametrize("base", ["", ELSEWHERE], ids=["http", "https"])
def test_what_no_route_answers_carries_them_too(serve: Serve, base: str) -> None:
    served = serve(base)
    client = served.browser()
    large = {"content-type": "application/json"}
    answers = [
        client.get("/nowhere"),
        client.get("/static/nothing.css"),
        client.get("/console/%00"),
        client.get("/static/../app.py"),
        client.ask("DELETE", "/nowhere"),
        client.ask("OPTIONS", "/api/checkout/session", headers={"origin": "https://evil.example"}),
        client.ask("POST", "/api/license/validate", headers=large, data={"x": "y" * 100_000}),
        client.ask("POST", "/console/sign-in", data={"x": "y" * 100_000}),
        client.ask("POST", "/api/license/validate", headers=large),
    ]
    for answer in answers:
        assert answer.status_code < 500, answer.url
        assert list(problems(answer, secure=served.secure)) == [], answer.url


def test_a_limit_that_is_reached_and_a_bug_are_no_exceptions(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(ELSEWHERE)
    client = served.browser()
    inside = Tour(served).everybody()
    # The limit is of a minute by the clock, and one may end here.
    tried = (client.get("/console/sign-in") for _ in range(600))
    limited = next(answer for answer in tried if answer.status_code == 429)

    def broken(_self: Database) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(Database, "read", broken)
    failed = [inside.get(path) for path in ("/console", "/api/public/plans")]
    assert [answer.status_code for answer in failed] == [500, 500]
    for answer in (limited, *failed):
        assert list(problems(answer, secure=True)) == [], answer.url
        assert "nobody foresaw" not in answer.text


# -- cookies --------------------------------------------------------------------------------------------


def visit_everything(served: Served) -> list[str]:
    """Every cookie that is ever set: at the doors, by an order, at each sign-in, and when leaving."""
    tour = Tour(served)
    shopper, customer, colleague = (served.browser(f"203.0.113.{n}") for n in (10, 11, 12))
    _order(served, shopper)
    _enter_portal(served, customer)
    colleague.knock(tour.person.email)
    colleague.second(tour.person.codes[0])
    assert colleague.is_in()
    colleague.post("/console/sign-out", check=check_in(colleague.get("/console/you")))
    assert not colleague.is_in()
    return [*shopper.told, *customer.told, *colleague.told]


def _order(served: Served, browser: Browser) -> None:
    page = browser.get("/buy/dashcaddy")
    choice = re.search(r'name="choice"[^>]*value="([^"]+)"|<option value="(plan[^"]+)"', page.text)
    fields = dict(re.findall(r'name="(check|once)" value="([^"]+)"', page.text))
    assert choice
    answer = browser.post(
        "/buy/dashcaddy", choice=choice[1] or choice[2], quantity="1", email="new@example.com", **fields
    )
    assert answer.status_code in (200, 303), answer.text


def _enter_portal(served: Served, browser: Browser) -> None:
    browser.get("/portal")
    name = browser.cookies[served.named("keywright_browser")]
    path = f"/portal/link/{link_for(served.context, BUYER, name)}"
    assert browser.post(path, check=check_in(browser.get(path))).status_code == 303
    page = browser.get("/portal/licenses")
    assert page.status_code == 200
    browser.post("/portal/leave", check=check_in(page))


@pytest.mark.parametrize("base", ["", ELSEWHERE], ids=["http", "https"])
def test_every_cookie_is_for_this_host_and_no_script(serve: Serve, base: str) -> None:
    served = serve(base)
    told = visit_everything(served)
    names = {text.partition("=")[0].removeprefix("__Host-") for text in told}
    assert {name for name in names if not name.startswith("keywright_claim")} == {
        "keywright_form",
        "keywright_browser",
        "keywright_session",
        "keywright_door",
        "keywright_staff",
        "keywright_place",
    }
    assert any(name.startswith("keywright_claim") for name in names)
    for text in told:
        parts = {part.strip().lower() for part in text.split(";")[1:]}
        assert "httponly" in parts, text
        assert parts & {"samesite=lax", "samesite=strict"}, text
        assert not any(part.startswith("domain") for part in parts), text
        assert text.startswith("__Host-") is served.secure, text
        assert ("secure" in parts) is served.secure, text
        if served.secure:
            assert "path=/" in parts, text


def test_over_https_a_cookie_that_a_neighbor_planted_counts_for_nothing(serve: Serve) -> None:
    served = serve(ELSEWHERE)
    tour = Tour(served)
    inside = tour.everybody()
    planted = served.browser()
    planted.cookies = {name.removeprefix("__Host-"): value for name, value in inside.cookies.items()}
    assert inside.is_in()
    assert not planted.is_in()
    assert planted.get("/portal/licenses").status_code == 303
    assert world.the_license(tour.context).id in inside.get("/portal/licenses").text
