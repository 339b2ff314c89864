"""`staff`: accounts made, listed, linked anew and closed from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_cli import Shell
from tests.conftest import Prepared

LINK = re.compile(r"http://127\.0\.0\.1:\d+/console/setup/[\w-]{43}\n")


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_an_account_from_its_link_to_its_end(prepared: Prepared) -> None:
    shell = Shell(Path(prepared.folder), DATABASE_URL=prepared.url)
    made = shell.call("staff", "create", "--email", "Ada@Example.com", "--role", "owner")
    assert LINK.fullmatch(made.stdout), made
    again = shell.call("staff", "create", "--email", "ada@example.com", "--role", "admin")
    assert LINK.fullmatch(again.stdout)
    assert again.stdout != made.stdout
    listed = json.loads(shell.call("staff", "list", "--json").stdout)["items"]
    assert [(one["email"], one["role"], one["state"]) for one in listed] == [
        ("ada@example.com", "admin", "invited")
    ]
    assert LINK.fullmatch(shell.call("staff", "link", "ADA@example.com").stdout)
    assert shell.call("staff", "close", listed[0]["id"]).returncode == 0
    assert "closed" in shell.call("staff", "list").stdout
    for words in (["link", "ada@example.com"], ["close", "stf_none"], ["link", "nobody@example.com"]):
        refused = shell.call("staff", *words)
        assert (refused.returncode, "STAFF_UNKNOWN" in refused.stderr) == (1, True)
    for words in (["--email", "nobody"], ["--email", "a@example.com", "--role", "king"]):
        refused = shell.call("staff", "create", *words)
        assert (refused.returncode, "INVALID" in refused.stderr) == (1, True)
