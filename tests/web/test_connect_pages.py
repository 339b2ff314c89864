"""Connected accounts in the console: what a tenant's people, and the platform's, see and may do there."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from keywright.domain.fee import FeeRule
from keywright.flows import billing
from keywright.store.tenants import Tenant
from tests.conftest import Prepared, copy_of
from tests.life.connected import ACT, SOON, Town
from tests.life.people import hire
from tests.web.test_console import check_in
from tests.web.test_tenants import told

MINE = "/console/settings/connect"
NUMBERS = itertools.count(1)


class Desk:
    """A browser with somebody's session, at the server of the town."""

    def __init__(self, town: Town, client: httpx.Client) -> None:
        self._town = town
        self._client = client

    def see(self, path: str) -> httpx.Response:
        return self._client.get(path)

    def press(self, page: str, path: str, **fields: str) -> httpx.Response:
        """Send a form of this page to that path."""
        form = {"check": check_in(self.see(page)), **fields}
        return self._client.post(path, data=form, headers={"origin": self._town.url})

    def act(self, path: str, **fields: str) -> httpx.Response:
        """Say yes to the preview of an act."""
        assert "Yes" in told(self.press(path, path, **fields))
        return self.press(path, path, **fields, step="do")

    def start(self, page: str = MINE) -> str:
        """Begin to connect; the page at the provider."""
        found = re.search(r'class="button" href="([^"]+)"', self.press(page, f"{page}/stripe/start").text)
        assert found
        return html.unescape(found[1])

    def come_back(self, answer: httpx.Response) -> httpx.Response:
        """Go where the provider sends the browser."""
        assert answer.status_code == 303
        return self.see(answer.headers["location"].removeprefix(self._town.url))


