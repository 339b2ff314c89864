"""A customer's way through the portal, in a real browser: from the mail to a freed machine and an end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email import message_from_bytes, policy

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, Shop
from tests.browser.test_storefront import KEY, fill_card, order

Photograph = Callable[[Page, str], None]


def buy(page: Page, shop: Shop, email: str) -> str:
    """Buy a monthly subscription. Returns the key."""
    order(page, shop, "pro", 2)
    fill_card(page)
    page.fill("[name=email]", email)
    page.locator("form button").last.click()
    expect(page.locator("#key-1")).to_have_text(KEY, timeout=15_000)
    return page.locator("#key-1").inner_text()


def activate(shop: Shop, key: str, *names: str) -> None:
    for name in names:
        body = {"key": key, "fingerprint": f"machine-{name}", "name": name}
        assert httpx.post(f"{shop.url}/api/license/activate", json=body).status_code == 200


def newest_link(shop: Shop, email: str, kind: str = "link", base: str = "") -> str:
    """The link in the newest mail that brings one to this address."""
    until = time.monotonic() + 15
    while time.monotonic() < until:
        for path in sorted(shop.outbox.glob("*.eml"), key=lambda one: one.stat().st_mtime, reverse=True):
            mail = message_from_bytes(path.read_bytes(), policy=policy.default)
            body = mail.get_body(("plain",))
            found = re.search(rf"{base or shop.url}/portal/{kind}/\S+", body.get_content() if body else "")
            if found and email in str(mail["to"]):
                return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no link for {email}")


@pytest.mark.parametrize(
    ("width", "dark", "scripts"),
    [(1280, False, True), (320, False, False), (1280, True, False), (320, True, True)],
)
def test_a_customer_signs_in_frees_a_machine_and_cancels(
    shop: Shop, visit: Open, photograph: Photograph, width: int, dark: bool, scripts: bool
) -> None:
    look = f"{width}-{'dark' if dark else 'light'}"
    email = f"ada-{look}@example.com"
    key = buy(visit(), shop, email)
    activate(shop, key, "Ada's desk", "The laptop with the rather long name that somebody gave it")
    page = visit(width=width, dark=dark, scripts=scripts)
    page.goto(f"{shop.url}/")
    page.get_by_role("link", name="Your licenses").click()
    page.get_by_label("E-mail").fill(email)
    photograph(page, f"20-ask-{look}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("If we know this address, a link is on its way.")
    photograph(page, f"21-asked-{look}")
    page.goto(newest_link(shop, email))
    photograph(page, f"22-confirm-{look}")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Your licenses")).to_be_visible()
    photograph(page, f"23-licenses-{look}")
    machine = page.get_by_role("listitem").filter(has_text="Ada's desk")
    machine.get_by_role("button", name="Free this machine").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The machine is free.")
    expect(page.get_by_role("listitem").filter(has_text="Ada's desk")).to_have_count(0)
    page.get_by_text("Do not renew", exact=True).focus()
    page.keyboard.press("Enter")
    photograph(page, f"24-sure-{look}")
    page.get_by_role("button", name="Yes, do not renew").click()
    expect(page.get_by_role("status")).to_contain_text("not to renew")
    until = time.monotonic() + 15
    while not page.get_by_text("and is not renewed").count() and time.monotonic() < until:
        page.wait_for_timeout(300)
        page.goto(f"{shop.url}/portal/licenses")
    expect(page.get_by_text("and is not renewed")).to_be_visible()
    photograph(page, f"25-canceled-{look}")
    page.get_by_role("button", name="Payment and invoices").click()
    page.wait_for_url(f"{shop.sandbox.url}/**")
    page.goto(f"{shop.url}/portal/licenses")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{shop.url}/portal")
    page.goto(f"{shop.url}/portal/licenses")
    expect(page.get_by_label("E-mail")).to_be_visible()


def test_a_link_opened_in_another_browser_says_where_it_works(
    shop: Shop, visit: Open, photograph: Photograph
) -> None:
    email = "bea@example.com"
    buy(visit(), shop, email)
    page, other = visit(), visit(width=320, ready_for="403")
    page.goto(f"{shop.url}/portal")
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Send me a link").click()
    expect(page.get_by_role("status")).to_be_visible()
    link = newest_link(shop, email)
    other.goto(link)
    expect(other.get_by_role("heading", name="Open this link where you asked for it")).to_be_visible()
    photograph(other, "26-elsewhere")
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Your licenses")).to_be_visible()


def test_the_demo_is_signed_in_to_from_its_mail_viewer(
    shop: Shop, visit: Open, photograph: Photograph
) -> None:
    email = "cleo@example.com"
    buy(visit(), shop, email)
    page = visit()
    page.goto(f"{shop.url}/portal")
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Send me a link").click()
    expect(page.get_by_role("status")).to_be_visible()
    link = newest_link(shop, email)
    page.goto(f"{shop.url}/demo/mails")
    page.get_by_role("link", name="Sign in at").first.click()
    photograph(page, "27-mail")
    page.get_by_role("link", name=link).click()
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Your licenses")).to_be_visible()


@pytest.mark.parametrize(("width", "dark"), [(320, True), (1280, False), (1920, False)])
def test_a_customer_adds_seats_takes_a_file_and_goes(
    shop: Shop, visit: Open, photograph: Photograph, width: int, dark: bool
) -> None:
    look = f"{width}-{'dark' if dark else 'light'}"
    email = f"dora-{look}@example.com"
    key = buy(visit(), shop, email)
    activate(shop, key, "Dora's desk")
    page = visit(width=width, dark=dark, ready_for="409")
    sign_in(page, shop, email)
    photograph(page, f"28-licenses-{look}")
    with page.expect_download() as loading:
        page.get_by_role("button", name="License file").click()
    assert loading.value.suggested_filename == "license.lic"
    page.get_by_role("link", name="Change seats").click()
    page.get_by_label("Quantity in all").fill("4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="4 in all")).to_be_visible()
    photograph(page, f"29-price-{look}")
    page.get_by_role("button", name="Agree, and change to 4").click()
    expect(page.get_by_role("status")).to_contain_text("We have told the payment provider.")
    page.get_by_role("link", name="Your data").click()
    photograph(page, f"30-you-{look}")
    with page.expect_download() as loading:
        page.get_by_role("button", name="Download my data").click()
    assert loading.value.suggested_filename == "personal-data.json"
    page.get_by_label("New e-mail address").fill(f"moved-{email}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("A link is on its way")
    page.goto(newest_link(shop, f"moved-{email}", "address"))
    photograph(page, f"31-address-{look}")
    page.get_by_role("button", name="Use this address").click()
    expect(page.get_by_role("status")).to_contain_text("Your address is changed.")
    page.get_by_role("link", name="Your data").click()
    page.get_by_label("To confirm, type").fill("erase my data")
    page.get_by_role("button", name="Erase my data").click()
    expect(page.get_by_role("alert")).to_contain_text("still renews")
    photograph(page, f"32-refused-{look}")


def sign_in(page: Page, shop: Shop, email: str) -> None:
    page.goto(f"{shop.url}/portal")
    page.get_by_label("E-mail").fill(email)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_be_visible()
    page.goto(newest_link(shop, email))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Your licenses")).to_be_visible()


def test_the_buy_button_leads_to_the_order_form(shop: Shop, visit: Open, photograph: Photograph) -> None:
    for width, dark in ((320, True), (1280, False)):
        page = visit(width=width, dark=dark)
        page.goto(f"{shop.url}/demo/buy-button")
        photograph(page, f"33-button-{width}")
        with page.expect_popup() as opening:
            page.get_by_role("link", name="Buy DashCaddy Pro").click()
        expect(opening.value.get_by_role("radio", checked=True)).to_have_attribute(
            "value", re.compile("^pro/")
        )
        opening.value.goto(f"{shop.url}/buy/dashcaddy?canceled=yes")
        photograph(opening.value, f"34-canceled-{width}")
