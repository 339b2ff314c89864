"""Builds everything from the settings. Only this module names adapters; those of providers are beside it."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import msgspec
import structlog
from dotenv import dotenv_values
from pydantic import ValidationError
from sqlalchemy import Connection

from keywright.adapters import CREDENTIAL_KINDS, Adapters, clock_of
from keywright.delivery.email import OutboxMailer, SmtpMailer
from keywright.delivery.knock import knock
from keywright.delivery.letters import Stationery
from keywright.delivery.safe_http import SafeHttp
from keywright.delivery.smtp_url import read_smtp_url
from keywright.delivery.webhook import HttpWebhooks
from keywright.domain.errors import Misconfigured
from keywright.flows.context import Channel, Context, Policy, new_id
from keywright.flows.license_keys import Schemes
from keywright.flows.shops import Shop, Shops
from keywright.ports import FirmSecrets, Mailer
from keywright.settings import Settings
from keywright.signing import key_schemes
from keywright.signing.hmac_key import DerivedSecrets
from keywright.signing.key_command import KeyCommand
from keywright.signing.keyring import Keyring
from keywright.signing.master_key import GivenKeys, KeyFile, MasterKeys, Source
from keywright.signing.rewrap import open_any
from keywright.signing.vault import VaultRefused
from keywright.store import keys, master_keys, migrate, tenants
from keywright.store.engine import Database
from keywright.store.tenants import Tenant
from keywright.workflows import engine
from keywright.workflows.engine import DBOSFollowups

_UNNAMED_SELLER = "Software store"


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
    keyring = Keyring(_master_keys(settings, database), database)
    now = clock_of(settings).now()
    seller = settings.seller_name.strip()
    with database.write() as connection:
        master = tenants.find_master(connection)
        if master is None:
            named = settings.master_billing_tenant_id or "master"
            id_ = named if named.startswith("ten_") else new_id("ten")
            slug = named if id_ != named else "master"
            master = Tenant(id_, slug, seller or _UNNAMED_SELLER, is_master=True)
            tenants.insert(connection, master, now)
            keyring.create(connection, master.id, now)
        elif seller not in ("", master.name):
            master = tenants.rename(connection, master, seller)
        keyring.complete(connection, now)
    return master


def build(settings: Settings, database: Database) -> Context:
    """The context of this process. The database must have been prepared."""
    _learn_once()
    clock = clock_of(settings)
    with database.read() as connection:
        master = tenants.find_master(connection)
    if master is None:
        raise Misconfigured("This database was never prepared. Run: keywright migrate")
    keyring = Keyring(_master_keys(settings, database), database)
    keyring.active_key(master.id, "lease+jwt")  # a wrong master key is told at once, not at the first sale
    adapters = Adapters(settings, database, keyring, clock)
    shop = _master_shop(adapters, master)
    return Context(
        # What serves requests. The others are the installation's, and ask past the second wall.
        database=database.walled,
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
        tenant=master,
        channels=shop.channels,
        policy=_policy(settings, shop),
        shops=Shops(database, adapters.shop, shop),
        schemes=_schemes(database),
        firm_secrets=_firm_secrets(settings),
        doors=shop.doors,
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


@cache  # all are imported with this module, and each application adds hundreds of its own that need it not
def _learn_once() -> None:
    learn_shapes()


def _firm_secrets(settings: Settings) -> FirmSecrets | None:
    secret = settings.license_secret
    return None if secret is None else DerivedSecrets(secret.get_secret_value().strip())


def _master_shop(adapters: Adapters, master: Tenant) -> Shop:
    """What the environment and the vault have credentials for. Raises Misconfigured where they cannot be."""
    doors = {
        provider: adapters.door(master, provider, adapters.find(master, provider))
        for provider in CREDENTIAL_KINDS
    }
    channels: dict[str, Channel] = {}
    for provider, door in doors.items():
        found = door.started_with
        if not found.keys and not found.secrets:
            continue
        with adapters.database.write() as connection:
            tenants.get_account(
                connection,
                master.id,
                provider,
                live=bool(found.live),
                new_id=new_id("pac"),
                now=adapters.clock.now(),
            )
        channel = adapters.channel(master, found)
        if channel is not None:
            channels[provider] = channel
    return adapters.furnished(master, doors, channels)


def _policy(settings: Settings, shop: Shop) -> Policy:
    return Policy(
        base_url=settings.base_url,
        sandbox=settings.is_sandbox,
        mail_from=settings.mail_from,
        alert_email=settings.alert_email,
        return_origins=shop.return_origins,
        website_origins=shop.website_origins,
        pay_origins=shop.pay_origins,
        publishable_keys=shop.publishable_keys,
        outbox=settings.data_dir / "outbox" if settings.smtp_url is None else None,
        mail_server=read_smtp_url(settings.smtp_url.get_secret_value()).shown if settings.smtp_url else None,
    )


def _mailer(settings: Settings) -> Mailer:
    if settings.smtp_url is None:
        return OutboxMailer(settings.data_dir / "outbox", settings.mail_from)
    return SmtpMailer(settings.smtp_url.get_secret_value(), settings.mail_from)


def _master_keys(settings: Settings, database: Database) -> MasterKeys:
    def in_use() -> bool:
        with database.read() as connection:
            return keys.any_data_key(connection)

    return MasterKeys(_key_source(settings, in_use))


def _key_source(settings: Settings, in_use: Callable[[], bool]) -> Source:
    if settings.keywright_master_key_command:
        return KeyCommand(settings.keywright_master_key_command.get_secret_value())
    if settings.keywright_master_key is not None:
        return GivenKeys(settings.keywright_master_key.get_secret_value())
    return KeyFile(settings.data_dir / "master.key", in_use)


def key_check(settings: Settings) -> Callable[[Connection], None]:
    """What tells whether the master keys at hand open every key that is brought from elsewhere.

    Makes no key: a new one would open none of them. Raises Misconfigured when there is none.
    """
    source = _key_source(settings, lambda: True)
    if isinstance(source, KeyFile) and not source.path.exists():
        raise Misconfigured(
            f"First put the master key that belongs to it at {source.path}, or set KEYWRIGHT_MASTER_KEY."
        )
    masters = MasterKeys(source)

    def check(connection: Connection) -> None:
        named: set[str] = set()
        try:
            for one in master_keys.list_wrapped(connection):
                named.add(one.master_id)
                open_any(masters, one)
        except VaultRefused:
            ids = ", ".join(sorted(named - {""} - set(masters.ids)))
            its = f" Its id is {ids}." if ids else ""
            raise Misconfigured(
                "The master key at hand is not the one that sealed this. "
                f"Put the right one in its place.{its}"
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
