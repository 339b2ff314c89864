"""`import`: what a seller has at a provider already."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.chosen import Reason
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
    from keywright.flows.import_views import Shown
    from keywright.flows.importing import Progress
    from keywright.store.imports import Conflict

_SHOWN = 50


class Provider(StrEnum):
    """Where from."""

    stripe = "stripe"
    paystack = "paystack"
    paypal = "paypal"


def import_all(
    provider: Annotated[Provider, typer.Argument(help="Where the customers are.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be made and changed.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="Keys, machines, counts and dates that they have already."
        ),
    ] = None,
    announce: Annotated[
        bool,
        typer.Option("--announce", help="Write to those whose license runs. Without it nobody hears of it."),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second. Default: what the provider takes.", min=0.1, max=100),
    ] = None,
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Take over products, customers, subscriptions and what is paid. Goes on where it was cut off.

    Exits 1 when it failed. What could not be taken as it is, is listed with its reason.
    """
    from keywright.flows import asked_for, import_views, importing

    with opened() as root:
        context = root.of(tenant_of(root, tenant).id)
        wish = importing.Wish(
            provider.value, actor(), reason, dry_run=dry_run, announce=announce, a_second=rate
        )
        begun = importing.begin(context, wish, csv)
        asked_for.note_import(context, actor(), wish, begun.id)
        if begun.resumed:
            print(f"Going on with import {begun.id}.", file=sys.stderr)
        with _progress(provider.value) as progress:
            importing.run(context, begun.id, progress=progress)
        shown = import_views.show(context, context.tenant.id, begun.id)
        conflicts = import_views.list_conflicts(context, context.tenant.id, begun.id, limit=_SHOWN).items
        if announce and not dry_run and shown.counts.made:
            tell_if_unattended(context)
    if json:
        print_json({"import": shown, "conflicts": conflicts})
    else:
        _print(shown, conflicts)
    if shown.status == "failed":
        print(f"keywright: {shown.error} Run it again: it goes on where it was.", file=sys.stderr)
        raise typer.Exit(1)


def _print(shown: Shown, conflicts: list[Conflict]) -> None:
    told, would = shown.counts, "would be " if shown.dry_run else ""
    print(
        f"{told.subscriptions} subscriptions: {told.made} licenses {would}made, {told.changed} {would}changed"
        f", {told.known} as they were, {told.unpaid} never paid for, {told.left} left out"
    )
    print(
        f"{told.customers} new customers, {told.payments} payments,"
        f" {told.keys} keys and {told.machines} machines kept"
    )
    if told.tenants:
        print(f"{told.tenants} subscriptions matched to tenants by e-mail")
    print(f"{told.requests} requests, {told.refusals} of them refused for coming too fast or not answered")
    if conflicts:
        print_table(
            ("kind", "what", "why", "what to do"), [(c.kind, c.object, c.reason, c.fix) for c in conflicts]
        )
        if (more := sum(shown.conflicts.values()) - len(conflicts)) > 0:
            counted = ", ".join(f"{count} {kind}" for kind, count in shown.conflicts.items())
            print(f"and {more} more ({counted}): see the page Imports of the console, which has them as CSV")
    if shown.dry_run:
        print("Nothing was changed. To take them over, run it without --dry-run.")


@contextmanager
def _progress(provider: str) -> Iterator[Progress | None]:
    """A bar on a terminal; nothing where the output is kept or piped."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from keywright.flows.import_pages import Counts

    shown = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*shown, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(provider, total=None)

        def tell(counts: Counts, total: int | None) -> None:
            bars.update(task, completed=counts.subscriptions, total=total)

        yield tell
