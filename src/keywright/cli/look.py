"""`look`: color, logo and language of the mails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.session import AsJson, TenantSlug, opened, print_json, tenant_of

if TYPE_CHECKING:
    from keywright.domain.look import Look

app = typer.Typer(no_args_is_help=True, help="What mails look like.")


@app.callback()
def group() -> None:
    """What mails look like."""


@app.command()
def show(tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Color, logo and language of the mails."""
    from keywright.flows import looks

    with opened() as context:
        _print(looks.show(context, tenant_of(context, tenant).id), json=json)


@app.command("set")
def set_(
    tenant: TenantSlug = None,
    color: Annotated[str | None, typer.Option(help="As #0d6b5e.")] = None,
    language: Annotated[
        str | None, typer.Option(help="en or de: of customers whose own is not known, and of staff.")
    ] = None,
    logo: Annotated[Path | None, typer.Option(help="A PNG of at most 16 KB.")] = None,
    no_logo: Annotated[bool, typer.Option("--no-logo", help="Take the logo away.")] = False,
    reason: Annotated[str | None, typer.Option(help="Stands in the audit.")] = None,
    json: AsJson = False,
) -> None:
    """Change what mails look like, from the next one on."""
    from keywright.domain.errors import Invalid
    from keywright.flows import looks
    from keywright.flows.operate import Act

    if logo is not None and no_logo:
        raise Invalid("Either --logo or --no-logo.")
    png = b"" if no_logo else logo.read_bytes() if logo is not None else None
    with opened() as context:
        act, wish = Act("command line", reason), looks.Wish(color, language, png)
        _print(looks.change(context, tenant_of(context, tenant).id, act, wish).after, json=json)


def _print(look: Look, *, json: bool) -> None:
    logo = None if look.logo is None else f"{look.logo.width}x{look.logo.height}"
    if json:
        print_json({"color": look.color, "language": look.language, "logo": logo})
        return
    for name, value in (("color", look.color), ("language", look.language), ("logo", logo or "none")):
        print(f"{name:<9} {value}")
