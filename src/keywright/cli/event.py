"""`event`: the inbox, and replays."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.session import (
    AsJson,
    TenantSlug,
    actor,
    opened,
    print_json,
    print_members,
    print_table,
    tell_if_unattended,
    tenant_of,
)

if TYPE_CHECKING:
    from keywright.flows.replay import Difference

app = typer.Typer(no_args_is_help=True, help="Provider events.")

Status = Annotated[str | None, typer.Option(help="applied, accepted, parked, ignored, failed or dead.")]
Type = Annotated[str | None, typer.Option("--type", help="The provider's event type.")]
Provider = Annotated[str | None, typer.Option(help="stripe, paystack or paypal.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Arrived since: 2026-11-01, or with a time and its zone.")
]
_MOST = 200


@app.command("list")
def list_(
    status: Status = None,
    type_: Type = None,
    provider: Provider = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(help="Only the newest so many.", min=1, max=_MOST)] = 50,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """The newest events that fit."""
    from keywright.flows import events

    with opened() as context:
        seller = tenant_of(context, tenant).id
        page = events.list_events(context, seller, _filters(status, type_, provider, since), limit=limit)
    if json:
        print_json(page)
        return
    rows = [(e.id, e.received_at, e.type, e.status, e.reason, e.event) for e in page.items]
    print_table(("id", "received", "type", "status", "reason", "event"), rows)
    if page.next_cursor is not None:
        more = "ask with a filter" if limit == _MOST else f"ask with --limit (up to {_MOST}) or a filter"
        print(f"There are more: {more}.", file=sys.stderr)


@app.command()
def show(
    event: Annotated[str, typer.Argument(help="Our id, or the provider's.")],
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """One event, with what was kept of it."""
    import msgspec

    from keywright.flows import events

    with opened() as context:
        found = events.show(context, tenant_of(context, tenant).id, event)
    if json:
        print_json(found)
        return
    members = msgspec.structs.asdict(found)
    body = members.pop("body")
    print_members(list(members.items()))
    print_json(body)


@app.command()
def replay(
    event: Annotated[str | None, typer.Argument(help="Our id, or the provider's.")] = None,
    status: Status = None,
    type_: Type = None,
    provider: Provider = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    refetch: Annotated[bool, typer.Option("--refetch", help="Ask the provider again.")] = False,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Apply kept events again: one, or all that fit. Exits 1 when one failed."""
    from keywright.flows import asked_for, events

    filters = _filters(status, type_, provider, since)
    if (event is None) == (not filters):
        raise typer.BadParameter("Name one event, or give --status, --type, --provider or --since.")
    done: list[Difference] = []
    with opened() as context:
        seller = tenant_of(context, tenant).id
        if event is not None:
            done.append(events.replay_one(context, seller, event, dry_run=dry_run, refetch=refetch))
        cursor, more = None, event is None
        while more:
            page = events.replay_page(
                context, seller, filters, dry_run=dry_run, refetch=refetch, cursor=cursor, limit=_MOST
            )
            done += page.items
            cursor, more = page.next_cursor, page.next_cursor is not None
        if not dry_run and event is not None:
            asked_for.note_replay(context, seller, actor(), done[0], refetch=refetch)
        elif not dry_run:
            asked_for.note_replays(context, seller, actor(), filters, done, refetch=refetch)
        if refetch and not dry_run and any(one.asked for one in done):
            tell_if_unattended(context, "the provider is asked")
    if json:
        print_json({"dry_run": dry_run, "items": done})
    else:
        _print_done(done, dry_run)
    if any(one.outcome == "failed" for one in done):
        raise typer.Exit(1)


def _print_done(done: Sequence[Difference], dry_run: bool) -> None:
    heads = ("id", "event", "outcome", "reason", "would change" if dry_run else "changed")
    print_table(heads, [(d.id, d.event, d.outcome, d.reason, "yes" if d.changed else "no") for d in done])
    for one in done:
        for change in one.licenses:
            print(f"\n{one.event}: license {change.license}{'' if change.before else ' is new'}")
            for name, value in change.after.items():
                was = "" if change.before is None else f"{_word(change.before[name])} -> "
                print(f"    {name}: {was}{_word(value)}")


def _word(value: object) -> str:
    return "-" if value in (None, "") else str(value)


def _filters(
    status: str | None, type_: str | None, provider: str | None, since: str | None
) -> dict[str, str]:
    # A day means its first moment, UTC.
    moment = f"{since}T00:00:00Z" if since is not None and len(since) == len("2026-11-01") else since
    given = {"status": status, "type": type_, "provider": provider, "since": moment}
    return {name: value for name, value in given.items() if value is not None}
