"""The programs that examples run under. A machine may lack them: then their tests are skipped, loudly."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.examples.cases import EXAMPLES

_DRIVER = Path(__file__).with_name("driver.mjs")
_LIMIT = 60.0


def need(name: str, oldest: int) -> str:
    """The path of a program of at least this version. Skips; fails under KEYWRIGHT_REQUIRE_BROWSER=1."""
    found = shutil.which(name)
    version = None
    if found is not None:
        command = [found, "version" if name == "openssl" else "--version"]
        version = re.search(r"\d+", run(command)[1])
    if found is not None and version is not None and int(version[0]) >= oldest:
        return found
    lack = f"{name} {oldest} or newer is missing, so nobody has run the example"
    if os.environ.get("KEYWRIGHT_REQUIRE_BROWSER") == "1":
        pytest.fail(f"KEYWRIGHT_REQUIRE_BROWSER=1, and {lack}")
    pytest.skip(f"NO {name.upper()}: {lack}")


def ask_node(**asked: list[Any]) -> dict[str, list[Any]]:
    """What the Node examples say to many questions of each kind (see driver.mjs)."""
    folder = EXAMPLES / "node"
    told = {"license": str(folder / "license.mjs"), "hmac": str(folder / "hmac.mjs"), **asked}
    command = [need("node", 18), str(_DRIVER)]
    code, answered, why = run(command, json.dumps(told))
    assert code == 0, why
    said: dict[str, list[Any]] = json.loads(answered)
    return said


def run(command: list[str], given: str = "") -> tuple[int, str, str]:
    """Exit status, standard output and standard error of an example's command."""
    ran = subprocess.run(command, input=given, capture_output=True, text=True, timeout=_LIMIT, check=False)
    return ran.returncode, ran.stdout, ran.stderr
