"""What speaks to the providers, for any tenant: credentials from environment and vault, channels, doors.

The environment's credentials are the master tenant's; every other tenant has its own in the vault.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import msgspec
import structlog

from keywright.connect_ports import ConnectApi
from keywright.domain.errors import KeywrightError, Misconfigured
from keywright.flows import credentials
from keywright.flows.connecting import SECRET_KIND as CONNECT_SECRET
from keywright.flows.context import Channel, Door, Inline
from keywright.flows.credentials import Credentials, Kinds, complete
from keywright.flows.provider_setup import setting_of
from keywright.flows.shops import LOOK, Shop
from keywright.ports import Clock, ProviderSetup, Vault
from keywright.providers.paypal.api import PayPalApi
from keywright.providers.paypal.billing import PayPalBilling
from keywright.providers.paypal.certificates import Certificates
from keywright.providers.paypal.client import PayPalClient
from keywright.providers.paypal.hook import SIMULATOR_WEBHOOK_ID, PayPalEvents
from keywright.providers.paypal.setup import PayPalSetup
from keywright.providers.paystack.api import INLINE_SCRIPT, PAY_PAGES, PaystackApi, access_code_of
from keywright.providers.paystack.billing import PaystackBilling
from keywright.providers.paystack.hook import PaystackEvents
from keywright.providers.paystack.http import API_BASE as PAYSTACK_API
from keywright.providers.paystack.platform import PaystackPlatform, subaccount_in
from keywright.providers.paystack.setup import PaystackSetup
from keywright.providers.stripe.api import StripeApi
from keywright.providers.stripe.billing import StripeBilling
from keywright.providers.stripe.hook import StripeEvents
from keywright.providers.stripe.platform import StripePlatform
from keywright.providers.stripe.setup import StripeSetup
from keywright.sandbox.clock import FileClock
from keywright.settings import PAYPAL_LIVE_BASE, Settings, is_live_key, listed
from keywright.store import connected, tenants
from keywright.store.engine import Database
from keywright.store.tenants import ProviderAccount, Tenant

log = structlog.get_logger(__name__)

_PAYPAL_PAGES = {True: "https://www.paypal.com", False: "https://www.sandbox.paypal.com"}


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Adapters:
    """Makes what a tenant sells and hears through, from its credentials."""

    settings: Settings
    database: Database
    vault: Vault
    clock: Clock

    def shop(self, tenant: Tenant) -> Shop:
        """What this tenant has. What of it cannot be used is left out, and told in the log."""
        doors: dict[str, Door] = {}
        channels: dict[str, Channel] = {}
        for provider in CREDENTIAL_KINDS:
            channel, found = None, _nothing_given(self.settings, provider)
            try:
                found = self.find(tenant, provider)
                channel = self.channel(tenant, found) or self.connected(tenant, provider)
            except KeywrightError as error:
                log.warning("provider_unusable", tenant=tenant.id, provider=provider, error=error.code)
            doors[provider] = self.door(tenant, provider, found)
            if channel is not None:
                channels[provider] = channel
        return self.furnished(tenant, doors, channels)

    def furnished(self, tenant: Tenant, doors: Mapping[str, Door], channels: Mapping[str, Channel]) -> Shop:
        """The shop of a tenant with these channels."""
        settings, own = self.settings, tenant.is_master
        if own:
            websites, returns = listed(settings.website_origins), listed(settings.allowed_return_origins)
        else:
            with self.database.read() as connection:
                websites, returns = tenants.origins_of(connection, tenant.id)
        publishable = {"stripe": settings.stripe_publishable_key, "paystack": settings.paystack_public_key}
        return Shop(
            tenant=tenant,
            channels=channels,
            doors=doors,
            pay_origins=tuple(
                origin for channel in channels.values() for origin in _pay_origins(settings, channel.account)
            ),
            publishable_keys={name: key for name, key in publishable.items() if key and own},
            return_origins=returns,
            website_origins=websites,
        )

    def find(self, tenant: Tenant, provider: str) -> Credentials:
        """Raises Misconfigured as `check_mode` does, and VaultRefused."""
        return find_credentials(self.settings, self.database, self.vault, tenant, provider)

    def door(self, tenant: Tenant, provider: str, found: Credentials) -> Door:
        """The way to a provider. `found`: the credentials that are there now."""
        settings = self.settings

        def typed(keys: tuple[str, ...]) -> Credentials:
            made = typed_credentials(settings, provider, keys)
            check_mode(settings, made)
            return made

        return Door(
            kinds=CREDENTIAL_KINDS[provider],
            given=is_given(settings, provider) if tenant.is_master else (False, False),
            started_with=found,
            find=lambda: self.find(tenant, provider),
            typed=typed,
            open=lambda credentials: open_setup(settings, credentials),
        )

    def channel(self, tenant: Tenant, found: Credentials) -> Channel | None:
        """The channel that these credentials open; None without any, or for an account that is not there."""
        if not found.keys and not found.secrets:
            return None
        with self.database.read() as connection:
            account = tenants.find_account(connection, tenant.id, found.provider, live=bool(found.live))
        if account is None:
            return None
        if account.connected_by is not None and not found.keys:
            return None
        # Keys of its own win over what was connected before.
        account = msgspec.structs.replace(account, connected_by=None)
        made = _CHANNELS[found.provider](self.settings, found, account, self.clock)
        if tenant.is_master:
            return self._platform(made, found)
        # The provider's script wants a publishable key, and the environment's is the master tenant's.
        return replace(made, inline=None)

    def connected(self, tenant: Tenant, provider: str) -> Channel | None:
        """The channel of an account that is connected to the master tenant's, whose keys speak for it.

        One that left is heard of no more, and nothing can be asked of it; one that may not sell at present
        goes on with what it sold.
        """
        if tenant.is_master:
            return None
        with self.database.read() as connection:
            found = connected.find(connection, tenant.id, provider)
            master = tenants.find_master(connection)
        if found is None or master is None:
            return None
        keys = self.find(master, provider)
        given = Credentials(provider, keys.live, keys.keys if keys.live == found.account.live else ())
        made = _CHANNELS[provider](self.settings, given, found.account, self.clock)
        if found.left_at is not None:
            made = replace(made, api=None, billing=None)
        return replace(made, secrets=(), inline=None, sells=found.sells)

    def _platform(self, made: Channel, found: Credentials) -> Channel:
        """The master tenant's channel, with what lets other tenants sell through its account."""
        build = _PLATFORMS.get(made.account.provider)
        if build is None or not found.keys:
            return made
        given = self.settings.stripe_connect_secrets if made.account.provider == "stripe" else found.secrets

        def secrets() -> tuple[str, ...]:
            with self.database.read() as connection:
                kept = credentials.find(connection, self.vault, made.account, CONNECT_SECRET)
            return (*given, kept) if kept else given

        remembered = Remembered(secrets)
        platform = build(self.settings, found.keys[0], self.clock)
        whose = subaccount_in if made.account.provider == "paystack" else None
        return replace(made, connect=platform, connect_secrets=remembered, whose=whose)


