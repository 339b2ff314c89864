"""Builds everything from the settings. The only module that names adapters."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import structlog
from dotenv import dotenv_values
from pydantic import ValidationError

from keywright.delivery.email import OutboxMailer, SmtpMailer
from keywright.delivery.knock import knock
from keywright.delivery.letters import Stationery
from keywright.delivery.safe_http import SafeHttp
from keywright.delivery.smtp_url import read_smtp_url
from keywright.delivery.webhook import HttpWebhooks
from keywright.domain.errors import Misconfigured
from keywright.flows.context import Channel, Context, Door, Inline, Policy, new_id
from keywright.flows.credentials import Credentials, Kinds, complete
from keywright.flows.license_keys import Schemes
from keywright.flows.provider_setup import setting_of
from keywright.ports import Clock, FirmSecrets, Mailer, ProviderSetup, Vault
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
from keywright.providers.paystack.setup import PaystackSetup
from keywright.providers.stripe.api import StripeApi
from keywright.providers.stripe.billing import StripeBilling
from keywright.providers.stripe.hook import StripeEvents
from keywright.providers.stripe.setup import StripeSetup
from keywright.sandbox.clock import FileClock
from keywright.settings import PAYPAL_LIVE_BASE, Settings, is_live_key, listed
from keywright.signing import key_schemes
from keywright.signing.hmac_key import DerivedSecrets
from keywright.signing.keyring import Keyring
from keywright.signing.vault import (
    VaultRefused,
    load_or_create_master_key,
    read_master_key,
    unwrap_data_key,
)
from keywright.store import keys, migrate, tenants
from keywright.store.engine import Database
from keywright.store.tenants import ProviderAccount, Tenant
from keywright.workflows import engine
from keywright.workflows.engine import DBOSFollowups

_UNNAMED_SELLER = "Software store"
_PAYPAL_PAGES = {True: "https://www.paypal.com", False: "https://www.sandbox.paypal.com"}


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def read_settings(**overrides: object) -> Settings:
    """The settings of this process. Raises Misconfigured with every reason; never shows a value."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # names and types are checked by the model
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, e['loc'])).upper() or 'settings'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_input=False, include_url=False)
        )
        raise Misconfigured(reasons) from None


def environment() -> Mapping[str, str]:
    """The names a catalog file may ask for: the environment, and `.env` beneath it, as for the settings."""
    read = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**read, **os.environ}


