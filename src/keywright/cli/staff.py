"""`staff`: who works here. For the first one, and for the day on which nobody gets in any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.session import AsJson, TenantSlug, actor, opened, print_json, print_table, tenant_of

if TYPE_CHECKING:
    from keywright.flows.context import Context

app = typer.Typer(no_args_is_help=True, help="People who sign in to the console.")

Person = Annotated[str, typer.Argument(metavar="STAFF", help="Id or e-mail address.")]


@app.callback()
def group() -> None:
    """People who sign in to the console."""


@app.command()
def create(
    email: Annotated[str, typer.Option(help="The person's address.")],
    role: Annotated[str, typer.Option(help="owner, admin, support or read-only.")] = "read-only",
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Make an account and print its one-time set-up link, alone on stdout."""
    from keywright.flows import staff

    with opened() as context:
        made, link = staff.create(context, tenant_of(context, tenant).id, email, role, actor())
    if json:
        print_json({"id": made.id, "email": made.email, "role": made.role, "link": link})
    else:
        print(link)


@app.command("list")
def list_(tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Everybody, with role and state."""
    from keywright.flows import staff

    with opened() as context:
        found = staff.list_staff(context, tenant_of(context, tenant).id)
    if json:
        print_json({"items": found, "next_cursor": None})
    else:
        heads = ("id", "email", "role", "state", "sessions")
        print_table(heads, [(one.id, one.email, one.role, one.state, one.sessions) for one in found])


@app.command()
def link(person: Person, tenant: TenantSlug = None) -> None:
    """Print a new one-time set-up link for somebody who has lost password or second factor."""
    from keywright.flows import staff

    with opened() as context:
        of = tenant_of(context, tenant).id
        print(staff.renew_link(context, of, _id(context, of, person), actor()))


@app.command()
def close(person: Person, tenant: TenantSlug = None) -> None:
    """Close an account: its sessions, factors and links end at once."""
    from keywright.flows import staff

    with opened() as context:
        of = tenant_of(context, tenant).id
        staff.close(context, of, _id(context, of, person), actor())
    print("The account is closed.")


def _id(context: Context, tenant: str, person: str) -> str:
    from keywright.flows import staff

    return person if person.startswith("stf_") else staff.find_id(context, tenant, person)
