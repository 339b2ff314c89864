"""`reconcile`: compare with the providers, and repair."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keywright.cli.session import (
    AsJson,
    TenantSlug,
    actor,
    opened,
    print_json,
    print_table,
    tell_if_unattended,
    tenant_of,
)

if TYPE_CHECKING:
    from keywright.flows.reconcile import Progress
    from keywright.flows.reconciliation_views import AccountReport

_AGO = re.compile(r"([0-9]{1,4})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}


def reconcile(
    provider: Annotated[
        str | None, typer.Option(help="stripe, paystack or paypal. Default: all that are set up.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="2026-11-01, 2026-11-01T12:00Z or 7d ago. Default: where the last run began."),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair what differs. Without it nothing changes.")
    ] = False,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Compare with what the providers have had; with --fix repair. Exits 1 when one could not be asked."""
    from keywright.flows import asked_for
    from keywright.flows import reconcile as flow

    with opened() as context:
        seller = tenant_of(context, tenant).id
        wish = flow.Wish(provider, _moment(since, context.clock.now()), fix, tenant=seller)
        with _progress() as progress:
            report = flow.reconcile(context, wish, progress)
        asked_for.note_reconciliation(context, seller, actor(), wish)
        if any(one.applied for one in report.accounts):
            tell_if_unattended(context)
    if json:
        print_json(report)
    else:
        _print(report.accounts, fix=fix)
    for one in report.accounts:
        if one.error is not None:
            print(f"keywright: {one.provider}: {one.error}", file=sys.stderr)
    if any(one.error is not None for one in report.accounts):
        raise typer.Exit(1)


def _moment(text: str | None, now: datetime) -> datetime | None:
    """A date, a time, or so long ago. Raises BadParameter."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        return now - timedelta(hours=int(ago[1]) * _HOURS[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            "`--since` takes 2026-11-01, 2026-11-01T12:00Z, or 12h, 7d, 4w for so long ago."
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on a terminal; nothing where the output is kept or piped."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    shown = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(provider: str, done: int, total: int | None) -> None:
            if provider not in tasks:
                tasks[provider] = bars.add_task(provider, total=None)
            bars.update(tasks[provider], completed=done, total=total)

        yield tell


def _print(accounts: list[AccountReport], *, fix: bool) -> None:
    for one in accounts:
        since = one.since.strftime("%Y-%m-%d %H:%MZ")
        done = f"{one.applied} applied" if fix else f"{one.missing} missing"
        print(f"{one.provider}: looked at {one.looked_at} since {since}, {one.found} found, {done}")
        if not one.findings:
            continue
        rows = [
            (finding.kind, finding.license, finding.object, _difference(finding.before, finding.after),
             f"{'done: ' if finding.fixed else ''}{finding.fix}")
            for finding in one.findings
        ]  # fmt: skip
        print_table(("kind", "license", "at the provider", "difference", "fix"), rows)
        if one.found > len(one.findings):
            print(f"and {one.found - len(one.findings)} more: {_counted(one.counts)}")
    if not fix and any(one.found for one in accounts):
        print("Nothing was changed. To repair: keywright reconcile --fix")


def _difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """What differs of a license, in short."""
    if after is None:
        return "-"
    was = before or {}
    told = [
        f"{name} {was.get(name, '-')} -> {value}" if before else f"{name} {value}"
        for name, value in after.items()
        if was.get(name) != value and value not in (None, "", False)
    ]
    gone = [f"{name} {value} -> -" for name, value in was.items() if value and not after.get(name)]
    return ", ".join(told + gone)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
