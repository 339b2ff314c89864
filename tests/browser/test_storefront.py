"""A buyer's way through the pages, in a real browser: from the storefront to the key."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, Shop

Photograph = Callable[[Page, str], None]

KEY = re.compile(r"^DC-([0-9A-HJKMNP-TV-Z]{5}-){4}[0-9A-HJKMNP-TV-Z]{5}$")


def fill_card(page: Page, number: str = "4242 4242 4242 4242") -> None:
    page.fill("[name=email]", "ada@example.com")
    page.fill("[name=card_number]", number)
    page.fill("[name=card_expiry]", "12 / 34")
    page.fill("[name=card_code]", "123")


def order(page: Page, shop: Shop, plan: str = "lifetime", quantity: int = 1) -> None:
    page.goto(f"{shop.url}/buy/dashcaddy?plan={plan}")
    page.locator("#quantity").fill(str(quantity))
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url(f"{shop.sandbox.url}/**")


# A walk at every width and in both lights is for whoever looks at the pictures.
_LOOKS = [(width, dark) for width in (320, 768, 1920) for dark in (False, True)]


@pytest.mark.parametrize(
    ("width", "dark"), _LOOKS if os.environ.get("KEYWRIGHT_SCREENSHOTS") else [(1920, False), (320, True)]
)
def test_a_buyer_walks_from_the_storefront_to_the_key(
    shop: Shop, visit: Open, photograph: Photograph, width: int, dark: bool
) -> None:
    page = visit(width=width, dark=dark)
    look = f"{width}-{'dark' if dark else 'light'}"
    page.goto(f"{shop.url}/")
    photograph(page, f"1-storefront-{look}")
    page.get_by_role("link", name="DashCaddy", exact=True).click()
    photograph(page, f"1-product-{look}")
    page.get_by_role("link", name="Lifetime", exact=True).click()
    photograph(page, f"1-plan-{look}")
    page.get_by_role("link", name="Choose Lifetime").click()
    expect(page.get_by_role("link", name="Lifetime $199")).to_have_attribute("aria-current", "true")
    page.locator("#quantity").fill("2")
    expect(page.locator("#total")).to_have_text("$398")
    photograph(page, f"2-buy-{look}")
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url(f"{shop.sandbox.url}/**")
    photograph(page, f"3-pay-{look}")
    fill_card(page)
    page.locator("form button").last.click()
    page.wait_for_url(f"{shop.url}/checkout/KW-*")
    key = page.locator("#key-1")
    expect(key).to_have_text(KEY, timeout=30_000)
    photograph(page, f"4-result-{look}")
    checked = httpx.post(f"{shop.url}/api/license/validate", json={"key": key.inner_text()}).json()
    assert checked["license"]["seats"] == 2


def test_the_key_is_copied_with_one_click(shop: Shop, visit: Open) -> None:
    page = visit()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=shop.url)
    order(page, shop)
    fill_card(page)
    page.locator("form button").last.click()
    expect(page.locator("#key-1")).to_have_text(KEY, timeout=30_000)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#key-1").inner_text()


def test_a_keys_plan_shows_every_key(shop: Shop, visit: Open, photograph: Photograph) -> None:
    page = visit(width=360)
    order(page, shop, "team", 3)
    fill_card(page)
    page.locator("form button").last.click()
    expect(page.locator("code.key")).to_have_count(3, timeout=30_000)
    photograph(page, "5-keys")


def test_the_page_waits_for_a_webhook_that_is_late(shop: Shop, visit: Open, photograph: Photograph) -> None:
    """Deliveries are held: the script asks for a verification after five seconds, and the key appears."""
    page = visit()
    shop.lever("hold")
    try:
        order(page, shop)
        fill_card(page)
        page.locator("form button").last.click()
        page.wait_for_url(f"{shop.url}/checkout/KW-*")
        expect(page.get_by_role("status")).to_have_text("Waiting for the payment")
        photograph(page, "6-waiting")
        expect(page.locator("#key-1")).to_have_text(KEY, timeout=30_000)
        key = page.locator("#key-1").inner_text()
    finally:
        shop.lever("release")
    until = time.monotonic() + 30  # the webhooks arrive now, and change nothing
    while not httpx.get(f"{shop.sandbox.url}/_sandbox/deliveries").json()["idle"]:
        assert time.monotonic() < until
        time.sleep(0.05)
    page.reload()
    assert page.locator("code.key").all_inner_texts() == [key]


def test_without_scripts_the_page_reloads_itself(shop: Shop, visit: Open) -> None:
    page = visit(scripts=False)
    shop.lever("hold")
    try:
        order(page, shop)
        fill_card(page)
        page.locator("form button").last.click()
        page.wait_for_url(f"{shop.url}/checkout/KW-*")
        expect(page.locator("#key-1")).to_have_text(KEY, timeout=30_000)
    finally:
        shop.lever("release")


def test_another_browser_sees_the_status_and_no_key(shop: Shop, visit: Open, photograph: Photograph) -> None:
    buyer, stranger = visit(), visit()
    order(buyer, shop)
    fill_card(buyer)
    buyer.locator("form button").last.click()
    expect(buyer.locator("#key-1")).to_have_text(KEY, timeout=30_000)
    stranger.goto(buyer.url)
    expect(stranger.get_by_role("heading", level=1)).to_have_text("This order is complete.")
    assert "DC-" not in stranger.content()
    photograph(stranger, "7-stranger")


def test_a_declined_card_can_be_tried_again(shop: Shop, visit: Open) -> None:
    page = visit(ready_for="402 (Payment Required)")
    order(page, shop)
    fill_card(page, "4000 0000 0000 9995")
    page.locator("form button").last.click()
    expect(page.get_by_role("alert")).to_be_visible()
    reference = shop.sandbox.sandbox.state.every("checkout.session")[-1]["client_reference_id"]
    other = visit()
    other.goto(f"{shop.url}/checkout/{reference}")
    expect(other.get_by_role("status")).to_have_text("Waiting for the payment")
    fill_card(page)
    page.locator("form button").last.click()
    expect(page.locator("#key-1")).to_have_text(KEY, timeout=30_000)


def test_an_order_that_cannot_be_is_explained_in_the_form(
    shop: Shop, visit: Open, photograph: Photograph
) -> None:
    page = visit(width=360, ready_for="422 (Unprocessable")
    page.goto(f"{shop.url}/buy/dashcaddy")
    page.locator("#quantity").evaluate("field => { field.max = 999999; }")
    page.locator("#quantity").fill("100001")
    page.get_by_role("button", name="Continue to payment").click()
    expect(page.get_by_role("alert")).to_contain_text("from 1 to 100,000")
    assert page.locator("#quantity").input_value() == "100001"
    photograph(page, "9-problem")


def test_a_subscription_delivers_its_key(shop: Shop, visit: Open, photograph: Photograph) -> None:
    page = visit(width=360)
    page.goto(f"{shop.url}/buy/dashcaddy?plan=pro")
    page.locator("#quantity").fill("3")
    page.get_by_role("link", name="Yearly save 16%").click()
    expect(page.locator("#quantity")).to_have_value("3")
    expect(page.locator("#total")).to_have_text("$1,497")
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url(f"{shop.sandbox.url}/**")
    photograph(page, "8-pay-subscription")
    fill_card(page)
    page.locator("form button").last.click()
    expect(page.locator("#key-1")).to_have_text(KEY, timeout=30_000)


def test_the_mail_viewer_shows_the_letter(shop: Shop, visit: Open, photograph: Photograph) -> None:
    page = visit()
    order(page, shop)
    fill_card(page)
    page.locator("form button").last.click()
    expect(page.locator("#key-1")).to_have_text(KEY, timeout=30_000)
    key = page.locator("#key-1").inner_text()
    newest = ""
    until = time.monotonic() + 30
    while key not in newest and time.monotonic() < until:
        page.goto(f"{shop.url}/demo/mails")
        if page.locator(".mails a").count():
            photograph(page, "10-mails")
            page.locator(".mails a").first.click()
            newest = page.content()
        page.wait_for_timeout(200)
    expect(page.locator("pre")).to_contain_text(key)
    expect(page.frame_locator("iframe").locator("body")).to_contain_text(key)
    photograph(page, "11-mail")


def test_an_unknown_product_has_a_way_back(shop: Shop) -> None:
    answer = httpx.get(f"{shop.url}/buy/nothing")
    assert answer.status_code == 404
    assert 'href="/"' in answer.text
