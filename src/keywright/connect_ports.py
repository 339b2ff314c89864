"""What the flows need of a provider where tenants sell through the platform's account. Beside `ports.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec


class AccountStanding(msgspec.Struct, frozen=True):
    """How a connected account stands. `due`: what the provider still asks of its owner, in its own names."""

    account: str
    charges: bool
    payouts: bool
    submitted: bool
    due: tuple[str, ...]
    disabled_reason: str | None
    seen_at: datetime
    name: str = ""


class ConnectEndpoint(msgspec.Struct, frozen=True):
    """Where a provider sends the events of all connected accounts. `secret`: what they are checked with."""

    id: str
    url: str
    secret: str

    def __repr__(self) -> str:  # the secret never reaches a log
        return f"ConnectEndpoint({self.id!r}, {self.url!r})"


class ConnectApi(Protocol):
    """The platform's side, for one of its provider accounts. All raise ProviderUnavailable, Misconfigured and
    Invalid as PaymentApi; Unsupported where the provider has no such thing."""

    def create(self, email: str | None, tenant: str, key: str) -> str:
        """Make an account for a tenant, to be onboarded; returns the provider's name of it."""
        ...

    def link(self, account: str, *, refresh_url: str, return_url: str) -> str:
        """Where the account's owner hands in what the provider asks for."""
        ...

    def look(self, account: str) -> AccountStanding:
        """How it stands now. Raises Disconnected when the platform may not act for it."""
        ...

    def take_part(self, account: str, basis_points: int) -> None:
        """Tell the provider the platform's part, where it keeps that with the account."""
        ...

    def register(self, url: str) -> ConnectEndpoint:
        """Have the events of all connected accounts sent to this address."""
        ...
