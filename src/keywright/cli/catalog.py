"""`catalog`: what is sold, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.session import AsJson, TenantSlug, opened, print_json, print_table, tenant_of
from keywright.domain.errors import Invalid

if TYPE_CHECKING:
    from keywright.flows.catalog_file import CatalogPrice

_DAY = 86400
app = typer.Typer(no_args_is_help=True, help="Products, plans and prices.")


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="TOML.")],
    tenant: TenantSlug = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    json: AsJson = False,
) -> None:
    """Make the catalog agree with a file. Prints the difference."""
    from keywright import bootstrap
    from keywright.flows import catalog, catalog_file

    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not UTF-8 text.") from None
    wanted = catalog_file.parse(text, source=str(file), environment=bootstrap.environment())
    with opened() as context:
        done = catalog.apply(context, wanted, tenant=tenant_of(context, tenant), dry_run=dry_run)
    if json:
        print_json({"dry_run": dry_run, "changes": done.changes, "released": done.released})
        return
    print(catalog_file.render(done.changes))
    if done.released:
        print(f"{done.released} parked events were applied")


@app.command()
def show(tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Print the catalog as it stands."""
    from keywright.flows import catalog, catalog_file

    with opened() as context:
        found = catalog.load(context, tenant_of(context, tenant))
    if json:
        print_json(found.products if found is not None else [])
        return
    rows = [
        (
            f"{product.slug}/{plan.slug}",
            plan.name,
            plan.terms.quantity,
            _span(plan.terms.term),
            _prices(plan.prices),
            _mails(catalog_file.show_notices(plan.terms)),
        )
        for product in (found.products if found is not None else ())
        for plan in product.plans
    ]
    print_table(("plan", "name", "quantity", "term", "prices", "mails"), rows)


def _mails(shown: dict[str, str]) -> str:
    """The mails that are on; a reminder with the times at which it goes out."""
    on = [(kind, said) for kind, said in shown.items() if said != "false"]
    return ", ".join(kind if said == "true" else f"{kind} {said}" for kind, said in on)


def _span(term: object) -> str:
    """A fixed term as whole days where it is some; the named terms as they are."""
    if not isinstance(term, int):
        return str(term)
    return f"{term // _DAY} days" if term % _DAY == 0 else f"{term} s"


def _prices(prices: tuple[CatalogPrice, ...]) -> str:
    """Amounts in minor units, as everywhere: the number of decimals is the currency's business."""
    shown = []
    for x in prices:
        every = f"/{x.interval}" if x.interval else ""
        shown.append(f"{x.key}: {x.amount} {x.currency}{every} ({x.provider} {x.external_id})")
    return ", ".join(shown)
