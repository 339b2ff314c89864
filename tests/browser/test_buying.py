"""Buying at each provider's stand-in, in a browser: to a key, by detours, from inside a program."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import Page, expect

from keywright.cli import demo
from tests.browser import sight
from tests.browser.conftest import Open, _free_port

Photograph = Callable[[Page, str], None]
ROOT = Path(__file__).resolve().parents[2]
KEY = re.compile(r"^(DC|HI)-([0-9A-HJKMNP-TV-Z]{5}-){4}[0-9A-HJKMNP-TV-Z]{5}$")
LONG = 30_000  # milliseconds: a key comes in one second here, and in ten where much else runs
BUYER = "ada@example.com"

# Beside what the demo sells: a program that sells itself.
MORE = """
[[product]]
slug = "hello"
name = "Hello"
key_prefix = "HI"
code = 2

[[product.plan]]
slug = "pro"
name = "Hello Pro"
code = 1
term = "perpetual"
portable_file = true
prices = [{ key = "once", provider = "stripe", id = "PRICE", amount = 900, currency = "USD" }]
"""


def more_looks(*looks: tuple[int, bool]) -> tuple[tuple[int, bool], ...]:
    """Widths and lights beside the usual, for whoever looks at the pictures."""
    return looks if os.environ.get("KEYWRIGHT_SCREENSHOTS") else ()


class Town(NamedTuple):
    """The demo, as `keywright demo` starts it."""

    url: str
    sandbox: str

    def validated(self, key: str) -> Any:
        """What the server says of a key."""
        return httpx.post(f"{self.url}/api/license/validate", json={"key": key}, timeout=30).json()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    with ExitStack() as stack:
        stage = stack.enter_context(demo._running(folder, _free_port()))
        key = {"Authorization": f"Bearer {stage.sandbox_key}"}

        def price(amount: int) -> str:
            form = {"unit_amount": str(amount), "currency": "usd", "product_data[name]": "One"}
            answer = httpx.post(f"{stage.sandbox_url}/v1/prices", data=form, headers=key, timeout=30)
            return str(answer.raise_for_status().json()["id"])

        catalog = folder / "catalog.toml"
        catalog.write_text(catalog.read_text() + MORE.replace("PRICE", price(900)))
        demo._run(stage.environment, "catalog", "apply", str(catalog))
        yield Town(stage.url, stage.sandbox_url)


# -- at each provider ----------------------------------------------------------------------------------------


def at_stripe(page: Page, *, declined: bool = False) -> None:
    page.fill("[name=email]", BUYER)
    page.fill("[name=card_number]", "4000000000009995" if declined else "4242424242424242")
    page.fill("[name=card_expiry]", "12 / 34")
    page.fill("[name=card_code]", "123")
    page.locator("form button").last.click()


def at_paystack(page: Page, *, declined: bool = False) -> None:
    page.fill("[name=card_number]", "4084080000005408" if declined else "4084084084084081")
    page.locator("form button").last.click()


def at_paypal(page: Page, *, declined: bool = False) -> None:
    page.fill("[name=email]", BUYER)
    page.locator(f"[name=funding][value={'declines' if declined else 'pays'}]").check()
    page.locator("[name=act][value=approve]").click()


PROVIDERS = {"Stripe": at_stripe, "Paystack": at_paystack, "PayPal": at_paypal}
CURRENCIES = {"Stripe": "USD", "Paystack": "NGN", "PayPal": "USD"}
every_provider = pytest.mark.parametrize("provider", PROVIDERS)


def order(page: Page, town: Town, provider: str, plan: str = "lifetime") -> None:
    """From the order form to the provider's page, as somebody who has that provider's money."""
    page.goto(f"{town.url}/buy/dashcaddy?plan={plan}")
    currency = page.get_by_role("navigation", name="Currency").get_by_role("link", name=CURRENCIES[provider])
    currency.click()
    expect(currency).to_have_attribute("aria-current", "true")
    choose(page, town, provider)


def choose(page: Page, town: Town, provider: str) -> None:
    """This provider, and on to its page."""
    page.get_by_role("radio", name=provider).check()
    if provider == "Paystack":
        page.get_by_label("E-mail").fill(BUYER)
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url(f"{town.sandbox}/**")


def key_of(page: Page, town: Town) -> str:
    """The key on the result page, once it is there."""
    page.wait_for_url(f"{town.url}/checkout/KW-*")
    expect(page.locator("#key-1")).to_have_text(KEY, timeout=LONG)
    return page.locator("#key-1").inner_text()


@every_provider
def test_a_buyer_goes_back_once_and_then_pays_for_a_key_that_works(
    town: Town, visit: Open, photograph: Photograph, provider: str
) -> None:
    page = visit(width=390)
    order(page, town, provider)
    photograph(page, f"40-pay-{provider.lower()}")
    leave = page.get_by_role("link", name=re.compile("Back to the shop|Cancel the payment"))
    leave.or_(page.get_by_role("button", name="Cancel and return")).click()
    page.wait_for_url(f"{town.url}/buy/dashcaddy?canceled=yes*")
    expect(page.locator(".notice")).to_contain_text("nothing was charged")
    expect(page.get_by_role("link", name="DashCaddy Lifetime")).to_have_attribute("aria-current", "true")
    photograph(page, f"41-canceled-{provider.lower()}")
    choose(page, town, provider)
    PROVIDERS[provider](page)
    verdict = town.validated(key_of(page, town))
    photograph(page, f"42-key-{provider.lower()}")
    assert verdict["valid"]
    assert verdict["license"]["plan"] == "lifetime"


@pytest.mark.parametrize("provider", ["Paystack", "PayPal"])  # Stripe's is in test_storefront
def test_a_declined_payment_can_be_tried_again(town: Town, visit: Open, provider: str) -> None:
    page = visit(ready_for="402 (Payment Required)")
    order(page, town, provider)
    PROVIDERS[provider](page, declined=True)
    if provider == "PayPal":  # it finds out when the money is taken, and the buyer is back by then
        page.get_by_role("link", name="Go back to the payment page").click()
    else:
        expect(page.get_by_role("alert")).to_be_visible()
    PROVIDERS[provider](page)
    assert town.validated(key_of(page, town))["valid"]


# -- the storefront ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "dark"), [(320, True), (1920, False), *more_looks((768, False))])
def test_a_year_and_a_currency_are_chosen_on_the_storefront(
    town: Town, visit: Open, photograph: Photograph, width: int, dark: bool
) -> None:
    page = visit(width=width, dark=dark)
    page.goto(town.url)
    photograph(page, f"44-store-{width}")
    page.get_by_role("link", name="Yearly save 16%").click()
    pro = page.locator(".plan").filter(has_text="DashCaddy Pro")
    expect(pro).to_contain_text("$500 USD a year")
    page.get_by_role("link", name="NGN").click()  # where there is no price by the year
    expect(pro).to_contain_text("₦45,000 NGN a month")
    page.get_by_role("link", name="USD").click()
    page.get_by_role("link", name="Choose DashCaddy Pro").click()
    expect(page.locator("#total")).to_have_text("$500")
    photograph(page, f"45-order-{width}")
    page.goto(f"{town.url}/products/dashcaddy/pro")
    photograph(page, f"46-plan-{width}")
    page.goto(f"{town.url}/products/dashcaddy")
    photograph(page, f"47-product-{width}")


@pytest.mark.parametrize(
    ("width", "dark"), [(320, True), (1920, False), *more_looks((320, False), (768, True), (1920, True))]
)
def test_every_component_is_shown(
    town: Town, visit: Open, photograph: Photograph, width: int, dark: bool
) -> None:
    page = visit(width=width, dark=dark)
    page.goto(f"{town.url}/demo/design")
    expect(page.get_by_role("heading", level=2)).to_have_count(7)
    photograph(page, f"design-{width}-{'dark' if dark else 'light'}")
    if shots := os.environ.get("KEYWRIGHT_SHOTS"):  # the pictures in the documentation
        page.set_viewport_size({"width": 1000, "height": 800})
        page.emulate_media(color_scheme="light")
        middle = page.locator("#tables").evaluate("one => one.getBoundingClientRect().top + scrollY") - 24
        end = page.evaluate("document.documentElement.scrollHeight")
        for name, top, height in (("design", 0, middle), ("design-more", middle, end - middle)):
            clip = {"x": 0, "y": top, "width": 1000, "height": height}
            page.screenshot(path=Path(shots) / f"{name}.png", full_page=True, clip=clip)  # type: ignore[arg-type]  # a dictionary of this shape is right


# -- afterwards ----------------------------------------------------------------------------------------------


def test_an_order_that_is_paid_is_not_paid_again(town: Town, visit: Open, photograph: Photograph) -> None:
    page = visit()
    page.goto(f"{town.url}/buy/dashcaddy?plan=lifetime")
    page.get_by_role("radio", name="Stripe").check()
    fields = page.eval_on_selector_all(
        "form [name]",
        "all => all.filter(one => one.type !== 'radio' || one.checked).map(one => [one.name, one.value])",
    )
    page.get_by_role("button", name="Continue to payment").click()
    at_stripe(page)
    key = key_of(page, town)
    reference = page.url.rsplit("/", 1)[-1]
    again = page.request.post(
        f"{town.url}/buy/dashcaddy", form=dict(fields), headers={"origin": town.url}, max_redirects=0
    )
    page.set_content(again.text())
    assert "Nothing was charged a second time" in again.text()
    expect(page.get_by_role("heading", level=1)).to_have_text("You have paid this order already.")
    expect(page.get_by_role("link", name="Show my key")).to_have_attribute("href", f"/checkout/{reference}")
    page.goto(f"{town.url}/checkout/{reference}")
    assert page.locator("#key-1").inner_text() == key


def test_the_mail_is_sent_again(town: Town, visit: Open, photograph: Photograph) -> None:
    page = visit(width=768)
    order(page, town, "Stripe")
    at_stripe(page)
    key = key_of(page, town)
    page.get_by_role("button", name="Mail it again").click()
    expect(page.get_by_role("status")).to_contain_text("on its way to you once more")
    assert sight.barriers(page) == []
    photograph(page, "48-mailed")
    assert page.locator("#key-1").inner_text() == key


def test_a_debit_that_fails_leads_back_to_the_same_order(
    town: Town, visit: Open, photograph: Photograph
) -> None:
    page = visit(width=390)
    page.goto(f"{town.url}/buy/dashcaddy?plan=lifetime&quantity=2")
    page.get_by_role("radio", name="Stripe").check()
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url(f"{town.sandbox}/**")
    session = page.url.rsplit("/", 1)[-1].partition("?")[0].partition("#")[0]
    page.fill("[name=email]", BUYER)
    page.get_by_role("radio", name="Bank debit").check()
    page.locator("form button").last.click()
    page.wait_for_url(f"{town.url}/checkout/KW-*")
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Your bank is still working on it.", timeout=LONG
    )
    photograph(page, "53-processing")
    assert sight.barriers(page) == []
    settle = f"{town.sandbox}/_sandbox/stripe/sessions/{session}/settle"
    httpx.post(settle, json={"outcome": "failed"}, timeout=30).raise_for_status()
    expect(page.get_by_role("heading", level=1)).to_have_text("The payment did not go through.", timeout=LONG)
    photograph(page, "54-failed")
    assert sight.barriers(page) == []
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("link", name="DashCaddy Lifetime")).to_have_attribute("aria-current", "true")
    expect(page.locator("#quantity")).to_have_value("2")


# -- from inside a program -----------------------------------------------------------------------------------


class Hello(NamedTuple):
    """The example program, told of this seller."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.folder / "hello.py"), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        # Nobody's own browser opens: the test has one.
        return {
            "PYTHONPATH": str(ROOT / "src"),
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "BROWSER": "true",
        }

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def hello(town: Town, tmp_path: Path) -> Hello:
    told = httpx.get(f"{town.url}/api/public/config", timeout=30).json()
    seller = {
        "product": "hello",
        "server": town.url,
        "issuer": told["issuer"],
        "keys": httpx.get(f"{town.url}/.well-known/jwks.json", timeout=30).json(),
        "state_dir": str(tmp_path / "first"),
        "second_dir": str(tmp_path / "second"),
    }
    (tmp_path / "seller.json").write_text(json.dumps(seller))
    (tmp_path / "hello.py").write_bytes((ROOT / "examples" / "hello" / "hello.py").read_bytes())
    return Hello(tmp_path)


