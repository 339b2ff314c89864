"""`token`: keys to the API for scripts and staff."""

from __future__ import annotations

from typing import Annotated

import typer

from keywright.cli.session import AsJson, TenantSlug, opened, print_json, tenant_of

app = typer.Typer(no_args_is_help=True, help="API tokens.")


@app.callback()
def group() -> None:
    """API tokens."""


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What it is for.")],
    tenant: TenantSlug = None,
    scope: Annotated[str, typer.Option(help="read, checkout, write or admin.")] = "read",
    json: AsJson = False,
) -> None:
    """Make a token and print it, once, alone on stdout."""
    from keywright.flows import tokens

    with opened() as context:
        made, text = tokens.create(context, tenant_of(context, tenant), name, scope)
    if json:
        print_json({"id": made.id, "name": made.name, "scope": made.scope, "token": text})
    else:
        print(text)
