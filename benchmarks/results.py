"""What a bench found: as values, as a table, as JSON; and whether it is good enough."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.confirmations import Confirmations
from benchmarks.load import LoadReport
from benchmarks.mails import Mails
from benchmarks.measures import Measured, Scale

_PACKAGES = ("litestar", "uvicorn", "uvloop", "httptools", "msgspec", "sqlalchemy", "dbos", "psycopg")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `ratio` is to the echo around it; `met` is None where nothing is asked for.

    A wrong answer fails the figure however fast it came; `wrong` says what was wrong.
    """

    name: str
    report: LoadReport
    measured: Measured | None = None
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    wrong: str = ""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A single number with its goal."""

    name: str
    value: float
    unit: str
    goal: float
    met: bool
    remark: str = ""


class Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    """How the webhooks of a provider that is asked about each of them became licenses.

    `drain_s` from the end of the load to the last license, `per_second` over all, from the first webhook to
    the last license. `cpu_us` is the server's processor time for one event with all that follows from it.
    """

    provider: str
    events: int
    drain_s: float
    per_second: float
    cpu_us: float
    found: Confirmations


class DatabaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """All that one database has shown."""

    database: str
    figures: list[Figure]
    limits: list[Limit]
    mails: Mails
    drain_s: float
    remarks: list[str]
    confirmed: list[Confirmed] = []


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What something costs with so many licenses and server processes."""

    database: str
    licenses: int
    processes: int
    figure: Figure


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What is written as JSON."""

    machine: dict[str, str | float]
    versions: dict[str, str]
    scale: Scale
    databases: list[DatabaseResult]
    costs: list[Cost] = []


def against(name: str, measured: Measured, goal: float | None = None) -> Figure:
    """A figure whose goal is a ratio to the echo."""
    ratio = round(measured.report.rps / measured.echo_rps, 3)
    wrong = wrong_of(measured.report)
    return Figure(
        name=name,
        report=measured.report,
        measured=measured,
        ratio=ratio,
        goal="" if goal is None else f">= {goal:.2f}",
        met=_met(wrong, None if goal is None else ratio >= goal),
        wrong=wrong,
    )


def within(name: str, report: LoadReport, limit_ms: float | None = None) -> Figure:
    """A figure whose goal is a p99."""
    wrong = wrong_of(report)
    return Figure(
        name=name,
        report=report,
        goal="" if limit_ms is None else f"p99 < {limit_ms:.0f} ms",
        met=_met(wrong, None if limit_ms is None else report.p99_ms < limit_ms),
        wrong=wrong,
    )


def below(name: str, value: float, goal: float, unit: str, remark: str = "") -> Limit:
    """A number that has to stay below its goal."""
    return Limit(name=name, value=value, unit=unit, goal=goal, met=value < goal, remark=remark)


def failed(figure: Figure, wrong: str) -> Figure:
    """The figure, failed by what was wrong beside its answers; as it is when nothing was."""
    if not wrong:
        return figure
    return msgspec.structs.replace(figure, met=False, wrong="; ".join(filter(None, (figure.wrong, wrong))))


def unconfirmed(found: Confirmations, sent: int, mails: Mails) -> str:
    """What is missing of `sent` purchases: each has its license in the end, and its buyer the mail."""
    problems = []
    if found.licenses != sent:
        problems.append(f"{sent} purchases, but {found.licenses} licenses")
    if found.webhooks != {"applied": sent}:
        problems.append(f"{sent} webhooks, but {found.webhooks}")
    if found.unanswered:
        problems.append(f"{found.unanswered} objects still to be asked for")
    if set(mails.counts) != {"sent"}:
        problems.append(f"mails: {mails.counts}")
    return "; ".join(problems)


def _met(wrong: str, met: bool | None) -> bool | None:
    return False if wrong else met


def wrong_of(report: LoadReport) -> str:
    """What fails a figure: refused requests, wrong outcomes, lost connections. Empty when all was right."""
    remarks = [f"{count} x {status}" for status, count in report.statuses.items() if status != "200"]
    remarks += [
        f"only {count} of {report.answered} {text}"
        for text, count in report.matches.items()
        if count != report.answered
    ]
    if report.errors:
        remarks.append(f"{report.errors} connections lost")
    if report.requests == 0:
        remarks.append("nothing was answered")
    if remarks and report.first_refusal:
        remarks.append(report.first_refusal)
    return "; ".join(remarks)


def missed(results: Results) -> list[str]:
    """The names of all that was missed or wrong."""
    return [
        f"{result.database}: {name}"
        for result in results.databases
        for name, met in (
            *((figure.name.strip(), figure.met) for figure in result.figures),
            *((limit.name, limit.met) for limit in result.limits),
        )
        if met is False
    ] + [
        f"{cost.database}: {cost.figure.name} with {cost.licenses:,} licenses"
        for cost in results.costs
        if cost.figure.wrong
    ]


def show(results: Results, console: Console) -> None:
    """Prints the table of each database."""
    for result in results.databases:
        table = Table(title=f"Keywright bench: {result.database}", title_justify="left")
        for column in ("", "req/s", "p50 ms", "p99 ms", "cpu us", "echo/s", "/ echo", "/ bare", "goal", ""):
            table.add_column(column, justify="left" if column in ("", "goal") else "right")
        for figure in result.figures:
            _row(table, figure)
        console.print(table)
        for limit in result.limits:
            verdict = "met" if limit.met else "MISSED"
            remark = f" ({limit.remark})" if limit.remark else ""
            goal = f"goal < {limit.goal:g} {limit.unit}: {verdict}"
            console.print(f"  {limit.name}: {limit.value:g} {limit.unit}, {goal}{remark}")
        for told in result.confirmed:
            console.print(
                f"  {told.provider}: {told.found.licenses} licenses, the last {told.drain_s} s "
                f"after the load ended: {told.per_second:.0f} a second from webhook to license, "
                f"{told.cpu_us:,.0f} us of the server's processor time each"
            )
        for remark in result.remarks:
            console.print(f"  {remark}")
    console.print("machine: " + ", ".join(f"{name} {value}" for name, value in results.machine.items()))
    console.print(
        "cpu us: processor time of the server alone, per request. echo/s: (a), the median of the echoes of a "
        "body of the same size right before and after; bare: the same without the framework's handler. "
        "Load generator and database run on the same machine."
    )


def _row(table: Table, figure: Figure) -> None:
    report, measured = figure.report, figure.measured
    verdict = "" if figure.met is None else (" met" if figure.met else " MISSED")
    busy = "the generator was the limit" if report.generator_cpu > 0.9 else ""
    table.add_row(
        figure.name,
        f"{report.rps:,.0f}",
        f"{report.p50_ms:.1f}",
        f"{report.p99_ms:.1f}",
        "" if measured is None else f"{measured.cpu_us:,.0f}",
        "" if measured is None else f"{measured.echo_rps:,.0f}",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        "" if measured is None else f"{report.rps / measured.bare_rps:.2f}",
        figure.goal + verdict,
        figure.wrong or busy,
    )


def machine() -> dict[str, str | float]:
    """What the figures were taken on, and how busy it was with other things before."""
    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "load before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The packages that the figures depend on most."""
    return {package: version(package) for package in _PACKAGES}


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
