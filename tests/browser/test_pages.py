"""Every page, light and dark, from 320 to 1920 pixels: nothing sticks out, and axe finds nothing.

The pages are found by following links (`crawl`); what only a form leads to is in `BEHIND_FORMS`. The route
table is the measure of whether that was all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import furnished, sight
from tests.browser.conftest import Open
from tests.browser.crawl import crawl
from tests.browser.furnished import Furnished
from tests.conftest import Prepared
from tests.life.people import PASSWORD
from tests.web.route_table import RULES

# Where the walks begin. What a link leads to from here comes in by itself.
PUBLIC = ("/", "/demo/mails", "/demo/buy-button", "/demo/design", "/buy/dashcaddy?canceled=yes", "/portal")
PORTAL = ("/portal/licenses",)
CONSOLE = ("/console", "/console/mail?status=failed", "/console/work?show=all")
FIRM = ("/console", "/console/seats", "/console/settings")

# Pages of the route table that no link leads to, and who looks at them instead.
ELSEWHERE = {
    "/api/": "no page",
    "/t/": "no page",
    "/.well-known/": "no page",
    "/health": "no page",
    "/metrics": "no page",
    "/buy.js": "a script",
    "/brand/": "worn by every page, and none itself",
    "/checkout/": "test_storefront.py, test_buying.py",
    "/portal/link/": "test_portal.py",
    "/portal/address/": "test_portal.py",
    "/console/setup/": "here, behind a form",
    "/console/second-factor": "here, behind a form",
    "/console/sign-in": "here, behind a form",
    "/console/{rest:path}": "here: what does not exist",
    "/console/work/{work:str}/": "as every act, and only while it runs",
    "/console/reconcile/{provider:str}/": "as every act, and only where something differs",
    "/console/licenses/{license_id:str}/firm": "as every act, and only where a firm is asked for",
    "/console/webhooks/{endpoint_id:str}/resume": "as every act, and only where an endpoint is off",
    "/console/settings/connect/{provider:str}/back": "test_connect.py: the way back from the provider",
    "/console/tenants/{tenant_id:str}/connect/{provider:str}/back": "test_connect.py, as above",
    "/console/you/prove": "here, behind a form",
    "/console/you/add": "here, behind a form",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prepared_sqlite: Prepared) -> Iterator[Furnished]:
    with furnished.open_for_business(tmp_path_factory.mktemp("furnished"), prepared_sqlite) as opened:
        yield opened


class Looking:
    """Looks at pages and gathers what is wrong, so that one run tells of every page."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    def __call__(self, page: Page, path: str) -> None:
        found = [*sight.sideways(page), *sight.barriers(page)]
        self.wrong += [f"{path}: {one}" for one in found]


# Where each walk begins, beneath what it stays, and where it does not go: nobody answers for this shop's
# provider. The firm's staff see pages of their own, and what the others see as well.
WALKS = {
    "": (PUBLIC, "/", ""),
    "portal": (PORTAL, "/portal", "/seats?"),
    "console": (CONSOLE, "/console", ""),
    "firm": (FIRM, "/console/settings/connect", ""),
}
walked: dict[str, set[str]] = {}


@pytest.mark.parametrize("who", WALKS)
def test_every_page_fits_and_has_no_barrier(place: Furnished, visit: Open, who: str) -> None:
    page, looking = visit(), Looking()
    starts, within, without = WALKS[who]
    if who == "portal":
        place.as_customer(page.context)
    elif who == "console":
        place.as_staff(page.context)
        kinds = ("license", "revoked", "active", "dead")
        starts += tuple(
            f"/console/{'events' if one == 'dead' else 'licenses'}/{place.ids[one]}" for one in kinds
        )
        firm = f"/console/tenants/{place.ids['firm']}"
        starts += (firm, f"{firm}/connect/paystack/attach", f"/console/imports/{place.ids['import']}")
    elif who == "firm":
        place.as_staff(page.context, place.ids["firm_session"])
    walked[who] = crawl(page, place.url, starts, looking, within=within, without=without)
    assert not looking.wrong, "\n".join(looking.wrong)


