"""Whether people who guess passwords at full rate slow down the sold software.

    python -m benchmarks.login_flood [--database sqlite|postgresql] [--seconds 15] [--rate 100]

Validations arrive at a fixed rate (an open loop: one that is late counts from when it was due), first alone,
then while so many connections as `--guessers` send wrong passwords as fast as they are answered. Each guess
comes from another address and is for another account, so that no limit stops it before it is hashed. Goal:
the 99th percentile of the validations stays below 100 ms. Exits 1 when it does not, or an answer was wrong.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from benchmarks.servers import ROOT, SERVE, postgresql, run_once, serving
from benchmarks.wire import http_post

MOST_MS = 100.0
_CATALOG = ROOT / "benchmarks" / "catalog.toml"
_LINES = 8
Pairs = list[tuple[str, str]]


class Found(msgspec.Struct, frozen=True):
    """One measure. Milliseconds. `guesses`: how many were answered, by status."""

    database: str
    calm_p50: float
    calm_p99: float
    flood_p50: float
    flood_p99: float
    flood_slowest: float
    validations: int
    wrong: int
    guesses: dict[int, int]
    guesses_a_second: float


class _Line:
    """One connection, kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> tuple[int, str, bytes]:
        """Status, head and body of the answer."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?i)\r\ncontent-length: (\d+)", head)
        body = await self._reader.readexactly(int(length[1]) if length else 0)
        return int(head[9:12]), head, body

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Guesser:
    """Sends wrong passwords, each from another address and for another account."""

    def __init__(self, port: int, number: int) -> None:
        self._line = _Line(port)
        self._host = f"127.0.0.1:{port}"
        self._number = number << 20
        self.told: Counter[int] = Counter()

    async def run(self, until: asyncio.Event) -> None:
        request = f"GET /console/sign-in HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()
        _, head, page = await self._line.ask(request)
        cookie = re.search(r"(?i)set-cookie: ([^;]+)", head)
        check = re.search(r'name="check" value="([^"]+)"', page.decode())
        if cookie is None or check is None:
            raise RuntimeError("there is no form to sign in with")
        while not until.is_set():
            status, _, _ = await self._line.ask(self._guess(cookie[1], check[1]))
            self.told[status] += 1
        self._line.close()

    def _guess(self, cookie: str, check: str) -> bytes:
        self._number += 1
        place = ".".join(str(10 if at == 24 else self._number >> at & 255) for at in (24, 16, 8, 0))
        fields = {"check": check, "email": f"guess{self._number}@example.com", "password": "wrong password"}
        body = urlencode(fields).encode()
        lines = [
            "POST /console/sign-in HTTP/1.1",
            f"Host: {self._host}",
            f"Origin: http://{self._host}",
            f"Cookie: {cookie}",
            f"X-Forwarded-For: {place}",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _validate(port: int, pairs: Pairs, rate: float, seconds: float) -> tuple[list[float], int]:
    """Validations at this rate: the seconds each took from when it was due, and how many were wrong."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[_Line] = asyncio.Queue()
    for _ in range(_LINES):
        lines.put_nowait(_Line(port))
    took: list[float] = []
    wrong = 0

    async def one(number: int, due: float) -> None:
        nonlocal wrong
        key, machine = pairs[number % len(pairs)]
        body = msgspec.json.encode({"key": key, "fingerprint": machine})
        line = await lines.get()
        status, _, answer = await line.ask(http_post("/api/license/validate", body))
        lines.put_nowait(line)
        took.append(loop.time() - due)
        wrong += status != 200 or b'"VALID"' not in answer

    began = loop.time()
    tasks = []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)
    while not lines.empty():
        lines.get_nowait().close()
    return took, wrong


async def _measure(
    database: str, port: int, pairs: Pairs, rate: float, seconds: float, guessers: int
) -> Found:
    await _validate(port, pairs, rate, 3.0)  # what the first requests make is there once
    calm, wrong_calm = await _validate(port, pairs, rate, seconds)
    until = asyncio.Event()
    crowd = [_Guesser(port, number + 1) for number in range(guessers)]
    running = [asyncio.create_task(one.run(until)) for one in crowd]
    await asyncio.sleep(1.0)
    began, before = time.perf_counter(), sum(sum(one.told.values()) for one in crowd)
    flooded, wrong = await _validate(port, pairs, rate, seconds)
    told = sum((one.told for one in crowd), Counter[int]())
    pace = (told.total() - before) / (time.perf_counter() - began)
    until.set()
    await asyncio.gather(*running)
    return Found(
        database,
        calm_p50=_at(calm, 0.5),
        calm_p99=_at(calm, 0.99),
        flood_p50=_at(flooded, 0.5),
        flood_p99=_at(flooded, 0.99),
        flood_slowest=_at(flooded, 1.0),
        validations=len(flooded),
        wrong=wrong_calm + wrong,
        guesses=dict(told),
        guesses_a_second=round(pace, 1),
    )


def _at(took: list[float], share: float) -> float:
    ordered = sorted(took)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 2)


def measure(database: str, rate: float, seconds: float, guessers: int, work: Path) -> Found:
    """Start a server with a few licenses, and let both come. Raises RuntimeError when a step fails."""
    (work / "data").mkdir(parents=True)
    env: dict[str, str] = {
        "DATA_DIR": str(work / "data"),
        "STRIPE_WEBHOOK_SECRET": "whsec_bench",
        "LOG_LEVEL": "error",
        # A guess says itself where it comes from.
        "TRUSTED_PROXIES": "127.0.0.1",
    }
    with ExitStack() as stack:
        if database == "postgresql":
            env["DATABASE_URL"] = stack.enter_context(postgresql(work / "postgresql"))
        pairs = _licenses(env, work)
        server = stack.enter_context(serving(SERVE, env, work / "server.log"))
        return asyncio.run(_measure(database, server.port, pairs, rate, seconds, guessers))


def _licenses(env: Mapping[str, str], work: Path) -> Pairs:
    run_once("keywright.cli.main", "migrate", env=env, directory=work)
    run_once("keywright.cli.main", "catalog", "apply", str(_CATALOG), env=env, directory=work)
    output = work / "licenses.json"
    run_once("benchmarks.seed", "--count", "2000", "--output", str(output), env=env, directory=work)
    return msgspec.json.decode(output.read_bytes(), type=Pairs)


def main() -> None:
    """Command line: measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.login_flood")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append", help="default: both")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=100.0, help="validations a second")
    parser.add_argument("--guessers", type=int, default=32)
    arguments = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory(prefix="keywright-flood-") as folder:
        for database in arguments.database or ("sqlite", "postgresql"):
            work = Path(folder) / database
            found = measure(database, arguments.rate, arguments.seconds, arguments.guessers, work)
            missed = missed or found.flood_p99 >= MOST_MS or found.wrong > 0
            print(
                f"{database}: validate p50 {found.calm_p50} ms, p99 {found.calm_p99} ms alone; p50 "
                f"{found.flood_p50} ms, p99 {found.flood_p99} ms, slowest {found.flood_slowest} ms while "
                f"{found.guesses_a_second:g} passwords a second came ({found.guesses}); {found.wrong} wrong"
                f"{'  MISSED' if found.flood_p99 >= MOST_MS or found.wrong else ''}",
                flush=True,
            )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
