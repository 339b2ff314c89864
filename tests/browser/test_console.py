"""Staff in a real browser: from the first link to a reinstated license, with an app, and with a passkey."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import CDPSession, Page, expect

from keywright.flows import staff_secrets
from tests.browser.conftest import KEYWRIGHT, SECRET, Open, _free_port, _wait_until_ready
from tests.life import stripe

Photograph = Callable[[Page, str], None]

PASSWORD = "four words nobody says"
CATALOG = """
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_prefix = "DC"

[[product.plan]]
slug = "pro"
name = "Pro"
term = "1y"
max_activations = 2
prices = [{ key = "once", provider = "stripe", id = "price_pro", amount = 5000, currency = "USD" }]
"""


class House:
    """A server at a name that browsers know passkeys for, and its command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://localhost:{self.port}"
        self.out = folder / "stdout"
        self.environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(folder),
            "PORT": str(self.port),
            "APP_BASE_URL": self.url,
            "KEYWRIGHT_MODE": "sandbox",
            "STRIPE_SECRET_KEY": "sk_test_console",
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "STRIPE_API_BASE": "http://127.0.0.1:9",
            "LOG_LEVEL": "error",
        }

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [KEYWRIGHT, *words],
            env=self.environment,
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def issue(self, email: str) -> str:
        """A license. Returns its key."""
        return self.run("license", "issue", "--plan", "dashcaddy/pro", "--email", email).split()[-1]

    def activate(self, key: str, name: str) -> None:
        body = {"key": key, "fingerprint": f"machine-{name}", "name": name}
        assert httpx.post(f"{self.url}/api/license/activate", json=body).status_code == 200

    def hook(self, event: stripe.Json) -> str:
        body, now = stripe.encoded(event), datetime.now(UTC)
        answer = httpx.post(
            f"{self.url}/api/webhooks/stripe", content=body, headers=stripe.signed(body, SECRET, now)
        )
        return str(answer.json().get("outcome", answer.text))

    def new_staff(self, email: str, role: str = "owner") -> str:
        return self.run("staff", "create", "--email", email, "--role", role).strip()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    catalog = made.folder / "catalog.toml"
    catalog.write_text(CATALOG)
    made.run("migrate")
    made.run("catalog", "apply", str(catalog))
    with made.out.open("wb") as out:
        server = subprocess.Popen([KEYWRIGHT, "serve"], env=made.environment, cwd=made.folder, stdout=out)
        try:
            _wait_until_ready(made.url, server)
            yield made
        finally:
            server.terminate()
            server.wait(timeout=20)


def app_code(page: Page, *, ahead: int = 0) -> str:
    """What an authenticator app shows that has taken the secret on the page."""
    secret = page.locator(".secret code").inner_text().replace(" ", "")
    return staff_secrets.code_of(secret, int(time.time() // 30) + ahead)


def choose_password(page: Page, email: str = "") -> None:
    if email:
        page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Once more").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Add a second factor")).to_be_visible()


def sign_in(page: Page, house: House, email: str, code: str) -> None:
    page.goto(f"{house.url}/console")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_label("Code", exact=True).fill(code)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Home")).to_be_visible()


def fresh_owner(page: Page, house: House, email: str) -> list[str]:
    """Set somebody up with an app. Returns the recovery codes."""
    page.goto(house.new_staff(email))
    choose_password(page)
    page.get_by_label("Code", exact=True).fill(app_code(page))
    page.get_by_role("button", name="Confirm the app").click()
    return page.locator(".codes code").all_inner_texts()


