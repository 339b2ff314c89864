"""`provider setup` and `provider test` against the sandbox, with a real server behind the webhook address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from keywright.sandbox.app import SandboxServer
from tests.cli.test_cli import Shell
from tests.e2e.server import Server, environment, free_port
from tests.life import stripe

CATALOG = """
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_prefix = "DC"
[[product.plan]]
slug = "pro"
name = "Pro"
prices = [
"""


class Shop:
    """A sandbox, an installation that uses it, and its server."""

    def __init__(self, folder: Path, sandbox: SandboxServer) -> None:
        self.sandbox = sandbox
        self.port = free_port()
        self.environment = {
            "DATA_DIR": str(folder / "data"),
            "DATABASE_URL": f"sqlite:///{folder / 'data' / 'keywright.sqlite'}",
            "KEYWRIGHT_MODE": "sandbox",
            "APP_BASE_URL": f"http://127.0.0.1:{self.port}",
            "STRIPE_API_BASE": sandbox.url,
            "STRIPE_SECRET_KEY": sandbox.api_key,
        }
        self.folder = folder
        self.shell = Shell(folder)
        self.shell.environment.pop("STRIPE_WEBHOOK_SECRET")
        self.shell.environment |= self.environment
        self.shell.run("migrate")

    def server(self, **changed: str) -> Server:
        """The server, with other settings than the shell's where they are given."""
        kept = environment(self.environment["DATABASE_URL"], self.folder)
        for name in ("STRIPE_WEBHOOK_SECRET", "STRIPE_SECRET_KEY", "STRIPE_API_BASE", "ALERT_EMAIL"):
            kept.pop(name)
        made = Server({**kept, **self.environment, **changed}, self.folder)
        made.port = self.port
        return made

    def price(self, amount: int = 5000) -> str:
        data = {"unit_amount": str(amount), "currency": "usd", "recurring[interval]": "month"}
        data["product_data[name]"] = "Pro"
        answer = httpx.post(f"{self.sandbox.url}/v1/prices", auth=(self.sandbox.api_key, ""), data=data)
        made: str = answer.json()["id"]
        return made

    def lines(self, *words: str, fails: int = 0) -> dict[str, tuple[str, str]]:
        told = self.shell.json(*words, fails=fails)
        return {line["check"]: (line["state"], line["says"]) for line in told}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "data").mkdir(mode=0o700)
    # One folder, as in `sandbox serve`: they share the clock.
    with SandboxServer(data_dir=tmp_path / "data") as sandbox:
        yield Shop(tmp_path, sandbox)