def open_database(settings: Settings) -> Database:
    """The database of this process. Raises Misconfigured for a folder or an address that cannot be one."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Misconfigured(f"DATA_DIR {settings.data_dir} cannot be used as a folder: {reason}.") from None
    return Database(settings.url)


def prepare(settings: Settings, database: Database) -> Tenant:
    """Migrate; make the master tenant with its keys if it is the first start; write a name that changed."""
    migrate.upgrade(database)
    engine.migrate(database)
    keyring = Keyring(_master_key(settings, database), database)
    now = _clock(settings).now()
    seller = settings.seller_name.strip()
    with database.write() as connection:
        master = tenants.find_master(connection)
        if master is None:
            named = settings.master_billing_tenant_id or "master"
            id_ = named if named.startswith("ten_") else new_id("ten")
            master = Tenant(id_, named if id_ != named else "master", seller or _UNNAMED_SELLER)
            tenants.insert(connection, master, now, master=True)
            keyring.create(connection, master.id, now)
        elif seller not in ("", master.name):
            master = tenants.rename(connection, master, seller)
        keyring.complete(connection, now)
    return master


def build(settings: Settings, database: Database) -> Context:
    """The context of this process. The database must have been prepared."""
    learn_shapes()
    clock = _clock(settings)
    with database.read() as connection:
        master = tenants.find_master(connection)
    if master is None:
        raise Misconfigured("This database was never prepared. Run: keywright migrate")
    keyring = Keyring(_master_key(settings, database), database)
    keyring.active_key(master.id, "lease+jwt")  # a wrong master key is told at once, not at the first sale
    doors = _doors(settings, database, keyring, master)
    channels = _channels(settings, database, master, clock, doors)
    return Context(
        database=database,
        clock=clock,
        vault=keyring,
        signer=keyring,
        mailer=_mailer(settings),
        letters=Stationery(settings.base_url),
        followups=DBOSFollowups(database),
        webhooks=HttpWebhooks(
            SafeHttp(allow_private=settings.webhook_allow_private, allow_http=settings.webhook_allow_http)
        ),
        master=master,
        channels=channels,
        policy=_policy(settings, channels),
        schemes=_schemes(database),
        firm_secrets=_firm_secrets(settings),
        doors=doors,
        knock=knock,
    )


def _schemes(database: Database) -> Schemes:
    """The key schemes of sellers. Raises Misconfigured when keys are out there that nothing here can read."""
    schemes = Schemes(key_schemes.installed())
    schemes.learn(database)
    if missing := schemes.missing():
        named = ", ".join(missing)
        raise Misconfigured(f"Keys of the scheme {named} are in use: install the package that offers it.")
    return schemes


def learn_shapes() -> None:
    """Have every shape read once, before there are threads.

    msgspec works a class out at its first use. Two threads that use it first at the same moment end the whole
    process with a segmentation fault (0.22: one finds what the other has not filled in yet): after a restart,
    when the first answers of a provider arrive side by side.
    """
    unseen: list[type[msgspec.Struct]] = [msgspec.Struct]
    while unseen:
        for shape in unseen.pop().__subclasses__():
            unseen.append(shape)
            # Values that are never read from anything may hold what cannot be.
            with suppress(TypeError, NameError, AttributeError):
                msgspec.json.Decoder(shape)


def _firm_secrets(settings: Settings) -> FirmSecrets | None:
    secret = settings.license_secret
    return None if secret is None else DerivedSecrets(secret.get_secret_value().strip())


def _policy(settings: Settings, channels: Mapping[str, Channel]) -> Policy:
    publishable = {"stripe": settings.stripe_publishable_key, "paystack": settings.paystack_public_key}
    return Policy(
        base_url=settings.base_url,
        sandbox=settings.is_sandbox,
        mail_from=settings.mail_from,
        alert_email=settings.alert_email,
        return_origins=listed(settings.allowed_return_origins),
        website_origins=listed(settings.website_origins),
        pay_origins=tuple(
            origin for channel in channels.values() for origin in _pay_origins(settings, channel.account)
        ),
        publishable_keys={provider: key for provider, key in publishable.items() if key},
        outbox=settings.data_dir / "outbox" if settings.smtp_url is None else None,
        mail_server=read_smtp_url(settings.smtp_url.get_secret_value()).shown if settings.smtp_url else None,
    )


def _pay_origins(settings: Settings, account: ProviderAccount) -> tuple[str, ...]:
    """Where a buyer may be sent to pay: to the provider's own page, and to its stand-in in sandbox mode."""
    pages = {
        "stripe": ("https://checkout.stripe.com", settings.stripe_api_base),
        "paystack": ("https://checkout.paystack.com", settings.paystack_api_base),
        "paypal": (_PAYPAL_PAGES[account.live], settings.paypal_api_base),
    }
    return pages[account.provider] if settings.is_sandbox else pages[account.provider][:1]


def _doors(settings: Settings, database: Database, vault: Vault, master: Tenant) -> dict[str, Door]:
    """The way to each provider. Raises Misconfigured as `check_mode` does."""

    def door(provider: str) -> Door:
        def typed(keys: tuple[str, ...]) -> Credentials:
            made = typed_credentials(settings, provider, keys)
            check_mode(settings, made)
            return made

        def find() -> Credentials:
            return find_credentials(settings, database, vault, master, provider)

        given = is_given(settings, provider)
        return Door(
            CREDENTIAL_KINDS[provider], given, find(), find, typed, lambda found: open_setup(settings, found)
        )

    return {provider: door(provider) for provider in CREDENTIAL_KINDS}


def _channels(
    settings: Settings, database: Database, master: Tenant, clock: Clock, doors: Mapping[str, Door]
) -> dict[str, Channel]:
    """A channel for each provider that the environment or the vault has credentials for."""
    channels: dict[str, Channel] = {}
    for provider, build_channel in _CHANNELS.items():
        found = doors[provider].started_with
        if not found.keys and not found.secrets:
            continue
        with database.write() as connection:
            account = tenants.get_account(
                connection, master.id, provider, live=bool(found.live), new_id=new_id("pac"), now=clock.now()
            )
        channels[provider] = build_channel(settings, found, account, clock)
    return channels


