"""Tenants by the admin API and in the console: for the master tenant alone; and the staff of others."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from keywright.domain.plan import Terms
from keywright.flows import admin_views, operate, staff, staff_factors, tenants, tokens
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.web.app import create_app
from tests.conftest import TurnableClock
from tests.life import world
from tests.web.conftest import BASE, IdleEngine, Serve
from tests.web.test_console import OWNER, PASSWORD, House, send

only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
TENANTS = "/api/admin/tenants"


@pytest.fixture
def house(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with ExitStack() as stack:
        made = House(context, stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: made.phone)
        yield made


def bearer(context: Context, scope: str = "admin", tenant: str | None = None) -> dict[str, str]:
    _, text = tokens.issue(context, tenant or context.master.id, scope, scope, by="test")
    return {"authorization": f"Bearer {text}"}


# -- the admin API --------------------------------------------------------------------------------------


def test_a_tenant_is_made_read_listed_and_changed(shop: Context, serve: Serve) -> None:
    client, ours = serve(), bearer(shop)
    wish = {"name": "Acme  Tools", "slug": "acme", "email": "Hello@acme.example", "reason": "ticket 7"}
    answer = client.post(TENANTS, json=wish, headers=ours)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert (made["name"], made["slug"], made["email"]) == ("Acme Tools", "acme", "hello@acme.example")
    assert (made["is_master"], made["accounts"]) == (False, [])
    assert client.post(TENANTS, json=wish, headers=ours).json()["code"] == "TENANT_KNOWN"
    assert client.post(TENANTS, json={**wish, "slug": "A"}, headers=ours).status_code == 422
    listed = client.get(f"{TENANTS}?q=tools", headers=ours).json()
    assert [one["id"] for one in listed["items"]] == [made["id"]]
    page = client.get(f"{TENANTS}?limit=1", headers=ours).json()
    rest = client.get(f"{TENANTS}?cursor={page['next_cursor']}", headers=ours).json()
    assert [one["is_master"] for one in (*page["items"], *rest["items"])] == [False, True]
    change = {"website_origins": ["https://acme.example"], "email": None}
    changed = client.patch(f"{TENANTS}/acme", json=change, headers=ours).json()
    assert (changed["name"], changed["email"]) == ("Acme Tools", None)
    assert client.get(f"{TENANTS}/{made['id']}", headers=ours).json() == changed
    assert client.patch(f"{TENANTS}/acme", json={"slug": "other"}, headers=ours).status_code == 422
    wrong = {"return_origins": ["javascript:alert(1)"]}
    assert client.patch(f"{TENANTS}/acme", json=wrong, headers=ours).status_code == 422
    assert client.patch(f"{TENANTS}/{shop.master.id}", json=change, headers=ours).status_code == 403
    assert client.get(f"{TENANTS}/nobody", headers=ours).json()["code"] == "TENANT_UNKNOWN"
    acts = [
        (row.act, row.detail.get("why")) for row in admin_views.list_audit(shop, shop.master.id, {}).items
    ]
    assert ("tenant.created", "ticket 7") in acts
    assert ("tenant.changed", None) in acts


@only_sqlite
def test_tokens_of_other_tenants_reach_no_tenant(shop: Context, serve: Serve) -> None:
    acme = tenants.create(shop, "Acme", "acme", by="test")
    client, theirs = serve(), bearer(shop, "admin", acme.id)
    for method, path, body in (
        ("GET", TENANTS, None),
        ("POST", TENANTS, {"name": "Mine", "slug": "mine"}),
        ("GET", f"{TENANTS}/{shop.master.id}", None),
        ("GET", f"{TENANTS}/{acme.id}", None),
        ("PATCH", f"{TENANTS}/{acme.id}", {"name": "Mine"}),
    ):
        answer = client.request(method, path, json=body, headers=theirs)
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), (method, path)
    assert [one.slug for one in tenants.list_page(shop).items] == ["acme", "master"]


def test_a_comparison_is_open_to_every_tenant(shop: Context, serve: Serve) -> None:
    acme = tenants.create(shop, "Acme", "acme", by="test")
    answer = serve().post("/api/admin/reconcile", json={}, headers=bearer(shop, "write", acme.id))
    assert (answer.status_code, answer.json()["code"]) == (404, "PROVIDER_UNKNOWN")


# -- webhooks -------------------------------------------------------------------------------------------


@only_sqlite
def test_names_of_no_account_are_refused_alike(shop: Context) -> None:
    from litestar.testing import TestClient

    app = create_app(shop, IdleEngine())
    with TestClient(app) as client:
        seen = set()
        for account in ("pac_0123456789ab", "nothing", "pac_" + "a" * 500, "%00", "pac_%00", "..%2fstripe"):
            answer = client.post(f"/api/webhooks/stripe/{account}", content=b"{}")
            assert answer.status_code in (400, 404), account
            seen.add(answer.json()["code"])
        assert seen <= {"BAD_SIGNATURE", "NOT_FOUND"}


# -- the console ----------------------------------------------------------------------------------------


def told(page: httpx.Response) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page.text)))


def make(owner: httpx.Client, **fields: str) -> httpx.Response:
    wish = {"name": "Acme Tools", "slug": "acme", "email": "", "reason": "a new customer", **fields}
    path = "/console/tenants/new"
    page = send(owner, path, owner.get(path), **wish)
    if page.status_code != 200:
        return page
    return send(owner, path, page, **wish, step="do")


def test_a_tenant_is_made_in_the_console_and_its_first_person_let_in(house: House) -> None:
    owner = house.colleague()
    assert 'href="/console/tenants"' in owner.client.get("/console").text
    path = "/console/tenants/new"
    preview = send(owner.client, path, owner.client.get(path), name="Acme Tools", slug="acme", reason="new")
    assert "/t/acme" in told(preview)
    assert len(tenants.list_page(house.context).items) == 1, "a preview makes nothing"
    page = make(owner.client)
    assert "The tenant is made" in told(page)
    assert make(owner.client).status_code == 409
    assert make(owner.client, slug="Not A Slug").status_code == 422
    acme = tenants.show(house.context, "acme")
    assert "Acme Tools" in told(owner.client.get("/console/tenants?q=acme"))
    assert "Nobody of this name" in told(owner.client.get("/console/tenants?q=none"))
    change = f"/console/tenants/{acme.id}/change"
    fields = {"name": "Acme & Sons", "website_origins": "https://a.example, https://b.example", "reason": "x"}
    page = send(owner.client, change, owner.client.get(change), **fields)
    page = send(owner.client, change, page, **fields, step="do")
    assert "Acme & Sons" in told(page)
    assert "https://a.example, https://b.example" in told(page)
    invite = f"/console/tenants/{acme.id}/invite"
    fields = {"email": "their@example.com", "role": "owner", "reason": "first"}
    page = send(owner.client, invite, owner.client.get(invite), **fields)
    page = send(owner.client, invite, page, **fields, step="do")
    link = re.search(r"http://127\.0\.0\.1:8000/console/setup/[\w-]+", page.text)
    assert link
    their = house.set_up(link[0], "their@example.com", house.browser())
    shown = told(their.client.get("/console"))
    assert "Acme & Sons" in shown
    assert house.context.master.name not in shown
    for hidden in ("/console/tenants", "/console/work"):
        assert f'href="{hidden}"' not in their.client.get("/console").text
    assert their.client.get("/console/tenants").status_code == 403
    assert their.client.get(f"/console/tenants/{acme.id}").status_code == 403
    assert send(their.client, "/console/tenants/new", page, name="M", slug="m").status_code in (403, 404)


def test_a_tenant_is_shredded_in_the_console_by_an_owner_who_types_its_slug(house: House) -> None:
    acme = tenants.create(house.context, "Acme", "acme", by="test")
    world.stock_for(house.context, acme.id, price_acme=Terms())
    operate.issue(house.context, acme.id, Order("dashcaddy/plan-0", "buyer@acme.example"), Act("test"))
    owner, admin = house.colleague(), house.colleague("admin@example.com", "admin")
    path = f"/console/tenants/{acme.id}/shred"
    assert admin.client.get(path).status_code == 403
    wrong = send(owner.client, path, owner.client.get(path), slug="acne", reason="left", step="do")
    assert (wrong.status_code, "type its slug" in told(wrong)) == (422, True)
    preview = send(owner.client, path, owner.client.get(path), slug="acme", reason="left")
    assert "Licenses 1 Unknown to every program" in told(preview)
    assert tenants.show(house.context, "acme").id == acme.id, "a preview ends nobody"
    done = send(owner.client, path, preview, slug="acme", reason="left", step="do")
    assert "The tenant is shredded" in told(done)
    assert owner.client.get(f"/console/tenants/{acme.id}").status_code == 404
    assert house.acts()[-1] == "tenant.shredded"
    master = f"/console/tenants/{house.context.master.id}/shred"
    assert owner.client.get(master).status_code == 403


def test_staff_of_a_tenant_sign_in_at_the_one_door(house: House) -> None:
    """One who works at several tenants says where; the master tenant's come first."""
    acme = tenants.create(house.context, "Acme", "acme", by="test")
    other = tenants.create(house.context, "Other", "other", by="test")
    house.colleague()
    for number, tenant in enumerate((acme, other)):
        _, link = staff.create(house.context, tenant.id, "both@example.com", "owner", "test")
        house.set_up(link, "both@example.com", house.browser())
        assert number in (0, 1)

    def where(email: str, at: str = "") -> str:
        client = house.browser()
        door = client.get("/console/sign-in", params={"at": at} if at else {})
        page = send(client, "/console/sign-in", door, email=email, password=PASSWORD, at=at)
        return told(page)

    assert "wrong" in where("both@example.com", "nobody")
    for email, at in (("both@example.com", ""), ("both@example.com", "other"), (OWNER, "")):
        assert "wrong" not in where(email, at), (email, at)
    assert "wrong" in where(OWNER, "acme")


