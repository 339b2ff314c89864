from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from stripe import StripeClient

from keywright.sandbox.app import SandboxServer, serve
from keywright.sandbox.clock import CLOCK_FILE_NAME, TurnableClock

SERVE = """
import sys
from pathlib import Path
from keywright.sandbox.app import serve
serve("127.0.0.1", int(sys.argv[1]), data_dir=Path(sys.argv[2]), webhook_url=None, webhook_secret="")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_serve_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(port), str(tmp_path)])
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                overview = httpx.get(f"{url}/_sandbox/", trust_env=False).json()
                break
            except httpx.TransportError:
                time.sleep(0.05)
        assert overview["counts"]["event"] == 0
        client = StripeClient("sk_test_sandbox", base_addresses={"api": url})
        assert client.v1.accounts.retrieve_current().charges_enabled is True
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def test_a_webhook_url_needs_a_secret(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="secret"):
        serve("127.0.0.1", 0, data_dir=tmp_path, webhook_url="http://127.0.0.1:9/", webhook_secret="")


def test_a_taken_port_is_an_oserror(server: SandboxServer, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="in use"):
        SandboxServer(data_dir=tmp_path, port=int(server.url.rsplit(":", 1)[1]))


def test_a_clock_turned_by_another_process_renews_without_being_asked(
    server: SandboxServer, tmp_path: Path, monthly: str, buy: Any
) -> None:
    buy(monthly, "subscription")
    TurnableClock(tmp_path / CLOCK_FILE_NAME).advance(32 * 86_400)
    until = time.monotonic() + 5
    while time.monotonic() < until and len(server.sandbox.state.every("invoice")) < 2:
        time.sleep(0.02)
    renewal = server.sandbox.state.every("invoice")[-1]
    assert (renewal["billing_reason"], renewal["status"]) == ("subscription_cycle", "paid")
