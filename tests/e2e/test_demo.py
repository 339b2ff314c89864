"""`keywright demo --once`: it holds, and it notices when it does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx

_LONGEST = 180.0


def _start(folder: Path) -> subprocess.Popen[str]:
    passed = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "keywright.cli.main", "demo", "--once", "--data-dir", str(folder)],
        env=passed,
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    watchdog = threading.Timer(_LONGEST, process.kill)
    watchdog.start()
    try:
        output, _ = process.communicate()
    finally:
        watchdog.cancel()
    return process.returncode, output


def test_every_step_of_the_demo_holds(tmp_path: Path) -> None:
    code, output = _finish(_start(tmp_path / "demo"))
    assert code == 0, output
    assert "Every step held" in output
    assert "FAILED" not in output
    assert output.count("  ok  ") == 30


def test_a_step_that_does_not_hold_ends_the_demo_with_1(tmp_path: Path) -> None:
    process = _start(tmp_path / "demo")
    assert process.stdout is not None
    first = process.stdout.readline()
    sandbox = first.split()[1]
    # Every webhook is lost on its way: a payment without a license, the one thing that may never be.
    httpx.post(f"{sandbox}/_sandbox/switches", json={"loss": 1}, timeout=10).raise_for_status()
    code, output = _finish(process)
    assert code == 1, output
    assert "FAILED  the buyer pays" in output
