"""The process that looks after others, and servers that leave the background work to `worker`."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog

from keywright.cli import several
from keywright.domain.errors import Misconfigured
from keywright.domain.plan import Terms
from keywright.flows import operate
from keywright.flows.operate import Act, Order
from tests.cli.test_cli import Shell
from tests.conftest import new_postgresql
from tests.crash.fleet import Fleet
from tests.crash.test_kill import owed
from tests.e2e.server import environment, free_port, opened, wait_until
from tests.life import world

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]
FAILS = [sys.executable, "-c", "raise SystemExit(3)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)",
]


class Started:
    """What was started, and how to start more of it."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.all: list[subprocess.Popen[bytes]] = []

    def __call__(self) -> subprocess.Popen[bytes]:
        self.all.append(subprocess.Popen(self.command, stdout=subprocess.PIPE))
        return self.all[-1]

    @property
    def running(self) -> int:
        return sum(one.poll() is None for one in self.all)


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[Started]:
    made = Started(getattr(request, "param", SLEEPS))
    yield made
    for one in made.all:
        one.kill()
        one.wait()
        assert one.stdout is not None
        one.stdout.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "_LONGEST_PAUSE", 0.01)


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("hurried")
def test_who_dies_is_started_again_and_all_are_stopped(started: Started) -> None:
    def disturb() -> None:
        wait_until(lambda: len(started.all) == 2, 30, "both are there")
        started.all[0].kill()
        wait_until(lambda: len(started.all) == 3, 30, "another one in its place")
        ask_to_stop()

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=disturb)
    thread.start()
    with structlog.testing.capture_logs() as told:
        several.supervise(started, 2)
    thread.join()
    assert [one.poll() for one in started.all] == [-signal.SIGKILL, -signal.SIGTERM, -signal.SIGTERM]
    assert [one["event"] for one in told] == ["process_ended"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("started", [FAILS], indirect=True)
def test_it_gives_up_when_none_of_them_can(started: Started) -> None:
    with structlog.testing.capture_logs() as told, pytest.raises(Misconfigured, match="end again and again"):
        several.supervise(started, 2)
    assert len(started.all) >= 2 * several._GIVE_UP
    assert {one["code"] for one in told} == {3}


@pytest.mark.parametrize("started", [DEAF], indirect=True)
def test_who_does_not_stop_is_ended(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "_STOP_WITHIN", 0.5)

    def disturb() -> None:
        wait_until(lambda: len(started.all) == 1, 30, "it is there")
        assert started.all[0].stdout is not None
        started.all[0].stdout.readline()  # by now it hears nothing
        ask_to_stop()

    thread = threading.Thread(target=disturb)
    thread.start()
    with structlog.testing.capture_logs() as told:
        several.supervise(started, 1)
    thread.join()
    assert started.all[0].poll() == -signal.SIGKILL
    assert [one["event"] for one in told] == ["processes_killed"]


def test_a_server_without_an_engine_leaves_the_work_to_a_worker(postgresql: str, tmp_path: Path) -> None:
    url, key = new_postgresql(postgresql), secrets.token_urlsafe(32)
    env = environment(url, tmp_path, KEYWRIGHT_MASTER_KEY=key)
    shell, port = Shell(tmp_path, **env), free_port()
    with opened(url, tmp_path, keywright_master_key=key) as context:
        world.stock(context, price_pro=Terms(term=365 * 86400))
        command = [sys.executable, "-m", "keywright.cli.main", "serve", "--no-engine", "--port", str(port)]
        with (tmp_path / "log").open("wb") as log:
            server = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log)
        fleet = None
        try:
            wait_until(lambda: status(port, "ready") == 200, 60, "the server is ready")
            assert status(port, "") == 503  # nobody sends what it owes
            assert "does background work" in shell.refusal("worker", "--check")
            operate.issue(
                context, context.master.id, Order("dashcaddy/plan-0", "buyer@example.com"), Act("a test")
            )
            assert owed(context)
            fleet = Fleet(env, tmp_path, servers=0, workers=1)
            wait_until(lambda: status(port, "") == 200, 60, "somebody is seen to work")
            assert "1 here, 1 in all" in shell.run("worker", "--check").stdout
            wait_until(lambda: not owed(context), 60, "mails are out")
            fleet.stop()
        finally:
            if fleet is not None:
                fleet.close()
            server.terminate()
            assert server.wait(30) == 0


def status(port: int, path: str) -> int:
    try:
        address = f"http://127.0.0.1:{port}/health/{path}".rstrip("/")
        return httpx.get(address, trust_env=False, timeout=10).status_code
    except httpx.TransportError:
        return 0