def test_the_first_person_sets_himself_up_and_comes_home(
    house: House, visit: Open, photograph: Photograph
) -> None:
    link = re.search(r"http://\S+/console/setup/\S+", house.out.read_text())
    assert link is not None
    for width, dark in ((1280, False), (320, True)):
        page = visit(width=width, dark=dark, ready_for="410")
        look = f"{width}-{'dark' if dark else 'light'}"
        page.goto(link[0])
        photograph(page, f"40-setup-{look}")
    page = visit(width=1280, ready_for="410")
    page.goto(link[0])
    choose_password(page, "first@example.com")
    photograph(page, "41-enrol-1280-light")
    page.set_viewport_size({"width": 320, "height": 900})
    photograph(page, "41-enrol-320-light")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_label("Code", exact=True).fill(app_code(page))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Keep these recovery codes")).to_be_visible()
    assert page.locator(".codes code").count() == staff_secrets.RECOVERY_CODES
    page.evaluate("document.querySelectorAll('.codes code').forEach((c) => c.textContent = 'AAAAA-BBBBB')")
    photograph(page, "42-codes-1280-light")
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    page.goto(link[0])
    expect(page.get_by_role("heading", name="This link is no good any more")).to_be_visible()
    photograph(page, "43-link-over-1280-light")


LOOKS = [(1280, False), (320, True)]
if os.environ.get("KEYWRIGHT_SCREENSHOTS"):  # somebody will look at the others, too
    LOOKS += [(320, False), (1280, True)]


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_a_license_is_found_revoked_and_reinstated_by_keyboard(
    house: House, visit: Open, photograph: Photograph, width: int, dark: bool
) -> None:
    look = f"{width}-{'dark' if dark else 'light'}"
    now = datetime.now(UTC)
    key = house.issue(f"holder-{look}@example.com")
    house.activate(key, f"desk-{look}")
    sub = f"sub_{width}{dark}"
    strange = stripe.subscription(sub, now, now + timedelta(days=30), price="price_unknown")
    assert house.hook(stripe.event("customer.subscription.created", strange, now)) == "parked"
    page = visit(width=width, dark=dark, ready_for="404")
    owner = f"owner-{look}@example.com"
    codes = fresh_owner(page, house, owner)
    page.get_by_role("link", name="I have kept them").click()
    photograph(page, f"44-home-{look}")
    page.get_by_label("Find a license").fill(f"desk-{look}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="DashCaddy Pro")).to_be_visible()
    photograph(page, f"45-license-{look}")
    page.get_by_role("link", name="Revoke").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Reason").fill("Ticket 4711 <b>bold</b>")
    photograph(page, f"46-act-{look}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Revoke?")).to_be_visible()
    expect(page.get_by_role("row", name="Status active revoked")).to_be_visible()
    photograph(page, f"47-preview-{look}")
    answer = httpx.post(
        f"{house.url}/api/license/validate", json={"key": key, "fingerprint": f"machine-desk-{look}"}
    )
    assert answer.json()["code"] == "VALID"  # looked at, and taken back
    page.get_by_role("button", name="Yes: revoke").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("The license is revoked.")
    expect(page.get_by_text("“Ticket 4711 <b>bold</b>”")).to_be_visible()
    answer = httpx.post(
        f"{house.url}/api/license/validate", json={"key": key, "fingerprint": f"machine-desk-{look}"}
    )
    assert answer.json()["code"] == "REVOKED"
    page.get_by_role("link", name="Reinstate").click()
    page.get_by_role("button", name="Show what it would do").click()
    page.get_by_role("button", name="Yes: reinstate").click()
    expect(page.get_by_role("status")).to_have_text("The license is reinstated.")
    photograph(page, f"48-reinstated-{look}")
    for name in ("Licenses", "Events", "Staff"):
        places = page.get_by_role("navigation", name="Console")
        if name == "Staff":
            assert places.get_by_role("link", name=name).count() == 0
            places.get_by_text("Set-up").focus()
            page.keyboard.press("Enter")
        places.get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
        photograph(page, f"49-{name.lower()}-{look}")
    page.goto(f"{house.url}/console/events?status=parked")
    page.get_by_role("button", name="Try to apply these again").click()
    expect(page.get_by_role("heading", name="What applying them again would do")).to_be_visible()
    photograph(page, f"56-many-{look}")
    page.get_by_role("link", name="No, go back").click()
    page.get_by_role("link", name="customer.subscription.created").first.click()
    page.get_by_role("button", name="Try to apply it again").click()
    expect(page.get_by_role("heading", name="What applying it again would do")).to_be_visible()
    photograph(page, f"50-event-{look}")
    page.goto(f"{house.url}/console/licenses?q=nobody-is-called-so")
    photograph(page, f"51-nothing-{look}")
    page.goto(f"{house.url}/console/nowhere")
    expect(page.get_by_role("heading", name="This page does not exist")).to_be_visible()
    page.goto(f"{house.url}/console/you")
    photograph(page, f"52-you-{look}")
    page.get_by_role("button", name="Sign out").click()
    photograph(page, f"53-sign-in-{look}")
    sign_in(page, house, owner, codes[0])
    page.goto(f"{house.url}/console/you")
    expect(page.get_by_text("9 codes left.")).to_be_visible()


