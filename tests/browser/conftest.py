"""A running server beside a running sandbox, and a Chromium to walk through them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from keywright.sandbox.app import SandboxServer
from tests.browser.watch import Watch

# What is awaited comes within a second here; where much else runs at the same time it may take its time.
expect.set_options(timeout=30_000)

# The shell has no window to draw, and so takes a third less of the processor; the whole browser does as well.
CHROMIUMS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
SECRET = "whsec_test_browser_0123456789"
KEYWRIGHT = Path(sys.executable).parent / "keywright"

CATALOG = """
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_prefix = "DC"

[[product.plan]]
slug = "pro"
name = "Pro"
entitlements = ["export.pdf", "sync"]
limits = {{ projects = 100 }}
trial = "14d"

[[product.plan.prices]]
key = "monthly"
provider = "stripe"
id = "{monthly}"
amount = 5000
currency = "USD"
interval = "month"

[[product.plan.prices]]
key = "yearly"
provider = "stripe"
id = "{yearly}"
amount = 49900
currency = "USD"
interval = "year"

[[product.plan]]
slug = "lifetime"
name = "Lifetime"
max_activations = 1
term = "perpetual"
prices = [{{ key = "once", provider = "stripe", id = "{once}", amount = 19900, currency = "USD" }}]

[[product.plan]]
slug = "team"
name = "Team keys"
quantity = "keys"
term = "perpetual"
prices = [{{ key = "once", provider = "stripe", id = "{team}", amount = 12950, currency = "USD" }}]
"""


class Shop:
    """Where the two servers are, and the levers of the sandbox."""

    def __init__(
        self, url: str, sandbox: SandboxServer, outbox: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.url = url
        self.sandbox = sandbox
        self.outbox = outbox
        self._environment = environment

    def command(self, *words: str, typed: str = "") -> str:
        """Run a command beside the server. Returns what it printed."""
        ran = subprocess.run(
            [KEYWRIGHT, *words],
            env=self._environment,
            cwd=self.outbox.parent,
            input=typed,
            text=True,
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def lever(self, name: str, **wish: Any) -> Any:
        answer = httpx.post(f"{self.sandbox.url}/_sandbox/{name}", json=wish)
        assert answer.status_code == 200, answer.text
        return answer.json()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _price(sdk: stripe.StripeClient, name: str, amount: int, interval: str | None = None) -> str:
    recurring = {"recurring": {"interval": interval}} if interval else {}
    return sdk.v1.prices.create(
        {"currency": "usd", "unit_amount": amount, "product_data": {"name": name}, **recurring}  # type: ignore[typeddict-item]  # interval is any string here
    ).id


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert server.poll() is None, "the server ended"
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server was not ready within 30 s")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    hook = f"{url}/api/webhooks/stripe"
    with SandboxServer(data_dir=folder, webhook_url=hook, webhook_secret=SECRET) as sandbox:
        sdk = stripe.StripeClient(sandbox.api_key, base_addresses={"api": sandbox.url})
        catalog = folder / "catalog.toml"
        catalog.write_text(
            CATALOG.format(
                monthly=_price(sdk, "DashCaddy Pro", 5000, "month"),
                yearly=_price(sdk, "DashCaddy Pro", 49900, "year"),
                once=_price(sdk, "DashCaddy Lifetime", 19900),
                team=_price(sdk, "DashCaddy Team keys", 12950),
            )
        )
        environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(folder),
            "PORT": str(port),
            "KEYWRIGHT_MODE": "sandbox",
            "STRIPE_SECRET_KEY": sandbox.api_key,
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "STRIPE_API_BASE": sandbox.url,
            "LOG_LEVEL": "warning",
        }
        subprocess.run([KEYWRIGHT, "migrate"], env=environment, cwd=folder, check=True, capture_output=True)
        subprocess.run(
            [KEYWRIGHT, "catalog", "apply", str(catalog)],
            env=environment,
            cwd=folder,
            check=True,
            capture_output=True,
        )
        server = subprocess.Popen([KEYWRIGHT, "serve"], env=environment, cwd=folder)
        try:
            _wait_until_ready(url, server)
            yield Shop(url, sandbox, folder / "outbox", environment)
        finally:
            server.terminate()
            server.wait(timeout=20)


# Per module: while it is open, Playwright keeps an event loop running in this thread, and no later test could
# run one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for path in CHROMIUMS if path.exists()), None)
    if found is None:
        named = " or ".join(map(str, CHROMIUMS))
        if os.environ.get("KEYWRIGHT_REQUIRE_BROWSER") == "1":
            pytest.fail(f"KEYWRIGHT_REQUIRE_BROWSER=1, and there is no {named}")
        pytest.skip(f"NO BROWSER: {named} is missing, so nobody has looked at the pages")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(found), args=["--no-sandbox"])
        yield launched
        launched.close()


Open = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """`visit(width=…, dark=…)`: a page of its own browser, whose complaints (see `watch`) fail the test.

    `ready_for`: a text that may be in the console. `hosts`: whom the page may ask beside this machine.
    """
    watch = Watch()
    contexts = []

    def new(
        *,
        width: int = 1280,
        dark: bool = False,
        scripts: bool = True,
        ready_for: str | None = None,
        hosts: Sequence[str] = (),
    ) -> Page:
        if ready_for:
            watch.expect(ready_for)
        watch.allow(*hosts)
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
        )
        contexts.append(context)
        watch.over(context)
        return context.new_page()

    yield new
    for context in contexts:
        context.close()
    assert watch.complaints == []


@pytest.fixture
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Page, str], None]:
    """Takes a picture of the whole page, and checks that nothing sticks out to the side."""
    folder = Path(os.environ.get("KEYWRIGHT_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        assert re.fullmatch(r"[a-z0-9-]+", name)
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        size = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert size[0] <= size[1], f"{name}: {size[0]} px of content on {size[1]} px"

    return take
