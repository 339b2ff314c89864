"""The real server as a process of its own, and the shop behind it as the test sees it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from keywright import bootstrap
from keywright.flows.context import Context
from tests.conftest import SECRET, test_settings

STRIPE_KEY = "sk_test_keywright"
START_LIMIT = 60.0
STOP_LIMIT = 30.0
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


def environment(database_url: str, folder: Path, **more: str) -> dict[str, str]:
    """What the server sees: nothing of whoever runs the tests, whose settings must not reach it."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed_on,
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder / "data"),
        "APP_BASE_URL": "http://127.0.0.1:8000",
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        # Nobody listens there: a test that reaches for Stripe by mistake fails at once, on this machine.
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "ALERT_EMAIL": "ops@example.com",
        **more,
    }


@contextmanager
def opened(database_url: str, folder: Path, **more: Any) -> Iterator[Context]:
    """The same database and data folder as the server's, prepared, from this process.

    Closed at the end, so that a server that is killed and started again finds the files as a crash left them.
    """
    made = test_settings(database_url, folder, **more)
    database = bootstrap.open_database(made)
    try:
        bootstrap.prepare(made, database)
        yield bootstrap.build(made, database)
    finally:
        database.dispose()


class Server:
    """`keywright serve` on a free port. A context manager; `kill` and `start` may be used inside."""

    def __init__(
        self, env: Mapping[str, str], folder: Path, name: str = "server", module: str = "keywright.cli.main"
    ) -> None:
        self._module = module
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self._env = dict(env)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.ready_seconds = 0.0

    def start(self) -> None:
        """Start, and wait until it is ready. Raises RuntimeError with the end of the log when it is not."""
        began = time.monotonic()
        command = [sys.executable, "-m", self._module, "serve", "--port", str(self.port)]
        with self.log.open("ab") as log:
            # In a folder without a `.env`.
            self._process = subprocess.Popen(
                command, env=self._env, cwd=self._folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        while time.monotonic() - began < START_LIMIT and self._process.poll() is None:
            if self._is_ready():
                self.ready_seconds = time.monotonic() - began
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the server did not start: {self.log.read_text(errors='replace')[-3000:]}")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """`kill -9`: nothing is flushed, nothing is closed, nothing is told."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Ask it to stop and wait. Raises AssertionError when it does not end by itself, or ends badly."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            code = self._process.wait(STOP_LIMIT)
        finally:
            self.kill()
        # The server shuts down in order and then lets the signal have its way, so the shell sees the truth.
        assert code in (0, -signal.SIGTERM), f"exit code {code}"
        assert "Application shutdown complete" in self.log.read_text(errors="replace")

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(true: Any, seconds: float, what: str) -> None:
    """Ask `true()` until it is. Raises AssertionError naming `what` when it takes longer than `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)
