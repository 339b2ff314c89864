"""A platform and a tenant of it in a real browser: the tenant's account is connected, sells, pays its fee
and leaves again; and a firm that bought seats becomes a tenant and adds some."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from typing import Any

import httpx
import pytest
import stripe
from playwright.sync_api import Page, expect

from tests.browser import sight
from tests.browser.conftest import Open, Shop
from tests.browser.test_console import app_code, choose_password
from tests.browser.test_storefront import fill_card

Photograph = Callable[[Page, str], None]
Look = Callable[..., None]

SOON = 30.0
KEY = re.compile(r"^BE-([0-9A-HJKMNP-TV-Z]{5}-){4}[0-9A-HJKMNP-TV-Z]{5}$")
CATALOG = """
[[product]]
slug = "lamp"
name = "Beacon Lamp"
key_prefix = "BE"

[[product.plan]]
slug = "ever"
name = "For ever"
term = "perpetual"
prices = [{{ key = "once", provider = "stripe", id = "{price}", amount = 9900, currency = "USD" }}]
"""


@pytest.fixture
def look(photograph: Photograph) -> Look:
    """Keep pictures of a page. `closely`: every width, both schemes, with axe; `test_pages.py` does so with
    those that are not asked for it here."""

    def at(page: Page, name: str, *, closely: bool = False) -> None:
        found = [*sight.sideways(page), *sight.barriers(page)] if closely else []
        assert not found, f"{name}: " + "\n".join(found)
        for width, scheme in ((1280, "light"), (320, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            photograph(page, f"{name}-{width}-{scheme}")
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="null")

    return at


def set_up(page: Page, link: str, email: str) -> None:
    """Somebody opens the link, and is in. The very first one of a shop says who he is."""
    page.goto(link)
    choose_password(page, email if page.get_by_label("E-mail").count() else "")
    page.get_by_label("Code", exact=True).fill(app_code(page))
    page.get_by_role("button", name="Confirm the app").click()
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()


def hired(page: Page, shop: Shop, email: str, *tenant: str) -> None:
    link = shop.command("staff", "create", "--email", email, "--role", "owner", *tenant).strip()
    set_up(page, link, email)


def sdk_of(shop: Shop) -> stripe.StripeClient:
    return stripe.StripeClient(shop.sandbox.api_key, base_addresses={"api": shop.sandbox.url})


def settle(shop: Shop) -> None:
    """Until nothing is on its way from Stripe."""
    until = time.monotonic() + SOON
    while not httpx.get(f"{shop.sandbox.url}/_sandbox/deliveries").json()["idle"]:
        assert time.monotonic() < until, "the deliveries do not end"
        time.sleep(0.05)


def load_until(page: Page, text: str | re.Pattern[str], *, gone: bool = False) -> None:
    """Load the page again until this can be read on it, or cannot any more."""
    until = time.monotonic() + SOON
    while (page.get_by_role("main").get_by_text(text).count() == 0) is not gone:
        assert time.monotonic() < until, f"waited in vain for {text}"
        page.wait_for_timeout(200)
        page.reload()


def test_a_tenant_connects_sells_and_pays_its_fee(shop: Shop, visit: Open, look: Look) -> None:
    shop.command("tenant", "create", "--name", "Beacon Tools", "--slug", "beacon")
    owner, platform = visit(ready_for="Failed to load resource"), visit()
    hired(owner, shop, "owner@beacon.example", "--tenant", "beacon")
    owner.goto(f"{shop.url}/console/settings")
    owner.get_by_role("link", name="Accounts that are connected to the platform").click()
    look(owner, "70-connect", closely=True)
    owner.get_by_label("Reason").fill("we begin to sell")
    owner.get_by_role("button", name="Connect Stripe").click()
    owner.get_by_role("link", name="Open the page at Stripe").click()
    owner.get_by_role("button", name="Leave the papers for later").click()
    expect(owner.get_by_role("status")).to_contain_text("You are back.")
    expect(owner.get_by_role("heading", name="To be handed in at Stripe")).to_be_visible()
    look(owner, "71-connect-due")
    owner.get_by_role("button", name="Go on at Stripe").click()
    owner.get_by_role("link", name="Open the page at Stripe").click()
    owner.get_by_role("button", name="Hand in everything").click()
    expect(owner.get_by_text("Sells", exact=True)).to_be_visible()
    account = owner.get_by_text(re.compile("^acct_")).inner_text()
    set_fee(platform, shop, look)
    buy_a_lamp(visit(), shop, account)
    # The fee is the platform's, and nothing of the sale is.
    platform.goto(f"{shop.url}/console")
    load_until(platform, re.compile(r"\$10\.40"))
    look(platform, "73-fees")
    for page, sold in ((platform, 0), (owner, 1)):
        page.goto(f"{shop.url}/console/licenses")
        expect(page.get_by_role("link", name="Beacon Lamp For ever")).to_have_count(sold)
    shop.lever(f"stripe/accounts/{account}/deauthorize")
    settle(shop)
    owner.goto(f"{shop.url}/console/settings/connect")
    expect(owner.get_by_text("Disconnected", exact=True)).to_be_visible()
    look(owner, "74-connect-left")
    owner.goto(f"{shop.url}/t/beacon/")
    # What a shop may sell is looked up every two seconds.
    load_until(owner, re.compile("^Choose For ever$"), gone=True)


def set_fee(platform: Page, shop: Shop, look: Look) -> None:
    """A tenth and half a dollar, from the tenant's page, which tells where the events come to."""
    hired(platform, shop, "boss@platform.example")
    platform.goto(f"{shop.url}/console/tenants")
    platform.get_by_role("link", name="Beacon Tools").click()
    expect(platform.get_by_text(f"{shop.url}/api/webhooks/stripe/connect")).to_be_visible()
    platform.get_by_role("link", name="Connected accounts and fee").click()
    platform.get_by_role("link", name="Change the fee").click()
    platform.get_by_label("Percent of a charge").fill("10")
    platform.get_by_label("And a fixed amount").fill("0.50 USD")
    platform.get_by_label("Reason").fill("as agreed")
    platform.get_by_role("button", name="Show what it would do").click()
    look(platform, "72-fee")
    platform.get_by_role("button", name=re.compile("^Yes")).click()
    expect(platform.get_by_role("status")).to_contain_text("The fee was changed.")