def test_who_set_himself_up_is_told_a_door_that_nobody_owns(house: House) -> None:
    """Another tenant that knows the address first would be the only one behind the door without a name."""
    first = tenants.create(house.context, "First", "first", by="test")
    acme = tenants.create(house.context, "Acme", "acme", by="test")
    client = house.browser()
    for tenant in (first, acme):
        client.cookies.clear()
        _, link = staff.create(house.context, tenant.id, "both@example.com", "owner", "test")
        both = house.set_up(link, "both@example.com", client)
        assert f"{BASE}/console/sign-in?at={tenant.slug}" in both.welcome
    page = send(client, "/console/sign-out", client.get("/console"))
    assert (page.url.path, page.url.params["at"]) == ("/console/sign-in", "acme")
    assert 'name="at" maxlength="48" value="acme"' in page.text
    page = send(client, "/console/sign-in", page, email="both@example.com", password=PASSWORD, at="acme")
    page = send(client, "/console/sign-in/second", page, code=house.code(both.secret))
    assert "Acme" in told(page)
    assert "console/sign-in?at" not in house.colleague().welcome


@only_sqlite
def test_whoever_has_to_sign_in_again_is_led_where_he_works(house: House, clock: TurnableClock) -> None:
    """By the pages of a browser in which he was signed in, and by each mail about his account."""
    acme = tenants.create(house.context, "Acme", "acme", by="test")
    _, link = staff.create(house.context, acme.id, "their@example.com", "owner", "test")
    client = house.browser()
    house.set_up(link, "their@example.com", client)
    clock.turn(days=1)
    for page in ("/console", "/console/licenses", "/console/sign-in/second", "/console/second-factor"):
        led = client.get(page)
        assert (led.url.path, led.url.params.get("at")) == ("/console/sign-in", "acme"), page
    assert 'href="/console/sign-in?at=acme"' in client.get(link.removeprefix(BASE)).text
    (mail,) = house.deliver()
    assert f"{BASE}/console/sign-in?at=acme" in mail.text
    assert f'href="{BASE}/console/sign-in?at=acme"' in mail.html
    house.post.sent.clear()
    house.colleague(client=client)
    client.cookies.delete("keywright_staff")
    assert str(client.get("/console").url) == f"{BASE}/console/sign-in"
    client.cookies.set("keywright_place", "a&b=c", domain="127.0.0.1", path="/")
    assert str(client.get("/console").url) == f"{BASE}/console/sign-in"
    assert "sign-in?at" not in house.deliver()[0].text


