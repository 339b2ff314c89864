"""`tenant provision`: have the buyer of seats made a tenant."""

from __future__ import annotations

from typing import Annotated

import typer

from keywright.cli.session import AsJson, actor, opened, print_json, tell_if_unattended


def provision(
    email: Annotated[str, typer.Option(help="Of the tenant's first person, who is invited by mail.")],
    client_name: Annotated[str, typer.Option(help="The firm's name.")],
    stripe_customer_id: Annotated[str | None, typer.Option(help="Which customer of yours it is.")] = None,
    stripe_subscription_id: Annotated[str | None, typer.Option(help="What it bought.")] = None,
    initial_license_count: Annotated[
        int | None, typer.Option(help="Users, until a subscription says how many.", min=0)
    ] = None,
    json: AsJson = False,
) -> None:
    """Have a tenant made of a customer, and print the id of the work. Asked again, it is the same work."""
    from keywright.flows import provisioning

    wish = provisioning.Wish(
        email, client_name, stripe_customer_id, stripe_subscription_id, initial_license_count
    )
    with opened() as context:
        work = provisioning.start(context, wish, by=actor())
        tell_if_unattended(context, "the tenant is made")
    if json:
        print_json({"workflow_id": work})
    else:
        print(work)
