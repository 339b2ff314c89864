"""`keywright demo`: the whole product on one machine, with no account anywhere.

The server is a process of its own, started as a user would start it; the sandbox that stands in for the
providers runs beside it. Both share one clock that can be turned.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import msgspec
import typer

from keywright.domain.errors import KeywrightError

if TYPE_CHECKING:
    from keywright.sandbox.app import SandboxServer

_READY_SECONDS = 60.0  # of a small machine that does other things, too
# Placeholders of the sample catalog, and what the sandbox is asked to make for them.
_PRICES = {
    "price_demo_pro_monthly": ("DashCaddy Pro", 5000, "month"),
    "price_demo_pro_yearly": ("DashCaddy Pro", 50000, "year"),
    "price_demo_keys": ("DashCaddy Team keys", 4000, "month"),
    "price_demo_lifetime": ("DashCaddy Lifetime", 19900, None),
}


class DemoFailed(KeywrightError):
    code = "DEMO_FAILED"


class Stage(msgspec.Struct, frozen=True):
    """Where everything of a running demo is."""

    url: str
    sandbox_url: str
    sandbox_key: str
    data_dir: Path
    token: str
    prices: dict[str, str]
    environment: dict[str, str]


def demo(
    port: Annotated[int, typer.Option(help="Where the server listens.", min=0, max=65535)] = 8000,
    once: Annotated[bool, typer.Option("--once", help="Walk every step without anybody, then stop.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the demo's data here. Default: thrown away at the end.")
    ] = None,
) -> None:
    """The whole product on one machine, with no accounts anywhere."""
    with tempfile.TemporaryDirectory(prefix="keywright-demo-") as scratch:
        folder = (data_dir or Path(scratch)).absolute()
        with _running(folder, _free_port() if once and port == 8000 else port) as stage:
            if once:
                from keywright.cli import demo_walk  # only here: it is the larger half of the demo

                demo_walk.walk(stage)
            else:
                _show(stage)
                _wait()


@contextmanager
def _running(data_dir: Path, port: int) -> Iterator[Stage]:
    from keywright.sandbox.app import SandboxServer  # the web stack: other commands start without it

    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = f"whsec_{secrets.token_hex(24)}"
    url = f"http://127.0.0.1:{port}"
    with SandboxServer(
        data_dir=data_dir, webhook_url=f"{url}/api/webhooks/stripe", webhook_secret=secret
    ) as sandbox:
        print(f"sandbox   {sandbox.url}", flush=True)
        webhook_id = secrets.token_hex(9).upper()[:17]
        environment = _environment(data_dir, port, url, secret, sandbox) | _others(sandbox, webhook_id)
        prices = _make_prices(sandbox) | _make_plans(sandbox)
        sandbox.sandbox.paystack.register_webhook(f"{url}/api/webhooks/paystack", None)
        sandbox.sandbox.paypal.register_webhook(f"{url}/api/webhooks/paypal", webhook_id, None)
        with _server(environment, port, url):
            catalog = data_dir / "catalog.toml"
            catalog.write_text(_catalog(prices))
            _run(environment, "catalog", "apply", str(catalog))
            token = _run(environment, "token", "create", "--name", "demo", "--scope", "admin").strip()
            yield Stage(url, sandbox.url, sandbox.api_key, data_dir, token, prices, environment)


def _environment(data_dir: Path, port: int, url: str, secret: str, sandbox: SandboxServer) -> dict[str, str]:
    """The server's environment: nothing of the caller's own settings may reach a demo."""
    passed = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return passed | {
        "KEYWRIGHT_MODE": "sandbox",
        "DATABASE_URL": f"sqlite:///{data_dir / 'keywright.sqlite'}",
        "DATA_DIR": str(data_dir),
        "PORT": str(port),
        "APP_BASE_URL": url,
        "STRIPE_SECRET_KEY": sandbox.api_key,
        "STRIPE_PUBLISHABLE_KEY": "pk_test_sandbox",
        "STRIPE_WEBHOOK_SECRET": secret,
        "STRIPE_API_BASE": sandbox.url,
        "ALERT_EMAIL": "operator@example.com",
        "LOG_LEVEL": "warning",
    }


def _others(sandbox: SandboxServer, webhook_id: str) -> dict[str, str]:
    """The settings for Paystack and PayPal."""
    from keywright.sandbox import paypal_api

    return {
        "PAYSTACK_SECRET_KEY": sandbox.sandbox.paystack.secret_key,
        "PAYSTACK_API_BASE": f"{sandbox.url}/paystack",
        "PAYPAL_CLIENT_ID": paypal_api.CLIENT_ID,
        "PAYPAL_CLIENT_SECRET": paypal_api.CLIENT_SECRET,
        "PAYPAL_WEBHOOK_ID": webhook_id,
        "PAYPAL_API_BASE": sandbox.url,
        "PAYPAL_CA_FILE": str(sandbox.sandbox.paypal.authority.ca_file),
    }


def _make_plans(sandbox: SandboxServer) -> dict[str, str]:
    """The plans at the other two, as a seller would make them there. Placeholder -> plan id."""
    from keywright.sandbox import paypal_api

    with httpx.Client(base_url=sandbox.url, timeout=10) as client:
        key = {"Authorization": f"Bearer {sandbox.sandbox.paystack.secret_key}"}
        plan = {"name": "DashCaddy Pro", "amount": 4_500_000, "interval": "monthly", "currency": "NGN"}
        paystack = client.post("/paystack/plan", json=plan, headers=key).raise_for_status().json()
        pair = (paypal_api.CLIENT_ID, paypal_api.CLIENT_SECRET)
        told = client.post("/v1/oauth2/token", auth=pair, data={"grant_type": "client_credentials"}).json()
        key = {"Authorization": f"Bearer {told['access_token']}"}
        product = client.post("/v1/catalogs/products", json={"name": "DashCaddy"}, headers=key).json()
        paypal = {}
        for placeholder, unit, value in (("P-DEMO-PRO", "MONTH", "50.00"), ("P-DEMO-YEAR", "YEAR", "500.00")):
            cycle = {
                "tenure_type": "REGULAR",
                "total_cycles": 0,
                "frequency": {"interval_unit": unit, "interval_count": 1},
                "pricing_scheme": {"fixed_price": {"value": value, "currency_code": "USD"}},
            }
            terms = {"product_id": product["id"], "billing_cycles": [cycle], "quantity_supported": True}
            made = client.post("/v1/billing/plans", json=terms, headers=key).raise_for_status().json()
            paypal[placeholder] = str(made["id"])
    return {"PLN_demo_pro": str(paystack["data"]["plan_code"]), **paypal}


def _make_prices(sandbox: SandboxServer) -> dict[str, str]:
    """Products and prices at the sandbox, as a seller would make them at Stripe. Placeholder -> price id."""
    made = {}
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    for placeholder, (name, amount, interval) in _PRICES.items():
        form = {"unit_amount": str(amount), "currency": "usd", "product_data[name]": name}
        if interval is not None:
            form["recurring[interval]"] = interval
        answer = httpx.post(f"{sandbox.url}/v1/prices", data=form, headers=headers, timeout=10)
        made[placeholder] = str(answer.raise_for_status().json()["id"])
    return made


def _catalog(prices: dict[str, str]) -> str:
    text = resources.files("keywright.cli").joinpath("sample_catalog.toml").read_text()
    for placeholder, price in prices.items():
        text = text.replace(placeholder, price)
    return text


@contextmanager
def _server(environment: dict[str, str], port: int, url: str) -> Iterator[None]:
    started = time.monotonic()
    log = Path(environment["DATA_DIR"]) / "server.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "keywright.cli.main", "serve", "--port", str(port)],
            env=environment,
            stderr=written,
            stdout=written,
            cwd=environment["DATA_DIR"],
        )
        try:
            _await_ready(process, url, log)
            print(f"server    {url}  (ready after {time.monotonic() - started:.1f} s)", flush=True)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise DemoFailed(f"The server stopped: {lines[-1] if lines else 'no output'}")
        try:
            if httpx.get(f"{url}/health/ready", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise DemoFailed("The server was not ready in time.")


def _run(environment: dict[str, str], *arguments: str) -> str:
    """One of our own commands, as a user would type it. Its output."""
    done = subprocess.run(
        [sys.executable, "-m", "keywright.cli.main", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=environment["DATA_DIR"],
        check=False,
    )
    if done.returncode != 0:
        raise DemoFailed(f"`keywright {arguments[0]}` refused: {done.stderr.strip()}")
    return done.stdout


def _show(stage: Stage) -> None:
    print(
        f"""
Everything runs. Nothing here is real money.

  Shop            {stage.url}/
  Mails           {stage.url}/demo/mails
  Providers       {stage.sandbox_url}/
  Admin token     {stage.token}
  Console         {_console(stage)}

Pay with 4242 4242 4242 4242, any future date, any CVC.
4000 0000 0000 9995 is declined; 4000 0025 0000 3155 asks for authentication.
At Paystack 4084 0840 8408 4081 pays and 4084 0800 0000 5408 is declined.
Turn the clock:   .venv/bin/keywright sandbox clock advance 30d --url {stage.sandbox_url}
Stop with Ctrl-C.""",
        flush=True,
    )


def _console(stage: Stage) -> str:
    """Where staff go in: the link that the server printed while nobody works here, else the sign-in."""
    log = (stage.data_dir / "server.log").read_text(encoding="utf-8", errors="replace")
    link = re.search(r"\S+/console/setup/\S+", log)
    return f"{link[0]}  (once)" if link is not None else f"{stage.url}/console"


def _wait() -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("\nStopping.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
