"""The single measures of a bench, each against a running server; what they mean together is in `run`."""

import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from benchmarks import spool
from benchmarks.load import LoadReport
from benchmarks.mails import Mails
from benchmarks.servers import ROOT, Server, run_once
from benchmarks.wire import http_post, read_spool, write_spool

WEBHOOK_SECRET = "whsec_bench_0123456789abcdef0123456789abcdef"
APPLIED = '"outcome":"applied"'
VALID = '"code":"VALID"'

_SAMPLED = 200
_ECHOES = 2  # on each side of a measure
_DRAIN_LIMIT_S = 300.0

Pairs = list[tuple[str, str]]
Loaded = tuple[LoadReport, float]


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how wide to measure.

    `fastest_intake` webhooks a second is what a spool lasts for; `webhooks` in all are sent before memory is
    looked at, unless that takes longer than `memory_s`. `elsewhere_seconds` is short: what is acknowledged in
    that time takes many times as long to be confirmed with the provider.
    """

    seconds: float = 6.0
    warmup: float = 1.0
    echo_seconds: float = 1.5
    connections: int = 128
    background: int = 32
    licenses: int = 100_000
    webhooks: int = 100_000
    memory_s: float = 60.0
    activation_rate: float = 100.0
    fastest_intake: int = 6_000
    elsewhere_seconds: float = 3.0
    fastest_elsewhere: int = 3_000

    @property
    def deliveries(self) -> int:
        """Records in a spool of webhooks."""
        return int((self.seconds + self.warmup) * self.fastest_intake)

    @property
    def deliveries_elsewhere(self) -> int:
        """The same of webhooks that the provider is asked about; signing them takes longer."""
        return int((self.seconds + self.warmup) * self.fastest_elsewhere)


class Target(msgspec.Struct, frozen=True):
    """What a measure drives, the yardstick beside it, and where it keeps its spools."""

    server: Server
    echo: Server
    work: Path
    scale: Scale


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A load, the echoes of the same size of body around it, and what both servers used per request.

    The processor time is the server's own, without database and generator. It says what a request costs even
    when other programs take turns on the processor.
    """

    report: LoadReport
    cpu_us: float
    body_bytes: int
    echoes: list[float]
    bare_echoes: list[float]
    echo_p99_ms: float
    echo_cpu_us: float

    @property
    def echo_rps(self) -> float:
        return statistics.median(self.echoes)

    @property
    def bare_rps(self) -> float:
        return statistics.median(self.bare_echoes)


class Intake(msgspec.Struct, frozen=True):
    """What the intake was given: buyers `first` to `first + count - 1`, all bought at one moment (unix s)."""

    first: int
    count: int
    bought_at: int
    rounds: int = 0


def new_purchases(target: Target, env: Mapping[str, str]) -> tuple[Measured, Intake, float, Mails]:
    """Distinct new subscriptions, each of which owes its buyer a mail; and the time until all are sent."""
    now = int(time.time())
    events = spool.new_purchases(range(1, target.scale.deliveries + 1), secret=WEBHOOK_SECRET, now=now)
    path = write(target, "purchases", events)
    mails: list[tuple[float, Mails]] = []

    def measure() -> Loaded:
        loaded = weighed(target, path, APPLIED)
        ended_at = time.time()
        output = run_once("benchmarks.mails", "--limit", str(_DRAIN_LIMIT_S), env=env, directory=target.work)
        mails.append((ended_at, msgspec.json.decode(output, type=Mails)))
        return loaded

    measured = beside_echo(target, path, measure)
    ended_at, sent = mails[0]
    drain_s = round(max(0.0, (sent.last_sent_at or ended_at) - ended_at), 2)
    return measured, Intake(first=1, count=measured.report.sent, bought_at=now - 60), drain_s, sent


def renewals(target: Target, intake: Intake) -> tuple[Measured, Intake]:
    """Renewals of what `new_purchases` sold: nothing to announce."""
    path, renewed = _renewal_spool(target, intake, target.scale.deliveries)
    return _drive(target, path, APPLIED), renewed


def top_up(target: Target, intake: Intake, count: int) -> LoadReport:
    """Sends `count` more renewals without measuring them: memory is looked at after many webhooks."""
    path, _ = _renewal_spool(target, intake, count)
    connections = str(target.scale.connections)
    return load(target.server, "--spool", str(path), "--connections", connections, "--match", APPLIED)


def validate(target: Target, pairs: Pairs) -> Measured:
    """Validate with an activated fingerprint and signals, every license at most once, in random order."""
    shuffled = random.Random(1).sample(pairs, len(pairs))
    path = write(
        target, "validate", spool.licensing_calls("/api/license/validate", shuffled, with_signals=True)
    )

    def measure() -> Loaded:
        bring_into_memory(target.work)
        return weighed(target, path, VALID)

    return beside_echo(target, path, measure)


def bring_into_memory(work: Path) -> None:
    """Reads the files of the database once.

    A machine that serves licenses keeps them in the operating system's cache by itself. Hosts of small
    virtual machines take back what was not touched for some seconds (seen: a file of 550 MB was gone after
    half a minute), and then what is measured is their disk: four reads for each validation.
    """
    for file in sorted(work.rglob("*")):
        if file.is_file() and file.suffix not in (".spool", ".json", ".log"):
            # PostgreSQL takes files of its own away at any time.
            with suppress(FileNotFoundError), file.open("rb", buffering=0) as content:
                while content.read(1 << 20):
                    pass


