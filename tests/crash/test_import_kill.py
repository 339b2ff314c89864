"""An import that dies is the import that did not die, row for row; another one writes nothing.

It dies as a command, and then as the work of a server, which goes on with it when it is started again.

`KEYWRIGHT_IMPORT_SUBSCRIPTIONS` sets how many are imported (100 by default, on SQLite; `make import` says
10,000, on both databases, with Stripe's own rate limit in front of them, and another death of the command).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.flows import tokens
from keywright.flows.context import Context
from keywright.flows.pacing import Pace
from keywright.sandbox.app import SandboxServer
from keywright.store import tables
from keywright.store.import_tables import imports
from tests.e2e.conftest import database_of
from tests.e2e.server import Server, environment, opened, wait_until
from tests.life import moving

COUNT = int(os.environ.get("KEYWRIGHT_IMPORT_SUBSCRIPTIONS", "100"))
LONG = COUNT >= 2000
DATABASES = ("sqlite", "postgresql") if LONG else ("sqlite",)
# Stripe takes 25 requests a second in test mode.
LIMIT = 25.0 if LONG else 200.0
RATE = "20" if LONG else "100"
PATIENCE = 1800.0 if LONG else 60.0
# How many more requests of all that an uninterrupted run sends, before each kill.
SHARES = (0.2, 0.35, 0.3) if LONG else (0.35, 0.3)


class Mover:
    """The command `import stripe`, as a process of its own."""

    def __init__(self, sandbox: SandboxServer, database_url: str, folder: Path, file: Path) -> None:
        self.sandbox = sandbox
        env = {name.upper(): str(value) for name, value in moving.settings_of(sandbox).items()}
        self._env = environment(database_url, folder, **env)
        self._url, self._folder, self._file = database_url, folder, file
        self._command = [sys.executable, "-m", "keywright.cli.main", "import", "stripe", "--json"]
        self._command += ["--rate", RATE, "--csv", str(file)]
        self.log = folder / "import.log"

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command, env=self._env, cwd=self._folder, stdout=log, stderr=log)

    def die_after(self, requests: int) -> None:
        """Run, and be killed when so many more requests have come to Stripe."""
        process = self.start()
        try:
            self._await(requests, lambda: process.poll() is None)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def _await(self, requests: int, runs: Callable[[], bool]) -> None:
        seen = self.sandbox.sandbox.limits.seen["stripe"]
        until, end = seen.requests + requests, time.monotonic() + PATIENCE
        while seen.requests < until:
            assert runs(), "it ended before it was killed: " + self.log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < end
            time.sleep(0.002)

    def serve_and_die_after(self, requests: int) -> None:
        """Have a server go on with it, kill that one, too, and let the next one come to the end."""
        with opened(self._url, self._folder, **moving.settings_of(self.sandbox)) as context:
            _, token = tokens.create(context, context.master, "mover", "write")
            with context.database.write() as connection:
                # Its own hourly comparison, if it falls into this very minute, has nothing to look for.
                seen = sa.update(tables.provider_accounts).values(reconciled_until=context.clock.now())
                connection.execute(seen)
        server = Server(self._env, self._folder)
        server.start()
        try:
            answer = httpx.post(
                f"http://127.0.0.1:{server.port}/api/admin/imports",
                headers={"authorization": f"Bearer {token}"},
                json={"provider": "stripe", "rate": float(RATE), "csv": self._file.read_text()},
                timeout=60,
                trust_env=False,
            )
            assert answer.status_code == 202, answer.text
            self._await(requests, server.is_running)
            server.kill()
            server.start()
            with opened(self._url, self._folder) as context:
                wait_until(lambda: _is_done(context), PATIENCE, "the next server goes on with it")
        finally:
            server.kill()


@pytest.fixture(params=DATABASES)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> list[tuple[str, Path]]:
    """Two empty databases of one kind, each with its folder."""
    found = []
    for name in ("whole", "killed"):
        (tmp_path / name / "data").mkdir(parents=True)
        found.append((database_of(request.param, request, tmp_path / name), tmp_path / name))
    return found


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(data_dir=tmp_path / "sandbox") as server:
        yield server


def _is_done(context: Context) -> bool:
    return [one["status"] for one in moving.every(context, imports)] == ["done"]


def write_file(sandbox: SandboxServer, path: Path) -> int:
    """A key and two machines for every third subscription that is paid for."""
    lines = ["subscription,key,seats,fingerprints"]
    for number, one in enumerate(sandbox.sandbox.state.every("subscription")):
        if number % 3 == 0 and one["status"] == "active" and len(one["items"]["data"]) == 1:
            lines.append(
                f"{one['id']},OLD-{number:06d}-KEPT-{number:05d},,machine-{number}-a|machine-{number}-b"
            )
    path.write_text("\n".join(lines) + "\n")
    return len(lines) - 1


def test_killed_it_is_as_if_it_had_not_died(
    places: list[tuple[str, Path]], sandbox: SandboxServer, tmp_path: Path
) -> None:
    began = time.monotonic()
    prices = moving.lever(sandbox, "fill", provider="stripe", subscriptions=COUNT, seed=11)["prices"]
    kept = write_file(sandbox, tmp_path / "keys.csv")
    found = []
    for url, folder in places:
        with opened(url, folder) as context:
            # The clock owes no mails: one of the two is served for minutes, and would remind of what ends.
            moving.sell(context, "stripe", prices, Terms(notices=()))
    killed = Mover(sandbox, *places[1], tmp_path / "keys.csv")
    filled = time.monotonic()

    moving.lever(sandbox, "limits", provider="stripe", a_second=LIMIT)
    with opened(*places[0], **moving.settings_of(sandbox)) as context:
        moving.bring(context, "stripe", (tmp_path / "keys.csv").read_bytes(), pace=Pace(float(RATE)))
    seen = sandbox.sandbox.limits.seen["stripe"]
    told = [f"{COUNT} subscriptions, filled in {filled - began:.0f} s"]
    told.append(f"whole: {time.monotonic() - filled:.0f} s, {seen.requests} requests, {seen.refused} refused")
    requests, began = seen.requests, time.monotonic()

    moving.lever(sandbox, "limits", provider="stripe", a_second=LIMIT)
    seen = sandbox.sandbox.limits.seen["stripe"]
    chance = random.Random(3)
    shares = [max(1, int(requests * share * chance.uniform(0.7, 1.0))) for share in SHARES]
    for share in shares[:-1]:
        killed.die_after(share)
    killed.serve_and_die_after(shares[-1])
    told.append(f"killed: {time.monotonic() - began:.0f} s, {seen.requests} requests, {seen.refused} refused")
    assert seen.refused <= seen.requests // 100, "no storm"

    for url, folder in places:
        with opened(url, folder, **moving.settings_of(sandbox)) as context:
            found.append((moving.content(context), old_keys(context)))
    (one, keys), (other, others) = found
    for name, rows in one.items():
        assert rows == other[name], name
    assert len(one["licenses"]) > COUNT // 2
    assert keys == others
    assert kept * 0.8 < len(keys) <= kept, "but for those whose price nobody sells"
    assert one["announcements"] == []

    moving.lever(sandbox, "limits", provider="stripe", a_second=None)
    url, folder = places[1]
    with opened(url, folder, **moving.settings_of(sandbox)) as context:
        before, began = moving.everything(context), time.monotonic()
        moving.bring(context, "stripe", (tmp_path / "keys.csv").read_bytes())
        assert moving.everything(context) == before, "a second run writes nothing"
        told.append(f"again: {time.monotonic() - began:.0f} s")
    print("\n" + "; ".join(told))  # noqa: T201  # the figures of a long run


def old_keys(context: Any) -> dict[str, str]:
    """The end of each key that came along, by its subscription."""
    names = {
        one["purchase_id"]: one["external_id"]
        for one in moving.every(context, tables.purchase_aliases)
        if one["kind"] == "subscription"
    }
    machines = {one["license_id"] for one in moving.every(context, tables.activations)}
    return {
        names[one["purchase_id"]]: one["key_last5"]
        for one in moving.every(context, tables.licenses)
        if one["id"] in machines
    }
