"""Connected accounts as the admin API and the command line show them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from keywright.domain.fee import FeeRule
from keywright.flows import connecting
from keywright.flows.context import Context
from keywright.flows.fee_text import rule_text


class AccountShown(msgspec.Struct, frozen=True):
    """A connected account. `account` is the provider's name of it; `due` what the provider still asks of its
    owner, in its own names; `left_at`: since when nothing is sold through it."""

    id: str
    provider: str
    mode: str
    account: str | None
    sells: bool
    charges_enabled: bool
    payouts_enabled: bool
    details_submitted: bool
    due: tuple[str, ...]
    disabled_reason: str | None
    seen_at: datetime
    left_at: datetime | None


class ConnectShown(msgspec.Struct, frozen=True):
    """How a tenant stands with the platform. `fee_text`: the same in words."""

    tenant: str
    accounts: list[AccountShown]
    fee: FeeRule
    fee_text: str
    offered: list[str]
    own_keys: list[str]


class Started(msgspec.Struct, frozen=True):
    """Where the account's owner goes on: it opens once, and within minutes."""

    provider: str
    url: str


def show(context: Context, tenant: str) -> ConnectShown:
    """How it stands, as we know it. Raises NotFound."""
    found = connecting.read(context, tenant)
    return ConnectShown(
        tenant=found.tenant,
        accounts=[
            AccountShown(
                id=one.account.id,
                provider=one.account.provider,
                mode="live" if one.account.live else "test",
                account=one.account.external_id,
                sells=one.sells,
                charges_enabled=one.charges,
                payouts_enabled=one.payouts,
                details_submitted=one.submitted,
                due=one.due,
                disabled_reason=one.disabled_reason,
                seen_at=one.seen_at,
                left_at=one.left_at,
            )
            for one in found.accounts
        ],
        fee=found.fee,
        fee_text=rule_text(found.fee),
        offered=found.offered,
        own_keys=found.own_keys,
    )


def console_pages(context: Context, tenant: str, provider: str) -> tuple[str, str]:
    """Where the provider's page leads to when it had run out, and when it was left."""
    page = f"{context.policy.base_url}/console/tenants/{tenant}/connect"
    return f"{page}?done=again", f"{page}/{provider}/back"
