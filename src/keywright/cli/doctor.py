"""`doctor`: what is well, what is not, and what to do about it. Never shows a secret."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import msgspec
import typer

from keywright.cli.session import AsJson, missing_file, print_json
from keywright.domain.errors import KeywrightError, Misconfigured

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.settings import Settings
    from keywright.store.engine import Database

_SECONDS = 5.0


class Line(msgspec.Struct, frozen=True):
    """`note`: works, but know this. `wrong`: does not work; `says` tells what to do."""

    check: str
    state: Literal["ok", "note", "wrong"]
    says: str


_NO_STRIPE = Line("stripe", "note", "not set up: set STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET.")
_NO_KEY = Line("stripe", "note", "webhooks only: set STRIPE_SECRET_KEY to sell from here.")


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
    for talkative in ("httpcore", "httpx", "stripe", "urllib3"):  # the lines of our own probes
        logging.getLogger(talkative).setLevel(logging.WARNING)
    yield from _of_settings(settings)
    if (missing := missing_file(settings)) is not None:
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
    yield _key_backup(settings)


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


def _key_backup(settings: Settings) -> Line:
    if settings.keywright_master_key is not None:
        return Line(
            "master key", "ok", "from KEYWRIGHT_MASTER_KEY; keep a copy of it apart from the database."
        )
    path = settings.data_dir / "master.key"
    if not path.exists():
        return Line("master key", "note", f"{path} will be made at the first start.")
    if path.stat().st_mode & 0o077:
        return Line("master key", "wrong", f"others can read it: chmod 600 {path}")
    return Line("master key", "note", f"keep a copy of {path} apart from the database: without it no key "
                "can be read again.")  # fmt: skip


def _of_database(settings: Settings, database: Database) -> Iterator[Line]:
    from keywright import bootstrap
    from keywright.store import migrate

    if not database.is_alive():
        yield Line("database", "wrong", "it does not answer: see DATABASE_URL, and whether its server runs.")
        return
    yield Line("database", "ok", _version(database))
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
    yield Line("vault", "ok", "the master key opens it")
    checks: tuple[Callable[[Context, Settings], Line], ...] = (
        _clock,
        _stripe,
        _webhook,
        _catalog,
        _inbox,
        _owed,
    )
    for check in checks:
        yield check(context, settings)


def _unprepared(settings: Settings) -> Iterator[Line]:
    """What can be said without a prepared database."""
    if settings.stripe_secret_key is not None:
        yield Line("stripe", "note", "its key is tried once the database is prepared.")
    elif settings.stripe_webhook_secrets:
        yield _NO_KEY
    else:
        yield _NO_STRIPE
    yield _webhook_of(settings)
    yield Line("catalog", "note", "read once the database is prepared.")


def _version(database: Database) -> str:
    with database.read() as connection:
        if database.is_sqlite:
            # Older ones than are safe are refused when the database is opened.
            return f"SQLite {connection.exec_driver_sql('SELECT sqlite_version()').scalar()}"
        return f"PostgreSQL {connection.exec_driver_sql('SHOW server_version').scalar()}"


def _clock(context: Context, settings: Settings) -> Line:
    from datetime import UTC, datetime

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


def _stripe(context: Context, settings: Settings) -> Line:  # noqa: ARG001  # each check has one shape
    channel = context.channels.get("stripe")
    if channel is None:
        return _NO_STRIPE
    mode = "live" if channel.account.live else "test"
    if channel.api is None:
        return _NO_KEY
    try:
        who = channel.api.check()
    except KeywrightError as error:
        return Line("stripe", "wrong", f"{error.detail} See STRIPE_SECRET_KEY.")
    return Line("stripe", "ok", f"{mode} mode, {who}")


def _webhook(context: Context, settings: Settings) -> Line:  # noqa: ARG001  # as above
    return _webhook_of(settings)


def _webhook_of(settings: Settings) -> Line:
    if settings.stripe_secret_key is None and not settings.stripe_webhook_secrets:
        return Line("webhook", "note", "no provider is set up.")
    where = f"{settings.base_url}/api/webhooks/stripe"
    if not settings.stripe_webhook_secrets:
        return Line("webhook", "wrong", f"no webhook is believed: set STRIPE_WEBHOOK_SECRET to the secret "
                    f"that Stripe shows for {where}.")  # fmt: skip
    return Line("webhook", "ok", f"point Stripe at {where}")


def _catalog(context: Context, settings: Settings) -> Line:  # noqa: ARG001  # as above
    from keywright.flows import catalog

    found = catalog.load(context)
    if found is None:
        return Line("catalog", "note", "nothing is on sale. Run: keywright catalog apply FILE")
    return Line("catalog", "ok", f"{sum(len(p.plans) for p in found.products)} plans on sale")


def _inbox(context: Context, settings: Settings) -> Line:  # noqa: ARG001  # as above
    from keywright.store import inbox

    with context.database.read() as connection:
        counts = inbox.counts(connection)
    if dead := counts.get("dead", 0):
        return Line("events", "wrong", f"{dead} were given up. See: keywright event list --status dead")
    if waiting := counts.get("parked", 0) + counts.get("failed", 0):
        return Line("events", "note", f"{waiting} wait. See: keywright event list --status parked")
    return Line("events", "ok", f"{sum(counts.values())} kept, none waits")


def _owed(context: Context, settings: Settings) -> Line:  # noqa: ARG001  # as above
    from keywright.store import announcements

    with context.database.read() as connection:
        counts = announcements.counts(connection)
    if failed := counts.get("failed", 0):
        return Line("mails", "wrong", f"{failed} could not be delivered; their timelines say why.")
    if waiting := counts.get("waiting", 0):
        return Line("mails", "note", f"{waiting} wait for an address.")
    return Line("mails", "ok", f"{counts.get('pending', 0)} on their way")
