"""`license secret`, `license firm` and `verify --hmac`: what an on-premise vendor types."""

from __future__ import annotations

import os
from unittest import mock

import pytest

from keywright.cli.session import opened
from keywright.flows import firm_keys
from keywright.store import licenses
from tests.cli.test_cli import Shell

FIRM = "Acme Works"
CATALOG = """
[[product]]
slug = "waterworks"
name = "Waterworks"
code = 513

[[product.plan]]
slug = "onsite"
name = "On site"
code = 3
profile = "hmac"
term = "1y"
prices = [{ key = "once", provider = "stripe", id = "price_once", amount = 5000, currency = "USD" }]
"""


MASTER = "a master secret of this very test"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A prepared installation with a plan for firms in its catalog file."""
    made = Shell(tmp_path_factory.mktemp("firms"), LICENSE_SECRET=MASTER)
    (made.folder / "catalog.toml").write_text(CATALOG)
    made.run("migrate")
    return made


def without(shell: Shell, secret: str | None) -> Shell:
    """The same installation, with another LICENSE_SECRET or none."""
    return Shell(shell.folder, **({} if secret is None else {"LICENSE_SECRET": secret}))


def key_of(shell: Shell, license_id: str) -> str:
    """The HMAC key on the license's row."""
    with mock.patch.dict(os.environ, shell.environment, clear=True), opened() as context:
        with context.database.read() as connection:
            held = licenses.find(connection, context.master.id, license_id)
        assert held is not None
        key = firm_keys.opened(context, held)
    assert key is not None
    return key.short


def test_from_the_secret_to_a_checked_key(shell: Shell) -> None:
    assert "LICENSE_SECRET" in without(shell, None).refusal("catalog", "apply", "catalog.toml")
    assert "32 characters" in without(shell, "short").refusal("catalog", "show")
    shell.run("catalog", "apply", "catalog.toml")
    assert "LICENSE_SECRET is not set" in without(shell, None).call("doctor").stdout
    order = ("license", "issue", "--plan", "waterworks/onsite", "--email", "a@example.com")
    assert "FIRM_REQUIRED" in shell.refusal(*order)
    made = shell.json(*order, "--firm", FIRM)
    assert shell.json("integrity")["damaged"] == []
    file = shell.folder / "acme.secret"
    file.write_text(shell.run("license", "secret", "--firm", FIRM).stdout)
    assert MASTER not in file.read_text()
    key = key_of(shell, made["id"])
    check = ("verify", key, "--hmac", "--firm", FIRM, "--secret-file", str(file))
    told = without(shell, None).json(*check)
    assert (told["firm"], told["product"], told["tier"], told["seats"]) == (FIRM, 513, 3, 1)
    other = ("verify", key, "--hmac", "--firm", "Other", "--secret-file", str(file))
    assert "HMAC_KEY_INVALID" in shell.refusal(*other)
    bad = shell.folder / "bad.secret"
    bad.write_text("1.AAAA\n")
    assert "license secret" in shell.refusal(*check[:-1], str(bad))
    file.write_text(shell.run("license", "secret", "--firm", FIRM, "--rotate").stdout)
    assert "epoch 1" in shell.refusal(*check)
    shell.run("license", "firm", made["id"], "--firm", "Acme & Sons")
    assert key_of(shell, made["id"]) != key