def buy_a_lamp(page: Page, shop: Shop, account: str) -> None:
    made: Any = {"currency": "usd", "unit_amount": 9900, "product_data": {"name": "Lamp"}}
    price = sdk_of(shop).v1.prices.create(made, {"stripe_account": account}).id
    file = shop.outbox.parent / "beacon.toml"
    file.write_text(CATALOG.format(price=price))
    shop.command("catalog", "apply", str(file), "--tenant", "beacon")
    page.goto(f"{shop.url}/t/beacon/")
    page.get_by_role("link", name="Choose For ever").click()
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url(f"{shop.sandbox.url}/**")
    fill_card(page)
    page.locator("form button").last.click()
    expect(page.locator("#key-1")).to_have_text(KEY)


def invitation(shop: Shop, email: str) -> str:
    """The link of the mail that lets the first person of a tenant in."""
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        for path in shop.outbox.glob("*.eml"):
            mail = message_from_bytes(path.read_bytes(), policy=policy.default)
            body = mail.get_body(("plain",))
            found = re.search(r"http://\S+/console/setup/\S+", body.get_content() if body else "")
            if found and email in str(mail["to"]):
                return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no invitation for {email}")


def test_a_firm_becomes_a_tenant_and_adds_licenses(shop: Shop, visit: Open, look: Look) -> None:
    sdk, email = sdk_of(shop), "owner@firm.example"
    monthly = next(one.id for one in sdk.v1.prices.list().data if one.recurring and one.unit_amount == 5000)
    bought = sdk.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": monthly, "quantity": 3}],
            "success_url": "https://shop.example/ok",
        }
    )
    shop.lever("stripe/pay", session=bought.id, email=email)
    found = sdk.v1.checkout.sessions.retrieve(bought.id)
    work = shop.command(
        *("tenant", "provision", "--email", email, "--client-name", "Firm & Sons"),
        *("--stripe-customer-id", str(found.customer), "--stripe-subscription-id", str(found.subscription)),
    )
    assert f"create-tenant-{found.customer}" in work
    owner = visit()
    set_up(owner, invitation(shop, email), email)
    owner.get_by_text("Set-up", exact=True).click()
    owner.get_by_role("link", name="Add licenses").click()
    load_until(owner, re.compile("Subscribed now: 3"))
    owner.get_by_label("Users in all").fill("5")
    owner.get_by_role("button", name="Show the price").click()
    expect(owner.get_by_role("heading", name="5 users in all")).to_be_visible()
    look(owner, "76-add-licenses", closely=True)
    owner.get_by_role("button", name="Agree, and have 5").click()
    expect(owner.get_by_role("status")).to_contain_text("The change is on its way.")
    owner.goto(f"{shop.url}/console/seats")
    load_until(owner, re.compile("Subscribed now: 5"))
    (item,) = sdk.v1.subscription_items.list({"subscription": str(found.subscription)}).data
    assert item.quantity == 5