class Authenticator:
    """Chromium's own stand-in for a fingerprint reader."""

    def __init__(self, page: Page) -> None:
        self._wire: CDPSession = page.context.new_cdp_session(page)
        self._wire.send("WebAuthn.enable")
        made = self._wire.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2",
                    "transport": "internal",
                    "hasResidentKey": True,
                    "hasUserVerification": True,
                    "isUserVerified": True,
                    "automaticPresenceSimulation": True,
                }
            },
        )
        self._id = made["authenticatorId"]

    def know_the_user(self, known: bool) -> None:
        self._wire.send("WebAuthn.setUserVerified", {"authenticatorId": self._id, "isUserVerified": known})


def test_a_passkey_is_made_and_signs_in_and_nobody_else_does(
    house: House, visit: Open, photograph: Photograph
) -> None:
    page = visit(ready_for="403")
    finger = Authenticator(page)
    page.goto(house.new_staff("key@example.com"))
    choose_password(page)
    page.get_by_label("Name").fill("My laptop")
    page.get_by_role("button", name="Make a passkey").click()
    expect(page.get_by_role("heading", name="Keep these recovery codes")).to_be_visible()
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").fill("key@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Use a passkey")).to_be_visible()
    photograph(page, "54-second-1280-light")
    finger.know_the_user(False)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("That did not work. Try once more")).to_be_visible()
    finger.know_the_user(True)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    page.goto(f"{house.url}/console/you")
    expect(page.get_by_text("My laptop")).to_be_visible()
    page.get_by_role("button", name="Add a second factor").click()
    page.get_by_label("Code", exact=True).fill(app_code(page))
    page.get_by_role("button", name="Confirm the app").click()
    expect(page.get_by_role("status")).to_contain_text("The second factor was added.")
    photograph(page, "55-you-two-1280-light")


def test_an_answer_for_another_question_or_another_origin_is_refused(house: House, visit: Open) -> None:
    page = visit(ready_for="403")
    Authenticator(page)
    page.goto(house.new_staff("origin@example.com"))
    choose_password(page)
    page.get_by_role("button", name="Make a passkey").click()
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_role("button", name="Sign out").click()

    def answer_with(change: str) -> None:
        page.get_by_label("E-mail").fill("origin@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Use a passkey")).to_be_visible()
        page.evaluate(change)
        page.get_by_role("button", name="Use a passkey").click()

    # A question of our own making: signed well, and never asked.
    answer_with(
        "() => { const p = document.querySelector('[data-passkey]');"
        " const q = JSON.parse(p.dataset.question); q.challenge = 'A'.repeat(43);"
        " p.dataset.question = JSON.stringify(q); }"
    )
    expect(page.get_by_role("alert")).to_contain_text("That was not right.")
    page.goto(f"{house.url}/console/sign-in")
    # What the browser says about where it was asked, changed after it was signed.
    answer_with(
        "() => { const f = document.querySelector('form.sheet'); f.submit = () => {"
        " const t = JSON.parse(f.elements.answer.value);"
        " t.response.clientDataJSON = btoa(atob(t.response.clientDataJSON.replace(/-/g, '+')"
        ".replace(/_/g, '/')).replace('localhost', 'evil.host')).replace(/\\+/g, '-').replace(/\\//g, '_')"
        ".replace(/=+$/, ''); f.elements.answer.value = JSON.stringify(t);"
        " HTMLFormElement.prototype.submit.call(f); }; }"
    )
    expect(page.get_by_role("alert")).to_contain_text("That was not right.")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
