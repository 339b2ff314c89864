"""One database from empty to measured: starts, seeds, (a) to (d), memory; then (e) and (f)."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks import elsewhere, measures, results
from benchmarks.load import LoadReport
from benchmarks.measures import Intake, Pairs, Scale, Target
from benchmarks.results import DatabaseResult, Figure, Limit
from benchmarks.servers import ROOT, SERVE, postgresql, run_once, serving

Say = Callable[[str], None]

_CATALOG = ROOT / "benchmarks" / "catalog.toml"
_ECHO = [sys.executable, "-m", "benchmarks.echo", "--port", "{port}"]
_STARTS = 5
_WARM = "validate: the files of the database are in the operating system's cache when it begins"
_ONE_WRITE = "answers of the server leave in one write, those of the yardstick in two (ADR 52)"
_REUSED = "validate: stored leases are handed out again, as in normal operation until half their life is over"


def measure_database(database: str, scale: Scale, work: Path, say: Say) -> DatabaseResult:
    """Everything on one database; `work` is where it lives."""
    (work / "data").mkdir(parents=True)
    env = {
        "DATA_DIR": str(work / "data"),
        "STRIPE_WEBHOOK_SECRET": measures.WEBHOOK_SECRET,
        "LOG_LEVEL": "warning",
    }
    with ExitStack() as stack:
        if database == "postgresql":
            env["DATABASE_URL"] = stack.enter_context(postgresql(work / "postgresql"))
        say(f"{database}: first start")
        with serving(SERVE, env, work / "first.log") as first:
            first_s = first.ready_s
        run_once("keywright.cli.main", "catalog", "apply", str(_CATALOG), env=env, directory=work)
        say(f"{database}: {scale.licenses} licenses")
        pairs, seeded_s = _seed(scale, work, env)
        say(f"{database}: {_STARTS} starts")
        ready_s = statistics.median(_start(env, work) for _ in range(_STARTS))
        echo = stack.enter_context(serving(_ECHO, {}, work / "echo.log"))
        with serving(SERVE, env, work / "server.log") as server:
            measured = _measure(database, Target(server, echo, work, scale), env, pairs, say)
        figures, confirmed = elsewhere.measure(
            echo, env, work, scale, lambda text: say(f"{database}: {text}")
        )
    started = results.below(
        "start to ready", ready_s, 3.0, "s", f"the first, on an empty database: {first_s} s"
    )
    return msgspec.structs.replace(
        measured,
        figures=[*measured.figures, *figures],
        confirmed=confirmed,
        limits=[started, *measured.limits],
        remarks=[*measured.remarks, f"{scale.licenses} licenses seeded in {seeded_s:.0f} s"],
    )


def _seed(scale: Scale, work: Path, env: Mapping[str, str]) -> tuple[Pairs, float]:
    output = work / "licenses.json"
    began = time.perf_counter()
    arguments = ["--count", str(scale.licenses), "--output", str(output)]
    run_once("benchmarks.seed", *arguments, env=env, directory=work)
    pairs = msgspec.json.decode(output.read_bytes(), type=Pairs)
    return pairs, time.perf_counter() - began


def _start(env: Mapping[str, str], work: Path) -> float:
    with serving(SERVE, env, work / "start.log") as server:
        return server.ready_s


def _measure(database: str, target: Target, env: Mapping[str, str], pairs: Pairs, say: Say) -> DatabaseResult:
    rss_at_start = target.server.rss_mb()
    say(f"{database}: validate")
    validated = measures.validate(target, pairs)
    say(f"{database}: new purchases, and their mails")
    bought, intake, drain_s, mails = measures.new_purchases(target, env)
    say(f"{database}: renewals")
    renewed, intake = measures.renewals(target, intake)
    say(f"{database}: activate")
    activated = measures.activate(target, measures.machines(pairs, "alone"))
    calm, loaded, behind, intake = _activate_at_rate(target, pairs, intake)
    say(f"{database}: memory")
    webhooks = bought.report.answered + renewed.report.answered + behind.answered
    memory, more, untold = _memory(target, intake, webhooks, renewed.report.rps)
    sent = mails.counts.get("sent", 0)
    figures = [
        results.against("(b) webhooks: renewals", renewed, 0.15),
        _with_mails(results.against("(b) webhooks: new purchases", bought, 0.10), sent, mails.counts),
        results.against("(c) validate", validated, 0.4 if database == "sqlite" else 0.3),
        results.against("(d) activate", activated),
        results.within("(d) activate, paced, alone", calm),
        results.within("(d) activate, paced, under full intake", loaded, 50.0),
        results.within("    renewals meanwhile", behind),
        *more,
    ]
    pace = sent / (bought.report.seconds + target.scale.warmup + drain_s)
    return DatabaseResult(
        database=database,
        figures=figures,
        limits=memory,
        mails=mails,
        drain_s=drain_s,
        remarks=[
            f"mails: {sent} sent, the last {drain_s} s after the load ended: {pace:.0f} a second over all",
            f"paced: open loop, {target.scale.activation_rate:g} activations/s",
            f"resident memory at start: {rss_at_start} MB",
            _REUSED,
            _WARM,
            _ONE_WRITE,
            *untold,
        ],
    )


def _activate_at_rate(
    target: Target, pairs: Pairs, intake: Intake
) -> tuple[LoadReport, LoadReport, LoadReport, Intake]:
    """Paced activations, first alone, then under full intake; each on licenses that still have room."""
    half = len(pairs) // 2
    calm = measures.activate_at_rate(target, measures.machines(pairs[:half], "calm"), "activate-calm")
    fresh = measures.machines(pairs[half:], "loaded")
    loaded, behind, intake = measures.activate_under_intake(target, fresh, intake)
    return calm, loaded, behind, intake


def _memory(
    target: Target, intake: Intake, webhooks: int, pace: float
) -> tuple[list[Limit], list[Figure], list[str]]:
    """Resident memory once the server has taken as many webhooks as the scale says, if time allows."""
    missing = target.scale.webhooks - webhooks
    allowed_s = target.scale.memory_s
    if missing > 0 and missing / pace > allowed_s:
        rss = target.server.rss_mb()
        remark = f"resident memory: {rss} MB after {webhooks} webhooks; {target.scale.webhooks} would take"
        return [], [], [f"{remark} longer than {allowed_s:g} s, so ask for it by --memory"]
    more = []
    if missing > 0:
        report = measures.top_up(target, intake, missing)
        webhooks += report.answered
        more.append(results.within("    renewals for the memory", report))
    remark = f"after {webhooks} webhooks and all of the above"
    return [results.below("resident memory", target.server.rss_mb(), 250.0, "MB", remark)], more, []


def _with_mails(figure: Figure, sent: int, counts: Mapping[str, int]) -> Figure:
    """A purchase whose mail was not sent in the end was not worth the speed."""
    owed = figure.report.matches[measures.APPLIED]
    return results.failed(figure, "" if sent == owed else f"{owed} mails owed, but {dict(counts)}")
