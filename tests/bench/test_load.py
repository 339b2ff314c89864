"""The load generator against a server that does next to nothing, each in a process of its own."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wire import http_post, write_spool

ROOT = Path(__file__).resolve().parents[2]

# answers with the status and the delay that the body names
TRIVIAL_SERVER = """
import asyncio, json, sys, uvloop

class Trivial(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        end = self.buffer.find(b"\\r\\n\\r\\n")
        if end < 0:
            return
        at = self.buffer.find(b"Content-Length: ")
        length = int(self.buffer[at + 16 : self.buffer.find(b"\\r\\n", at)])
        if len(self.buffer) < end + 4 + length:
            return
        order = json.loads(self.buffer[end + 4 :])
        self.buffer = b""
        if order.get("close"):
            self.transport.close()
            return
        asyncio.get_running_loop().call_later(order.get("delay", 0), self.answer, order)

    def answer(self, order):
        answer = {"outcome": order.get("outcome", "applied"), "pad": "x" * order.get("pad", 0)}
        body = json.dumps(answer).encode()
        head = b"HTTP/1.1 %d \\r\\nContent-Length: %d\\r\\n\\r\\n" % (order.get("status", 200), len(body))
        self.transport.write(head)
        asyncio.get_running_loop().call_soon(self.transport.write, body)

async def main():
    server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

uvloop.run(main())
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", TRIVIAL_SERVER], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", number), timeout=5):
            pass
        yield number
        process.terminate()


def _load(port: int, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(port), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("\n") == 1
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _spool(path: Path, orders: list[dict[str, object]]) -> str:
    write_spool(path, [http_post("/", json.dumps(order).encode()) for order in orders])
    return str(path)


def test_each_record_is_sent_once_and_every_answer_is_counted(port: int, tmp_path: Path) -> None:
    orders: list[dict[str, object]] = [{"status": 200}] * 90
    orders += [{"status": 200, "outcome": "duplicate"}] * 7 + [{"status": 503, "outcome": "busy"}] * 3
    spool = _spool(tmp_path / "s", orders)
    report = _load(port, "--spool", spool, "--connections", "8", "--match", '"outcome": "applied"')
    assert report["statuses"] == {"200": 97, "503": 3}
    assert report["matches"] == {'"outcome": "applied"': 90}
    assert report["sent"] == report["answered"] == report["requests"] == 100
    assert report["errors"] == 0
    assert report["first_refusal"].startswith('503 {"outcome": "busy"')


def test_skip_and_count_take_a_slice_of_the_spool(port: int, tmp_path: Path) -> None:
    outcomes: list[dict[str, object]] = [{"outcome": f"number-{number}-"} for number in range(50)]
    spool = _spool(tmp_path / "s", outcomes)
    wanted = ["number-9-", "number-10-", "number-29-", "number-30-"]
    flags = [flag for text in wanted for flag in ("--match", text)]
    report = _load(port, "--spool", spool, "--skip", "10", "--count", "20", "--connections", "4", *flags)
    assert report["matches"] == {"number-9-": 0, "number-10-": 1, "number-29-": 1, "number-30-": 0}


def test_answers_in_many_pieces_are_put_together(port: int, tmp_path: Path) -> None:
    spool = _spool(tmp_path / "s", [{"pad": 300_000}] * 20)
    report = _load(port, "--spool", spool, "--connections", "2")
    assert report["statuses"] == {"200": 20}


def test_closed_loop_ends_on_time_and_leaves_the_warm_up_out(port: int, tmp_path: Path) -> None:
    request = tmp_path / "r"
    request.write_bytes(http_post("/", b"{}"))
    started = time.perf_counter()
    report = _load(
        port, "--request", str(request), "--connections", "2", "--seconds", "0.5", "--warmup", "0.5"
    )
    assert time.perf_counter() - started < 10
    assert 0.4 < report["seconds"] < 0.6
    assert 0 < report["requests"] < report["answered"]
    assert report["rps"] == pytest.approx(report["requests"] / report["seconds"], rel=0.01)
    assert 0 < report["p50_ms"] <= report["p90_ms"] <= report["p99_ms"] <= report["max_ms"]


def test_open_loop_charges_a_stall_to_the_server(port: int, tmp_path: Path) -> None:
    """One connection, 100 requests a second, one answer 300 ms late: what fell due behind it waited too."""
    orders: list[dict[str, object]] = [{} for _ in range(100)]
    orders[20] = {"delay": 0.3}
    spool = _spool(tmp_path / "s", orders)
    flags = ["--spool", spool, "--connections", "1", "--seconds", "1"]
    report = _load(port, *flags, "--rate", "100")
    assert report["answered"] == 100
    assert report["max_ms"] >= 300
    # 30 requests fell due during the stall; a closed loop would have seen one slow answer and a p90 near zero
    assert report["p90_ms"] > 150


def test_a_closed_connection_is_an_error_and_not_silence(port: int, tmp_path: Path) -> None:
    spool = _spool(tmp_path / "s", [{}, {}, {"close": True}, {}])
    report = _load(port, "--spool", spool, "--connections", "1")
    assert report["errors"] == 1
    assert report["answered"] == 2