def test_a_program_sells_itself_and_unlocks_while_it_runs(
    town: Town, hello: Hello, visit: Open, photograph: Photograph
) -> None:
    assert hello.run("status")[0] == 3
    page = visit(width=390)
    with subprocess.Popen(
        hello.command("buy"), env=hello.environment, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            address = re.search(r"http\S+", program.stdout.readline())
            assert address
            page.goto(address[0])
            photograph(page, "50-for-this-machine")
            assert sight.barriers(page) == []
            page.get_by_role("link", name="Yes, on to the payment").click()
            at_stripe(page)
            page.wait_for_url(f"{town.url}/checkout/KW-*")
            expect(page.locator("main")).to_contain_text("unlocks by itself", timeout=LONG)
            photograph(page, "51-unlocked")
            told, _ = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 0, told
    assert "valid: Your license is valid." in told
    assert hello.run("status")[0] == 0
    page.goto(address[0])
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is left to pay here.")


def test_a_license_file_from_the_result_page_runs_a_program_without_a_network(
    town: Town, hello: Hello, visit: Open, photograph: Photograph, tmp_path: Path
) -> None:
    page = visit(width=390)
    page.goto(f"{town.url}/buy/hello")
    page.get_by_role("button", name="Continue to payment").click()
    at_stripe(page)
    key_of(page, town)
    photograph(page, "52-with-file")
    with page.expect_download() as download:
        page.get_by_role("button", name="License file").click()
    file = tmp_path / "license.lic"
    download.value.save_as(file)
    seller = tmp_path / "seller.json"
    away = json.loads(seller.read_text()) | {"server": "http://127.0.0.1:9"}
    seller.write_text(json.dumps(away))
    code, told = hello.run("load", str(file))
    assert code == 0, told
    assert "plan pro" in told


# -- at last, because the clock turns ------------------------------------------------------------------------


def test_an_order_that_ran_out_of_time_can_be_made_again(
    town: Town, visit: Open, photograph: Photograph
) -> None:
    page = visit(width=390)
    order(page, town, "Stripe")
    cookies = [one for one in page.context.cookies() if one["name"].startswith("keywright_claim")]
    page.goto(f"{town.url}{cookies[0]['path']}")
    photograph(page, "55-waiting")
    assert sight.barriers(page) == []
    wish = {"seconds": 24 * 3600}
    httpx.post(f"{town.sandbox}/_sandbox/clock/advance", json=wish, timeout=30).raise_for_status()
    expect(page.get_by_role("heading", level=1)).to_have_text("This order has run out of time.", timeout=LONG)
    photograph(page, "56-expired")
    assert sight.barriers(page) == []
    page.get_by_role("link", name="Order again").click()
    expect(page.get_by_role("link", name="DashCaddy Lifetime")).to_have_attribute("aria-current", "true")
