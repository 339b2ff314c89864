"""`tenant shred`: the end of a tenant."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from keywright.cli.session import AsJson, actor, opened, print_json


def shred(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="The tenant's slug.")],
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="SLUG", help="The slug once more, instead of being asked."),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why. It stands in the audit.")] = None,
    json: AsJson = False,
) -> None:
    """Destroy a tenant's keys and delete its data. There is no way back. Ended half way: run it again."""
    from keywright.flows import shredding

    with opened() as context:
        if confirm is None:
            print(
                f"Everything of the tenant {slug} goes: its keys, licenses, customers and staff. No program "
                "of its customers is answered any more. What its books need is kept, under ids.",
                file=sys.stderr,
            )
            confirm = typer.prompt("To go on, type the slug", err=True)
        done = shredding.shred(context, slug, confirmed=confirm or "", by=actor(), why=reason)
    if json:
        print_json(done)
        return
    rows = sum(done.deleted.values())
    print(f"{done.slug} was closed {done.closed_at:%Y-%m-%d %H:%M:%SZ}; {rows} rows were deleted.")
    print("Backups of before hold its key until they are deleted.")
