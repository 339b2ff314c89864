"""`license`: what staff do to licenses, by id, key or e-mail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from keywright.cli import license_acts, license_billing, license_explain, license_firm, license_import
from keywright.cli.chosen import Reason, Until, Which, act, found, moment
from keywright.cli.session import (
    AsJson,
    TenantSlug,
    opened,
    print_json,
    print_members,
    print_table,
    tell_if_unattended,
    tenant_of,
)
from keywright.cli.show_license import line_of, print_license, show_license

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.flows.license_views import LicenseRow

app = typer.Typer(no_args_is_help=True, help="Licenses, by id, key or e-mail.")
app.add_typer(license_explain.app)
app.add_typer(license_billing.app)
app.add_typer(license_firm.app)
app.add_typer(license_import.app)
app.add_typer(license_acts.app)


@app.command()
def issue(
    plan: Annotated[str, typer.Option(help="As product/plan.")],
    email: Annotated[str, typer.Option(help="Who gets it.")],
    seats: Annotated[int | None, typer.Option(help="Default: those of one unit of the plan.")] = None,
    until: Until = None,
    firm: Annotated[str | None, typer.Option(help="The firm it is bound to.")] = None,
    comp: Annotated[bool, typer.Option("--comp", help="Mark it as given away.")] = False,
    trial: Annotated[
        bool, typer.Option("--trial", help="To be tried: as long as the plan's trial, or 14 days. No grace.")
    ] = False,
    days: Annotated[int | None, typer.Option(help="So many days from now, in place of --until.")] = None,
    again: Annotated[bool, typer.Option("--again", help="A second trial for the same customer.")] = False,
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Make a license without a payment. Prints its key, once."""
    from keywright.flows import operate

    if comp and trial:
        raise typer.BadParameter("A license is given away or to be tried, not both.")
    kind: Literal["staff", "comp", "trial"] = "comp" if comp else "trial" if trial else "staff"
    order = operate.Order(plan, email, seats, moment(until), firm, kind=kind, days=days, again=again)
    with opened() as context:
        row, key = operate.issue(context, tenant_of(context, tenant).id, order, act(reason))
        tell_if_unattended(context)
    if json:
        print_json({**msgspec.structs.asdict(row), "key": key})
    else:
        show_license(row)
        print_members([("key", key)])


@app.command("list")
def list_(
    email: Annotated[str | None, typer.Option()] = None,
    status: Annotated[str | None, typer.Option(help="pending, active, grace, expired ...")] = None,
    plan: Annotated[str | None, typer.Option()] = None,
    product: Annotated[str | None, typer.Option()] = None,
    origin: Annotated[str | None, typer.Option(help="purchase, staff, comp, trial or import.")] = None,
    q: Annotated[str | None, typer.Option(help="Id, e-mail or the last five of a key.")] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 50,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """The newest licenses that fit."""
    from keywright.flows import license_views

    given = {"email": email, "status": status, "plan": plan, "product": product, "origin": origin, "q": q}
    filters = {name: value for name, value in given.items() if value is not None}
    found: list[LicenseRow] = []
    cursor = None
    with opened() as context:
        seller = tenant_of(context, tenant).id
        while len(found) < limit:
            step = min(limit - len(found), license_views.LARGEST_PAGE)
            page = license_views.list_licenses(context, seller, filters, cursor=cursor, limit=step)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    if json:
        print_json({"items": found, "next_cursor": cursor})
        return
    heads = ("license", "plan", "status", "seats", "machines", "until", "key", "e-mail")
    print_table(heads, [line_of(row) for row in found])
    if cursor is not None:
        print("There are more: ask with --limit.", file=sys.stderr)


@app.command()
def show(which: Which, tenant: TenantSlug = None, json: AsJson = False) -> None:
    """One license."""
    from keywright.flows import license_views

    with found(which, tenant) as (context, seller, id_):
        print_license(license_views.show(context, seller, id_), json)


@app.command()
def extend(
    which: Which,
    until: Until = None,
    days: Annotated[int | None, typer.Option(help="So many days longer than now.")] = None,
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Raise the end. Paid time beyond it stays."""
    from keywright.flows import operate

    day = moment(until)
    if (day is None) == (days is None):
        raise typer.BadParameter("Give either --until or --days.")
    with found(which, tenant) as (context, seller, id_):
        print_license(operate.extend(context, seller, id_, act(reason), until=day, days=days), json)


@app.command()
def suspend(which: Which, reason: Reason = None, tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Stop a license, until it is reinstated."""
    _decide(which, tenant, json, reason, "suspend")


@app.command()
def reinstate(which: Which, reason: Reason = None, tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Lift a suspension or a revocation by staff."""
    _decide(which, tenant, json, reason, "reinstate")


@app.command()
def revoke(which: Which, reason: Reason = None, tenant: TenantSlug = None, json: AsJson = False) -> None:
    """End a license for good, until staff reinstate it."""
    _decide(which, tenant, json, reason, "revoke")


@app.command()
def transfer(
    which: Which,
    email: Annotated[str, typer.Option(help="The new holder.")],
    keep_machines: Annotated[bool, typer.Option("--keep-machines", help="Do not free them.")] = False,
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Give a license to another customer, who gets the mail. The key stays: see rotate-key."""
    from keywright.flows import operate

    def move(context: Context, seller: str, id_: str) -> LicenseRow:
        return operate.transfer(context, seller, id_, act(reason), email=email, keep_machines=keep_machines)

    _do(which, tenant, json, move, mails=True)


@app.command()
def resend(which: Which, reason: Reason = None, tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Send the license mail again."""
    from keywright.flows import operate

    _do(which, tenant, json, lambda c, t, id_: operate.resend(c, t, id_, act(reason)), mails=True)


@app.command("rotate-key")
def rotate_key(which: Which, reason: Reason = None, tenant: TenantSlug = None, json: AsJson = False) -> None:
    """A new key, mailed and printed once; the old one is dead at once."""
    from keywright.flows import operate

    with found(which, tenant) as (context, seller, id_):
        row, key = operate.rotate_key(context, seller, id_, act(reason))
        tell_if_unattended(context)
    if json:
        print_json({**msgspec.structs.asdict(row), "key": key})
    else:
        show_license(row)
        print_members([("key", key)])


def _do(
    which: str,
    tenant: str | None,
    json: bool,
    do: Callable[[Context, str, str], LicenseRow],
    *,
    mails: bool = False,
) -> None:
    with found(which, tenant) as (context, seller, id_):
        print_license(do(context, seller, id_), json)
        if mails:
            tell_if_unattended(context)


def _decide(
    which: str,
    tenant: str | None,
    json: bool,
    reason: str | None,
    kind: Literal["suspend", "reinstate", "revoke"],
) -> None:
    from keywright.flows import license_views, operate

    with found(which, tenant) as (context, seller, id_):
        before = license_views.show(context, seller, id_)
        after = operate.decide(context, seller, id_, act(reason), kind)
    print_license(after, json)
    if (before.status, before.reason) == (after.status, after.reason):
        print(f"Nothing changed: the license was {after.status} before.", file=sys.stderr)
