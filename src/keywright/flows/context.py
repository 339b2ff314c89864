"""What every flow is handed: the database, the clock, and the ports."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from keywright.flows.credentials import Credentials, Kinds
from keywright.flows.gather import Traffic
from keywright.flows.license_keys import Schemes
from keywright.ports import (
    BillingApi,
    Clock,
    Delivery,
    FirmSecrets,
    Followups,
    Knocked,
    Letters,
    Mailer,
    PaymentApi,
    PaymentEvents,
    ProviderSetup,
    Signer,
    Vault,
    WebhookSender,
)
from keywright.store.engine import Database
from keywright.store.tenants import ProviderAccount, Tenant


def new_id(prefix: str) -> str:
    """A prefixed id that sorts by time: 48 bits of milliseconds and 72 random bits, hexadecimal."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{os.urandom(9).hex()}"


@dataclass(frozen=True, slots=True)
class Inline:
    """A provider's checkout inside our page: its script, the origin of its frame, and what opens a checkout.

    `code_of` finds that in the address of the hosted page; None when it is not in there.
    """

    script: str
    frame: str
    code_of: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Channel:
    """A provider account of a tenant with what is needed to hear it and to talk to it."""

    account: ProviderAccount
    events: PaymentEvents
    secrets: tuple[str, ...]
    api: PaymentApi | None = None
    billing: BillingApi | None = None
    needs_email: bool = False  # the provider opens no checkout without the buyer's address
    inline: Inline | None = None  # set: the buyer may pay inside the shop's own page


@dataclass(frozen=True, slots=True)
class Door:
    """The way to a provider for going live there: with the environment's credentials, completed by the vault.

    `started_with`: what this process runs with, whatever was kept since. `given`: whether the environment has
    keys, and whether it has webhook secrets. `find` and `typed` raise Misconfigured for credentials of a mode
    that cannot be here; `open` without a key, or for an impossible one.
    """

    kinds: Kinds
    given: tuple[bool, bool]
    started_with: Credentials
    find: Callable[[], Credentials]
    typed: Callable[[tuple[str, ...]], Credentials]
    open: Callable[[Credentials], ProviderSetup]


def _nobody_answers(_url: str, _delivery: Delivery) -> Knocked:
    return Knocked(None, problem="NotConnected")


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator set. Secrets are not in here."""

    base_url: str
    sandbox: bool = False
    mail_from: str = "licenses@localhost"
    alert_email: str | None = None
    return_origins: tuple[str, ...] = ()
    website_origins: tuple[str, ...] = ()  # whose pages may call the public and checkout routes
    pay_origins: tuple[str, ...] = ("https://checkout.stripe.com",)  # where a buyer may be sent to pay
    publishable_keys: Mapping[str, str] = field(default_factory=dict)  # by provider
    outbox: Path | None = None  # where mails are files, when they are
    mail_server: str | None = None  # host and port, when they are not
    claim_for: timedelta = timedelta(hours=24)
    # Stripe takes 24 hours at the most, by its own clock: an hour is left for the difference.
    checkout_for: timedelta = timedelta(hours=23)
    per_key_a_minute: int = 60
    failures_a_minute: int = 30
    streams: int = 2000  # open at a time, in one process
    streams_of_key: int = 250
    streams_of_address: int = 500
    batch: int = 64
    attempts: int = 8
    answer_within: float = 1.5  # seconds: then a provider, or a program, is told to try again


@dataclass(frozen=True, slots=True)
class Context:
    database: Database
    clock: Clock
    vault: Vault
    signer: Signer
    mailer: Mailer
    letters: Letters
    followups: Followups
    webhooks: WebhookSender
    master: Tenant
    channels: Mapping[str, Channel]  # by provider, of the master tenant
    policy: Policy
    firm_secrets: FirmSecrets | None = None  # None: LICENSE_SECRET is not set
    new_id: Callable[[str], str] = field(default=new_id)
    traffic: Traffic = field(default_factory=Traffic)
    schemes: Schemes = field(default_factory=Schemes)  # keys that are not of our kind
    doors: Mapping[str, Door] = field(default_factory=dict)  # by provider: every one that there is
    knock: Callable[[str, Delivery], Knocked] = _nobody_answers

    def find_channel(self, account: str) -> Channel | None:
        """The channel of a provider account, by the account's id."""
        return next((one for one in self.channels.values() if one.account.id == account), None)

    def issuer(self, tenant: str) -> str:
        """The `iss` claim of everything this tenant signs."""
        return f"{self.policy.base_url}/t/{tenant}"
