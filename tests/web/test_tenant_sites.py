"""The sites of other tenants: the same pages beneath `/t/{slug}`, and nothing of one at the other."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from keywright import bootstrap
from keywright.domain.plan import Terms
from keywright.flows import announce, operate, portal_sign_in, streams, tenants, tokens
from keywright.flows.context import Context
from keywright.flows.licensing import Ask, Bookkeeping
from keywright.flows.operate import Act, Order
from keywright.signing.vault import VaultRefused
from keywright.store.tables import announcements, checkouts, licenses, portal_links
from keywright.web.app import create_app
from keywright.web.portal import gate
from tests.conftest import Prepared, TurnableClock, copy_of, test_settings
from tests.life import world
from tests.life.payments import PayDesk, selling_through
from tests.life.sellers import Seller, with_sellers
from tests.web.conftest import BASE, Client, IdleEngine
from tests.web.route_table import RULES
from tests.web.test_pages import field
from tests.web.test_portal import Post
from tests.web.test_routes import served

ORIGIN = {"origin": BASE}
MACHINE = "machine-0001"


class Town:
    """The master's shop and three more, on one server, started once: each test has buyers of its own."""

    def __init__(self, context: Context, sellers: dict[str, Seller], post: Post, stack: ExitStack) -> None:
        self.context, self.post, self._stack = context, post, stack
        self.acme, self.brook, self.cedar = (sellers[name] for name in ("acme", "brook", "cedar"))
        self._served = self.serve()
        self.client = self.browser()

    def serve(self, **policy: Any) -> Client:
        """Another server of the same town."""
        changed = replace(self.context, policy=replace(self.context.policy, **policy))
        app = create_app(changed, IdleEngine())
        return self._stack.enter_context(TestClient(app, base_url=changed.policy.base_url))

    def browser(self) -> httpx.Client:
        """One with cookies of its own. It opens nothing that would have to be closed."""
        return httpx.Client(transport=self._served._transport, base_url=BASE, follow_redirects=True)

    def order(self, seller: Seller, browser: httpx.Client | None = None, **more: str) -> httpx.Response:
        """Fill in the order form and send it."""
        client = browser or self.client
        path = f"{seller.root}/buy/{seller.product}"
        page = client.get(path).text
        form = {
            "check": field(page, "check"),
            "once": field(page, "once"),
            "choice": f"ever/stripe/price_{seller.product}_once",
            "quantity": "1",
            **more,
        }
        origin = {"origin": str(client.base_url).rstrip("/")}
        return client.post(path, data=form, headers=origin, follow_redirects=False)

    def bought(self, seller: Seller, browser: httpx.Client | None = None) -> str:
        """Buy. Returns the reference of the checkout; the license is there."""
        reference = f"KW-{self.order(seller, browser).headers['location'].rsplit('cs_', 1)[1]}"
        assert world.outcome(seller.serving, seller.desk.paid(reference)) == "applied"
        return reference

    def key(self, seller: Seller, reference: str, browser: httpx.Client | None = None) -> str:
        page = (browser or self.client).get(f"{seller.root}/checkout/{reference}").text
        found = re.search(r'id="key-1"[^>]*>\s*([A-Z0-9-]+)\s*<', page)
        assert found, page
        return found[1]

    def bought_by(self, email: str) -> None:
        """Give him a license of each of the two, and send the mails."""
        for seller in (self.acme, self.brook):
            order = Order(f"{seller.product}/ever", email)
            operate.issue(seller.serving, seller.tenant.id, order, Act("test"))
        self.deliver()

    def link(self, email: str) -> str:
        """The link to a portal in a mail that is on its way to this address."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            self.deliver()
            for mail in self.post.sent:
                found = re.search(r"http\S+/portal/link/\S+", mail.text)
                if found and mail.to == email:
                    return found[0]
            time.sleep(0.02)
        raise AssertionError("no link came")

    def deliver(self) -> None:
        with self.context.database.read() as connection:
            query = sa.select(announcements.c.batch).where(announcements.c.status == "pending").distinct()
            owed = connection.execute(query).scalars().all()
        for batch in owed:
            announce.send_due(self.context, batch)

    def signed_in(self, seller: Seller, email: str) -> tuple[httpx.Client, str]:
        """A browser that is signed in to his portal, and the name of its cookie."""
        client, browser, context = self.browser(), gate.fresh_browser(), seller.serving
        portal_sign_in.ask(context, email, browser)
        with context.database.read() as connection:
            newest = sa.select(portal_links.c.id).order_by(portal_links.c.id.desc()).limit(1)
            secret = portal_sign_in.secret_of(context, str(connection.execute(newest).scalar_one()))
        standing, session = portal_sign_in.enter(context, secret, browser)
        assert standing == "good"
        name = f"keywright_session_{seller.tenant.id}"
        client.cookies.set(name, session)
        return client, name


@pytest.fixture(scope="module")
def town(prepared_sqlite: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    prepared = copy_of(prepared_sqlite, tmp_path_factory.mktemp("town"))
    made, post = test_settings(prepared.url, prepared.folder), Post()
    clock = TurnableClock(datetime(2026, 11, 1, 12, 0, tzinfo=UTC))
    database = bootstrap.open_database(made)
    context = replace(bootstrap.build(made, database), clock=clock, mailer=post)
    world.stock(context, price_once=Terms(term="perpetual"))
    with ExitStack() as stack:
        stack.callback(database.dispose)
        home, sellers = with_sellers(selling_through(context, PayDesk(clock)), "acme", "brook", "cedar")
        yield Town(home, sellers, post, stack)


# -- whose is what --------------------------------------------------------------------------------------


def test_each_storefront_shows_its_own_plans_and_name(town: Town) -> None:
    acme, brook, master = (town.client.get(path).text for path in ("/t/acme/", "/t/brook/", "/"))
    assert "Acme Tools" in acme
    assert "Acme Saw Ever" in acme
    assert "€90" in acme
    for other in (brook, master):
        assert "Acme" not in other
    assert "Brook Saw" in brook
    assert "Brook" not in acme + master
    assert "DashCaddy" in master
    assert "DashCaddy" not in acme + brook
    headers = [dict(town.client.get(path).headers) for path in ("/t/acme/", "/t/brook/", "/")]
    for one in headers:
        del one["content-length"]
    assert headers[0] == headers[1] == headers[2]
    assert "form-action 'self' https://checkout.stripe.com;" in headers[0]["content-security-policy"]
    plans = town.client.get("/t/acme/api/public/plans").json()
    assert {one["plan"] for one in plans["products"][0]["plans"]} == {"acme-saw/pro", "acme-saw/ever"}
    config = town.client.get("/t/acme/api/public/config").json()
    assert config["issuer"] == f"{BASE}/t/{town.acme.tenant.id}"


def test_another_tenants_plan_is_not_for_sale_here(town: Town) -> None:
    before = len(town.acme.desk.heard), len(town.brook.desk.heard)
    for root, plan in (
        ("/t/acme", "brook-saw/ever"),
        ("/t/acme", "dashcaddy/plan-0"),
        ("", "acme-saw/ever"),
    ):
        answer = town.client.post(f"{root}/api/checkout/session", json={"plan": plan})
        assert (answer.status_code, answer.json()["code"]) == (404, "PLAN_UNKNOWN"), root
        assert town.client.get(f"{root}/buy/{plan.partition('/')[0]}").status_code == 404
        assert town.client.get(f"{root}/products/{plan}").status_code == 404
    assert (len(town.acme.desk.heard), len(town.brook.desk.heard)) == before


def test_a_purchase_comes_back_to_the_tenants_own_pages(town: Town) -> None:
    answer = town.order(town.acme)
    assert answer.status_code == 303
    heard = town.acme.desk.heard[-1]
    assert heard.success_url == f"{BASE}/t/acme/checkout/{heard.reference}"
    assert heard.cancel_url.startswith(f"{BASE}/t/acme/buy/acme-saw?canceled=yes")
    opened = town.client.post(
        "/t/acme/api/checkout/session",
        json={"plan": "acme-saw/ever", "device": MACHINE, "device_name": "Ann's desk"},
    ).json()
    assert opened["url"] == f"{BASE}/t/acme/checkout/{opened['reference']}/pay"
    assert "Ann" in town.client.get(opened["url"]).text
    # Asked for at the provider, the payment is the tenant's.
    town.acme.desk.paid(heard.reference)
    verified = town.client.post(f"/t/acme/api/checkout/session/{heard.reference}/verify")
    assert verified.json()["status"] == "paid"
    assert town.key(town.acme, heard.reference).startswith("ACM-")


def test_a_claim_of_one_is_nothing_at_the_other(town: Town) -> None:
    buyer = town.browser()
    reference = town.bought(town.acme, buyer)
    key = town.key(town.acme, reference, buyer)
    assert key.startswith("ACM-")
    claim = next(value for name, value in buyer.cookies.items() if name.startswith("keywright_claim"))
    shown = {"authorization": f"Claim {claim}"}
    path = f"api/checkout/session/{reference}"
    assert buyer.get(f"/t/acme/{path}", headers=shown).json()["licenses"][0]["key"] == key
    stranger = town.browser()
    stranger.cookies.set("keywright_claim", claim)
    for root in ("/t/brook", ""):
        assert stranger.get(f"{root}/{path}", headers=shown).status_code == 404
        lost = stranger.get(f"{root}/checkout/{reference}")
        assert lost.status_code == 404
        assert key not in lost.text
        assert stranger.get(f"{root}/checkout/{reference}/state").status_code == 404
        told = stranger.get(f"{root}/checkout/{reference}/stream", headers=shown)
        assert told.status_code == 401
        assert stranger.post(f"{root}/{path}/verify").status_code == 404
    license_id = re.findall(r"licenses/(lic_[0-9a-f]+)/", buyer.get(f"/t/acme/checkout/{reference}").text)[0]
    page = buyer.get(f"/t/acme/checkout/{reference}").text
    form = {"check": field(page, "check")}
    for root, status in (("/t/brook", 403), ("", 403), ("/t/acme", 200)):
        answer = buyer.post(
            f"{root}/checkout/{reference}/licenses/{license_id}/file", data=form, headers=ORIGIN
        )
        assert answer.status_code == status, root


def test_streams_of_two_tenants_are_looked_at_together(town: Town) -> None:
    """One look for all streams of the process finds each checkout with its own tenant."""
    subjects = []
    for seller in (town.acme, town.brook):
        token = town.client.post(
            f"{seller.root}/api/checkout/session", json={"plan": f"{seller.product}/ever"}
        ).json()
        assert world.outcome(seller.serving, seller.desk.paid(token["reference"])) == "applied"
        found = streams.by_claim(seller.serving, token["claim_token"], Ask(""), token["reference"])
        assert found is not None
        subjects.append(found)
        other = town.brook if seller is town.acme else town.acme
        assert streams.by_claim(other.serving, token["claim_token"], Ask("")) is None
        assert streams.by_claim(town.context, token["claim_token"], Ask("")) is None
    seen = streams.look(town.context, Bookkeeping(), subjects)
    keys = [one.standing.licenses[0].key for one in seen if one.standing and one.standing.licenses]
    assert [key[:4] for key in keys] == ["ACM-", "BRO-"]
    assert [one.verdict.code for one in seen if one.verdict] == ["VALID", "VALID"]


def test_a_stream_of_one_tenant_that_cannot_be_told_is_kept_from_no_other(town: Town) -> None:
    subjects = []
    for seller in (town.acme, town.brook):
        asked = {"plan": f"{seller.product}/ever"}
        token = town.client.post(f"{seller.root}/api/checkout/session", json=asked).json()
        assert world.outcome(seller.serving, seller.desk.paid(token["reference"])) == "applied"
        found = streams.by_claim(seller.serving, token["claim_token"], Ask(""))
        assert found is not None
        subjects.append(found)
    bought = sa.select(checkouts.c.purchase_id).where(checkouts.c.reference == subjects[0].reference)
    of_acme = licenses.c.purchase_id == bought.scalar_subquery()
    with town.context.database.write() as connection:
        # As while a tenant is shredded: the key that it was sealed with is gone. The town is for all tests.
        before = connection.execute(sa.select(licenses.c.key_sealed).where(of_acme)).scalar_one()
        connection.execute(sa.update(licenses).where(of_acme).values(key_sealed=""))
    refused, seen = streams.look_each(town.context, Bookkeeping(), subjects)
    with town.context.database.write() as connection:
        connection.execute(sa.update(licenses).where(of_acme).values(key_sealed=before))
    assert isinstance(refused, VaultRefused)
    assert isinstance(seen, streams.Glimpse)
    assert seen.verdict is not None
    assert seen.verdict.code == "VALID"


def test_over_https_the_cookies_are_the_hosts_and_carry_their_tenant(town: Town) -> None:
    base = "https://pay.shop.example"
    browser = town.serve(base_url=base)
    town.bought(town.acme, browser)
    browser.get("/t/acme/portal")
    browser.get("/buy/dashcaddy")
    tenant = town.acme.tenant.id
    names = {cookie.name: cookie for cookie in browser.cookies.jar}
    assert {
        "__Host-keywright_form",
        f"__Host-keywright_form_{tenant}",
        f"__Host-keywright_browser_{tenant}",
    } <= set(names)
    assert any(re.fullmatch(rf"__Host-keywright_claim_KW-[A-Z2-7]{{16}}_{tenant}", name) for name in names)
    assert {(one.path, one.secure) for one in names.values()} == {("/", True)}


def test_sessions_of_two_portals_in_one_browser_are_two(town: Town) -> None:
    town.bought_by("both@example.com")
    first, name = town.signed_in(town.acme, "both@example.com")
    second, other = town.signed_in(town.brook, "both@example.com")
    first.cookies.set(other, second.cookies[other])
    for seller, foreign in ((town.acme, "BRO-"), (town.brook, "ACM-")):
        seen = first.get(f"{seller.root}/portal/licenses", follow_redirects=False)
        assert seen.status_code == 200
        assert seller.tenant.name in seen.text
        assert foreign not in seen.text
    assert first.get("/portal/licenses", follow_redirects=False).headers["location"] == "/portal"
    # The session of one under the name of the other is none.
    thief = town.browser()
    for cookie in (other, "keywright_session"):
        thief.cookies.set(cookie, first.cookies[name])
    for root in (town.brook.root, ""):
        answer = thief.get(f"{root}/portal/licenses", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{root}/portal")
    # Who signs out at one stays in at the other.
    page = first.get("/t/acme/portal/licenses").text
    left = first.post(
        "/t/acme/portal/leave", data={"check": field(page, "check")}, headers=ORIGIN, follow_redirects=False
    )
    assert left.headers["location"] == "/t/acme/portal"
    assert first.get("/t/acme/portal/licenses", follow_redirects=False).status_code == 303
    assert first.get("/t/brook/portal/licenses", follow_redirects=False).status_code == 200


def test_a_link_to_one_portal_opens_no_other(town: Town) -> None:
    town.bought_by("linked@example.com")
    page = town.client.get("/t/acme/portal").text
    form = {"check": field(page, "check"), "email": "linked@example.com"}
    assert town.client.post("/t/acme/portal", data=form, headers=ORIGIN).status_code == 200
    link = town.link("linked@example.com")
    assert urlsplit(link).path.startswith("/t/acme/portal/link/")
    secret = link.rpartition("/")[2]
    # At the others the browser is not even the one that asked.
    for root in ("/t/brook", ""):
        assert town.client.get(f"{root}/portal/link/{secret}").status_code == 410
    page = town.client.get(link).text
    entered = town.client.post(
        link, data={"check": field(page, "check")}, headers=ORIGIN, follow_redirects=False
    )
    assert entered.headers["location"] == "/t/acme/portal/licenses"
    assert "Acme Saw Ever" in town.client.get("/t/acme/portal/licenses").text


def test_mails_speak_for_the_tenant(town: Town) -> None:
    price = f"price_{town.acme.product}_month"
    ask = {
        "plan": "acme-saw/pro",
        "email": "ann@example.com",
        "device": MACHINE,
        "device_name": "Ann's laptop",
    }
    opened = town.client.post("/t/acme/api/checkout/session", json=ask).json()
    world.hand_in(town.acme.serving, *town.acme.desk.subscribed(opened["reference"], price))
    town.deliver()
    mails = [mail for mail in town.post.sent if "Ann's laptop" in mail.text]
    assert len(mails) == 1
    assert "ACM-" in mails[0].text
    assert "Acme Tools" in mails[0].text
    assert f"{BASE}/t/acme/portal" in mails[0].text
    assert "Brook" not in mails[0].text + mails[0].html


def test_a_key_of_another_tenant_is_none_beneath_his_address(town: Town) -> None:
    reference = town.bought(town.acme)
    body = {"key": town.key(town.acme, reference), "fingerprint": MACHINE}
    for call in ("validate", "activate", "deactivate", "file", "hmac-key"):
        foreign = town.client.post(f"/t/brook/api/license/{call}", json=body)
        unknown = town.client.post(f"/t/brook/api/license/{call}", json={**body, "key": "BRO-" + "0" * 29})
        assert foreign.json()["code"] == unknown.json()["code"] == "NOT_FOUND", call
        assert foreign.status_code == unknown.status_code, call
    told = town.client.get("/t/brook/api/license/stream", headers={"authorization": f"License {body['key']}"})
    assert (told.status_code, told.json()["code"]) == (404, "NOT_FOUND")
    for root in ("/t/acme", ""):
        assert town.client.post(f"{root}/api/license/activate", json=body).json()["code"] == "VALID", root
        assert town.client.post(f"{root}/api/license/validate", json=body).json()["valid"] is True, root
    assert town.client.post("/t/acme/api/license/deactivate", json=body).status_code == 200


def test_a_token_of_another_tenant_vouches_for_nobody_here(town: Town) -> None:
    ask = {"plan": "acme-saw/ever", "email": "somebody@example.com"}
    for tenant, status in ((town.brook.tenant, 401), (town.context.master, 401), (town.acme.tenant, 201)):
        bearer = tokens.create(town.context, tenant, "test", "checkout")[1]
        answer = town.client.post(
            "/t/acme/api/checkout/session", json=ask, headers={"authorization": f"Bearer {bearer}"}
        )
        assert answer.status_code == status, tenant.slug


# -- what is there --------------------------------------------------------------------------------------


def test_a_tenants_site_has_every_public_route_and_no_other(town: Town) -> None:
    """As the table of routes says: what belongs to the installation is not repeated beneath a tenant."""
    context = replace(town.context, policy=replace(town.context.policy, sandbox=True))
    app: Any = create_app(context, IdleEngine())
    found = set(served(app.sites._find("acme", "/")))
    public = {
        rule.name.replace(" /", " /t/acme/", 1).rstrip("/")
        for rule in RULES.values()
        if rule.owner in ("licensing", "streams", "storefront", "checkout", "portal")
    }
    public.add("GET /t/acme/demo/buy-button")
    assert sorted(public - found) == []
    assert sorted(found - public) == []


def test_keys_are_found_by_slug_and_by_id(town: Town) -> None:
    by_slug = town.client.get("/t/acme/.well-known/jwks.json")
    by_id = town.client.get(f"/t/{town.acme.tenant.id}/.well-known/jwks.json")
    master = town.client.get("/.well-known/jwks.json")
    assert by_slug.status_code == by_id.status_code == 200
    assert by_slug.json() == by_id.json() != master.json()


def test_what_is_no_tenant_is_the_usual_page_that_there_is_nothing(town: Town) -> None:
    usual = town.client.get("/nothing", headers={"accept": "text/html"})
    for path in (
        "/t/nobody/",
        "/t/",
        "/t",
        "/t//acme",
        f"/t/{town.acme.tenant.id}/",
        "/t/master/",
        "/t/nobody/api/x",
    ):
        answer = town.client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 404, path
        if "/api/" not in path:
            assert answer.text == usual.text, path
    lost = town.client.get("/t/acme/nothing", headers={"accept": "text/html"})
    assert lost.status_code == 404
    assert "Acme Tools" in lost.text
    problem = town.client.get("/t/acme/api/nothing", headers={"accept": "text/html"})
    assert problem.headers["content-type"] == "application/problem+json"
    assert town.client.get("/t/acme/console").status_code == 404
    assert town.client.get("/t/acme/api/admin/licenses").status_code == 404


def test_a_changed_name_and_changed_origins_are_seen_at_once(town: Town) -> None:
    assert "Cedar Tools" in town.client.get("/t/cedar").text
    tenants.change(town.context, "cedar", tenants.Change(name="Cedar & Daughters"), by="test")
    assert "Cedar &amp; Daughters" in town.client.get("/t/cedar").text
    wish = tenants.Change(website_origins=("https://cedar.example",))
    tenants.change(town.context, "cedar", wish, by="test")
    asked = {"origin": "https://cedar.example"}
    for root, allowed in (("/t/cedar", "https://cedar.example"), ("/t/acme", None), ("", None)):
        answer = town.client.get(f"{root}/api/public/plans", headers=asked)
        assert answer.headers.get("access-control-allow-origin") == allowed, root


def test_other_credentials_are_served_by_the_same_site(town: Town) -> None:
    app: Any = create_app(town.context, IdleEngine())
    first = app.sites._find("acme", "/")
    before = app.sites._kept[town.acme.tenant.id].counters.till.context
    tenants.change(town.context, "brook", tenants.Change(email="brook@example.com"), by="test")
    assert app.sites._find("acme", "/") is first
    site = app.sites._kept[town.acme.tenant.id]
    serving = [
        site.pages.context,
        *(getattr(site.counters, name).context for name in ("till", "gate", "desk", "streams")),
    ]
    assert all(one is serving[0] and one is not before for one in serving)
    assert serving[0].shop is town.context.of(town.acme.tenant.id).shop


def test_sites_are_made_once_and_not_kept_without_end(town: Town) -> None:
    app: Any = create_app(town.context, IdleEngine())
    sites = app.sites
    sites._most = 1
    first = sites._find("acme", "/")
    assert sites._find("acme", "/") is first
    assert sites._find("brook", "/") is not first
    assert sites._find("acme", "/") is not first
    assert len(sites._kept) == 1


def test_the_sold_software_of_many_tenants_makes_no_site(town: Town) -> None:
    client = town.serve()
    for seller in (town.acme, town.brook, town.cedar):
        body = {"key": town.key(seller, town.bought(seller)), "fingerprint": MACHINE}
        for call in ("activate", "validate", "deactivate"):
            answer = client.post(f"/t/{seller.tenant.slug}/api/license/{call}", json=body)
            assert answer.status_code == 200, (seller.tenant.slug, call)
    app: Any = client.app
    assert app.sites._kept == {}
    assert client.get("/t/acme").status_code == 200
    assert list(app.sites._kept) == [town.acme.tenant.id]


def test_who_would_wait_too_long_for_a_site_is_told_to_come_back(town: Town) -> None:
    client = town.serve(answer_within=0.2)
    app: Any = client.app
    body = {"key": "ACM-" + "0" * 29, "fingerprint": MACHINE}
    with app.sites._context.shops._lock:  # as while a database is there and silent
        answer = client.post("/t/acme/api/license/validate", json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert client.post("/t/acme/api/license/validate", json=body).json()["code"] == "NOT_FOUND"


def test_limits_by_address_count_over_all_tenants(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "ANSWER_AFTER", 0.0)
    monkeypatch.setattr("keywright.web.limits.time", SimpleNamespace(time=lambda: 0.0))  # no minute turns
    client = town.serve()
    answers = []
    for number in range(11):
        root = ("/t/acme", "/t/brook", "")[number % 3]
        page = client.get(f"{root}/portal").text
        form = {"check": field(page, "check"), "email": "nobody@example.com"}
        answers.append(client.post(f"{root}/portal", data=form, headers=ORIGIN).status_code)
    assert answers == [200] * 10 + [429]


# -- links ----------------------------------------------------------------------------------------------


class Links(HTMLParser):
    """Every address that a page leads to, sends to or loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        for name in ("href", "action", "src", "formaction", "data-result"):
            if told.get(name):
                self.found.append((tag, str(told[name])))
        if tag == "meta" and "url=" in (told.get("content") or ""):
            self.found.append((tag, str(told["content"]).partition("url=")[2]))


