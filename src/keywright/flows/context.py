"""What every flow is handed: the database, the clock, and the ports."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from keywright.connect_ports import ConnectApi
from keywright.flows.credentials import Credentials, Kinds
from keywright.flows.gather import Traffic
from keywright.flows.license_keys import Schemes
from keywright.flows.shops import Shop, Shops
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
    connect: ConnectApi | None = None  # set: other tenants may sell through this account
    connect_secrets: Callable[[], tuple[str, ...]] = tuple  # what their events are checked with
    whose: Callable[[bytes], str | None] | None = None  # set: events of connected accounts come here, too
    sells: bool = True  # False: nothing new is sold here, and what was sold goes on

    @property
    def is_open(self) -> bool:
        """Whether something can be bought through it."""
        return self.api is not None and self.sells


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

    base_url: str  # of the installation; a tenant's pages are at `Context.base_url`
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
    """`tenant`: whose shop, pages and accounts this context serves; `channels`, `doors` and the origins and
    publishable keys of `policy` are that tenant's. `master`: who keeps this installation, for what is the
    installation's own: alarms, the engine, operators. `of` gives the context of another tenant."""

    database: Database
    clock: Clock
    vault: Vault
    signer: Signer
    mailer: Mailer
    letters: Letters
    followups: Followups
    webhooks: WebhookSender
    master: Tenant
    tenant: Tenant
    channels: Mapping[str, Channel]  # by provider
    policy: Policy
    shops: Shops
    firm_secrets: FirmSecrets | None = None  # None: LICENSE_SECRET is not set
    new_id: Callable[[str], str] = field(default=new_id)
    traffic: Traffic = field(default_factory=Traffic)
    schemes: Schemes = field(default_factory=Schemes)  # keys that are not of our kind
    doors: Mapping[str, Door] = field(default_factory=dict)  # by provider: every one that there is
    knock: Callable[[str, Delivery], Knocked] = _nobody_answers
    shop: Shop | None = None  # of another tenant than the master: as it was when this context was made

    def of(self, tenant: str) -> Context:
        """The same for another tenant, by its id: its channels, and its address. Raises NotFound.

        Costs no statement for the tenant that is served already, nor for one that was asked for lately.
        What is kept of it (an application, say) is out of date when a later `of` has another `shop`.
        """
        if tenant == self.tenant.id and (self.shop is None or self.shop is self.shops.of(tenant)):
            return self
        shop = self.shops.of(tenant)
        policy = replace(
            self.policy,
            pay_origins=shop.pay_origins,
            publishable_keys=shop.publishable_keys,
            return_origins=shop.return_origins,
            website_origins=shop.website_origins,
        )
        return replace(
            self,
            tenant=shop.tenant,
            channels=shop.channels,
            doors=shop.doors,
            policy=policy,
            shop=None if shop.tenant.id == self.master.id else shop,
        )

    @property
    def base_url(self) -> str:
        """Where the pages of this tenant are: what links in its mails begin with."""
        root = self.policy.base_url
        return root if self.tenant.id == self.master.id else f"{root}/t/{self.tenant.slug}"

    def find_channel(self, account: str) -> Channel | None:
        """The channel of a provider account of any tenant, by the account's id."""
        for one in self.channels.values():
            if one.account.id == account:
                return one
        found = self.shops.channel(account)
        # Its own are those above, and no others.
        return None if found is None or found.account.tenant_id == self.tenant.id else found

    def issuer(self, tenant: str) -> str:
        """The `iss` claim of everything this tenant signs."""
        return f"{self.policy.base_url}/t/{tenant}"