class Remembered:
    """What something else finds out, believed for `LOOK` seconds. Safe for threads."""

    def __init__(self, find: Callable[[], tuple[str, ...]]) -> None:
        self._find = find
        self._known: tuple[float, tuple[str, ...]] = (-LOOK, ())

    def __call__(self) -> tuple[str, ...]:
        looked, found = self._known
        now = time.monotonic()
        if not found or now - looked >= LOOK:
            found = self._find()
            self._known = (now, found)
        return found


def find_credentials(
    settings: Settings, database: Database, vault: Vault, tenant: Tenant, provider: str
) -> Credentials:
    """A tenant's credentials at a provider: the master's from the environment, completed from the vault.

    Raises Misconfigured as `check_mode` does.
    """
    given = _GIVEN[provider](settings) if tenant.is_master else _nothing_given(settings, provider)
    with database.read() as connection:
        found = complete(connection, vault, tenant.id, given, CREDENTIAL_KINDS[provider])
    check_mode(settings, found)
    return found


def _nothing_given(settings: Settings, provider: str) -> Credentials:
    """PayPal's keys do not tell the mode, its address does, and there is one of it for all tenants."""
    return Credentials(provider, _given_paypal(settings).live if provider == "paypal" else None)


def _pay_origins(settings: Settings, account: ProviderAccount) -> tuple[str, ...]:
    """Where a buyer may be sent to pay: to the provider's own page, and to its stand-in in sandbox mode."""
    pages = {
        "stripe": ("https://checkout.stripe.com", settings.stripe_api_base),
        "paystack": ("https://checkout.paystack.com", settings.paystack_api_base),
        "paypal": (_PAYPAL_PAGES[account.live], settings.paypal_api_base),
    }
    return pages[account.provider] if settings.is_sandbox else pages[account.provider][:1]