def test_every_link_of_a_tenants_pages_stays_beneath_his_root(town: Town) -> None:
    """From the shop window to the result page, and through the portal."""
    town.bought_by("crawler@example.com")
    client, _ = town.signed_in(town.acme, "crawler@example.com")
    waiting = f"KW-{town.order(town.acme, client).headers['location'].rsplit('cs_', 1)[1]}"
    reference = town.bought(town.acme, client)
    todo = [
        *("/t/acme/", "/t/acme/portal/licenses", "/t/acme/portal/you", "/t/acme/demo/buy-button"),
        *(f"/t/acme/checkout/{one}" for one in (waiting, reference)),
        *("/t/acme/nothing", "/t/acme/portal/link/none", "/t/acme/portal/address/none"),
    ]
    seen: set[str] = set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = client.get(path, headers={"accept": "text/html"}, follow_redirects=False)
        assert answer.headers.get("location", path).startswith("/t/acme/"), path
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        for tag, address in Links(answer.text).found:
            parts = urlsplit(urljoin(BASE + path, address))
            if f"{parts.scheme}://{parts.netloc}" != BASE:
                assert parts.netloc == "checkout.stripe.com", (path, address)
                continue
            assert parts.path.startswith(("/t/acme/", "/static/")), (path, tag, address)
            if tag == "a":
                todo.append(parts.path + (f"?{parts.query}" if parts.query else ""))
    assert len(seen) > 15


def test_the_button_leads_to_the_shop_that_it_comes_from(town: Town) -> None:
    script = town.client.get("/t/acme/buy.js")
    assert script.text == town.client.get("/buy.js").text
    assert script.headers["access-control-allow-origin"] == "*"
    shown = town.serve(sandbox=True).get("/t/acme/demo/buy-button").text
    assert f"{BASE}/t/acme/buy.js" in shown
    assert "acme-saw/ever" in shown
