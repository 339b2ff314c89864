"""The platform's side of Stripe Connect: accounts made, onboarded and looked at, and the endpoint for all.

Direct charges: everything a connected account sells is its own, and every call about it carries the account's
id (`Stripe-Account`). https://docs.stripe.com/connect/direct-charges
"""

from __future__ import annotations

from typing import Final

import msgspec

from keywright.connect_ports import AccountStanding, ConnectEndpoint
from keywright.domain.errors import Invalid
from keywright.ports import Clock
from keywright.providers.stripe import shapes
from keywright.providers.stripe.client import API_BASE, API_VERSION, StripeClient, address, decoded

FEE_EVENTS: Final = frozenset({"application_fee.created", "application_fee.refunded"})
"""They are the platform's own, and never a connected account's."""

ACCOUNT_EVENTS: Final = frozenset({"account.updated", "account.application.deauthorized"})
"""They are about connected accounts, and arrive at the Connect endpoint."""

EVENTS: Final = tuple(sorted(shapes.READ.keys() - FEE_EVENTS))
"""What the Connect endpoint asks for."""

# What Stripe calls a standard account: its owner has a Dashboard of its own, pays Stripe's fees and bears
# losses, and Stripe itself asks for what it needs. The platform answers for nothing.
_CONTROLLER: Final = {
    "fees": {"payer": "account"},
    "losses": {"payments": "stripe"},
    "requirement_collection": "stripe",
    "stripe_dashboard": {"type": "full"},
}


class _Made(msgspec.Struct, frozen=True):
    id: str


class _Link(msgspec.Struct, frozen=True):
    url: str


class _Endpoint(msgspec.Struct, frozen=True):
    id: str
    url: str
    secret: str | None = None


class _Endpoints(msgspec.Struct, frozen=True):
    data: tuple[_Endpoint, ...]


class StripePlatform:
    """Implements ConnectApi for the platform's account. Safe to use from several threads."""

    def __init__(self, secret_key: str, clock: Clock, *, base: str = API_BASE) -> None:
        """Make a client; nothing is sent yet. Arguments as those of `StripeApi`."""
        self._client = StripeClient(secret_key, clock, base)

    def create(self, email: str | None, tenant: str, key: str) -> str:
        """Make an account that is to be onboarded; returns its id. `key` makes it safe to repeat for a day.

        Raises as `StripeApi.create_checkout`.
        """
        given = {"email": email} if email else {}
        body = self._client.post(
            address("accounts"),
            key=f"keywright-connect-{key}",
            controller=_CONTROLLER,
            metadata={"tenant_id": tenant},
            **given,
        ).body
        return decoded(body, _Made).id

    def link(self, account: str, *, refresh_url: str, return_url: str) -> str:
        """A page of Stripe's for the account's owner. It opens once, within minutes. Raises as `create`."""
        answer = self._client.post(
            address("account_links"),
            account=account,
            type="account_onboarding",
            refresh_url=refresh_url,
            return_url=return_url,
        )
        return decoded(answer.body, _Link).url

    def look(self, account: str) -> AccountStanding:
        """How the account stands now. Raises Disconnected for one that may not be asked for any more."""
        answer = self._client.get(address("accounts", account))
        seen = decoded(answer.body, shapes.Account)
        needs = seen.requirements or shapes.Requirements()
        return AccountStanding(
            account=seen.id,
            charges=bool(seen.charges_enabled),
            payouts=bool(seen.payouts_enabled),
            submitted=bool(seen.details_submitted),
            due=needs.currently_due,
            disabled_reason=needs.disabled_reason,
            seen_at=answer.answered_at,
        )

    def take_part(self, account: str, basis_points: int) -> None:
        """Nothing: at Stripe the fee goes with each sale."""

    def register(self, url: str) -> ConnectEndpoint:
        """Make the endpoint that hears of every connected account. The secret is told here and never again.

        One that is at this address already is made anew: its secret cannot be asked for.
        """
        known = decoded(self._client.get(address("webhook_endpoints"), limit=100).body, _Endpoints)
        made = decoded(
            self._client.post(
                address("webhook_endpoints"),
                url=url,
                api_version=API_VERSION,
                connect="true",
                enabled_events=list(EVENTS),
                description="Licenses of connected accounts",
                metadata={"made_by": "keywright"},
            ).body,
            _Endpoint,
        )
        if not made.secret:
            raise Invalid("Stripe made a webhook endpoint and told no secret for it")
        for old in known.data:
            if old.url == url:
                self._client.delete(address("webhook_endpoints", old.id))
        return ConnectEndpoint(made.id, made.url, made.secret)
