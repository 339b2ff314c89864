"""Several machines on one PostgreSQL: a server of several processes, and workers."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # the library carries no types

from tests.e2e.server import START_LIMIT, free_port

STOP_LIMIT = 40.0


class Fleet:
    """`serve --workers 2` and some `worker`s. One of all these processes dies at a time, and comes back."""

    def __init__(self, env: Mapping[str, str], folder: Path, *, servers: int = 2, workers: int = 2) -> None:
        self.port = free_port()
        self.killed: list[str] = []
        self._env = dict(env)
        self._folder = folder
        self._server = ["serve", "--workers", str(servers), "--port", str(self.port)]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        if servers:
            self._begin("server", self._server)
        for number in range(workers):
            self._begin(f"worker{number}", ["worker"])
        self._wait_for_all(servers)

    def _begin(self, name: str, words: list[str]) -> None:
        home = self._folder / name
        home.mkdir(exist_ok=True)
        with (home / "log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "keywright.cli.main", *words],
                env=self._env,
                cwd=home,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def children(self) -> list[psutil.Process]:
        """The processes that answer."""
        with suppress(psutil.NoSuchProcess, KeyError):
            parent = psutil.Process(self._running["server"].pid)
            return [one for one in parent.children() if one.status() != psutil.STATUS_ZOMBIE]
        return []

    def _wait_for_all(self, servers: int) -> None:
        end = time.monotonic() + START_LIMIT
        for name, said, times in (
            ("server", "Application startup complete", servers),
            *((name, "worker_started", 1) for name in self._running if name != "server"),
        ):
            while times and self.told(name).count(said) < times:
                assert time.monotonic() < end, self.told(name)[-2000:]
                time.sleep(0.05)

    def told(self, name: str) -> str:
        return (self._folder / name / "log").read_text(errors="replace")

    def kill_one(self, kind: str, chance: random.Random) -> None:
        """`kill -9` of a `child` (one that answers), a `worker`, or the `parent` of all that answer, who go
        with it. It comes back."""
        children = self.children()
        if kind == "child" and children:
            with suppress(psutil.NoSuchProcess):
                chance.choice(children).kill()
        elif kind == "parent":
            self._end_server(children)
            self._begin("server", self._server)
        elif kind == "worker":
            name = chance.choice([name for name in self._running if name != "server"])
            self._running[name].kill()
            self._running[name].wait()
            self._begin(name, ["worker"])
        self.killed.append(kind)

    def _end_server(self, children: list[psutil.Process]) -> None:
        self._running["server"].kill()
        self._running["server"].wait()
        # They notice, and stop in order; until then they hold the port.
        _, alive = psutil.wait_procs(children, timeout=STOP_LIMIT)
        assert alive == []

    def stop(self) -> None:
        """Ask all to stop. Raises AssertionError when one does not, or ends badly."""
        for one in self._running.values():
            one.terminate()
        for name, one in self._running.items():
            code = one.wait(STOP_LIMIT)
            assert code in (0, -15), (name, code, self.told(name)[-2000:])

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        children = self.children()
        for one in self._running.values():
            one.kill()
            one.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
