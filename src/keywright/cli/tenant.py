"""`tenant`: the sellers that one installation serves."""

from __future__ import annotations

from typing import Annotated

import typer

from keywright.cli import tenant_connect, tenant_provision, tenant_shred
from keywright.cli.session import AsJson, actor, opened, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="The sellers that this installation serves.")

app.command("shred")(tenant_shred.shred)
app.command("provision")(tenant_provision.provision)
app.command("connect")(tenant_connect.connect)
app.command("disconnect")(tenant_connect.disconnect)
app.command("fee")(tenant_connect.fee)


@app.callback()
def group() -> None:
    """The sellers that this installation serves."""


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What its customers read on pages and in mails.")],
    slug: Annotated[str, typer.Option(help="Its name in addresses and commands: small letters and hyphens.")],
    email: Annotated[str | None, typer.Option(help="Where the tenant itself is reached.")] = None,
    json: AsJson = False,
) -> None:
    """Make a tenant with keys of its own, and print its id."""
    from keywright.flows import tenants

    with opened() as context:
        made = tenants.create(context, name, slug, email, by=actor())
    if json:
        print_json(made)
    else:
        print(made.id)


@app.command("list")
def list_(json: AsJson = False) -> None:
    """Every tenant, the newest first."""
    from keywright.flows import tenants
    from keywright.flows.tenants import TenantSeen

    found: list[TenantSeen] = []
    with opened() as context:
        page = tenants.list_page(context, limit=200)
        while True:
            found += page.items
            if page.next_cursor is None:
                break
            page = tenants.list_page(context, cursor=page.next_cursor, limit=200)
    if json:
        print_json({"items": found, "next_cursor": None})
    else:
        rows = [(one.id, one.slug, one.name, "yes" if one.is_master else "", one.base_url) for one in found]
        print_table(("id", "slug", "name", "master", "pages"), rows)


@app.command()
def show(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Slug or id.")], json: AsJson = False
) -> None:
    """One tenant: its address, its accounts at providers, its seats."""
    from keywright.flows import tenants

    with opened() as context:
        found = tenants.show(context, tenant)
        hooks = {one.id: tenants.webhook_address(context, found, one) for one in found.accounts}
    if json:
        print_json(found)
        return
    seats = "not counted" if found.licensed_user_count is None else str(found.licensed_user_count)
    print(f"{found.id}  {found.slug}  {found.name}")
    print(f"  pages:    {found.base_url}")
    print(f"  e-mail:   {found.email or 'none'}")
    print(f"  seats:    {seats}")
    for one in found.accounts:
        print(f"  {one.provider} ({one.mode}): {one.id}, webhooks to {hooks[one.id]}")
