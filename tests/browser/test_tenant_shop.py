"""A customer of a second tenant, in a real browser: from its shop to a working key, and into its portal."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
import stripe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, Shop, _price
from tests.browser.test_portal import newest_link
from tests.browser.test_storefront import fill_card

Photograph = Callable[[Page, str], None]

KEY = re.compile(r"^AC-([0-9A-HJKMNP-TV-Z]{5}-){4}[0-9A-HJKMNP-TV-Z]{5}$")
CATALOG = """
[[product]]
slug = "saw"
name = "Acme Saw"
key_prefix = "AC"

[[product.plan]]
slug = "pro"
name = "Pro"
limits = {{ jobs = 20 }}

[[product.plan.prices]]
key = "monthly"
provider = "stripe"
id = "{price}"
amount = 700
currency = "USD"
interval = "month"
"""


@pytest.fixture(scope="module")
def acme(shop: Shop) -> str:
    """The address of a second tenant's shop, made by commands while the server runs."""
    sdk = stripe.StripeClient(shop.sandbox.api_key, base_addresses={"api": shop.sandbox.url})
    shop.command("tenant", "create", "--name", "Acme Tools", "--slug", "acme")
    file = shop.outbox.parent / "acme.toml"
    file.write_text(CATALOG.format(price=_price(sdk, "Acme Saw Pro", 700, "month")))
    shop.command("provider", "setup", "stripe", "--tenant", "acme", typed=f"{shop.sandbox.api_key}\n")
    shop.command("catalog", "apply", str(file), "--tenant", "acme")
    return f"{shop.url}/t/acme"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (320, True)])
def test_a_customer_of_a_second_tenant_buys_and_signs_in(
    shop: Shop, acme: str, visit: Open, photograph: Photograph, width: int, dark: bool
) -> None:
    page, email = visit(width=width, dark=dark), f"grace-{width}@example.com"
    page.goto(f"{acme}/")
    expect(page.get_by_role("link", name="Acme Tools")).to_be_visible()
    expect(page.get_by_text("DashCaddy")).to_have_count(0)
    photograph(page, f"60-tenant-shop-{width}")
    page.get_by_role("link", name="Choose Pro").click()
    photograph(page, f"61-tenant-order-{width}")
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url(f"{shop.sandbox.url}/**")
    fill_card(page)
    page.fill("[name=email]", email)
    page.locator("form button").last.click()
    # The stream tells the page that the payment came, beneath the tenant's own address.
    expect(page.locator("#key-1")).to_have_text(KEY)
    assert page.url.startswith(f"{acme}/checkout/KW-")
    photograph(page, f"62-tenant-key-{width}")
    asked = {"key": page.locator("#key-1").inner_text(), "fingerprint": f"machine-of-{email}"}
    for base in (acme, shop.url):
        assert httpx.post(f"{base}/api/license/activate", json=asked).json()["code"] == "VALID"
    page.get_by_role("link", name="Your licenses").first.click()
    page.get_by_label("E-mail").fill(email)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("If we know this address, a link is on its way.")
    page.goto(newest_link(shop, email, base=acme))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{acme}/portal/licenses")
    expect(page.get_by_role("heading", name="Acme Saw Pro")).to_be_visible()
    photograph(page, f"63-tenant-portal-{width}")
    page.goto(f"{shop.url}/portal/licenses")
    assert page.url == f"{shop.url}/portal"
