"""What a thousand open live streams cost, and how soon they are told.

    python -m benchmarks.streams [--database sqlite|postgresql] [--streams 1000]

Each stream is a program with its own license and machine. Measured are: the resident memory of the server
before and after they came; how soon each is told of a commit that changes them all (the limits of their
plan, by another process); and how soon one is told of a commit of its own (its machine is freed through the
server).
Exits 1 when a goal is missed.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks.servers import ROOT, SERVE, Server, postgresql, run_once, serving
from benchmarks.wire import http_post

_CATALOG = ROOT / "benchmarks" / "catalog.toml"
_OF_ADDRESS = 400
_ALONE = 50
_SETTLED_S = 2.0
_LONGEST_S = 60.0
MOST_MB = 50.0
LATEST_S = 1.0


class Found(msgspec.Struct, frozen=True):
    """One measure. Seconds; MB are 10^6 bytes. `idle_cpu_s`: processor time of ten idle seconds."""

    database: str
    streams: int
    opened_s: float
    mb: float
    kb_each: float
    together_p50_s: float
    together_max_s: float
    alone_p50_s: float
    alone_max_s: float
    idle_cpu_s: float

    def missed(self) -> list[str]:
        """The goals that were not met."""
        goals = {
            f"memory below {MOST_MB:.0f} MB": self.mb < MOST_MB,
            f"told together within {LATEST_S:.0f} s": self.together_max_s < LATEST_S,
            f"told alone within {LATEST_S:.0f} s": self.alone_max_s < LATEST_S,
        }
        return [goal for goal, is_met in goals.items() if not is_met]


class _Program:
    """A program that listens. `told`: when it was told a verdict last; `news` is set by it."""

    def __init__(self, key: str, machine: str) -> None:
        self.key, self.machine = key, machine
        self.told = 0.0
        self.verdicts = 0
        self.news = asyncio.Event()
        self.writer: asyncio.StreamWriter | None = None

    async def listen(self, port: int, source: str) -> None:
        """Open the stream, and hear it until it ends."""
        reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(source, 0), limit=1 << 20
        )
        lines = [
            "GET /api/license/stream HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: License {self.key}",
            f"Keywright-Fingerprint: {self.machine}",
        ]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        while line := await reader.readline():
            if line.startswith(b"HTTP/1.1") and b" 200 " not in line:
                raise RuntimeError(f"a stream was refused: {line.decode()}")
            if line.startswith(b"data: ") and b'"server_time"' in line:
                self.told = time.perf_counter()
                self.verdicts += 1
                self.news.set()


def measure(database: str, count: int, work: Path, *, idle_s: float = 10.0) -> Found:
    """Start a server on a database with `count` licenses, and as many streams. Raises RuntimeError."""
    (work / "data").mkdir(parents=True)
    env = {"DATA_DIR": str(work / "data"), "STRIPE_WEBHOOK_SECRET": "whsec_bench", "LOG_LEVEL": "warning"}
    with ExitStack() as stack:
        if database == "postgresql":
            env["DATABASE_URL"] = stack.enter_context(postgresql(work / "postgresql"))
        run_once("keywright.cli.main", "migrate", env=env, directory=work)
        run_once("keywright.cli.main", "catalog", "apply", str(_CATALOG), env=env, directory=work)
        output = work / "licenses.json"
        run_once("benchmarks.seed", "--count", str(count), "--output", str(output), env=env, directory=work)
        pairs = msgspec.json.decode(output.read_bytes(), type=list[tuple[str, str]])
        server = stack.enter_context(serving(SERVE, env, work / "server.log"))
        return asyncio.run(_measure(database, server, env, work, pairs, idle_s))


async def _measure(
    database: str,
    server: Server,
    env: Mapping[str, str],
    work: Path,
    pairs: list[tuple[str, str]],
    idle_s: float,
) -> Found:
    # What the first requests make is there once, whoever comes after them.
    await _validate(server.port, *pairs[0])
    await asyncio.sleep(_SETTLED_S)
    before = server.rss_mb()
    programs = [_Program(*pair) for pair in pairs]
    began = time.perf_counter()
    listening = [
        asyncio.create_task(one.listen(server.port, f"127.0.0.{2 + number // _OF_ADDRESS}"))
        for number, one in enumerate(programs)
    ]
    await _all_told(programs, listening)
    opened_s = time.perf_counter() - began
    await asyncio.sleep(_SETTLED_S)
    mb = server.rss_mb() - before
    used = server.cpu_s()
    await asyncio.sleep(idle_s)
    used = (server.cpu_s() - used) * 10 / idle_s
    together = await _together(programs, listening, env, work)
    alone = [await _alone(server.port, one) for one in programs[:_ALONE]]
    for task, one in zip(listening, programs, strict=True):
        task.cancel()
        if one.writer is not None:
            one.writer.close()
    await asyncio.gather(*listening, return_exceptions=True)
    return Found(
        database=database,
        streams=len(programs),
        opened_s=round(opened_s, 2),
        mb=round(mb, 1),
        kb_each=round(mb * 1000 / len(programs), 1),
        together_p50_s=round(sorted(together)[len(together) // 2], 3),
        together_max_s=round(max(together), 3),
        alone_p50_s=round(sorted(alone)[len(alone) // 2], 3),
        alone_max_s=round(max(alone), 3),
        idle_cpu_s=round(used, 2),
    )


async def _all_told(programs: list[_Program], listening: list[asyncio.Task[None]]) -> None:
    """Wait until each was told something. Raises RuntimeError when a stream ended, or took too long."""
    try:
        async with asyncio.timeout(_LONGEST_S):
            for one in programs:
                await one.news.wait()
    except TimeoutError:
        ended = [task for task in listening if task.done()]
        silent = sum(not one.news.is_set() for one in programs)
        cause = ended[0].exception() if ended and not ended[0].cancelled() else None
        raise RuntimeError(f"{silent} streams were told nothing, {len(ended)} ended: {cause}") from None


async def _together(
    programs: list[_Program], listening: list[asyncio.Task[None]], env: Mapping[str, str], work: Path
) -> list[float]:
    """One commit of another process that changes every license: the seconds until each was told."""
    for one in programs:
        one.news.clear()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.streams",
        "--commit",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
            **env,
        },
        cwd=work,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    await _all_told(programs, listening)
    # The clock of `perf_counter` is the machine's, the same for all processes.
    committed = float(told)
    return [one.told - committed for one in programs]


async def _alone(port: int, one: _Program) -> float:
    """The program's machine is freed: the seconds from the request until it was told."""
    one.news.clear()
    began = time.perf_counter()
    await _post(port, "/api/license/deactivate", one)
    async with asyncio.timeout(_LONGEST_S):
        await one.news.wait()
    return one.told - began