def check_mode(settings: Settings, found: Credentials) -> None:
    """Raises Misconfigured for live credentials in sandbox mode or at an http address."""
    if found.live and found.keys:
        if settings.is_sandbox:
            raise Misconfigured(f"KEYWRIGHT_MODE=sandbox refuses live keys, and {found.provider}'s are live.")
        if not settings.base_url.startswith("https://"):
            raise Misconfigured(f"{found.provider}'s key is live, so APP_BASE_URL must begin with https://.")


CREDENTIAL_KINDS: Final = {
    "stripe": Kinds(("stripe.secret_key",), "stripe.webhook_secret"),
    "paystack": Kinds(("paystack.secret_key",), "paystack.secret_key"),
    "paypal": Kinds(("paypal.client_id", "paypal.client_secret"), "paypal.webhook_id"),
}


def _given_stripe(settings: Settings) -> Credentials:
    key = settings.stripe_secret_key
    if key is None:
        return Credentials("stripe", None, (), settings.stripe_webhook_secrets)
    keys = (key.get_secret_value(),)
    return Credentials("stripe", settings.stripe_is_live, keys, settings.stripe_webhook_secrets)


def _given_paystack(settings: Settings) -> Credentials:
    keys = settings.paystack_secret_keys
    return Credentials("paystack", settings.paystack_is_live if keys else None, keys, keys)


def _given_paypal(settings: Settings) -> Credentials:
    id_, secret = settings.paypal_client_id, settings.paypal_client_secret
    keys = (id_, secret.get_secret_value()) if id_ is not None and secret is not None else ()
    # The keys do not tell the mode, the address does: so it is known without them, too.
    live = settings.paypal_api_base.rstrip("/") == PAYPAL_LIVE_BASE
    return Credentials("paypal", live, keys, settings.paypal_webhook_ids)


_GIVEN: Final[Mapping[str, Callable[[Settings], Credentials]]] = {
    "stripe": _given_stripe,
    "paystack": _given_paystack,
    "paypal": _given_paypal,
}


def _stripe(settings: Settings, found: Credentials, account: ProviderAccount, clock: Clock) -> Channel:
    if not found.keys:
        return Channel(account, StripeEvents(), found.secrets)
    key, base = found.keys[0], settings.stripe_api_base
    whose = account.external_id if account.connected_by is not None else None
    api = StripeApi(key, clock, base=base, account=whose)
    billing = StripeBilling(key, clock, base=base, account=whose)
    return Channel(account, StripeEvents(), found.secrets, api, billing)


def typed_credentials(settings: Settings, provider: str, keys: tuple[str, ...]) -> Credentials:
    """Credentials that somebody typed, with the mode they are of."""
    if provider == "paypal":
        return Credentials(provider, _given_paypal(settings).live, keys)
    return Credentials(provider, is_live_key(keys[0]), keys)


def is_given(settings: Settings, provider: str) -> tuple[bool, bool]:
    """Whether the environment gives keys, and whether it gives webhook secrets."""
    given = _GIVEN[provider](settings)
    return bool(given.keys), bool(given.secrets)