def test_an_account_of_the_same_address_elsewhere_clears_no_wrong_guesses(house: House) -> None:
    """Whoever runs a tenant makes accounts there, also with the address of one of the master's people."""
    acme = tenants.create(house.context, "Acme", "acme", by="test")
    house.colleague()
    _, link = staff.create(house.context, acme.id, OWNER, "owner", "test")
    theirs = house.set_up(link, OWNER, house.browser())

    def knock(password: str, at: str) -> httpx.Response:
        door = theirs.client.get("/console/sign-in", params={"at": at})
        return send(theirs.client, "/console/sign-in", door, email=OWNER, password=password, at=at)

    theirs.client.cookies.clear()
    guesses = [knock("wrong", "").status_code for _ in range(9)]
    guesses += [knock("wrong", "acme").status_code for _ in range(9)]
    page = send(
        theirs.client, "/console/sign-in/second", knock(PASSWORD, " ACME "), code=house.code(theirs.secret)
    )
    assert "acme" in told(page).lower()
    assert house.context.master.id not in page.text
    theirs.client.cookies.clear()
    guesses += [knock("wrong", "").status_code, knock("wrong", "acme").status_code]
    assert guesses == [403] * 20
    assert [knock("wrong", at).status_code for at in ("", "master", "acme")] == [429, 429, 403]


def test_the_staff_of_a_tenant_see_its_licenses_and_no_others(house: House) -> None:
    ours = house.license()
    acme = tenants.create(house.context, "Acme", "acme", by="test")
    world.stock_for(house.context, acme.id, price_acme=Terms())
    order = Order("dashcaddy/plan-0", "buyer@acme.example")
    row, _ = operate.issue(house.context, acme.id, order, Act("test"))
    _, link = staff.create(house.context, acme.id, "their@example.com", "owner", "test")
    their = house.set_up(link, "their@example.com", house.browser())
    page = their.client.get("/console/licenses")
    assert row.id in page.text
    assert ours.id not in page.text
    assert their.client.get(f"/console/licenses/{ours.id}").status_code == 404
    assert their.client.get(f"/console/licenses/{row.id}").status_code == 200
    settings = told(their.client.get("/console/settings"))
    assert settings.count("Not set up") == 3
    assert "ops@example.com" not in settings, "who is alarmed is the installation's business"
    keys = told(their.client.get("/console/keys"))
    assert house.context.issuer(acme.id) in keys
