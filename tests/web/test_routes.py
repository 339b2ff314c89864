"""Every route has an owner, a credential and a tenant rule, and keeps to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, WebSocket, asgi, get, websocket
from litestar.routes import ASGIRoute, HTTPRoute
from litestar.testing import TestClient

import keywright.web
from keywright.domain.plan import Terms
from keywright.domain.staff import ROLES
from keywright.flows import operate, staff_sessions, tokens
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.store import staff as people
from keywright.store import tenants
from keywright.store.staff import Staff
from keywright.store.tenants import Tenant
from keywright.web.app import create_app
from tests.life import world
from tests.web.conftest import BASE, Client, IdleEngine
from tests.web.route_table import RULES, Rule

only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)

CREDENTIALS = re.compile(
    r"nobody(,.*)?|signature|key|key or claim|claim|link|customer|metrics token"
    r"|token:(read|write|checkout|admin)|staff:(owner|admin|support|read-only)( proven)?"
)


OWNERS = {
    *("intake", "licensing", "streams", "health", "admin API", "signing keys", "storefront", "checkout"),
    *("sandbox", "portal", "console", "webhooks"),
}
"""The parts of the program that look after routes."""


class Site:
    """The server with everything on, and people of every kind to knock at it."""

    def __init__(self, context: Context, stack: ExitStack) -> None:
        self.context = replace(context, policy=replace(context.policy, sandbox=True))
        self.app = create_app(self.context, IdleEngine(), metrics_token="metrics")
        self.client: Client = stack.enter_context(TestClient(self.app, base_url=BASE))

    def staff(self, role: str) -> str:
        """The secret of a session of this role."""
        now = self.context.clock.now()
        email = f"{role}@example.com"
        made = Staff(self.context.new_id("stf"), self.context.master.id, email, role, now, ready_at=now)
        with self.context.database.write() as connection:
            people.insert(connection, made)
            return staff_sessions.start(self.context, connection, made, "full", "a test")

    def knock(self, rule: Rule, session: str = "") -> httpx.Response:
        """Ask for a route, with a session of the console or without one."""
        headers = {"origin": BASE, **({"cookie": f"keywright_staff={session}"} if session else {})}
        return self.client.request(rule.method, path_of(rule), headers=headers, follow_redirects=False)

    def token(self, tenant: Tenant, scope: str) -> dict[str, str]:
        return {"authorization": f"Bearer {tokens.create(self.context, tenant, scope, scope)[1]}"}

    def another_tenant(self) -> Tenant:
        other = Tenant(self.context.new_id("ten"), "other", "Other seller")
        with self.context.database.write() as connection:
            tenants.insert(connection, other, self.context.clock.now())
        return other


@pytest.fixture
def site(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # There are more routes to knock at than one person may in a minute.
    monkeypatch.setattr("keywright.web.console.gate._ACTS_A_MINUTE", 10_000)
    with ExitStack() as stack:
        yield Site(context, stack)


FILES = {
    f"GET /static/{path.name}" for path in Path(keywright.web.__file__).parent.joinpath("static").iterdir()
}
"""What lies in the folder is the same for everybody, and has no line."""


def served(app: Litestar) -> dict[str, Any]:
    """What the server answers at: method and path -> handler. OPTIONS are the framework's own."""
    found: dict[str, Any] = {}
    for route in app.routes:
        path = route.path
        if isinstance(route, ASGIRoute):
            found[f"ANY {path}"] = route.route_handler
        elif isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods:
                    found[f"{method} {path}"] = handler
        else:
            found[f"{type(route).__name__} {path}"] = route  # a kind that no line can speak of
    return {
        name: handler
        for name, handler in found.items()
        if not name.startswith("OPTIONS ") and name not in FILES
    }


def path_of(rule: Rule, **ids: str) -> str:
    """An address under this path; ids that are not given lead nowhere."""
    return re.sub(r"{(\w+)(:\w+)?}", lambda found: ids.get(found[1], "nothing_1"), rule.path)