def find_credentials(
    settings: Settings, database: Database, vault: Vault, master: Tenant, provider: str
) -> Credentials:
    """The master tenant's credentials at a provider: the environment's, completed from the vault.

    Raises Misconfigured as `check_mode` does.
    """
    given = _GIVEN[provider](settings)
    with database.read() as connection:
        found = complete(connection, vault, master.id, given, CREDENTIAL_KINDS[provider])
    check_mode(settings, found)
    return found


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
    api = StripeApi(found.keys[0], clock, base=settings.stripe_api_base)
    billing = StripeBilling(found.keys[0], clock, base=settings.stripe_api_base)
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
        found.keys[0], _clock(settings), base=settings.paystack_api_base
    ),
    "paypal": lambda settings, found: PayPalSetup(
        (found.keys[0], found.keys[1]), _clock(settings), base=settings.paypal_api_base
    ),
}


def _paystack(settings: Settings, found: Credentials, account: ProviderAccount, clock: Clock) -> Channel:
    events = PaystackEvents(live=account.live)
    if not found.keys:
        return Channel(account, events, found.secrets)
    api = PaystackApi(found.keys[0], clock, base=settings.paystack_api_base)
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


_ChannelBuilder = Callable[[Settings, Credentials, ProviderAccount, Clock], Channel]
_CHANNELS: Final[Mapping[str, _ChannelBuilder]] = {
    "stripe": _stripe,
    "paystack": _paystack,
    "paypal": _paypal,
}


def _clock(settings: Settings) -> Clock:
    if settings.is_sandbox:
        return FileClock(settings.data_dir / "sandbox-clock.json")
    return SystemClock()


def _mailer(settings: Settings) -> Mailer:
    if settings.smtp_url is None:
        return OutboxMailer(settings.data_dir / "outbox", settings.mail_from)
    return SmtpMailer(settings.smtp_url.get_secret_value(), settings.mail_from)


def _master_key(settings: Settings, database: Database) -> bytes:
    if settings.keywright_master_key is not None:
        return read_master_key(settings.keywright_master_key.get_secret_value())
    path = settings.data_dir / "master.key"
    # Asked before the file is looked for: whoever makes the first data key has made the file by then.
    with database.read() as connection:
        in_use = keys.any_data_key(connection)
    if in_use and not path.exists():
        # A new key would open nothing of what is stored, and lie in the way of the one that does.
        raise Misconfigured(
            f"{path} is missing, and it opens this database: put it back, or set KEYWRIGHT_MASTER_KEY."
        )
    return load_or_create_master_key(path)


def key_check(settings: Settings) -> Callable[[Mapping[str, str]], None]:
    """What tells whether the master key at hand opens the data keys that are brought from elsewhere.

    Makes no key: a new one would open none of them. Raises Misconfigured when there is none.
    """
    path = settings.data_dir / "master.key"
    if settings.keywright_master_key is None and not path.exists():
        raise Misconfigured(
            f"First put the master key that belongs to it at {path}, or set KEYWRIGHT_MASTER_KEY."
        )
    given = settings.keywright_master_key
    master = read_master_key(given.get_secret_value()) if given else load_or_create_master_key(path)

    def check(wrapped: Mapping[str, str]) -> None:
        try:
            for tenant, text in wrapped.items():
                unwrap_data_key(master, text, tenant=tenant)
        except VaultRefused:
            raise Misconfigured(
                "The master key at hand is not the one that sealed this. Put the right one in its place."
            ) from None

    return check


@contextmanager
def only_server(file: Path) -> Iterator[None]:
    """Hold the SQLite file for one server: two on one file would do every piece of work twice.

    The lock lies beside the file, because two servers may share it from different data folders.
    """
    handle = os.open(file.with_name(f"{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misconfigured(f"Another server already runs on {file}.") from None
        yield
    finally:
        os.close(handle)


def configure_logging(settings: Settings) -> None:
    """Structured logs on stderr: stdout belongs to the commands."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        # A plain traceback: the rich one prints local variables, and with them whatever a request carried.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    for talkative in ("alembic", "dbos"):  # a line for each of a hundred migrations
        logging.getLogger(talkative).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if settings.log_format == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
