"""`license import`: keys that existed before us, from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.chosen import Reason, act
from keywright.cli.session import AsJson, TenantSlug, opened, print_json, print_table, tenant_of

if TYPE_CHECKING:
    from keywright.flows.key_import import Imported, Progress

_SHOWN = 50

app = typer.Typer()


@app.command("import")
def import_keys(
    file: Annotated[Path, typer.Argument(metavar="KEYS.CSV", help="Columns: key,plan,email,seats,until ...")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Take over keys that exist already, as they are. Sends no mails. Exits 1 when a line was not taken."""
    from keywright.flows import key_import

    with opened() as context:
        seller = tenant_of(context, tenant).id
        with _progress() as progress:
            done = key_import.import_keys(
                context, seller, file, act(reason), dry_run=dry_run, progress=progress
            )
    if json:
        print_json(done)
    else:
        _print(done)
    if left := done.refused + done.conflicts:
        print(f"keywright: {left} of {done.lines} lines were not taken", file=sys.stderr)
        raise typer.Exit(1)


def _print(done: Imported) -> None:
    would = "would be " if done.dry_run else ""
    print(
        f"{done.lines} keys: {done.made} {would}taken over with {done.machines} machines,"
        f" {done.unchanged} were here already, {done.conflicts} differ, {done.refused} refused"
    )
    if done.short_keys:
        print(
            f"{done.short_keys} keys have fewer than 12 characters and can be found by trying:"
            " give them new ones when you can (license rotate-key)."
        )
    if done.problems:
        rows = [(one.line, one.kind, one.reason) for one in done.problems[:_SHOWN]]
        print_table(("line", "what", "why"), rows)
        if (more := done.refused + done.conflicts - len(rows)) > 0:
            print(f"and {more} more: --json lists a thousand")
    if done.dry_run:
        print("Nothing was changed. To take them over, run it without --dry-run.")


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on a terminal; nothing where the output is kept or piped."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = (TextColumn("keys"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("keys", total=None)

        def tell(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield tell
