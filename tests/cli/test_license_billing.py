"""What a seller changes at Stripe's stand-in by command, over HTTP; `reconcile` brings the effect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from keywright.sandbox.app import SandboxServer
from tests.cli.test_cli import Shell

CATALOG = """
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_prefix = "DC"

[[product.plan]]
slug = "pro"
name = "Pro"
seat_decrease = "now"
prices = [
  { key = "monthly", provider = "stripe", id = "%s", amount = 5000, currency = "USD", interval = "month" },
]
"""


class Office(NamedTuple):
    """An installation that has sold two seats through the sandbox."""

    shell: Shell
    sandbox: SandboxServer
    license: str

    def told(self) -> Any:
        """The license after what happened at the provider was taken in."""
        self.shell.run("reconcile", "--since", "1d", "--fix")
        return self.shell.json("license", "show", self.license)

    def call(self, *words: str) -> Any:
        name, *rest = words
        return self.shell.json("license", name, self.license, *rest)


def post(sandbox: SandboxServer, path: str, **params: str) -> Any:
    answer = httpx.post(f"{sandbox.url}/v1/{path}", data=params, auth=(sandbox.api_key, ""), trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder: Path = tmp_path_factory.mktemp("billing")
    with SandboxServer(data_dir=folder / "data") as sandbox:
        shell = Shell(
            folder,
            STRIPE_SECRET_KEY=sandbox.api_key,
            STRIPE_API_BASE=sandbox.url,
            KEYWRIGHT_MODE="sandbox",
        )
        monthly = {"recurring[interval]": "month", "product_data[name]": "DashCaddy"}
        price = post(sandbox, "prices", currency="usd", unit_amount="5000", **monthly)["id"]
        (folder / "catalog.toml").write_text(CATALOG % price, encoding="utf-8")
        shell.run("migrate")
        shell.run("catalog", "apply", "catalog.toml")
        line = {"line_items[0][price]": price, "line_items[0][quantity]": "2"}
        where = "https://shop.example/thanks"
        session = post(sandbox, "checkout/sessions", mode="subscription", success_url=where, **line)
        paid = {"session": session["id"], "email": "ann@example.com"}
        httpx.post(f"{sandbox.url}/_sandbox/stripe/pay", json=paid, trust_env=False).raise_for_status()
        shell.run("reconcile", "--since", "1d", "--fix")
        (sold,) = shell.json("license", "list")["items"]
        yield Office(shell, sandbox, sold["id"])


def turn(office: Office, days: int) -> None:
    wish = {"seconds": days * 86400}
    url = f"{office.sandbox.url}/_sandbox/clock/advance"
    httpx.post(url, json=wish, trust_env=False).raise_for_status()


def test_a_life_by_command(office: Office) -> None:
    turn(office, 10)
    shown = office.call("seats", "5", "--preview")
    assert shown["due_now"] > 0
    assert (shown["quantity"], shown["currency"], office.told()["seats"]) == (5, "USD", 2)
    assert office.call("seats", "5", "--expected", str(shown["due_now"]))["accepted"]
    assert office.told()["seats"] == 5
    assert "PREVIEW_CHANGED" in office.shell.refusal(
        "license", "seats", office.license, "9", "--expected", "1"
    )
    assert office.call("cancel", "--reason", "asked by mail")["accepted"]
    told = office.told()
    assert (told["status"], office.call("explain")["altered"]) == ("active", [])
    assert office.call("resume")["accepted"]
    key = ["--idempotency-key", "0123456789abcdef0123456789"]
    for _ in range(2):
        assert office.call("refund", "--amount", "1000", *key)["accepted"]
    refunds = httpx.get(
        f"{office.sandbox.url}/v1/refunds", auth=(office.sandbox.api_key, ""), trust_env=False
    ).json()["data"]
    assert [one["amount"] for one in refunds] == [1000]
    link = office.shell.run(
        "license", "portal", office.license, "--return-url", "http://127.0.0.1:8000/"
    ).stdout
    assert link.startswith("http")
    assert office.told()["seats"] == 5


def test_the_explanation_in_words(office: Office) -> None:
    told = office.shell.run("license", "explain", "ann@example.com").stdout
    for words in (
        "Active: paid until",
        "FACTS, in order of arrival",
        "In order of occurrence:",
        "rule: A purchase that grants something for the first time makes a license.",
        "why: asked by mail",
        "A replay of all its events would alter nothing.",
        "plan: dashcaddy/pro",
    ):
        assert words in told
    assert "pln_" not in told


def test_a_replay_in_words(office: Office) -> None:
    listed = office.shell.json("event", "list", "--since", "2020-01-01")["items"]
    applied = [one for one in listed if one["status"] == "applied"]
    assert applied
    said = office.shell.run("event", "replay", applied[0]["event"], "--dry-run").stdout
    assert "WOULD CHANGE" in said
    done = office.shell.json("event", "replay", "--since", "2020-01-01", "--status", "applied", "--dry-run")
    assert [one["licenses"] for one in done["items"]] == [[]] * len(applied)
    assert office.shell.json("event", "replay", "--since", "2999-01-01", "--refetch")["items"] == []
    assert "INVALID" in office.shell.refusal("event", "list", "--since", "soon")