def rules(kind: str) -> list[Rule]:
    return [rule for rule in RULES.values() if rule.credential.startswith(kind)]


@only_sqlite
def test_every_route_has_its_line_and_every_line_its_route(site: Site) -> None:
    there = set(served(site.app))
    assert sorted(there - set(RULES)) == [], "routes without an owner, a credential and a tenant rule"
    assert sorted(set(RULES) - there) == [], "lines without a route"


@only_sqlite
def test_a_route_without_a_line_is_noticed_whatever_its_kind(site: Site) -> None:
    @get("/console/quiet")
    async def page() -> None: ...

    @asgi("/api/quiet", copy_scope=False)
    async def bare(scope: Any, receive: Any, send: Any) -> None: ...

    @websocket("/quiet")
    async def socket(socket: WebSocket[Any, Any, Any]) -> None: ...

    @get("/static/quiet.css")
    async def file() -> None: ...

    app = create_app(site.context, IdleEngine(), metrics_token="metrics")
    for handler in (page, bare, socket, file):
        app.register(handler)
    assert sorted(set(served(app)) - set(RULES)) == [
        "ANY /api/quiet",
        "GET /console/quiet",
        "GET /static/quiet.css",
        "WebSocketRoute /quiet",
    ]


@only_sqlite
def test_the_portal_lets_nobody_in_without_a_session(site: Site) -> None:
    """Nor with a session of staff."""
    asked = rules("customer")
    assert len(asked) > 15
    for session in ("", site.staff("owner")):
        for rule in asked:
            answer = site.knock(rule, session)
            told = (answer.status_code, answer.headers.get("location"))
            assert told in ((303, "/portal"), (403, None), (404, None), (410, None)), (rule.name, told)


def test_every_line_answers_its_three_questions() -> None:
    for rule in RULES.values():
        assert rule.owner in OWNERS, rule.name
        assert (rule.owner == "console") is rule.path.startswith("/console"), rule.name
        assert rule.credential.startswith("token:") is rule.path.startswith("/api/admin"), rule.name
        assert CREDENTIALS.fullmatch(rule.credential), rule.name
        assert re.fullmatch(r"(of the|master|all|none).*", rule.tenant), rule.name


@only_sqlite
def test_the_console_declares_what_the_table_says(site: Site) -> None:
    handlers = served(site.app)
    for rule in RULES.values():
        if rule.owner != "console":
            continue
        told = handlers[rule.name].opt
        assert told["tenant"] == rule.tenant, rule.name
        if rule.credential.startswith("staff:"):
            asked = f"staff:{told['role']}{' proven' if told['proven'] else ''}"
            assert asked == rule.credential, rule.name
            assert handlers[rule.name].guards, rule.name
        else:
            assert told["role"] == "anyone", rule.name


@only_sqlite
def test_the_console_lets_nobody_in_without_a_session(site: Site) -> None:
    for rule in rules("staff:"):
        answer = site.knock(rule)
        if rule.method == "GET":
            assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in"), rule.name
        else:
            assert answer.status_code == 401, rule.name


@only_sqlite
def test_the_console_refuses_every_lower_role_and_no_other(site: Site) -> None:
    asked = rules("staff:")
    assert len(asked) > 40
    for place, role in enumerate(ROLES):
        session, may = site.staff(role), ROLES[place:]
        for rule in asked:
            least = rule.credential.removeprefix("staff:").removesuffix(" proven")
            answer = site.knock(rule, session)
            if least not in may:
                assert answer.status_code == 403, (role, rule.name)
            elif rule.method == "GET":
                assert answer.status_code in (200, 303, 404), (role, rule.name)
            else:
                # The role will do; the form, which is empty, will not.
                assert answer.status_code == 403, (role, rule.name)
                assert "did not come from our own page" in answer.text, (role, rule.name)