def activate(target: Target, pairs: Pairs) -> Measured:
    """Activates a new machine on each license, as fast as it goes."""
    path = write(target, "activate", spool.licensing_calls("/api/license/activate", pairs))
    return _drive(target, path, VALID)


def activate_at_rate(target: Target, pairs: Pairs, name: str) -> LoadReport:
    """Activations due at a fixed rate, whatever else the server does."""
    return _report(_start_at_rate(target, pairs, name))


def activate_under_intake(
    target: Target, pairs: Pairs, intake: Intake
) -> tuple[LoadReport, LoadReport, Intake]:
    """The same while renewals come in as fast as they are taken.

    Over `background` connections: enough to keep the server busy without a pause, and few enough that what is
    measured is the activation and not a queue of webhooks in front of it.
    """
    deliveries, renewed = _renewal_spool(target, intake, target.scale.deliveries)
    timing = _timing(target.scale, target.scale.background)
    behind = _start_load(target.server, "--spool", str(deliveries), *timing, "--match", APPLIED)
    front = _start_at_rate(target, pairs, "activate-loaded")
    return _report(front), _report(behind), renewed


def machines(pairs: Pairs, salt: str) -> Pairs:
    """The same licenses with a fingerprint each that was never seen before."""
    return [(key, f"{salt}-{number:08d}-{key[-5:]}") for number, (key, _) in enumerate(pairs)]


def _drive(target: Target, path: Path, right: str) -> Measured:
    return beside_echo(target, path, lambda: weighed(target, path, right))


def weighed(target: Target, path: Path, right: str) -> Loaded:
    """A closed loop over the spool, and the server's processor time for each answer."""
    cpu = target.server.cpu_s()
    report = load(target.server, "--spool", str(path), *_timing(target.scale), "--match", right)
    return report, each_us(target.server.cpu_s() - cpu, report.answered)


def beside_echo(target: Target, path: Path, measure: Callable[[], Loaded]) -> Measured:
    """The measure between echoes of a body of the same size: a machine is not equally fast at all times."""
    bodies = [record.partition(b"\r\n\r\n")[2] for record in itertools.islice(read_spool(path), _SAMPLED)]
    body = sorted(bodies, key=len)[len(bodies) // 2]
    echo_cpu = target.echo.cpu_s()
    echoes = [_echo(target, "/echo", body) for _ in range(_ECHOES)]
    echo_cpu = target.echo.cpu_s() - echo_cpu
    bare = [_echo(target, "/bare", body)]
    report, cpu_us = measure()
    bare += [_echo(target, "/bare", body)]
    echo_cpu -= target.echo.cpu_s()
    echoes += [_echo(target, "/echo", body) for _ in range(_ECHOES)]
    echo_cpu += target.echo.cpu_s()
    return Measured(
        report=report,
        cpu_us=cpu_us,
        body_bytes=len(body),
        echoes=[echo.rps for echo in echoes],
        bare_echoes=[echo.rps for echo in bare],
        echo_p99_ms=statistics.median(echo.p99_ms for echo in echoes),
        echo_cpu_us=each_us(echo_cpu, sum(echo.answered for echo in echoes)),
    )


def _echo(target: Target, path: str, body: bytes) -> LoadReport:
    scale = target.scale
    request = target.work / "echo.request"
    request.write_bytes(http_post(path, body))
    return load(
        target.echo,
        *("--request", str(request), "--connections", str(scale.connections)),
        *("--seconds", str(scale.echo_seconds), "--warmup", "0.3"),
    )


def each_us(cpu_s: float, count: int) -> float:
    """Processor time in microseconds for each of `count`."""
    return round(cpu_s * 1e6 / max(1, count), 1)


def _renewal_spool(target: Target, intake: Intake, count: int) -> tuple[Path, Intake]:
    """`count` renewals, in rounds that continue where the last ones of these buyers ended."""
    rounds = -(-count // (2 * intake.count))
    now = int(time.time())
    events = spool.renewals(
        intake.first,
        intake.count,
        after=intake.rounds,
        rounds=rounds,
        secret=WEBHOOK_SECRET,
        now=now,
        bought_at=intake.bought_at,
    )
    path = write(target, "renewals", itertools.islice(events, count))
    return path, msgspec.structs.replace(intake, rounds=intake.rounds + rounds)


def write(target: Target, name: str, records: Iterable[bytes]) -> Path:
    """A spool of these records, in the work folder."""
    path = target.work / f"{name}.spool"
    write_spool(path, records)
    return path


def _timing(scale: Scale, connections: int | None = None) -> list[str]:
    return [
        *("--connections", str(connections or scale.connections)),
        *("--seconds", str(scale.seconds), "--warmup", str(scale.warmup)),
    ]


def _start_at_rate(target: Target, pairs: Pairs, name: str) -> subprocess.Popen[str]:
    scale = target.scale
    path = write(target, name, spool.licensing_calls("/api/license/activate", pairs))
    return _start_load(
        target.server,
        *("--spool", str(path), "--rate", str(scale.activation_rate), "--connections", "16"),
        *("--seconds", str(scale.seconds), "--warmup", str(scale.warmup), "--match", VALID),
    )


def load(server: Server, *flags: str) -> LoadReport:
    """Runs the generator as its own process to its end."""
    return _report(_start_load(server, *flags))


def _start_load(server: Server, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(server.port), *flags]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)


def _report(process: subprocess.Popen[str]) -> LoadReport:
    stdout, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the load generator failed; its reason is above")
    return msgspec.convert(json.loads(stdout), LoadReport)
