"""`sandbox serve` as a user types it: what it prints is enough, and all events find the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import wait_until


@pytest.fixture
def doors() -> Iterator[tuple[str, list[str]]]:
    """A server that takes whatever is sent, and remembers where it went."""
    heard: list[str] = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            heard.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_events_of_every_provider_go_to_the_server(doors: tuple[str, list[str]], tmp_path: Path) -> None:
    url, heard = doors
    command = [
        sys.executable,
        "-m",
        "keywright.cli.main",
        "sandbox",
        "serve",
        "--port",
        "0",
        "--app-url",
        url,
    ]
    process = subprocess.Popen(
        [*command, "--webhook-secret", "whsec_for_the_sandbox"],
        cwd=tmp_path,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        told: list[str] = []
        while not (told and told[-1].startswith("Stop with")):
            told.append(process.stdout.readline())
        base = next(line.split("=")[1].strip() for line in told if "STRIPE_API_BASE" in line)
        for name in ("PAYSTACK_API_BASE", "PAYSTACK_SECRET_KEY", "PAYPAL_CLIENT_ID", "PAYPAL_CA_FILE"):
            assert any(f"{name}=" in line for line in told), name
        wait_until(lambda: _answers(base), 20, "the sandbox answers")
        for event in ("checkout.session.completed", "charge.success", "PAYMENT.SALE.COMPLETED"):
            answer = httpx.post(f"{base}/_sandbox/trigger", json={"event": event}, timeout=30)
            assert answer.status_code == 200, answer.text
        wanted = {f"/api/webhooks/{name}" for name in ("stripe", "paystack", "paypal")}
        wait_until(lambda: set(heard) == wanted, 20, f"events at {wanted}, not {set(heard)}")
    finally:
        watchdog.cancel()
        process.send_signal(signal.SIGINT)
        process.wait(15)
        if process.stdout is not None:
            process.stdout.close()


def _answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/_sandbox/", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_events_need_a_secret_to_be_signed_with(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "keywright.cli.main",
        "sandbox",
        "serve",
        "--app-url",
        "http://127.0.0.1:9",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "--webhook-secret" in done.stderr