@only_sqlite
def test_what_needs_a_fresh_proof_asks_for_it(site: Site, clock: Any) -> None:
    session = site.staff("owner")
    clock.turn(minutes=11)
    for rule in rules("staff:"):
        answer = site.knock(rule, session)
        proof = answer.headers.get("location", "").startswith("/console/you/prove")
        assert proof is rule.credential.endswith(" proven"), rule.name


@only_sqlite
def test_a_session_of_a_customer_or_a_half_one_is_none_of_staff(site: Site) -> None:
    now, context = site.context.clock.now(), site.context
    made = Staff(context.new_id("stf"), context.master.id, "half@example.com", "owner", now, ready_at=now)
    with context.database.write() as connection:
        people.insert(connection, made)
        halves = [
            staff_sessions.start(context, connection, made, stage, "a test") for stage in ("second", "setup")
        ]
    for secret in halves:
        for rule in rules("staff:"):
            expected = 303 if rule.method == "GET" else 401
            assert site.knock(rule, secret).status_code == expected, rule.name


LOWER = {"read": ("checkout",), "write": ("checkout", "read"), "admin": ("checkout", "read", "write")}
STRANGE = {"no_such_member": 1}


@only_sqlite
def test_the_admin_api_refuses_strangers_and_every_lower_scope_and_no_other(site: Site) -> None:
    asked = rules("token:")
    assert len(asked) > 40
    bearers: dict[str, dict[str, str]] = {
        scope: site.token(site.context.master, scope) for scope in tokens.SCOPES
    }
    for rule in asked:
        scope = rule.credential.removeprefix("token:")
        body = {} if rule.method == "GET" else {"json": STRANGE}

        def status(headers: dict[str, str], rule: Rule = rule, body: Any = body) -> int:
            return site.client.request(rule.method, path_of(rule), headers=headers, **body).status_code

        assert status({}) == 401, rule.name
        assert status({"authorization": "Bearer kw_none"}) == 401, rule.name
        for lower in LOWER[scope]:
            assert status(bearers[lower]) == 403, (lower, rule.name)
        assert status(bearers[scope]) in (200, 204, 404, 422), rule.name


@only_sqlite
def test_another_tenants_token_reaches_nothing_of_ours(site: Site) -> None:
    context = site.context
    world.stock(context, price_pro=Terms())
    order = Order("dashcaddy/plan-0", "holder@example.com")
    row, _ = operate.issue(context, context.master.id, order, Act("test"))
    before = world.the_license(context)
    foreign = site.token(site.another_tenant(), "admin")
    ours = site.token(context.master, "admin")
    bodies = {"extend": {"days": 3}, "transfer": {"email": "thief@example.com"}, "note": {"text": "mine now"}}
    for rule in rules("token:"):
        if "{license_id:str}" not in rule.path:
            continue
        body = bodies.get(rule.path.rpartition("/")[2], {}) if rule.method == "POST" else None
        reply = {
            id_: site.client.request(rule.method, path_of(rule, license_id=id_), headers=foreign, json=body)
            for id_ in (row.id, "lic_none")
        }
        known, unknown = reply[row.id], reply["lic_none"]
        assert known.status_code == unknown.status_code >= 400, rule.name
        assert known.json() == unknown.json(), rule.name
        assert row.id not in known.text, rule.name
    assert world.the_license(context) == before
    mine = site.client.get(f"/api/admin/licenses/{row.id}", headers=ours)
    assert mine.json()["id"] == row.id
    for rule in rules("token:"):
        if rule.method == "GET" and "{" not in rule.path:
            listed = site.client.get(rule.path, headers=foreign)
            # What is the installation's is for the tenant that keeps it, and for nobody else.
            assert listed.status_code == (403 if rule.tenant == "master" else 200), rule.name
            assert context.master.id not in listed.text, rule.name
            assert row.id not in listed.text, rule.name
