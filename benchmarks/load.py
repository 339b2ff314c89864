"""The load generator: one process, N keep-alive connections, one request in flight on each.

    python -m benchmarks.load --port 8000 --spool deliveries.spool --connections 64 --seconds 8 --warmup 1

Closed loop (the default) sends the next request when the answer to the last one is in. With `--rate` it is an
open loop: requests are due at fixed moments whatever the server does, and latency counts from the moment a
request was due, so a stalled server cannot hide its stall by slowing the questions down.
"""

import argparse
import asyncio
import itertools
import resource
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import uvloop

from benchmarks.wire import read_spool

_NS = 1_000_000_000
_LAST_ANSWERS_S = 30.0


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send and for how long; `rate` is requests per second, 0 for a closed loop."""

    host: str = "127.0.0.1"
    port: int
    connections: int = 32
    seconds: float = 0.0
    count: int = 0
    warmup: float = 0.0
    rate: float = 0.0
    matches: tuple[str, ...] = ()


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """One measure.

    `requests`, `rps` and the percentiles are of the time after the warm-up; `sent`, `answered`, `errors`,
    `statuses` and `matches` are of the whole run. `generator_cpu` is the share of one processor that the
    generator itself used: near 1 the figure is the generator's and not the server's.
    """

    requests: int
    seconds: float
    rps: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[str, int]
    matches: dict[str, int]
    sent: int
    answered: int
    errors: int
    generator_cpu: float
    first_refusal: str | None = None


class _Connection(asyncio.Protocol):
    """One keep-alive connection; answers must carry a Content-Length, as those of the servers here all do."""

    __slots__ = ("_buffer", "_run", "due_at", "transport")

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._buffer = b""
        self.due_at = 0
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport does not inherit from asyncio's class, so isinstance cannot narrow it
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self._buffer = data
            return
        body_start = head_end + 4
        if len(data) < body_start + _content_length(data, head_end):
            self._buffer = data
            return
        self._buffer = b""
        self._run.answered(self, int(data[9:12]), data, body_start)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._run.lost(self, exc)


def _content_length(data: bytes, head_end: int) -> int:
    # uvicorn and the like write the name in lower case: the slow path is for everybody else
    at = data.find(b"\r\ncontent-length:", 0, head_end)
    if at < 0:
        at = data[:head_end].lower().find(b"\r\ncontent-length:")
        if at < 0:
            raise ValueError(f"no Content-Length in {data[:head_end]!r}")
    stop = data.find(b"\r\n", at + 17)
    return int(data[at + 17 : stop])


class _Run:
    """The state of one measure; everything happens on the event loop's thread."""

    def __init__(self, plan: LoadPlan, requests: Iterator[bytes]) -> None:
        self._plan = plan
        self._requests = requests
        self._latencies = array("q")
        self._statuses: Counter[int] = Counter()
        self._needles = [(text, text.encode()) for text in plan.matches]
        self._matches = dict.fromkeys(plan.matches, 0)
        self._refusal: str | None = None
        self._sent = self._errors = self._in_flight = 0
        self._first_due_at = self._measured_from = self._deadline = self._last_answer_at = 0
        self._sending = True
        # First in, first out: a server closes a connection that idles for some seconds
        self._idle: deque[_Connection] = deque()
        self._backlog: deque[int] = deque()
        self._finished = asyncio.Event()
        self._failure: BaseException | None = None

    async def go(self) -> LoadReport:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._broken)
        plan = self._plan
        opened = [
            await loop.create_connection(lambda: _Connection(self), plan.host, plan.port)
            for _ in range(plan.connections)
        ]
        now = time.perf_counter_ns()
        self._measured_from = now + int(plan.warmup * _NS)
        self._deadline = self._measured_from + int(plan.seconds * _NS) if plan.seconds else sys.maxsize
        cpu_before = _cpu_seconds()
        if plan.rate:
            self._idle = deque(connection for _, connection in opened)
            self._first_due_at = now
            self._tick(0)
        else:
            for _, connection in opened:
                self._send(connection, time.perf_counter_ns())
        limit = (plan.warmup + plan.seconds if plan.seconds else 3600.0) + _LAST_ANSWERS_S
        await asyncio.wait_for(self._finished.wait(), limit)
        if self._failure is not None:
            raise self._failure
        cpu = (_cpu_seconds() - cpu_before) / ((time.perf_counter_ns() - now) / _NS)
        for transport, _ in opened:
            transport.close()
        return self._report(cpu)

    def _broken(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Ends the measure at an exception in a callback: a broken generator's number is worse than none."""
        loop.default_exception_handler(context)
        self._failure = context.get("exception") or RuntimeError(context["message"])
        self._finished.set()

    def _tick(self, number: int) -> None:
        """Open loop: hands out every request that is due by now, and comes back for the next one."""
        now = time.perf_counter_ns()
        due_at = self._first_due_at + int(number * _NS / self._plan.rate)
        while due_at <= now and due_at < self._deadline:
            if self._idle:
                self._send(self._idle.popleft(), due_at)
            else:
                self._backlog.append(due_at)
            number += 1
            due_at = self._first_due_at + int(number * _NS / self._plan.rate)
        if due_at >= self._deadline or not self._sending:
            self._stop_sending()
            return
        asyncio.get_running_loop().call_later((due_at - now) / _NS, self._tick, number)

    def _send(self, connection: _Connection, due_at: int) -> None:
        plan = self._plan
        if plan.count and self._sent >= plan.count:
            return self._stop_sending()
        request = next(self._requests, None)
        if request is None or connection.transport is None:
            return self._stop_sending()
        connection.due_at = due_at
        self._sent += 1
        self._in_flight += 1
        return connection.transport.write(request)

    def answered(self, connection: _Connection, status: int, data: bytes, body_start: int) -> None:
        now = time.perf_counter_ns()
        self._in_flight -= 1
        self._statuses[status] += 1
        if self._measured_from <= now <= self._deadline:
            self._latencies.append(now - connection.due_at)
            self._last_answer_at = now
        for text, needle in self._needles:
            if data.find(needle, body_start) >= 0:
                self._matches[text] += 1
        if status >= 400 and self._refusal is None:
            self._refusal = f"{status} {data[body_start : body_start + 300].decode(errors='replace')}"
        if self._plan.rate:
            if self._backlog:
                self._send(connection, self._backlog.popleft())
            else:
                self._idle.append(connection)
        elif now < self._deadline:
            self._send(connection, time.perf_counter_ns())
        else:
            self._sending = False
        self._finish_if_done()

    def lost(self, connection: _Connection, cause: Exception | None) -> None:
        """Counts a connection that ended before the measure did: the server's error, and not repaired."""
        if self._finished.is_set():
            return
        if self._refusal is None:
            self._refusal = f"connection lost: {cause}"
        self._errors += 1
        if connection in self._idle:
            self._idle.remove(connection)
        else:
            self._in_flight -= 1
        if self._errors >= self._plan.connections:
            self._stop_sending()

    def _stop_sending(self) -> None:
        self._sending = False
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if not self._sending and self._in_flight <= 0 and not self._backlog:
            self._finished.set()

    def _report(self, cpu: float) -> LoadReport:
        latencies = sorted(self._latencies)
        end = min(self._deadline, self._last_answer_at)
        seconds = max((end - self._measured_from) / _NS, 1e-9)
        return LoadReport(
            requests=len(latencies),
            seconds=round(seconds, 3),
            rps=round(len(latencies) / seconds, 1),
            p50_ms=_percentile_ms(latencies, 0.50),
            p90_ms=_percentile_ms(latencies, 0.90),
            p99_ms=_percentile_ms(latencies, 0.99),
            max_ms=_percentile_ms(latencies, 1.0),
            statuses={str(status): count for status, count in sorted(self._statuses.items())},
            matches=self._matches,
            sent=self._sent,
            answered=self._statuses.total(),
            errors=self._errors,
            generator_cpu=round(cpu, 2),
            first_refusal=self._refusal,
        )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _percentile_ms(ordered: list[int], share: float) -> float:
    if not ordered:
        return 0.0
    rank = max(0, min(len(ordered) - 1, int(share * len(ordered) + 0.999999) - 1))
    return round(ordered[rank] / 1e6, 3)


def run(plan: LoadPlan, requests: Iterator[bytes]) -> LoadReport:
    """Drives the load and blocks until its last answer is in.

    Raises OSError when a connection cannot be opened and TimeoutError when answers stay out for 30 s.
    """
    return uvloop.run(_Run(plan, requests).go())


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description="HTTP load from one process"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--spool", type=Path, help="a spool file: each record is sent once, in order")
    source.add_argument("--request", type=Path, help="a file with one raw request, sent again and again")
    parser.add_argument("--skip", type=int, default=0, help="begin at this record of the spool")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=0.0, help="measured time, after the warm-up")
    parser.add_argument("--count", type=int, default=0, help="send no more than this many requests")
    parser.add_argument(
        "--warmup", type=float, default=0.0, help="seconds at the start that are not measured"
    )
    parser.add_argument("--rate", type=float, default=0.0, help="open loop: requests per second")
    parser.add_argument("--match", action="append", default=[], help="count the answers that hold this text")
    arguments = parser.parse_args(argv)
    if arguments.request is not None and not arguments.seconds and not arguments.count:
        parser.error("a repeated request needs --seconds or --count")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Command line: prints one JSON line."""
    arguments = _arguments(argv)
    plan = LoadPlan(
        host=arguments.host,
        port=arguments.port,
        connections=arguments.connections,
        seconds=arguments.seconds,
        count=arguments.count,
        warmup=arguments.warmup,
        rate=arguments.rate,
        matches=tuple(arguments.match),
    )
    if arguments.spool is not None:
        requests = read_spool(arguments.spool, arguments.skip)
    else:
        requests = itertools.repeat(arguments.request.read_bytes())
    print(msgspec.json.encode(run(plan, requests)).decode())


if __name__ == "__main__":
    main()