@pytest.fixture(scope="module")
def town(prepared_sqlite: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with ExitStack() as stack:
        yield Town(copy_of(prepared_sqlite, tmp_path_factory.mktemp("town")), stack)


@pytest.fixture
def desks() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def desk(town: Town, desks: ExitStack, tenant: Tenant | None = None, role: str = "owner") -> Desk:
    """Of somebody who works at a tenant; None: at the platform."""
    at = tenant or town.context.master
    _, session, _ = hire(town.context, f"{next(NUMBERS)}@{at.slug}.example", role, at.id)
    client = httpx.Client(base_url=town.url, timeout=SOON, trust_env=False, follow_redirects=True)
    client.cookies.set("keywright_staff", session)
    return Desk(town, desks.enter_context(client))


def test_a_tenants_owner_connects_its_account_in_the_console(town: Town, desks: ExitStack) -> None:
    acme = town.tenant()
    owner, platform = desk(town, desks, acme), desk(town, desks)
    assert "Connect Stripe" in told(owner.see(MINE))
    first = owner.start()
    assert first.startswith(town.sandbox.url)
    page = told(owner.come_back(town.hand_in(first, "partly")))
    assert "You are back." in page
    assert "Cannot sell yet" in page
    assert "A bank account to be paid out to external_account" in page
    # Each page at the provider opens once: whoever loads it again is sent to where it can be gone on with.
    again = told(owner.come_back(town.levers.get(first)))
    assert "That page at the provider had run out" in again
    assert "Go on at Stripe" in again
    page = told(owner.come_back(town.hand_in(owner.start())))
    assert "Sells" in page
    assert "Cannot sell yet" not in page
    account = town.standing(acme).account
    assert account.external_id
    assert account.external_id in page
    for shown in (owner.see("/console/settings"), platform.see(f"/console/tenants/{acme.id}")):
        assert f"{town.url}/api/webhooks/stripe/connect" in shown.text
        assert f"/api/webhooks/stripe/{account.id}" not in shown.text
    audit = told(owner.see("/console/audit"))
    assert "Connect started" in audit


def test_the_page_follows_what_the_provider_says(town: Town, desks: ExitStack) -> None:
    acme = town.tenant()
    account = town.connect(acme)
    owner = desk(town, desks, acme)
    town.lever(f"stripe/accounts/{account}/requirements", due=["business_profile.url"])
    town.settle()
    page = told(owner.see(MINE))
    assert "The address of the shop's own web page" in page
    town.lever("switches", loss=1)  # the news of it is lost, and somebody asks
    town.lever(f"stripe/accounts/{account}/requirements", due=[])
    assert "business_profile.url" in told(owner.see(MINE))
    assert "business_profile.url" not in told(owner.press(MINE, f"{MINE}/stripe/look"))
    town.lever("switches", loss=0)
    town.lever(f"stripe/accounts/{account}/deauthorize")
    town.settle()
    page = told(owner.see(MINE))
    assert "Disconnected" in page
    assert "To sell again, connect anew" in page
    assert "Ask Stripe now" not in page
    owner.come_back(town.hand_in(owner.start()))
    assert town.standing(acme).sells
    assert town.standing(acme).account.external_id != account


def test_the_platform_sets_the_fee_and_counts_it(town: Town, desks: ExitStack) -> None:
    acme = town.tenant()
    owner, platform = desk(town, desks, acme), desk(town, desks)
    town.connect(acme)
    page = f"/console/tenants/{acme.id}/connect"
    assert "No fee" in told(platform.see(page))
    wish = {"percent": "10", "fixed": "0.50 USD", "on_refund": "give_back", "reason": "as agreed"}
    refused = platform.press(f"{page}/fee", f"{page}/fee", **{**wish, "percent": "a tenth"})
    assert refused.status_code == 422
    assert "a tenth" in html.unescape(refused.text), "what was typed stays"
    assert "The fee was changed" in told(platform.act(f"{page}/fee", **wish))
    same = platform.press(f"{page}/fee", f"{page}/fee", **wish)
    assert (same.status_code, "That is the fee as it is" in told(same)) == (409, True)
    for shown in (told(platform.see(page)), told(owner.see(MINE))):
        assert "10 %" in shown
        assert "0.50 USD" in shown
    town.buy(acme, "tool/ever")
    assert "$10.40" in told(platform.see("/console"))
    billing.refund(town.context.of(acme.id), acme.id, town.license(acme).id, ACT, amount=4950)
    town.settle()
    assert "$5.20" in told(platform.see("/console"))
    assert "Fees" not in told(owner.see("/console")), "the platform's are no other's business"


def test_an_account_is_disconnected_after_a_look(town: Town, desks: ExitStack) -> None:
    acme = town.tenant()
    account = town.connect(acme, FeeRule(1000))
    owner = desk(town, desks, acme)
    preview = told(owner.press(f"{MINE}/stripe/disconnect", f"{MINE}/stripe/disconnect", reason="x"))
    assert f"Account {account} Connected Disconnected" in preview
    assert town.standing(acme).left_at is None
    assert "Nothing is sold through the account" in told(owner.act(f"{MINE}/stripe/disconnect", reason="x"))
    assert town.standing(acme).left_at is not None
    path = f"{MINE}/stripe/disconnect"
    assert owner.press(path, path, reason="x").status_code == 409
    assert owner.see(f"{MINE}/nobody/disconnect").status_code == 404


def test_who_may_do_what(town: Town, desks: ExitStack) -> None:
    """The tenant in the address is the platform's to name; who connects answers for the account."""
    acme, other = town.tenant(), town.tenant()
    admin, support = desk(town, desks, acme, "admin"), desk(town, desks, acme, "support")
    owner, looker = desk(town, desks, acme), desk(town, desks, role="admin")
    of_other = f"/console/tenants/{other.id}/connect"
    assert support.see(MINE).status_code == 403
    assert "Connect Stripe" not in told(admin.see(MINE))
    assert admin.press("/console/you", f"{MINE}/stripe/start").status_code == 403
    for path in (of_other, f"{of_other}/fee", f"{of_other}/stripe/back", f"{of_other}/stripe/disconnect"):
        assert owner.see(path).status_code == 403, path
    for path in (f"{of_other}/stripe/start", f"{of_other}/stripe/look", f"{of_other}/fee"):
        assert owner.press("/console/you", path).status_code == 403, path
    assert looker.see(of_other).status_code == 200
    assert looker.see(f"{of_other}/fee").status_code == 403
    mine = told(desk(town, desks).see(MINE))
    assert "sells through accounts of its own" in mine
    assert "Connect Stripe" not in mine
