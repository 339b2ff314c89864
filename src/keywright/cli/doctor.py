"""`doctor`: what is well, what is not, and what to do about it. Never shows a secret."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer

from keywright.cli.backup import last_backup
from keywright.cli.key import signed_set_line
from keywright.cli.session import AsJson, missing_file, print_json
from keywright.domain.errors import KeywrightError, Misconfigured
from keywright.flows.provider_checks import (
    Asked,
    Line,
    check_provider,
    not_set_up,
    quiet_probes,
    webhook_url,
)

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.settings import Settings
    from keywright.store.engine import Database

_SECONDS = 5.0
_BACKUP_AGE = timedelta(days=2)


def doctor(json: AsJson = False) -> None:
    """Check the installation. Exits 1 when something is wrong."""
    lines = []
    for line in _lines():
        lines.append(line)
        if not json:
            print(f"{line.state:<5}  {line.check}: {line.says}", flush=True)
    if json:
        print_json(lines)
    if wrong := [line.check for line in lines if line.state == "wrong"]:
        print(f"keywright: not well: {', '.join(wrong)}", file=sys.stderr)
        raise typer.Exit(1)


def _lines() -> Iterator[Line]:
    from keywright import bootstrap

    try:
        settings = bootstrap.read_settings()
    except Misconfigured as error:
        yield Line("settings", "wrong", error.detail)
        return
    bootstrap.configure_logging(settings)
    quiet_probes()
    yield from _of_settings(settings)
    if (missing := missing_file(settings)) is not None:
        yield _key_backup(settings, in_use=False)
        yield Line("database", "wrong", f"there is no {missing} yet. Run: keywright migrate")
        yield from _unprepared(settings)
        return
    try:
        database = bootstrap.open_database(settings)
    except Misconfigured as error:
        yield Line("database", "wrong", error.detail)
        return
    try:
        yield from _of_database(settings, database)
    finally:
        database.dispose()


def _of_settings(settings: Settings) -> Iterator[Line]:
    mode = "sandbox, with a clock that is turned by hand" if settings.is_sandbox else "live"
    yield Line("mode", "note" if settings.is_sandbox else "ok", mode)
    yield _base_url(settings)
    if settings.base_url.startswith("https://") and not settings.trusted_proxies:
        yield Line("proxy", "note", "APP_BASE_URL is https, so a proxy stands in front, and all clients "
                   "share its address: set TRUSTED_PROXIES to it.")  # fmt: skip
    yield _mail(settings)
    if settings.alert_email is None:
        yield Line("alerts", "note", "nobody is told of trouble: set ALERT_EMAIL.")


def _base_url(settings: Settings) -> Line:
    import httpx

    url = settings.base_url
    try:
        answer = httpx.get(f"{url}/health/live", timeout=_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Line("base URL", "note", f"no server answers at {url} ({type(error).__name__}): start it, "
                    "or set APP_BASE_URL to where customers reach it.")  # fmt: skip
    if answer.status_code != 200:
        return Line("base URL", "wrong", f"{url} answers {answer.status_code}: something else is there.")
    if url.startswith("http://"):
        return Line("base URL", "note", f"{url} answers; providers and customers need https.")
    return Line("base URL", "ok", f"{url} answers")


def _mail(settings: Settings) -> Line:
    from keywright.delivery.smtp_url import read_smtp_url

    if settings.smtp_url is None:
        folder = settings.data_dir / "outbox"
        return Line("mail", "note", f"no mail is sent: it goes to {folder}. Set SMTP_URL.")
    try:
        server = read_smtp_url(settings.smtp_url.get_secret_value())
        with socket.create_connection((server.host, server.port), timeout=_SECONDS):
            pass
    except Misconfigured as error:
        return Line("mail", "wrong", error.detail)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return Line("mail", "wrong", f"the mail server does not answer ({reason}): see SMTP_URL.")
    if settings.mail_from.endswith("@localhost"):
        return Line("mail", "wrong", "mails would come from localhost: set MAIL_FROM.")
    return Line("mail", "ok", f"{server.host}:{server.port} answers")


def _key_backup(settings: Settings, *, in_use: bool) -> Line:
    """`in_use`: the database holds what some master key has sealed; a new one would open none of it."""
    if settings.keywright_master_key_command:
        return Line("master key", "ok", "from KEYWRIGHT_MASTER_KEY_COMMAND")
    if settings.keywright_master_key is not None:
        return Line(
            "master key", "ok", "from KEYWRIGHT_MASTER_KEY; keep a copy of it apart from the database."
        )
    path = settings.data_dir / "master.key"
    if not path.exists() and in_use:
        return Line("master key", "wrong", f"{path} is missing, and it opens this database: put it back, or "
                    "set KEYWRIGHT_MASTER_KEY. No other key opens it.")  # fmt: skip
    if not path.exists():
        return Line("master key", "note", f"{path} will be made at the first start.")
    if path.stat().st_mode & 0o077:
        return Line("master key", "wrong", f"others can read it: chmod 600 {path}")
    return Line("master key", "note", f"keep a copy of {path} apart from the database: without it no key "
                "can be read again.")  # fmt: skip


def _backup(settings: Settings) -> Line:
    """What `keywright backup` made. What other programs have saved is not known here: so never `wrong`."""
    made = last_backup(settings)
    if made is None:
        return Line("backup", "note", "none was made from here. Run, every night: keywright backup FILE")
    old = datetime.now(UTC) - made
    if old > _BACKUP_AGE:
        return Line("backup", "note", f"the last one is {old.days} days old. Run: keywright backup FILE")
    return Line("backup", "ok", f"the last one is of {made:%Y-%m-%d %H:%M:%SZ}")


def _of_database(settings: Settings, database: Database) -> Iterator[Line]:
    from keywright import adapters, bootstrap
    from keywright.store import migrate

    if not database.is_alive():
        yield Line("database", "wrong", "it does not answer: see DATABASE_URL, and whether its server runs.")
        return
    yield Line("database", "ok", _version(database))
    yield _key_backup(settings, in_use=_is_sealed(database))
    yield _backup(settings)
    if not migrate.is_current(database):
        yield Line("schema", "wrong", "not that of this release. Run: keywright migrate")
        yield from _unprepared(settings)
        return
    yield Line("schema", "ok", "that of this release")
    try:
        context = bootstrap.build(settings, database)
    except KeywrightError as error:
        yield Line("vault", "wrong", f"{error.detail}. See KEYWRIGHT_MASTER_KEY.".replace("..", "."))
        return
    yield _vault(context)
    if not database.is_sqlite:
        yield _at_work(database)
        yield _second_wall(database)
    yield _clock(context, settings)
    if not context.channels:
        yield from (not_set_up(context, provider, "note") for provider in adapters.CREDENTIAL_KINDS)
    for provider in context.channels:
        yield from check_provider(Asked(context, provider, strict=False))
    if (line := _firms(context)) is not None:
        yield line
    for check in (signed_set_line, _catalog, _inbox, _owed):
        yield check(context)


def _at_work(database: Database) -> Line:
    """Who sends the mails and webhooks. Nobody is right as long as no server runs, so it is a note."""
    from keywright.store import executors

    with database.read() as connection:
        found = executors.alive(connection)
    if not found:
        return Line("workers", "note", "no process does background work. Run: keywright serve, or worker")
    machines = ", ".join(sorted(set(found)))
    return Line("workers", "ok", f"{len(found)} processes do background work, on {machines}")


def _second_wall(database: Database) -> Line:
    """Whether the database keeps the tenants apart, too. Without it every query still names its tenant."""
    from keywright.store import wall

    with database.read() as connection:
        bare = wall.missing(connection)
        if bare is None:
            first, second = wall.statements(connection)
            says = f"it is not there. Somebody who may make roles can have it made: {first}; {second};"
            return Line("second wall", "note", f"{says} then run: keywright migrate")
    if bare:
        return Line("second wall", "note", f"{len(bare)} tables are outside it. Run: keywright migrate")
    return Line("second wall", "ok", "the database keeps the tenants apart")


def _vault(context: Context) -> Line:
    from keywright.flows import master_key

    uses = master_key.show(context)
    if any(one.until is not None and (one.wraps or one.retired_at is None) for one in uses):
        return Line(
            "vault", "wrong", "a change of the master key was not finished. Run: keywright key rotate-master"
        )
    return Line("vault", "ok", f"the master key opens it: {uses[0].id}")


def _unprepared(settings: Settings) -> Iterator[Line]:
    """What can be said without a prepared database, where the vault may hold credentials, too."""
    from keywright import adapters

    for provider in adapters.CREDENTIAL_KINDS:
        keys, secrets = adapters.is_given(settings, provider)
        if keys:
            yield Line(provider, "note", "its key is tried once the database is prepared.")
        if keys or secrets:
            says = f"point {provider.capitalize()} at {webhook_url(settings.base_url, provider)}"
            yield Line(f"{provider} webhook", "ok", says)
    yield Line("catalog", "note", "read once the database is prepared.")


def _is_sealed(database: Database) -> bool:
    """Whether the database was prepared: its keys were sealed then."""
    import sqlalchemy as sa

    from keywright.store import keys

    try:
        with database.read() as connection:
            return keys.any_data_key(connection)
    except sa.exc.DatabaseError:  # no such table yet
        return False


def _version(database: Database) -> str:
    with database.read() as connection:
        if database.is_sqlite:
            # Older ones than are safe are refused when the database is opened.
            return f"SQLite {connection.exec_driver_sql('SELECT sqlite_version()').scalar()}"
        return f"PostgreSQL {connection.exec_driver_sql('SHOW server_version').scalar()}"


def _clock(context: Context, settings: Settings) -> Line:
    from keywright.store.rows import certain

    if settings.is_sandbox:
        return Line("clock", "note", f"stands at {context.clock.now():%Y-%m-%d %H:%M:%SZ}")
    with context.database.read() as connection:
        if context.database.is_sqlite:
            newest = connection.exec_driver_sql("SELECT max(received_at) FROM inbox").scalar()
        else:
            newest = connection.exec_driver_sql(
                "SELECT CAST(extract(epoch FROM now()) * 1000000 AS bigint)"
            ).scalar()
    if newest is not None:
        ahead = certain(newest) - datetime.now(UTC)
        if ahead > timedelta(seconds=60) or (
            not context.database.is_sqlite and -ahead > timedelta(seconds=60)
        ):
            return Line(
                "clock", "wrong", "it differs from the database by over a minute: run a time service."
            )
    return Line("clock", "ok", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}")


def _firms(context: Context) -> Line | None:
    """Whether HMAC keys can be made. None: nobody needs them."""
    from keywright.store import catalog

    with context.database.read() as connection:
        offers = catalog.list_offers(connection, context.tenant.id)
    bound = any(offer.plan.terms.profile == "hmac" for offer in offers)
    if context.firm_secrets is not None:
        # It is in no copy of the database, and every installation hangs on it.
        return Line("firms", "ok", "LICENSE_SECRET is set. Keep a copy of it apart from the database.")
    if bound:
        return Line("firms", "wrong", "a plan has profile hmac, and LICENSE_SECRET is not set.")
    return None


def _catalog(context: Context) -> Line:
    from keywright.flows import catalog

    found = catalog.load(context)
    if found is None:
        return Line("catalog", "note", "nothing is on sale. Run: keywright catalog apply FILE")
    return Line("catalog", "ok", f"{sum(len(p.plans) for p in found.products)} plans on sale")


def _inbox(context: Context) -> Line:
    from keywright.store import inbox

    with context.database.read() as connection:
        counts = inbox.counts(connection)
    if dead := counts.get("dead", 0):
        return Line("events", "wrong", f"{dead} were given up. See: keywright event list --status dead")
    if waiting := counts.get("parked", 0) + counts.get("failed", 0):
        return Line("events", "note", f"{waiting} wait. See: keywright event list --status parked")
    return Line("events", "ok", f"{sum(counts.values())} kept, none waits")


def _owed(context: Context) -> Line:
    from keywright.store import announcements

    with context.database.read() as connection:
        counts = announcements.counts(connection)
    if failed := counts.get("failed", 0):
        return Line("mails", "wrong", f"{failed} could not be delivered; their timelines say why.")
    if waiting := counts.get("waiting", 0):
        return Line("mails", "note", f"{waiting} wait for an address.")
    return Line("mails", "ok", f"{counts.get('pending', 0)} on their way")
