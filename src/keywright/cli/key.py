"""`key`: the signing keys."""

from __future__ import annotations

import typer

from keywright.cli.session import AsJson, TenantSlug, opened, print_json, print_table, tenant_of

app = typer.Typer(no_args_is_help=True, help="Signing keys.")


@app.callback()
def group() -> None:
    """Signing keys."""


@app.command("list")
def list_(tenant: TenantSlug = None, json: AsJson = False) -> None:
    """The tenant's signing keys. Their private halves are never shown."""
    from keywright.store import keys

    with opened() as context, context.database.read() as connection:
        known = keys.list_signing_keys(connection, tenant_of(context, tenant).id)
    if json:
        print_json(
            [
                {
                    "kid": k.kid,
                    "type": k.token_type,
                    "state": k.state,
                    "public": k.public,
                    "created_at": k.created_at,
                }
                for k in known
            ]
        )
        return
    rows = [(k.kid, k.token_type, k.state, k.created_at) for k in known]
    print_table(("key id", "type", "state", "made"), rows)
