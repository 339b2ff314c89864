"""`license give-seats|note|bulk`: what staff do beside deciding, and one act on many licenses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.chosen import Reason, Until, Which, act, found, moment
from keywright.cli.session import (
    AsJson,
    TenantSlug,
    opened,
    print_json,
    print_table,
    tell_if_unattended,
    tenant_of,
)
from keywright.cli.show_license import print_license

if TYPE_CHECKING:
    from keywright.flows.bulk import Done

app = typer.Typer()


@app.command("give-seats")
def give_seats(
    which: Which,
    seats: Annotated[int, typer.Argument(metavar="N", help="On top of those bought; all, if none were.")],
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Have staff give so many seats. Nothing is paid for them, and no provider is asked."""
    from keywright.flows import operate

    with found(which, tenant) as (context, seller, id_):
        print_license(operate.give_seats(context, seller, id_, act(reason), seats), json)


@app.command()
def note(
    which: Which,
    text: Annotated[str, typer.Argument(help="No personal data: the timeline outlives customers.")],
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Write something on the timeline, and change nothing."""
    from keywright.flows import operate

    with found(which, tenant) as (context, seller, id_):
        print_license(operate.note(context, seller, id_, act(text)), json)


@app.command()
def bulk(
    name: Annotated[
        str, typer.Argument(metavar="ACT", help="suspend, reinstate, revoke, extend, resend or note.")
    ],
    email: Annotated[str | None, typer.Option()] = None,
    status: Annotated[str | None, typer.Option()] = None,
    plan: Annotated[str | None, typer.Option()] = None,
    product: Annotated[str | None, typer.Option()] = None,
    origin: Annotated[str | None, typer.Option(help="purchase, staff, comp, trial or import.")] = None,
    until: Until = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which.")] = False,
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Do it to every license that fits. At least one filter. Exits 1 when one refused."""
    from keywright.flows.bulk import Wish, act_on_page

    given = {"email": email, "status": status, "plan": plan, "product": product, "origin": origin}
    filters = {key: value for key, value in given.items() if value is not None}
    items: list[Done] = []
    unchanged, cursor = 0, None
    with opened() as context:
        seller = tenant_of(context, tenant).id
        wish = Wish(name, moment(until))
        while True:
            page = act_on_page(
                context, seller, filters, wish, act(reason), dry_run=dry_run, cursor=cursor, limit=200
            )
            items += page.items
            unchanged, cursor = unchanged + page.unchanged, page.next_cursor
            if cursor is None:
                break
        if name == "resend" and not dry_run:
            tell_if_unattended(context)
    _print_many(items, unchanged, dry_run=dry_run, json=json)


def _print_many(items: list[Done], unchanged: int, *, dry_run: bool, json: bool) -> None:
    failed = sum(1 for one in items if one.error is not None)
    if json:
        print_json({"dry_run": dry_run, "items": items, "unchanged": unchanged, "failed": failed})
    else:
        if items:
            rows = [(one.license, one.before, one.after or one.error) for one in items]
            print_table(("license", "was", "is"), rows)
        would = "would be" if dry_run else "were"
        print(
            f"{len(items) - failed} licenses {would} changed, {unchanged} are so already, {failed} refused."
        )
    if failed:
        print(f"keywright: {failed} licenses refused", file=sys.stderr)
        raise typer.Exit(1)
