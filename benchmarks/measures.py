"""The single measures of a bench, each against a running server; what they mean together is in `run`."""

import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks import spool
from benchmarks.load import LoadReport
from benchmarks.servers import ROOT
from benchmarks.wire import http_post, write_spool

WEBHOOK_SECRET = "whsec_bench_0123456789abcdef0123456789abcdef"
APPLIED = '"outcome":"applied"'
_DRAIN_LIMIT_S = 180.0


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how wide to measure; `fastest_intake` webhooks a second is what a spool lasts for."""

    seconds: float = 8.0
    warmup: float = 1.0
    connections: int = 64
    licenses: int = 100_000
    webhooks: int = 100_000
    activation_rate: float = 100.0
    fastest_intake: int = 8_000

    @property
    def deliveries(self) -> int:
        """Records in a spool of webhooks."""
        return int((self.seconds + self.warmup) * self.fastest_intake)


class Target(msgspec.Struct, frozen=True):
    """Where a measure sends its load and keeps its spools."""

    port: int
    work: Path
    scale: Scale


class Intake(msgspec.Struct, frozen=True):
    """What the intake was given: buyers `first` to `first + count - 1`, all bought at one moment (unix s)."""

    first: int
    count: int
    bought_at: int
    rounds: int = 0


def load(port: int, *flags: str) -> LoadReport:
    """Runs the generator as its own process to its end."""
    return _report(_start_load(port, *flags))


def echo(target: Target, path: str, body: bytes) -> LoadReport:
    """One constant request to the yardstick: the median of three, for it divides all the others."""
    request = target.work / "echo.request"
    request.write_bytes(http_post(path, body))
    timing = _timing(msgspec.structs.replace(target.scale, seconds=target.scale.seconds / 2))
    reports = [load(target.port, "--request", str(request), *timing) for _ in range(3)]
    return sorted(reports, key=lambda report: report.rps)[1]


def sample_webhook() -> bytes:
    """The body of an ordinary delivery, for the yardstick."""
    record = next(spool.new_purchases([1], secret=WEBHOOK_SECRET, now=int(time.time())))
    return record.partition(b"\r\n\r\n")[2]


def new_purchases(target: Target, first: int) -> tuple[LoadReport, Intake]:
    """Distinct new subscriptions; each of them owes its buyer a mail."""
    now = int(time.time())
    numbers = range(first, first + target.scale.deliveries)
    path = _write(target, "purchases", spool.new_purchases(numbers, secret=WEBHOOK_SECRET, now=now))
    report = load(target.port, "--spool", str(path), *_timing(target.scale), "--match", APPLIED)
    return report, Intake(first=first, count=report.sent, bought_at=now - 60)


def renewals(target: Target, intake: Intake) -> tuple[LoadReport, Intake]:
    """Renewals of what `new_purchases` sold: nothing to announce."""
    path, renewed = _renewal_spool(target, intake, target.scale.deliveries)
    return load(target.port, "--spool", str(path), *_timing(target.scale), "--match", APPLIED), renewed


def drain(outbox: Path, expected: int) -> tuple[float, int]:
    """Waits until `expected` mails lie in the outbox: the seconds it took, and how many there are then."""
    started_at = time.perf_counter()
    while True:
        there = sum(1 for _ in outbox.glob("*.eml"))
        waited = time.perf_counter() - started_at
        if there >= expected or waited > _DRAIN_LIMIT_S:
            return round(waited, 2), there
        time.sleep(0.25)


def top_up(target: Target, intake: Intake, count: int) -> LoadReport:
    """Sends `count` more renewals without measuring them: memory is looked at after many webhooks."""
    path, _ = _renewal_spool(target, intake, count)
    return load(target.port, "--spool", str(path), "--connections", str(target.scale.connections))


def validate(target: Target, pairs: list[tuple[str, str]]) -> LoadReport:
    """Validate with a fingerprint that is activated, every license at most once, in random order."""
    shuffled = random.Random(1).sample(pairs, len(pairs))
    path = _write(target, "validate", spool.licensing_calls("/api/license/validate", shuffled))
    return load(target.port, "--spool", str(path), *_timing(target.scale), "--match", '"code":"VALID"')


def activate(target: Target, pairs: list[tuple[str, str]]) -> LoadReport:
    """Activates a new machine on each license, as fast as it goes."""
    path = _write(target, "activate", spool.licensing_calls("/api/license/activate", pairs))
    return load(target.port, "--spool", str(path), *_timing(target.scale), "--match", '"code":"VALID"')


def activate_under_intake(
    target: Target, pairs: list[tuple[str, str]], intake: Intake
) -> tuple[LoadReport, LoadReport, Intake]:
    """Activations due at a fixed rate while renewals come in as fast as they are taken."""
    scale = target.scale
    activations = _write(target, "activate-loaded", spool.licensing_calls("/api/license/activate", pairs))
    deliveries, renewed = _renewal_spool(target, intake, scale.deliveries)
    behind = _start_load(target.port, "--spool", str(deliveries), *_timing(scale), "--match", APPLIED)
    front = _start_load(
        target.port,
        *("--spool", str(activations), "--rate", str(scale.activation_rate), "--connections", "16"),
        *("--seconds", str(scale.seconds), "--warmup", str(scale.warmup), "--match", '"code":"VALID"'),
    )
    return _report(front), _report(behind), renewed


def machines(pairs: list[tuple[str, str]], salt: str) -> list[tuple[str, str]]:
    """The same licenses with a fingerprint each that was never seen before."""
    return [(key, f"{salt}-{number:08d}-{key[-5:]}") for number, (key, _) in enumerate(pairs)]


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
    path = _write(target, "renewals", itertools.islice(events, count))
    return path, msgspec.structs.replace(intake, rounds=intake.rounds + rounds)


def _write(target: Target, name: str, records: Iterable[bytes]) -> Path:
    path = target.work / f"{name}.spool"
    write_spool(path, records)
    return path


def _timing(scale: Scale) -> list[str]:
    return [
        *("--connections", str(scale.connections)),
        *("--seconds", str(scale.seconds), "--warmup", str(scale.warmup)),
    ]


def _start_load(port: int, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(port), *flags]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)


def _report(process: subprocess.Popen[str]) -> LoadReport:
    stdout, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the load generator failed; its reason is above")
    return msgspec.convert(json.loads(stdout), LoadReport)