def test_what_only_a_form_of_the_console_leads_to(place: Furnished, visit: Open) -> None:
    page, looking = visit(ready_for="Failed to load resource"), Looking()
    place.as_staff(page.context)

    def press(path: str, button: str, heading: str, **fields: str) -> None:
        page.goto(f"{place.url}{path}")
        for name, text in fields.items():
            page.locator(f"form:not(.find) [name={name}]").last.fill(text)
        page.get_by_role("button", name=button, exact=True).first.click()
        expect(page.get_by_role("heading", name=heading).first).to_be_visible()
        looking(page, f"{path} > {button}")

    one, look_on = f"/console/licenses/{place.ids['license']}", "Show what it would do"
    press(f"{one}/revoke", look_on, "Revoke?", reason="Ticket 4711 and " + "a very long word " * 9)
    press(f"{one}/transfer", look_on, "Transfer?", email="somebody-with-a-rather-long-name@example.com")
    press(f"{one}/extend", look_on, "Extend")  # refused: neither days nor a day were said
    expect(page.get_by_role("alert")).to_be_visible()
    press(f"/console/events/{place.ids['dead']}", "Try to apply it again", "What applying it again would do")
    press("/console/events?status=dead", "Try to apply these again", "What applying them again would do")
    firm = f"/console/tenants/{place.ids['firm']}"
    press(f"{firm}/shred", look_on, "Shred", slug="firm-or-not")
    expect(page.get_by_role("alert")).to_be_visible()
    press(
        f"{firm}/connect/fee",
        look_on,
        "Change the fee",
        percent="7.5",
        fixed="0.30 USD, 0.25 EUR",
        reason="less",
    )
    press(f"{firm}/connect/stripe/disconnect", look_on, "Disconnect", reason="Ticket 4711")
    press("/console/imports/run", look_on, "Import", reason="Ticket 4711")
    press("/console/staff", "Make a set-up link", "The set-up link", email="somebody@example.com")
    press("/console/you", "Add a second factor", "Add a second factor")
    press("/console/you", "Make new codes", "Keep these recovery codes")
    page.goto(f"{place.url}/console/nowhere")
    looking(page, "/console/nowhere")
    assert not looking.wrong, "\n".join(looking.wrong)


def test_the_doors(place: Furnished, visit: Open) -> None:
    """Who is not in yet sees these: the way into the console and the portal, and what is refused there."""
    page, looking = visit(ready_for="Failed to load resource"), Looking()
    page.goto(f"{place.url}/console/sign-in")
    looking(page, "/console/sign-in")
    for password, heading in (("not this one", "Sign in"), (PASSWORD, "Now your second factor")):
        page.get_by_label("E-mail").fill(furnished.OWNER)
        page.get_by_label("Password").fill(password)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
        looking(page, f"/console/sign-in > {heading}")
    page.goto(place.ids["set_up"])
    looking(page, "/console/setup/…")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Once more").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Add a second factor")).to_be_visible()
    looking(page, "/console/second-factor")
    for lost in ("/console/setup/nothing", "/portal/link/nothing", "/buy/nothing", "/nowhere"):
        page.goto(f"{place.url}{lost}")
        looking(page, lost)
    page.goto(f"{place.url}/portal")
    page.get_by_label("E-mail").fill("nobody@example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_be_visible()
    looking(page, "/portal > asked")
    assert not looking.wrong, "\n".join(looking.wrong)


def test_what_only_a_form_of_the_portal_leads_to(place: Furnished, visit: Open) -> None:
    page, looking = visit(ready_for="Failed to load resource"), Looking()
    place.as_customer(page.context)
    page.goto(f"{place.url}/portal/licenses")
    page.get_by_text("Do not renew", exact=True).click()
    looking(page, "/portal/licenses > Do not renew")
    page.goto(f"{place.url}/portal/you")
    page.get_by_label("New e-mail address").fill("moved@example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_be_visible()
    looking(page, "/portal/you > address")
    page.get_by_label("To confirm, type").fill("something else")
    page.get_by_role("button", name="Erase my data").click()
    expect(page.get_by_role("alert")).to_be_visible()
    looking(page, "/portal/you > refused")
    assert not looking.wrong, "\n".join(looking.wrong)


def test_every_page_of_the_route_table_was_looked_at() -> None:
    """A page that nothing leads to is a page that nobody looks at."""
    if walked.keys() != WALKS.keys():
        pytest.skip("only with the walks themselves")
    found = set().union(*walked.values())
    missing = []
    for rule in RULES.values():
        pattern = re.compile(re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(rule.path)))
        named = any(rule.path.startswith(known) for known in ELSEWHERE)
        if rule.method == "GET" and not named and not any(map(pattern.fullmatch, found)):
            missing.append(rule.path)
    assert not missing, "\n".join(missing)
