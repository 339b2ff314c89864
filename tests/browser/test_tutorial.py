"""The tutorial (docs/tutorial/first-license.md), followed to the letter, and the pictures of it.

With KEYWRIGHT_SHOTS=folder the pictures of the documentation are taken on the way: `make shots`.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import KEYWRIGHT, Open, _free_port
from tests.browser.test_console import PASSWORD, app_code, choose_password
from tests.browser.test_storefront import KEY, fill_card

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "first-license.md"
Shoot = Callable[..., None]


class Demo:
    """A running `keywright demo`, by what it printed."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder, self.printed = process, folder, ""
        assert process.stdout is not None
        for line in process.stdout:
            self.printed += line
            if line.startswith("Stop with"):
                return
        raise AssertionError(self.printed)

    def told(self, label: str) -> str:
        """What stands behind a label."""
        found = re.search(rf"^ *{label}:? +(\S+)", self.printed, re.MULTILINE)
        assert found is not None, self.printed
        return found[1]

    @property
    def shop(self) -> str:
        return self.told("Shop").rstrip("/")

    def ask(self, route: str, **body: object) -> httpx.Response:
        """As the tutorial's curl does."""
        return httpx.post(f"{self.shop}/api/{route}", json=body, timeout=30)

    def turn(self, days: int) -> None:
        """The command that the demo prints, with so many days."""
        command = re.search(r"^Turn the clock: +\S+/keywright (.+)$", self.printed, re.MULTILINE)
        assert command is not None
        words = command[1].replace("30d", f"{days}d").split()
        subprocess.run([KEYWRIGHT, *words], cwd=self.folder, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    process = subprocess.Popen(
        [KEYWRIGHT, "demo", "--port", str(_free_port()), "--data-dir", str(folder / "data")],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Demo(process, folder)
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def shoot() -> Shoot:
    """Takes a picture for the documentation, where KEYWRIGHT_SHOTS says; without it, nothing."""
    folder = os.environ.get("KEYWRIGHT_SHOTS")

    def take(page: Page, name: str, height: int = 800) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.set_viewport_size({"width": 1280, "height": height})
            page.evaluate("scrollTo(0, 0)")
            # The caret is hidden by a style, which the pages' policy forbids.
            page.screenshot(path=Path(folder) / f"{name}.png", caret="initial")

    return take


def buy(page: Page, demo: Demo, shoot: Shoot) -> str:
    """Step 2. Returns the key."""
    page.goto(f"{demo.shop}/")
    shoot(page, "storefront", 900)
    page.get_by_role("link", name="Choose DashCaddy Pro").click()
    page.get_by_role("radio", name="Stripe").check()
    shoot(page, "order", 980)
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url(re.compile(rf"^{demo.told('Providers')}"))
    fill_card(page)
    page.locator("form button").last.click()
    page.wait_for_url(f"{demo.shop}/checkout/KW-*")
    expect(page.locator("#key-1")).to_have_text(KEY, timeout=30_000)
    shoot(page, "result", 900)
    return page.locator("#key-1").inner_text()


def newest_mail(page: Page, demo: Demo, wanted: str) -> None:
    """Open the newest mail, once it is one with this in it: a mail is a moment behind the page."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        page.goto(demo.told("Mails"))
        newest = page.locator("main li a").first
        if newest.count():
            newest.click()
            expect(page.get_by_role("heading", level=1)).not_to_have_text("Mails")
            if wanted in page.content():
                return
        page.wait_for_timeout(300)
    raise AssertionError(f"no mail with {wanted}")


def read_the_mail(page: Page, demo: Demo, key: str, shoot: Shoot) -> None:
    """Step 3."""
    newest_mail(page, demo, key)
    shoot(page, "mail", 900)


def run_the_program(demo: Demo, key: str) -> None:
    """Step 4."""
    first = demo.ask("license/activate", key=key, fingerprint="my-first-machine", name="The first one")
    assert (first.status_code, first.json()["code"]) == (200, "VALID")
    second = demo.ask("license/activate", key=key, fingerprint="my-second-machine")
    assert (second.status_code, second.json()["code"]) == (409, "TOO_MANY_ACTIVATIONS")


def enter_the_console(page: Page, demo: Demo) -> str:
    """Step 5, up to the first page. Returns a recovery code."""
    page.goto(demo.told("Console"))
    choose_password(page, "owner@example.com")
    page.get_by_label("Code", exact=True).fill(app_code(page))
    page.get_by_role("button", name="Confirm the app").click()
    recovery = page.locator(".codes code").first.inner_text()
    page.goto(f"{demo.shop}/console")
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    return recovery


def return_to_the_console(page: Page, demo: Demo, recovery: str) -> None:
    """Step 6: sessions ended with the month, and an app's codes are of another time."""
    page.goto(f"{demo.shop}/console")
    page.get_by_label("E-mail").fill("owner@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_label("Code", exact=True).fill(recovery)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Home")).to_be_visible()


def suspend_and_reinstate(page: Page, demo: Demo, key: str, shoot: Shoot) -> None:
    """Step 5: find the license by the last five of its key, stop it, and let it go on."""
    page.get_by_role("searchbox").first.fill(key[-5:])
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/console/licenses/lic_\w+$"))
    shoot(page, "license", 1100)
    here = page.url
    for act, done, code in (("Suspend", "suspended", "SUSPENDED"), ("Reinstate", "reinstated", "VALID")):
        page.goto(here)
        page.get_by_role("link", name=act, exact=True).click()
        page.get_by_label("Reason").fill("trying it out")
        page.get_by_role("button", name="Show what it would do").click()
        if act == "Suspend":
            shoot(page, "preview", 760)
        page.get_by_role("button", name=act).click()
        expect(page.get_by_role("status")).to_have_text(f"The license is {done}.")
        told = demo.ask("license/validate", key=key, fingerprint="my-first-machine").json()
        assert told["code"] == code


def renew(page: Page, demo: Demo, key: str) -> None:
    """Step 6: a month later."""

    def ends() -> str:
        return str(demo.ask("license/validate", key=key).json()["license"]["entitled_until"])

    before = ends()
    demo.turn(30)
    until = time.monotonic() + 30
    while ends() <= before and time.monotonic() < until:
        page.wait_for_timeout(300)
    assert ends() > before


# How each stand-in's pay page pays: the lever, and the name it wants.
_LEVERS: dict[str, tuple[str, str, str]] = {
    "stripe": ("pay", "session", r"cs_test_\w+"),
    "paypal": ("approve", "id", r"[\w-]+$"),
    "paystack": ("pay", "reference", ""),
}


def do_business(demo: Demo) -> None:
    """Half a year of sales, so that the pictures have something to show. No part of the tutorial."""
    for month in range(5):
        for number in range(2 + month):
            provider = ("stripe", "paypal", "stripe", "paystack")[number % 4]
            plan, price = ("lifetime", "once") if number % 3 else ("pro", "monthly")
            buyer = f"buyer{month}{number}@example.com"
            wanted = {"plan": f"dashcaddy/{plan}", "price": price, "provider": provider, "email": buyer}
            sold = demo.ask("checkout/session", **wanted).json()
            lever, member, pattern = _LEVERS[provider]
            found = re.search(pattern, sold["url"]) if pattern else None
            paid = {member: found[0] if found else sold["reference"], "email": buyer}
            if provider == "paystack":
                del paid["email"]
            wish = f"{demo.told('Providers').rstrip('/')}/_sandbox/{provider}/{lever}"
            answer = httpx.post(wish, json=paid, timeout=30)
            assert answer.status_code == 200, (provider, sold, answer.text)
        demo.turn(30)


def help_yourself(page: Page, demo: Demo, key: str, shoot: Shoot) -> None:
    """Step 7: the portal, by a link in the mail."""
    page.goto(f"{demo.shop}/portal")
    page.get_by_label("E-mail").fill("ada@example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_be_visible()
    newest_mail(page, demo, "/portal/link/")
    page.locator("a[href*='/portal/link/']").first.click()
    page.locator("main form button").first.click()
    expect(page.get_by_text("The first one").first).to_be_visible()
    shoot(page, "portal", 1000)
    page.get_by_role("button", name="Free this machine").click()
    expect(page.get_by_role("status")).to_be_visible()
    second = demo.ask("license/activate", key=key, fingerprint="my-second-machine")
    assert (second.status_code, second.json()["code"]) == (200, "VALID")


def test_the_tutorial_does_what_it_says(demo: Demo, visit: Open, shoot: Shoot) -> None:
    page = visit()
    key = buy(page, demo, shoot)
    read_the_mail(page, demo, key, shoot)
    run_the_program(demo, key)
    recovery = enter_the_console(page, demo)
    suspend_and_reinstate(page, demo, key, shoot)
    renew(page, demo, key)
    if os.environ.get("KEYWRIGHT_SHOTS"):
        do_business(demo)
    return_to_the_console(page, demo, recovery)
    shoot(page, "home", 1240)
    page.get_by_role("link", name="Events", exact=True).click()
    expect(page.get_by_role("link", name="invoice.paid").first).to_be_visible()
    shoot(page, "events", 860)
    help_yourself(page, demo, key, shoot)
