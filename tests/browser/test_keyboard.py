"""Bought, used and given up without a mouse: from the storefront to the key, and through the portal."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, Shop
from tests.browser.keyboard import Keyboard
from tests.browser.test_portal import activate, newest_link
from tests.browser.test_storefront import KEY

EMAIL = "without-a-mouse@example.com"


def test_from_the_storefront_to_the_end_by_keyboard_alone(shop: Shop, visit: Open) -> None:
    page = visit(width=390)
    keys = Keyboard(page)
    key = buy(page, keys, shop)
    activate(shop, key, "Desk", "Laptop")
    keys.enter("Your licenses")
    keys.write("E-mail", EMAIL)
    keys.enter()
    expect(page.get_by_role("status")).to_be_visible()
    page.goto(newest_link(shop, EMAIL))
    keys.enter("Sign in")
    expect(page.get_by_role("listitem").filter(has_text="Laptop")).to_be_visible()
    keys.enter("Free this machine")
    expect(page.get_by_role("status")).to_contain_text("The machine is free.")
    keys.enter("Change seats")
    keys.write("Quantity in all", "3")
    keys.enter()
    expect(page.get_by_role("heading", name="3 in all")).to_be_visible()
    keys.enter("Agree, and change to 3")
    expect(page.get_by_role("status")).to_contain_text("We have told the payment provider.")
    keys.to("Do not renew")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Yes, do not renew")).to_be_visible()
    keys.enter("Yes, do not renew")
    expect(page.get_by_role("status")).to_contain_text("not to renew")
    keys.enter("Sign out")
    expect(page.get_by_label("E-mail")).to_be_visible()


def buy(page: Page, keys: Keyboard, shop: Shop) -> str:
    """The subscription, two seats. Returns the key."""
    page.goto(f"{shop.url}/")
    keys.enter("(Choose|Try) Pro")
    keys.write("Seats|Quantity", "2")
    keys.enter("Continue to payment")
    page.wait_for_url(f"{shop.sandbox.url}/**")
    for field, text in (("E-?mail", EMAIL), ("Card number", "4242424242424242")):
        keys.write(field, text)
    for field, text in (("Expir", "12 / 34"), ("(Security|Card) code|CV", "123")):
        keys.write(field, text)
    keys.enter()
    page.wait_for_url(f"{shop.url}/checkout/KW-*")
    expect(page.locator("#key-1")).to_have_text(KEY, timeout=30_000)
    return page.locator("#key-1").inner_text()
