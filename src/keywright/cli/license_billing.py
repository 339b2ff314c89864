"""`license seats|cancel|resume|refund|portal`: what a seller changes at the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.chosen import Reason, Which, act, found
from keywright.cli.session import AsJson, TenantSlug, print_json, print_members

if TYPE_CHECKING:
    from keywright.flows.billing import Accepted

app = typer.Typer()

Key = Annotated[
    str | None,
    typer.Option("--idempotency-key", metavar="KEY", help="22 characters or more; a repeat does no more."),
]


@app.command()
def seats(
    which: Which,
    quantity: Annotated[int, typer.Argument(metavar="N", help="As bought: units of the plan, or keys.")],
    preview: Annotated[bool, typer.Option("--preview", help="Only show what it would cost.")] = False,
    expected: Annotated[
        int | None, typer.Option(help="The preview's due_now: do nothing if it has become more.")
    ] = None,
    reason: Reason = None,
    key: Key = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Have so many from now on. Nobody is cut off when there are fewer."""
    from keywright.flows import billing

    with found(which, tenant) as (context, seller, id_):
        if not preview:
            done = billing.change_seats(
                context, seller, id_, act(reason), quantity, expected=expected, key=key
            )
            _print(done, json)
            return
        shown = billing.preview_seats(context, seller, id_, quantity)
    if json:
        print_json(shown)
        return
    members: list[tuple[str, object]] = [
        ("quantity", shown.quantity),
        ("due now", f"{shown.due_now} {shown.currency}"),
        ("then", f"{shown.next_amount} {shown.currency}"),
        ("from", shown.next_at),
    ]
    print_members(members)


@app.command()
def cancel(
    which: Which, reason: Reason = None, key: Key = None, tenant: TenantSlug = None, json: AsJson = False
) -> None:
    """Do not renew. What was paid for stays."""
    from keywright.flows import billing

    with found(which, tenant) as (context, seller, id_):
        _print(billing.cancel(context, seller, id_, act(reason), key=key), json)


@app.command()
def resume(
    which: Which, reason: Reason = None, key: Key = None, tenant: TenantSlug = None, json: AsJson = False
) -> None:
    """Renew after all."""
    from keywright.flows import billing

    with found(which, tenant) as (context, seller, id_):
        _print(billing.resume(context, seller, id_, act(reason), key=key), json)


@app.command()
def refund(
    which: Which,
    amount: Annotated[
        int | None, typer.Option(help="In minor units, 4999 for 49.99; without it all that is left.")
    ] = None,
    payment: Annotated[
        str | None, typer.Option(help="Its invoice, charge or intent; without it the newest payment.")
    ] = None,
    reason: Reason = None,
    key: Key = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Give money back."""
    from keywright.flows import billing

    with found(which, tenant) as (context, seller, id_):
        done = billing.refund(context, seller, id_, act(reason), amount=amount, payment=payment, key=key)
        _print(done, json)


@app.command()
def portal(
    which: Which,
    return_url: Annotated[str, typer.Option(help="Where the provider leads the buyer afterwards.")],
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """A link to the provider's pages for this buyer. Whoever has it acts as the buyer."""
    from keywright.flows import billing

    with found(which, tenant) as (context, seller, id_):
        link = billing.portal(context, seller, id_, act(reason), return_url)
    if json:
        print_json(link)
    else:
        print(link.url)


def _print(done: Accepted, json: bool) -> None:
    if json:
        print_json(done)
    elif done.approval_url is not None:
        print(f"The buyer has to agree first: {done.approval_url}")
    else:
        print("The provider has accepted it. Its events bring the effect.")
