"""`serve`, `worker` and `migrate`: the processes that run for long, and the one that prepares them."""

from __future__ import annotations

import resource
import signal
import socket
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from keywright.cli import backup, running, several
from keywright.domain.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from keywright.settings import Settings
    from keywright.store.engine import Database

log = structlog.get_logger(__name__)

_OPEN_FILES = 8192


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Default: $PORT, else 8000.", min=0, max=65535)] = None,
    workers: Annotated[int, typer.Option(help="Processes; more than one needs PostgreSQL.", min=1)] = 1,
    engine: Annotated[
        bool,
        typer.Option(help="Do background work, too; without it `worker` must run elsewhere (PostgreSQL)."),
    ] = True,
) -> None:
    """Run the server. Migrates its database first."""
    from keywright import bootstrap

    settings = _settings(port)
    bootstrap.configure_logging(settings)
    database = bootstrap.open_database(settings)
    if database.is_sqlite and workers > 1:
        raise Misconfigured("More than one worker needs PostgreSQL: set DATABASE_URL, or drop --workers.")
    if database.is_sqlite and not engine:
        raise Misconfigured(
            "--no-engine needs PostgreSQL. With SQLite, `serve` does the background work itself."
        )
    with ExitStack() as stack:
        if database.file is not None:
            stack.enter_context(bootstrap.only_server(database.file))
        listeners = _listeners(host, settings.port)
        for listener in listeners:
            stack.callback(listener.close)
        _prepare(settings, database)
        _invite_first(settings, database)
        _allow_connections()
        if workers == 1:
            running.serve_here(settings, database, host, listeners, engine=engine)
        else:
            # Each process opens its own connections; none may be inherited.
            database.dispose()
            several.run_several(settings, host, workers, listeners, engine=engine)


def _prepare(settings: Settings, database: Database) -> None:
    """Make the database ready, one process after another where several start at the same moment."""
    from keywright import bootstrap
    from keywright.store import migrate

    with migrate.alone(database):
        bootstrap.prepare(settings, database)


def _invite_first(settings: Settings, database: Database) -> None:
    """Print the one-time link to the console's first account, while there is none."""
    from keywright import bootstrap
    from keywright.flows import staff

    link = staff.first_link(bootstrap.build(settings, database))
    if link is not None:
        print(
            f"Nobody works here yet. Set up the console's first account, once, within a day:\n  {link}",
            flush=True,
        )


def _allow_connections() -> None:
    """Have room for many live streams, where the system lets us: each is an open file, and many systems begin
    with 1024 of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listeners(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of `host`, bound before the rest: a taken port is told at once."""
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            made.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # As an address of its own: a name may stand for both kinds, and then each has its socket.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.set_inheritable(True)
    except OSError as error:
        for listener in made:
            listener.close()
        reason = error.strerror or type(error).__name__
        raise Misconfigured(f"The server cannot listen on {host} port {port}: {reason}.") from None
    return made


def _settings(port: int | None) -> Settings:
    from keywright import bootstrap

    return bootstrap.read_settings() if port is None else bootstrap.read_settings(port=port)


def worker(
    check: Annotated[
        bool, typer.Option("--check", help="Only tell whether this machine does background work.")
    ] = False,
) -> None:
    """Run background work alone, for a second machine. PostgreSQL only."""
    from keywright import bootstrap
    from keywright.flows import keeping_up

    settings = bootstrap.read_settings()
    bootstrap.configure_logging(settings)
    database = bootstrap.open_database(settings)
    if database.is_sqlite:
        raise Misconfigured("`worker` needs PostgreSQL. With SQLite, `serve` does this work itself.")
    if check:
        _check_worker(database)
        return
    _prepare(settings, database)
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    with running.engine_of(settings, database) as (context, workflows):
        workflows.launch()
        log.info("worker_started")
        while not stopping.wait(keeping_up.EVERY):
            try:
                keeping_up.keep_up(context)
            except Exception as error:  # noqa: BLE001  # a database that is away for a moment must not end it
                log.warning("not_kept_up", error=type(error).__qualname__)
        workflows.stop()


def _check_worker(database: Database) -> None:
    """For whoever looks after this machine's processes. Raises Unavailable when none does background work."""
    from keywright.store import executors

    with database.read() as connection:
        found = executors.alive(connection)
    database.dispose()
    here = socket.gethostname()
    if here not in found:
        raise Unavailable("No process of this machine does background work.", retry_after=15)
    print(f"{found.count(here)} here, {len(found)} in all.")


def migrate(
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="URL", help="First copy everything from this database into an empty one."
        ),
    ] = None,
) -> None:
    """Bring the database to the schema of this release."""
    from keywright import bootstrap

    if source is not None:
        backup.move(source)
        return
    settings = bootstrap.read_settings()
    bootstrap.configure_logging(settings)
    database = bootstrap.open_database(settings)
    try:
        _prepare(settings, database)
    finally:
        database.dispose()
    print("The database is up to date.")
