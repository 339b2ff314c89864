"""`tenant`, and the commands that work for one: staff, tokens, catalog, providers, comparisons."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keywright.sandbox.app import SandboxServer
from tests.cli.test_cli import CATALOG, Shell
from tests.conftest import Prepared

only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    with SandboxServer(data_dir=folder) as running:
        yield running


@pytest.fixture
def shell(prepared: Prepared, tmp_path: Path, sandbox: SandboxServer) -> Shell:
    mode = {"KEYWRIGHT_MODE": "sandbox", "STRIPE_API_BASE": sandbox.url}
    made = Shell(tmp_path, DATABASE_URL=prepared.url, **mode)
    made.run("tenant", "create", "--name", "Acme Tools", "--slug", "acme", "--email", "hello@acme.example")
    return made


@only_sqlite
def test_a_tenant_is_made_once_listed_and_shown(shell: Shell) -> None:
    again = shell.refusal("tenant", "create", "--name", "Another", "--slug", "acme")
    assert "slug" in again
    listed = shell.json("tenant", "list")["items"]
    assert [(one["slug"], one["is_master"]) for one in listed] == [("acme", False), ("master", True)]
    shown = shell.run("tenant", "show", "acme").stdout
    assert "http://127.0.0.1:8000/t/acme" in shown
    assert listed[0]["id"] in shown
    assert shell.json("tenant", "show", listed[0]["id"]) == listed[0]
    assert "tenant" in shell.refusal("tenant", "show", "nobody")


@only_sqlite
def test_commands_work_for_a_tenant(
    shell: Shell, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = shell.folder / "catalog.toml"
    catalog.write_text(CATALOG)
    shell.run("catalog", "apply", str(catalog), "--tenant", "acme")
    assert shell.run("token", "create", "--name", "shop", "--tenant", "acme").stdout.startswith("kw_")
    link = shell.run(
        "staff", "create", "--email", "owner@acme.example", "--role", "owner", "--tenant", "acme"
    )
    assert "/console/setup/" in link.stdout
    assert [one["email"] for one in shell.json("staff", "list", "--tenant", "acme")["items"]] == [
        "owner@acme.example"
    ]
    assert shell.json("staff", "list")["items"] == []
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "standard input" in shell.refusal("provider", "setup", "stripe", "--tenant", "acme")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{sandbox.api_key}\n"))
    done = shell.run("provider", "setup", "stripe", "--tenant", "acme").stdout
    assert "kept the credentials in the vault" in done
    assert "Restart" not in done
    assert sandbox.api_key not in done
    (account,) = shell.json("tenant", "show", "acme")["accounts"]
    assert (account["provider"], account["mode"]) == ("stripe", "test")
    (url,) = (one["url"] for one in sandbox.sandbox.state.every("webhook_endpoint"))
    assert url == f"http://127.0.0.1:8000/api/webhooks/stripe/{account['id']}"
    assert url in shell.run("tenant", "show", "acme").stdout
    report = shell.json("reconcile", "--tenant", "acme")
    assert [(one["provider"], one["error"]) for one in report["accounts"]] == [("stripe", None)]
    assert re.search(r"not set up|PROVIDER|key", shell.refusal("reconcile", "--provider", "paystack"))
