"""`/api/admin/*` through the application, on both databases."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import TestClient

from keywright.delivery.safe_http import SafeHttp
from keywright.delivery.webhook import HttpWebhooks
from keywright.domain.plan import Terms
from keywright.flows import activating, licensing, tokens, webhooks
from keywright.flows.context import Context, new_id
from keywright.flows.licensing import Ask
from keywright.flows.operate import Act
from keywright.signing.hmac_key import DerivedSecrets
from keywright.store import tenants
from keywright.store.tables import products
from keywright.store.tables import tokens as token_table
from keywright.store.tenants import Tenant
from keywright.web.app import create_app
from keywright.workflows.views import Works
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.life.billing import BillDesk, billed_by
from tests.web.route_table import RULES

Client = TestClient[Litestar]

# Route, scope, a body that is good.
ROUTES: list[tuple[str, str, str, Any]] = [
    ("GET", "licenses", "read", None),
    ("GET", "licenses/{license}", "read", None),
    ("GET", "licenses/{license}/timeline", "read", None),
    ("POST", "licenses", "write", {"plan": "dashcaddy/plan-0", "email": "ann@example.com"}),
    ("POST", "licenses/{license}/extend", "write", {"days": 1}),
    ("POST", "licenses/{license}/suspend", "write", {"reason": "why"}),
    ("POST", "licenses/{license}/reinstate", "write", {"reason": "why"}),
    ("POST", "licenses/{license}/revoke", "write", {"reason": "why"}),
    ("POST", "licenses/{license}/resend", "write", {"reason": "why"}),
    ("POST", "licenses/{license}/rotate-key", "write", {"reason": "why"}),
    ("POST", "licenses/{license}/firm", "write", {"firm": "Acme", "reason": "why"}),
    ("POST", "firms/secret", "admin", {"firm": "Acme", "reason": "why"}),
    ("POST", "licenses/{license}/transfer", "write", {"email": "bob@example.com", "keep_machines": True}),
    ("POST", "licenses/{license}/give-seats", "write", {"seats": 1, "reason": "why"}),
    ("POST", "licenses/{license}/note", "write", {"note": "called about the invoice"}),
    ("POST", "licenses/bulk", "write", {"act": "note", "filter": {"plan": "plan-0"}, "reason": "why"}),
    ("GET", "products", "read", None),
    ("GET", "plans", "read", None),
    ("GET", "prices", "read", None),
    ("GET", "provider-accounts", "read", None),
    ("GET", "customers", "read", None),
    ("GET", "customers/{customer}", "read", None),
    ("GET", "audit", "admin", None),
    ("GET", "debug/store", "admin", None),
    ("GET", "workflows", "read", None),
    ("GET", "workflows/{workflow}", "read", None),
    ("POST", "workflows/{workflow}/retry", "admin", None),
    ("POST", "workflows/{workflow}/cancel", "admin", None),
    ("GET", "licenses/{license}/explain", "read", None),
    ("POST", "licenses/{license}/seats", "write", {"quantity": 3, "preview": True}),
    ("POST", "licenses/{license}/cancel", "write", {"reason": "why"}),
    ("POST", "licenses/{license}/resume", "write", {"reason": "why"}),
    ("POST", "licenses/{license}/refund", "write", {"amount": 100, "reason": "why"}),
    ("POST", "licenses/{license}/portal", "write", {"return_url": "http://127.0.0.1:8000/"}),
    ("GET", "activations", "read", None),
    ("GET", "activations?license={license}", "read", None),
    ("DELETE", "activations/{activation}", "write", None),
    ("GET", "events", "read", None),
    ("GET", "events/{event}", "read", None),
    ("POST", "events/{event}/replay", "write", {"dry_run": True}),
    ("POST", "events/replay", "write", {"status": "applied"}),
    ("GET", "tokens", "admin", None),
    ("POST", "tokens", "admin", {"name": "robot"}),
    ("DELETE", "tokens/{token}", "admin", None),
    ("GET", "keys", "read", None),
    ("POST", "keys/rotate", "admin", {"type": "lease+jwt", "reason": "why"}),
    ("POST", "keys/{kid}/revoke", "admin", {"reason": "why"}),
    ("GET", "webhook-endpoints", "admin", None),
    ("POST", "webhook-endpoints", "admin", {"url": "http://127.0.0.1:9/hook"}),
    ("GET", "webhook-endpoints/{endpoint}", "admin", None),
    ("PATCH", "webhook-endpoints/{endpoint}", "admin", {"note": "the shop"}),
    ("POST", "webhook-endpoints/{endpoint}/rotate-secret", "admin", {"overlap_hours": 1}),
    ("POST", "webhook-endpoints/{endpoint}/test", "admin", None),
    ("GET", "webhook-deliveries", "read", None),
    ("POST", "webhook-deliveries/{delivery}/redeliver", "write", None),
    ("DELETE", "webhook-endpoints/{endpoint}", "admin", None),
]
A_TEST = Act("a test")
OF_ONE = [route for route in ROUTES if "{" in route[1]]


class StillEngine:
    """No background work: what is owed stays owed."""

    def launch(self) -> None: ...

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None: ...


class Office:
    """A shop with one sale, and clients of every kind."""

    def __init__(self, context: Context, client: Client) -> None:
        self.context = context
        self.client = client
        world.stock(context, price_pro=Terms())
        with context.database.write() as connection:
            connection.execute(sa.update(products).values(code=7))
        start = context.clock.now()
        made = stripe.subscription("sub_1", start, start + timedelta(days=30), quantity=2)
        world.outcome(context, stripe.event("customer.subscription.created", made, start, id_="evt_sold"))
        paid = stripe.invoice("in_1", "sub_1", start, start + timedelta(days=30), quantity=2)
        world.outcome(context, stripe.event("invoice.paid", paid, start, id_="evt_paid"))
        self.sold = world.the_license(context)
        self.key = world.key_of(context, self.sold)
        asked = licensing.check(context, Ask(self.key, "machine-number-1"), fingerprint_needed=True)
        bound = activating.activate(context, asked).activation
        assert bound is not None
        spare, _ = tokens.create(context, context.master, "spare", "read")
        self.names = {
            "license": self.sold.id,
            "activation": bound.id,
            "event": "evt_sold",
            "token": spare.id,
            "customer": self.sold.customer_id or "",
            "workflow": Works(context.database).list_page().items[0].id,
            **self._listened(),
            "kid": context.signer.active_key(context.master.id, "lic+jwt"),
        }

    def _listened(self) -> dict[str, str]:
        """An endpoint that nobody answers at, and what was sent to it."""
        made = webhooks.create(self.context, self.sold.tenant_id, "http://127.0.0.1:9/hook", act=A_TEST)
        tried = webhooks.try_out(self.context, self.sold.tenant_id, made.id, act=A_TEST)
        return {"endpoint": made.id, "delivery": tried.delivery}

    def token(self, scope: str, tenant: Tenant | None = None) -> str:
        return tokens.create(self.context, tenant or self.context.master, "test", scope)[1]

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        url = f"/api/admin/{path.format(**self.names)}"
        return self.client.request(method, url, headers=headers, json=body)


@pytest.fixture
def office(context: Context, clock: TurnableClock) -> Iterator[Office]:
    shop = billed_by(context, BillDesk(clock))
    shop = replace(
        shop,
        firm_secrets=DerivedSecrets("long enough for a secret of this test"),
        webhooks=HttpWebhooks(SafeHttp(allow_private=True)),
    )
    with TestClient(create_app(shop, StillEngine())) as client:
        yield Office(shop, client)


def refusal(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def stranger(office: Office) -> str:
    """An admin token of another tenant."""
    other = Tenant(new_id("ten"), "stranger", "Stranger")
    with office.context.database.write() as connection:
        tenants.insert(connection, other, office.context.clock.now())
    return office.token("admin", other)


def test_every_route_works_with_its_scope(office: Office) -> None:
    for method, path, scope, body in ROUTES:
        answer = office.ask(method, path, body, token=office.token(scope))
        assert answer.status_code in (200, 201, 204), (path, answer.text)


def test_every_route_asks_for_a_token_before_it_reads(office: Office) -> None:
    good = office.token("admin")
    flipped = good[:-1] + ("0" if good[-1] != "0" else "1")
    for method, path, _, _ in ROUTES:
        for token in (None, "", "kw_nonsense", flipped, tokens.make(b"x" * 32), office.key):
            refusal(office.ask(method, path, {"nonsense": 1}, token=token), 401, "UNAUTHORIZED")
    for header in (f"Basic {base64.b64encode(good.encode()).decode()}", good, f"Claim {good}", "Bearer é"):
        answer = office.client.get("/api/admin/licenses", headers={b"authorization": header.encode()})
        refusal(answer, 401, "UNAUTHORIZED")


def test_every_route_asks_for_its_scope(office: Office) -> None:
    enough = {"read": {"read", "write", "admin"}, "write": {"write", "admin"}, "admin": {"admin"}}
    given = {scope: office.token(scope) for scope in tokens.SCOPES}
    for method, path, scope, _ in ROUTES:
        for name in sorted(set(given) - enough[scope]):
            refusal(office.ask(method, path, {"nonsense": 1}, token=given[name]), 403, "FORBIDDEN")
    assert world.the_license(office.context).overrides == office.sold.overrides


def test_another_tenants_objects_are_as_unknown_as_none(office: Office, stranger: str) -> None:
    nothing = {name: f"{name[:3]}_0" for name in office.names}
    before = world.the_license(office.context)
    for method, path, _, body in OF_ONE:
        theirs = office.ask(method, path, body, token=stranger)
        none = office.client.request(
            method,
            f"/api/admin/{path.format(**nothing)}",
            headers={"authorization": f"Bearer {stranger}"},
            json=body,
        )
        assert (theirs.status_code, theirs.json()) == (404, none.json()), path
    assert world.the_license(office.context) == before
    for path in ("licenses", "activations", "events", "customers", "prices", "workflows"):
        assert office.ask("GET", path, token=stranger).json() == {"items": [], "next_cursor": None}
    issue = {"plan": "dashcaddy/plan-0", "email": "ann@example.com"}
    refusal(office.ask("POST", "licenses", issue, token=stranger), 404, "PLAN_UNKNOWN")


def test_unknown_members_and_parameters_are_refused(office: Office) -> None:
    token = office.token("admin")
    before = world.the_license(office.context)
    for method, path, _, body in ROUTES:
        if body is not None:
            answer = office.ask(method, path, {**body, "colour": "red"}, token=token)
            assert "colour" in refusal(answer, 422, "INVALID")["detail"]
        elif method == "GET" and "{" not in path:
            answer = office.ask(method, f"{path}?colour=red", token=token)
            assert "colour" in refusal(answer, 422, "INVALID")["detail"]
    assert world.all_licenses(office.context) == [before]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("licenses", {"plan": "dashcaddy/plan-0"}),
        ("licenses", {"plan": "dashcaddy/plan-0", "email": "ann@example.com", "seats": "two"}),
        ("licenses", {"plan": "dashcaddy/plan-0", "email": "ann@example.com", "seats": 10**400}),
        (
            "licenses",
            {"plan": "dashcaddy/plan-0", "email": "ann@example.com", "until": "2030-01-01T00:00:00"},
        ),
        ("licenses", {"plan": "dashcaddy/plan-0", "email": "nobody"}),
        ("licenses", []),
        ("licenses/{license}/extend", {}),
        ("licenses/{license}/extend", {"days": -1}),
        ("licenses/{license}/extend", {"days": 1, "until": "2030-01-01T00:00:00Z"}),
        ("licenses/{license}/suspend", {"reason": "x" * 501}),
        ("licenses/{license}/transfer", {}),
        ("events/replay", {}),
        ("events/replay", {"status": "nope"}),
        ("events/replay", {"status": "applied", "limit": 100_000}),
        ("tokens", {"name": ""}),
        ("tokens", {"name": "x", "scope": "root"}),
    ],
)
def test_bodies_that_cannot_be_meant(office: Office, path: str, body: Any) -> None:
    refusal(office.ask("POST", path, body, token=office.token("admin")), 422, "INVALID")
    assert world.the_license(office.context).overrides == office.sold.overrides


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b'{"plan": "\xff"}', b"[" * 100_000, b'{"plan": "a", "plan": "b"}']
)
def test_bodies_that_are_not_json(office: Office, raw: bytes) -> None:
    headers = {"authorization": f"Bearer {office.token('admin')}", "content-type": "application/json"}
    refusal(office.client.post("/api/admin/licenses", headers=headers, content=raw), 422, "INVALID")


@pytest.mark.parametrize(
    "path", ["licenses?q=%00", "licenses?cursor=%00", "licenses/%00", "events?type=a%00b", "events/%00"]
)
def test_a_nul_in_the_address_is_refused(office: Office, path: str) -> None:
    refusal(office.ask("GET", path, token=office.token("read")), 422, "INVALID")


@pytest.mark.parametrize(
    "odd", ["%ED%A0%80", "%FF", "%E2%80%AE", "'", '"', "%25", "a" * 5000, "%F0%9F%92%A5"]
)
def test_odd_names_are_unknown(office: Office, odd: str) -> None:
    token = office.token("read")
    for path in ("licenses", "events"):
        assert office.ask("GET", f"{path}/{odd}", token=token).status_code == 404
    for name in ("q", "email", "plan", "cursor"):
        assert office.ask("GET", f"licenses?{name}={odd}", token=token).status_code == 200


def test_an_act_needs_no_body(office: Office) -> None:
    answer = office.ask("POST", "licenses/{license}/suspend", token=office.token("write"))
    assert (answer.status_code, answer.json()["status"]) == (200, "suspended")


def test_a_row_has_the_members_of_the_contract(office: Office) -> None:
    (row,) = office.ask("GET", "licenses", token=office.token("read")).json()["items"]
    assert row | {"customer": None, "created_at": None} == {
        "id": office.sold.id,
        "product": "dashcaddy",
        "plan": "plan-0",
        "status": "active",
        "seats": 2,
        "seats_after": None,
        "seats_after_at": None,
        "origin": "purchase",
        "trial": False,
        "customer": None,
        "entitled_until": "2026-12-01T12:00:00Z",
        "grace_until": "2026-12-15T12:00:00Z",
        "key_last5": office.key[-5:],
        "activations": 1,
        "reason": "",
        "firm": None,
        "created_at": None,
    }
    assert set(row["customer"]) == {"id", "email"}


def test_the_key_is_shown_once(office: Office) -> None:
    token = office.token("admin")
    body = {
        "plan": "dashcaddy/plan-0",
        "email": "ann@example.com",
        "seats": 3,
        "until": "2030-01-01T00:00:00+01:00",
    }
    made = office.ask("POST", "licenses", body, token=token)
    assert made.status_code == 201
    row = made.json()
    assert (row["seats"], row["entitled_until"]) == (3, "2029-12-31T23:00:00Z")
    answers = [office.ask("GET", path, token=token).text for path in ("licenses", f"licenses/{row['id']}")]
    answers.append(office.ask("GET", f"licenses/{row['id']}/timeline", token=token).text)
    rotated = office.ask("POST", f"licenses/{row['id']}/rotate-key", token=token)
    assert rotated.json()["key_last5"] != row["key_last5"]
    assert not any(row["key"] in text or '"key"' in text for text in (*answers, rotated.text))


def test_the_timeline_says_who_and_why(office: Office) -> None:
    token = office.token("write")
    office.ask("POST", "licenses/{license}/suspend", {"reason": "chargeback"}, token=token)
    page = office.ask("GET", "licenses/{license}/timeline?limit=1", token=token).json()
    seen = []
    while page["next_cursor"] is not None:
        seen += page["items"]
        path = f"licenses/{{license}}/timeline?limit=1&cursor={page['next_cursor']}"
        page = office.ask("GET", path, token=token).json()
    last = page["items"][-1]
    assert [entry["seq"] for entry in (*seen, last)] == [1, 2, 3]
    assert (last["kind"], last["detail"]["why"]) == ("license.suspended", "chargeback")
    assert last["detail"]["by"].startswith("token tok_")
    for cursor in ("x", "-1", "9" * 30, "%C2%B2"):
        answer = office.ask("GET", f"licenses/{{license}}/timeline?cursor={cursor}", token=token)
        refusal(answer, 422, "INVALID")


def test_lists_are_paged(office: Office, clock: TurnableClock) -> None:
    token = office.token("admin")
    for number in range(4):
        body = {"plan": "dashcaddy/plan-0", "email": f"c{number}@example.com"}
        assert office.ask("POST", "licenses", body, token=token).status_code == 201
    found, cursor = [], ""
    while cursor is not None:
        page = office.ask("GET", f"licenses?limit=2{cursor and f'&cursor={cursor}'}", token=token).json()
        found += [row["id"] for row in page["items"]]
        cursor = page["next_cursor"]
    assert len(found) == 5
    assert found == sorted(set(found), reverse=True)
    for limit in ("0", "201", "x"):
        for path in ("licenses", "events", "activations", "licenses/{license}/timeline"):
            refusal(office.ask("GET", f"{path}?limit={limit}", token=token), 422, "INVALID")


def test_a_machine_is_freed(office: Office) -> None:
    token = office.token("write")
    (row,) = office.ask("GET", "activations?license={license}", token=token).json()["items"]
    assert (row["id"], row["license"]) == (office.names["activation"], office.sold.id)
    assert office.ask("DELETE", "activations/{activation}", token=token).status_code == 204
    refusal(office.ask("DELETE", "activations/{activation}", token=token), 404, "ACTIVATION_UNKNOWN")
    assert office.ask("GET", "activations", token=token).json()["items"] == []


def test_a_token_is_stored_as_a_hash_and_ends_at_once(office: Office) -> None:
    admin = office.token("admin")
    made = office.ask("POST", "tokens", {"name": "robot", "scope": "read"}, token=admin).json()
    assert office.ask("GET", "licenses", token=made["token"]).status_code == 200
    with office.context.database.read() as connection:
        stored = str(connection.execute(token_table.select()).all())
    assert made["token"] not in stored
    assert made["token"] not in office.ask("GET", "tokens", token=admin).text
    assert office.ask("DELETE", f"tokens/{made['id']}", token=admin).status_code == 204
    refusal(office.ask("GET", "licenses", token=made["token"]), 401, "UNAUTHORIZED")


def test_the_description_names_the_typed_routes_and_no_others(office: Office) -> None:
    answer = office.client.get("/api/openapi.json")
    paths = msgspec.json.decode(answer.content)["paths"]
    described = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    served = {rule.name.replace(":str}", "}") for rule in RULES.values() if "/api/admin/" in rule.path}
    assert described == served
    asked = {f"{method} /api/admin/{path.partition('?')[0]}" for method, path, _, _ in ROUTES}
    asked = {re.sub(r"{\w+}", "{}", name) for name in asked}
    # These ask the provider, or are the installation's own: they are tested where that is.
    elsewhere = ("/reconcil", "/imports", "/tenants")
    mine = {re.sub(r"{\w+}", "{}", name) for name in served if not any(part in name for part in elsewhere)}
    assert asked == mine


def test_no_page_loads_scripts_from_elsewhere(office: Office) -> None:
    for path in ("/api", "/api/", "/api/docs", "/api/swagger", "/api/redoc", "/api/elements"):
        assert b"<script" not in office.client.get(path).content