def sandbox_address(settings: Settings, provider: str) -> str | None:
    """Where the levers of our own sandbox are, when it stands in for this provider; else None."""
    base = {
        "stripe": settings.stripe_api_base,
        "paystack": settings.paystack_api_base,
        "paypal": settings.paypal_api_base,
    }[provider]
    parts = urlsplit(base)  # the path tells the stand-ins apart; the levers are beside them
    return f"http://{parts.netloc}" if settings.is_sandbox and parts.scheme == "http" else None


def open_setup(settings: Settings, found: Credentials) -> ProviderSetup:
    """What going live at a provider takes. Raises Misconfigured without a key, or for an impossible one."""
    if not found.keys:
        names = " and ".join(setting_of(kind) for kind in CREDENTIAL_KINDS[found.provider].keys)
        raise Misconfigured(f"Nothing opens {found.provider}: set {names}.")
    return _SETUPS[found.provider](settings, found)


_SETUPS: Final[Mapping[str, Callable[[Settings, Credentials], ProviderSetup]]] = {
    "stripe": lambda settings, found: StripeSetup(found.keys[0], base=settings.stripe_api_base),
    "paystack": lambda settings, found: PaystackSetup(
        found.keys[0], clock_of(settings), base=settings.paystack_api_base
    ),
    "paypal": lambda settings, found: PayPalSetup(
        (found.keys[0], found.keys[1]), clock_of(settings), base=settings.paypal_api_base
    ),
}


def _paystack(settings: Settings, found: Credentials, account: ProviderAccount, clock: Clock) -> Channel:
    events = PaystackEvents(live=account.live)
    if not found.keys:
        return Channel(account, events, found.secrets)
    whose = account.external_id if account.connected_by is not None else None
    api = PaystackApi(found.keys[0], clock, base=settings.paystack_api_base, subaccount=whose)
    # Paystack's own script opens Paystack's own checkouts: the sandbox has none of them.
    offered = settings.paystack_public_key and settings.paystack_api_base.rstrip("/") == PAYSTACK_API
    inline = Inline(INLINE_SCRIPT, PAY_PAGES, access_code_of) if offered else None
    billing = PaystackBilling(api.http)
    return Channel(account, events, found.secrets, api, billing, needs_email=True, inline=inline)


def _paypal(settings: Settings, found: Credentials, account: ProviderAccount, clock: Clock) -> Channel:
    own = settings.is_sandbox and settings.paypal_ca_file is not None
    certificates = Certificates(
        live=account.live,
        simulator=settings.is_sandbox and SIMULATOR_WEBHOOK_ID in found.secrets,
        own_base=settings.paypal_api_base if own else None,
        # Read when the first event arrives: the sandbox may be started after the server.
        roots_file=settings.paypal_ca_file if own else None,
        # The sandbox of ours makes another certificate under the same address when it starts again.
        folder=None if own else settings.data_dir / "paypal-certificates",
    )
    if not found.keys:
        events = PayPalEvents(certificates, live=account.live, webhook_ids=found.secrets)
        return Channel(account, events, found.secrets)
    client = PayPalClient(found.keys[0], found.keys[1], clock, base=settings.paypal_api_base)
    api = PayPalApi(client, clock)
    events = PayPalEvents(certificates, live=account.live, webhook_ids=found.secrets, ask=api.confirm)
    return Channel(account, events, found.secrets, api, PayPalBilling(client, live=account.live))


_PLATFORMS: Final[Mapping[str, Callable[[Settings, str, Clock], ConnectApi]]] = {
    "stripe": lambda settings, key, clock: StripePlatform(key, clock, base=settings.stripe_api_base),
    "paystack": lambda settings, key, clock: PaystackPlatform(key, clock, base=settings.paystack_api_base),
}

_ChannelBuilder = Callable[[Settings, Credentials, ProviderAccount, Clock], Channel]
_CHANNELS: Final[Mapping[str, _ChannelBuilder]] = {
    "stripe": _stripe,
    "paystack": _paystack,
    "paypal": _paypal,
}


def clock_of(settings: Settings) -> Clock:
    """The clock of this installation: in sandbox mode the one that can be turned."""
    if settings.is_sandbox:
        return FileClock(settings.data_dir / "sandbox-clock.json")
    return SystemClock()