def states(lines: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {check: state for check, (state, _) in lines.items()}


def test_from_nothing_to_a_sale(shop: Shop) -> None:
    price = shop.price()
    assert shop.lines("provider", "test", fails=1)["stripe webhook"][0] == "wrong"
    told = shop.shell.run("provider", "setup", "stripe").stdout
    assert "Restart the server" in told
    (secret,) = shop.sandbox.sandbox.state.endpoint_secrets.values()
    assert secret not in told
    line = re.search(r"^ +(\{ key = .*)$", told, re.MULTILINE)
    assert line is not None
    (shop.folder / "catalog.toml").write_text(f"{CATALOG}{line[1]}\n]\n", encoding="utf-8")
    shop.shell.run("catalog", "apply", "catalog.toml")
    assert "as the provider told it" in shop.lines("doctor")["stripe secret"][1]
    again = shop.shell.json("provider", "setup", "stripe")
    assert (again["did"], again["left"], again["notes"]) == ([], [], [])
    assert again["prices"]["mapped"][0]["external_id"] == price
    with shop.server():
        found = shop.lines("provider", "test", "stripe")
        assert set(states(found).values()) == {"ok"}
        assert "the webhook came" in found["stripe checkout"][1]
        assert "proven" in found["stripe secret"][1]
        assert shop.shell.json("license", "list")["items"][0]["plan"] == "pro"
        assert states(shop.lines("doctor"))["stripe webhook"] == "ok"


def test_each_trouble_has_its_own_line(shop: Shop) -> None:
    shop.shell.run("provider", "setup", "stripe")
    nobody = shop.lines("provider", "test", "stripe", fails=1)
    assert states(nobody)["stripe webhook"] == "wrong"
    assert "cannot be reached" in nobody["stripe webhook"][1]
    assert states(nobody)["stripe checkout"] == "note"
    shop.shell.environment["STRIPE_SECRET_KEY"] = "sk_test_of_somebody"
    wrong_key = shop.lines("provider", "test", "stripe", fails=1)
    assert "wrong, or revoked" in wrong_key["stripe"][1]
    assert "stripe endpoint" not in wrong_key
    shop.shell.environment["STRIPE_SECRET_KEY"] = "pk_test_of_somebody"
    assert "begins with sk_" in shop.lines("provider", "test", "stripe", fails=1)["stripe"][1]
    shop.shell.environment |= {"STRIPE_API_BASE": "http://127.0.0.1:9", "STRIPE_SECRET_KEY": "sk_test_x"}
    assert "cannot be reached" in shop.lines("provider", "test", "stripe", fails=1)["stripe"][1]


def test_a_secret_of_another_endpoint(shop: Shop) -> None:
    """The server and the shell agree; Stripe signs with something else."""
    (shop.folder / "catalog.toml").write_text(
        f'{CATALOG}{{ key = "m", provider = "stripe", id = "{shop.price()}", amount = 5000, currency = "USD",'
        ' interval = "month" }\n]\n',
        encoding="utf-8",
    )
    shop.shell.run("catalog", "apply", "catalog.toml")
    address = f"{shop.environment['APP_BASE_URL']}/api/webhooks/stripe"
    shop.sandbox.sandbox.register_webhook(address, "whsec_made_in_the_dashboard")
    shop.environment["STRIPE_WEBHOOK_SECRET"] = "whsec_of_another_endpoint"
    shop.shell.environment |= shop.environment
    shop.shell.run("provider", "setup", "stripe")
    with shop.server():
        assert states(shop.lines("doctor"))["stripe secret"] == "note"
        told = shop.lines("provider", "test", "stripe", fails=1)
        assert states(told)["stripe webhook"] == "ok"
        assert "no webhook came" in told["stripe checkout"][1]
        assert states(told)["stripe secret"] == "wrong"
        assert "--replace" in told["stripe secret"][1]
        shop.shell.run("provider", "setup", "stripe", "--replace")
        # The running server does not know the new secret yet.
        assert states(shop.lines("provider", "test", "stripe", fails=1))["stripe checkout"] == "wrong"
    with shop.server():
        assert "wrong" not in states(shop.lines("provider", "test", "stripe")).values()


def test_a_server_with_another_secret_or_none_of_ours(shop: Shop) -> None:
    shop.shell.run("provider", "setup", "stripe")
    shop.shell.environment["STRIPE_WEBHOOK_SECRET"] = "whsec_only_in_the_shell"
    with shop.server():
        told = shop.lines("provider", "test", "stripe", fails=1)
        assert "restart it" in told["stripe webhook"][1]
    shop.shell.environment["APP_BASE_URL"] = shop.sandbox.url
    assert "something else is there" in shop.lines("provider", "test", "stripe", fails=1)["stripe webhook"][1]


def test_an_endpoint_that_is_gone_and_prices_of_the_other_mode(shop: Shop) -> None:
    shop.shell.run("provider", "setup", "stripe")
    (shop.folder / "catalog.toml").write_text(
        f'{CATALOG}{{ key = "m", provider = "stripe", id = "price_live", amount = 1, currency = "USD",'
        ' interval = "month" }\n]\n',
        encoding="utf-8",
    )
    shop.shell.run("catalog", "apply", "catalog.toml")
    (made,) = shop.sandbox.sandbox.state.every("webhook_endpoint")
    httpx.delete(f"{shop.sandbox.url}/v1/webhook_endpoints/{made['id']}", auth=(shop.sandbox.api_key, ""))
    told = shop.lines("provider", "test", "stripe", fails=1)
    assert "has no endpoint" in told["stripe endpoint"][1]
    assert "of the other mode" in told["stripe prices"][1]


def test_without_credentials_it_says_which(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.environment.pop("STRIPE_WEBHOOK_SECRET")
    shell.run("migrate")
    assert "STRIPE_SECRET_KEY" in shell.refusal("provider", "setup", "stripe")
    told: list[dict[str, Any]] = msgspec.json.decode(shell.run("provider", "test", "--json", fails=1).stdout)
    assert {"stripe", "paystack", "paypal", "providers"} == {line["check"] for line in told}
    shell.run("provider", "setup", "nobody", fails=2)


def test_paystack_is_told_by_hand_and_walked(shop: Shop) -> None:
    key = shop.sandbox.sandbox.paystack.secret_key
    for name in ("STRIPE_SECRET_KEY", "STRIPE_API_BASE"):
        shop.environment.pop(name)
        shop.shell.environment.pop(name)
    shop.environment |= {"PAYSTACK_SECRET_KEY": key, "PAYSTACK_API_BASE": f"{shop.sandbox.url}/paystack"}
    shop.shell.environment |= shop.environment
    body = {"name": "Pro", "amount": 5000, "interval": "monthly", "currency": "NGN"}
    headers = {"Authorization": f"Bearer {key}"}
    made = httpx.post(f"{shop.sandbox.url}/paystack/plan", json=body, headers=headers)
    assert made.is_success, made.text
    done = shop.shell.json("provider", "setup", "paystack")
    address = f"{shop.environment['APP_BASE_URL']}/api/webhooks/paystack"
    assert any(click.endswith(address) for click in done["by_hand"])
    assert "dashboard.paystack.com" in done["by_hand"][0]
    (line,) = done["prices"]["lines"]
    assert line.startswith('{ key = "monthly", provider = "paystack", id = "PLN_')
    (shop.folder / "catalog.toml").write_text(f"{CATALOG}{line}\n]\n", encoding="utf-8")
    shop.shell.run("catalog", "apply", "catalog.toml")
    shop.sandbox.sandbox.paystack.register_webhook(address)
    with shop.server():
        told = shop.lines("provider", "test")
    assert states(told)["paystack webhook"] == "ok"
    assert "the webhook came" in told["paystack checkout"][1]
    assert "proven" in told["paystack secret"][1]
    shop.shell.environment["PAYSTACK_SECRET_KEY"] = "sk_test_of_somebody"
    assert "wrong, revoked" in shop.lines("provider", "test", fails=1)["paystack"][1]


def test_paypals_webhook_is_made_and_walked(shop: Shop) -> None:
    paypal = shop.sandbox.sandbox.paypal
    for name in ("STRIPE_SECRET_KEY", "STRIPE_API_BASE"):
        shop.environment.pop(name)
        shop.shell.environment.pop(name)
    shop.environment |= {
        "PAYPAL_CLIENT_ID": "sandbox-client",
        "PAYPAL_CLIENT_SECRET": "sandbox-secret",
        "PAYPAL_API_BASE": shop.sandbox.url,
        "PAYPAL_CA_FILE": str(next((shop.folder / "data").glob("*.pem"))),
    }
    shop.shell.environment |= shop.environment
    done = shop.shell.json("provider", "setup", "paypal")
    (hook,) = paypal.state.every("webhook_endpoint")
    assert done["endpoint"] == hook["id"]
    assert "BILLING.SUBSCRIPTION.ACTIVATED" in hook["enabled_events"]
    assert shop.shell.json("provider", "setup", "paypal")["did"] == []
    price = '{ key = "once", provider = "paypal", amount = 5000, currency = "USD" }\n]\nterm = "perpetual"\n'
    (shop.folder / "catalog.toml").write_text(f"{CATALOG}{price}", encoding="utf-8")
    shop.shell.run("catalog", "apply", "catalog.toml")
    with shop.server():
        told = shop.lines("provider", "test")
    assert states(told)["paypal webhook"] == "ok"
    assert "the webhook came" in told["paypal checkout"][1]
    assert states(told)["paypal secret"] == "ok"
    shop.shell.environment["PAYPAL_WEBHOOK_ID"] = "OF-ANOTHER-APP"
    paypal.register_webhook(f"{shop.environment['APP_BASE_URL']}/api/webhooks/paypal", "MADE-BY-HAND")
    assert "is not that of MADE-BY-HAND" in shop.lines("provider", "test", fails=1)["paypal secret"][1]


def test_a_key_is_asked_for_and_kept(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for held in (shop.environment, shop.shell.environment):
        held.pop("STRIPE_SECRET_KEY")
    asked: list[tuple[str, bool]] = []

    def answer(name: str, *, hide_input: bool, err: bool) -> str:
        assert err
        asked.append((name, hide_input))
        return f" {shop.sandbox.api_key} "

    monkeypatch.setattr("keywright.cli.provider.typer.prompt", answer)
    monkeypatch.setattr("keywright.cli.provider._can_answer", lambda: True)
    told = shop.shell.run("provider", "setup", "stripe")
    assert asked == [("STRIPE_SECRET_KEY", True)]
    assert "kept the credentials in the vault" in told.stdout
    assert shop.sandbox.api_key not in told.stdout + told.stderr
    # Nobody is asked again, and the server needs nothing in its environment either.
    assert shop.shell.json("provider", "setup", "stripe")["did"] == []
    assert len(asked) == 1
    with shop.server():
        assert states(shop.lines("provider", "test"))["stripe webhook"] == "ok"


def test_a_key_of_the_environment_is_kept_on_request(shop: Shop) -> None:
    shop.shell.run("provider", "setup", "stripe", "--store-key")
    shop.shell.environment.pop("STRIPE_SECRET_KEY")
    assert shop.shell.json("provider", "setup", "stripe")["account"].startswith("Keywright sandbox")
    elsewhere = shop.shell.json("provider", "setup", "stripe", "--url", "http://127.0.0.1:1/shop")
    assert elsewhere["url"] == "http://127.0.0.1:1/shop/api/webhooks/stripe"


def test_doctor_misses_a_master_key_that_is_in_use(shop: Shop) -> None:
    key = shop.folder / "data" / "master.key"
    shop.shell.run("provider", "setup", "stripe")
    assert shop.lines("doctor")["master key"][0] == "note"
    key.rename(key.with_suffix(".away"))
    missed = shop.lines("doctor", fails=1)
    assert missed["master key"][0] == missed["vault"][0] == "wrong"
    assert "will be made" not in missed["master key"][1]
    (shop.folder / "new").mkdir()
    new = Shell(shop.folder / "new").run("doctor", "--json", fails=1).stdout
    assert "will be made at the first start" in new


def test_events_of_the_other_mode_are_told(shop: Shop) -> None:
    """An endpoint that was made in live mode delivers to a server with a test key."""
    secret = "whsec_of_the_live_endpoint"
    shop.environment["STRIPE_WEBHOOK_SECRET"] = secret
    shop.shell.environment |= shop.environment
    shop.shell.run("provider", "setup", "stripe")
    now = datetime.now(UTC)
    live = stripe.encoded(
        stripe.event("invoice.paid", stripe.invoice("in_1", "sub_1", now, now), now, live=True)
    )
    with shop.server():
        address = f"{shop.environment['APP_BASE_URL']}/api/webhooks/stripe"
        taken = httpx.post(address, content=live, headers=stripe.signed(live, secret, now)).json()
        assert taken["reason"] == "WRONG_MODE"
        told = shop.lines("provider", "test", "stripe", fails=1)
    assert states(told)["stripe webhook"] == "ok"
    assert "events of the other mode arrive" in told["stripe secret"][1]
    assert "STRIPE_SECRET_KEY" in told["stripe secret"][1]
