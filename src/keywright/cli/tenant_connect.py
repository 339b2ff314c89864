"""`tenant connect`, `tenant disconnect`, `tenant fee`: a tenant that sells through the platform's account."""

from __future__ import annotations

from typing import Annotated

import typer

from keywright.cli.session import AsJson, actor, opened, print_json

Who = Annotated[str, typer.Argument(metavar="TENANT", help="Slug or id.")]
Where = Annotated[str, typer.Option(help="stripe, or paystack.")]
Reason = Annotated[str | None, typer.Option(help="Why; stands in the audit.")]


def connect(
    tenant: Who,
    provider: Where = "stripe",
    account: Annotated[
        str | None, typer.Option(help="An account that was made there: Paystack's name of a subaccount.")
    ] = None,
    look: Annotated[bool, typer.Option("--look", help="Only ask how the account stands now.")] = False,
    reason: Reason = None,
    json: AsJson = False,
) -> None:
    """Let a tenant sell through the platform's account; print the page where its owner goes on."""
    from keywright.flows import connect_views, connecting, tenants
    from keywright.flows.operate import Act

    with opened() as context:
        id_ = tenants.show(context, tenant).id
        act = Act(actor(), reason)
        url = None
        if account is not None:
            connecting.attach(context, id_, provider, account, act)
        elif look:
            connecting.look(context, id_, provider)
        else:
            again, back = connect_views.console_pages(context, id_, provider)
            url = connecting.start(context, id_, provider, act, refresh_url=again, return_url=back)
        shown = connect_views.show(context, id_)
    if json:
        print_json({"url": url, "connect": shown})
        return
    for one in shown.accounts:
        state = "left" if one.left_at is not None else "sells" if one.sells else "cannot sell yet"
        print(f"{one.provider} ({one.mode}): {one.account}, {state}")
        for name in one.due:
            print(f"  asked for: {name}")
    if url is not None:
        print(f"Its owner goes on here; it opens once, and within minutes:\n{url}")


def disconnect(tenant: Who, provider: Where = "stripe", reason: Reason = None) -> None:
    """Sell nothing through a tenant's connected account any more. Licenses stay."""
    from keywright.flows import connecting, tenants
    from keywright.flows.operate import Act

    with opened() as context:
        id_ = tenants.show(context, tenant).id
        ended = connecting.disconnect(context, id_, provider, Act(actor(), reason))
    print(f"{ended.account.external_id} is disconnected.")


def fee(
    tenant: Who,
    percent: Annotated[str | None, typer.Option(help="Of each charge, two decimals.")] = None,
    fixed: Annotated[str, typer.Option(help="And an amount: `0.50 USD, 0.45 EUR`.")] = "",
    least: Annotated[str, typer.Option(help="At least so much.")] = "",
    most: Annotated[str, typer.Option(help="At most so much.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Keep it at a refund.")] = False,
    reason: Reason = None,
    json: AsJson = False,
) -> None:
    """Show what a tenant's sales pay the platform; with options, set it."""
    from keywright.flows import connecting, tenants
    from keywright.flows.fee_text import rule_from, rule_text, shown
    from keywright.flows.operate import Act

    with opened() as context:
        id_ = tenants.show(context, tenant).id
        rule = connecting.read(context, id_).fee
        if percent is not None or fixed or least or most or keep:
            rule = rule_from(percent or "", fixed, least, most, "keep" if keep else "give_back")
            connecting.set_fee(context, id_, rule, Act(actor(), reason))
    if json:
        print_json(shown(rule))
    else:
        print(rule_text(rule))
