"""`webhook`: who is told what becomes of licenses, and what of it arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.session import (
    AsJson,
    TenantSlug,
    actor,
    opened,
    print_json,
    print_table,
    tell_if_unattended,
    tenant_of,
)
from keywright.domain.errors import Refused

if TYPE_CHECKING:
    from keywright.flows.webhook_deliveries import DeliveryRow
    from keywright.flows.webhooks import EndpointMade, EndpointRow

app = typer.Typer(no_args_is_help=True, help="Webhooks to others.")

Which = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Its id.", show_default=False)]
_NEWEST = 50


@app.callback()
def group() -> None:
    """Webhooks to others."""


@app.command("list")
def list_(
    endpoint: Annotated[
        str | None, typer.Argument(metavar="[ENDPOINT]", help="List its newest deliveries.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(help="Deliveries that are pending, delivered or failed.")
    ] = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """The endpoints; or the newest deliveries, of one endpoint or of one status."""
    from keywright.flows import webhook_deliveries, webhooks

    with opened() as context:
        seller = tenant_of(context, tenant).id
        if endpoint is None and status is None:
            endpoints = webhooks.list_endpoints(context, seller).items
            print_json(endpoints) if json else _print_endpoints(endpoints)
            return
        if endpoint is not None:
            webhooks.show(context, seller, endpoint)
        wanted = {"endpoint": endpoint, "status": status}
        filters = {name: value for name, value in wanted.items() if value is not None}
        found = webhook_deliveries.list_deliveries(context, seller, filters, limit=_NEWEST).items
    print_json(found) if json else _print_deliveries(found)


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://…", show_default=False)],
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="May be repeated. Default: all.")
    ] = None,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Make an endpoint. Its secret is printed once, alone on stdout."""
    from keywright.flows import webhooks
    from keywright.flows.operate import Act

    with opened() as context:
        seller = tenant_of(context, tenant).id
        made = webhooks.create(context, seller, url, types or (), note, act=Act(actor()))
    _print_made(made, json)


@app.command("test")
def try_out(which: Which, tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Send `webhook.test` at once, from here. Exits 1 when it is not taken."""
    from keywright.flows import webhooks
    from keywright.flows.operate import Act

    with opened() as context:
        tried = webhooks.try_out(context, tenant_of(context, tenant).id, which, act=Act(actor()))
    if json:
        print_json(tried)
    elif tried.taken:
        print(f"Taken: HTTP {tried.status}.")
    if not tried.taken:
        raise Refused(f"It was not taken: {tried.error}.", code="WEBHOOK_NOT_TAKEN")


@app.command()
def redeliver(
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="msg_…", show_default=False)],
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Send a delivery again, under the same id, when the server takes its next turn."""
    from keywright.flows import webhook_deliveries
    from keywright.flows.operate import Act

    with opened() as context:
        seller = tenant_of(context, tenant).id
        again = webhook_deliveries.redeliver(context, seller, delivery, act=Act(actor()))
        tell_if_unattended(context, "it is sent")
    if json:
        print_json(again)
    else:
        print(f"{again.id} is due.")


@app.command("rotate-secret")
def rotate_secret(
    which: Which,
    overlap_hours: Annotated[
        int, typer.Option(metavar="HOURS", help="How long the secret before signs as well; 0 to 168.")
    ] = 24,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Make a new secret. It is printed once, alone on stdout."""
    from keywright.flows import webhooks
    from keywright.flows.operate import Act

    with opened() as context:
        seller = tenant_of(context, tenant).id
        made = webhooks.rotate_secret(context, seller, which, overlap_hours=overlap_hours, act=Act(actor()))
    _print_made(made, json)


@app.command()
def delete(which: Which, tenant: TenantSlug = None) -> None:
    """End an endpoint, with everything that is still owed to it."""
    from keywright.flows import webhooks
    from keywright.flows.operate import Act

    with opened() as context:
        webhooks.delete(context, tenant_of(context, tenant).id, which, act=Act(actor()))
    print(f"{which} is gone.")


def _print_made(made: EndpointMade, json: bool) -> None:
    if json:
        print_json(made)
    else:
        print(made.secret)


def _print_endpoints(endpoints: list[EndpointRow]) -> None:
    heads = ("id", "url", "types", "state", "since")
    rows = []
    for one in endpoints:
        state = "failing" if one.failing_since else "on"
        since = one.failing_since
        if not one.enabled:
            state, since = f"off: {one.off_reason}", one.off_at
        rows.append((one.id, one.url, " ".join(one.types), state, since))
    print_table(heads, rows)


def _print_deliveries(found: list[DeliveryRow]) -> None:
    heads = ("id", "type", "status", "attempts", "created", "next", "last")
    rows = [
        (d.id, d.type, d.status, d.attempts, d.created_at, d.next_attempt_at, d.last_error or d.last_status)
        for d in found
    ]
    print_table(heads, rows)