async def _validate(port: int, key: str, machine: str) -> None:
    await _post(port, "/api/license/validate", _Program(key, machine))


async def _post(port: int, path: str, one: _Program) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = msgspec.json.encode({"key": one.key, "fingerprint": one.machine})
    writer.write(http_post(path, body))
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    if b" 200 " not in answer[:20]:
        raise RuntimeError(f"{path} was refused: {answer[:200]!r}")


def _commit() -> None:
    """Raise a limit of the plan that all licenses have, and print when that was committed."""
    from keywright import bootstrap
    from keywright.store import catalog_rows

    database = bootstrap.open_database(bootstrap.read_settings())
    with database.write() as connection:
        found = connection.exec_driver_sql("SELECT tenant_id FROM plans").scalars().first()
        (plan,) = catalog_rows.list_plans(connection, str(found))
        terms = msgspec.json.decode(plan.terms)
        terms["limits"] = {"projects": 200}
        changed = msgspec.structs.replace(
            plan, terms=msgspec.json.encode(terms).decode(), version=plan.version + 1
        )
        catalog_rows.update_plans(connection, [changed])
    print(time.perf_counter())
    database.dispose()


def main() -> None:
    """Command line: measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description="live streams")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append", help="default: both")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--commit", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.commit:
        _commit()
        return
    missed = []
    with tempfile.TemporaryDirectory(prefix="keywright-streams-") as directory:
        for database in arguments.database or ("sqlite", "postgresql"):
            found = measure(database, arguments.streams, Path(directory) / database)
            print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
            missed += [f"MISSED {database}: {goal}" for goal in found.missed()]
    print("\n".join(missed))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
