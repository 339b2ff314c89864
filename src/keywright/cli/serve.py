"""`serve`, `worker` and `migrate`: the processes that run for long, and the one that prepares them."""

from __future__ import annotations

import atexit
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keywright.cli import backup
from keywright.domain.errors import Misconfigured

if TYPE_CHECKING:
    from litestar import Litestar

    from keywright.settings import Settings
    from keywright.store.engine import Database
    from keywright.workflows.engine import Engine

_OPEN_FILES = 8192


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Default: $PORT, else 8000.", min=0, max=65535)] = None,
    workers: Annotated[int, typer.Option(help="Processes; more than one needs PostgreSQL.", min=1)] = 1,
) -> None:
    """Run the server. Migrates its database first."""
    import uvicorn

    from keywright import bootstrap

    settings = _settings(port)
    bootstrap.configure_logging(settings)
    database = bootstrap.open_database(settings)
    if workers > 1 and database.is_sqlite:
        raise Misconfigured("More than one worker needs PostgreSQL: set DATABASE_URL, or drop --workers.")
    with ExitStack() as stack:
        if database.file is not None:
            stack.enter_context(bootstrap.only_server(database.file))
        listeners = _listeners(host, settings.port)
        for listener in listeners:
            stack.callback(listener.close)
        bootstrap.prepare(settings, database)
        _invite_first(settings, database)
        _allow_connections()
        if workers == 1:
            app = stack.enter_context(_application(settings, database))
            server = uvicorn.Server(_config(app, settings, host))
            # After its own orderly end uvicorn raises the signal again, which would end us before we close.
            for name in (signal.SIGTERM, signal.SIGINT):
                signal.signal(name, signal.SIG_IGN)
            server.run(listeners)
            if not server.started:
                raise Misconfigured(f"The server could not listen on {host} port {settings.port}.")
        else:
            # Each process opens its own connections; none may be inherited.
            database.dispose()
            _serve_many(settings, host, port, workers, listeners)


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


def _serve_many(
    settings: Settings, host: str, port: int | None, workers: int, listeners: list[socket.socket]
) -> None:
    from uvicorn.supervisors import Multiprocess

    config = _config(partial(_in_child, port), settings, host, workers=workers, factory=True)
    Multiprocess(config, sockets=listeners).run()


def _in_child(port: int | None) -> Litestar:
    """The application of one of several worker processes; held until the process ends."""
    from keywright import bootstrap

    settings = _settings(port)
    bootstrap.configure_logging(settings)
    held = ExitStack()
    atexit.register(held.close)
    return held.enter_context(_application(settings, bootstrap.open_database(settings)))


def _settings(port: int | None) -> Settings:
    from keywright import bootstrap

    return bootstrap.read_settings() if port is None else bootstrap.read_settings(port=port)


def _config(app: Any, settings: Settings, host: str, **more: Any) -> Any:
    import uvicorn

    from keywright.web.one_write import OneWriteProtocol

    return uvicorn.Config(
        app,
        host=host,
        port=settings.port,
        loop="uvloop",
        http=OneWriteProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Addresses in headers count only when a proxy of ours wrote them.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=5,
        backlog=2048,
        **more,
    )


@contextmanager
def _application(settings: Settings, database: Database) -> Iterator[Litestar]:
    from keywright.web.app import create_app

    with _engine(settings, database) as engine:
        token = settings.metrics_token
        yield create_app(
            engine.context, engine.workflows, metrics_token=token.get_secret_value() if token else None
        )


class _Running:
    """The context of a process and its workflow engine."""

    def __init__(self, context: Any, workflows: Engine) -> None:
        self.context = context
        self.workflows = workflows


@contextmanager
def _engine(settings: Settings, database: Database) -> Iterator[_Running]:
    from keywright import bootstrap
    from keywright.flows import announce, reconcile, refetching
    from keywright.store.slots import executor_slot
    from keywright.workflows.courier import Courier
    from keywright.workflows.engine import Engine
    from keywright.workflows.sweep import Sweep

    try:
        context = bootstrap.build(settings, database)
        with executor_slot(database) as executor:
            yield _Running(
                context,
                Engine(
                    database,
                    executor=executor,
                    announce=lambda batch: announce.send_due(context, batch),
                    refetch=lambda: refetching.run_due(context),
                    reconcile=lambda wish: reconcile.run(context, wish),
                    sweep=Sweep(context),
                    courier=Courier(context, executor),
                ),
            )
    finally:
        database.dispose()


def worker() -> None:
    """Run background work alone, for a second machine. PostgreSQL only."""
    from keywright import bootstrap

    settings = bootstrap.read_settings()
    bootstrap.configure_logging(settings)
    database = bootstrap.open_database(settings)
    if database.is_sqlite:
        raise Misconfigured("`worker` needs PostgreSQL. With SQLite, `serve` does this work itself.")
    bootstrap.prepare(settings, database)
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    with _engine(settings, database) as running:
        running.workflows.launch()
        stopping.wait()
        running.workflows.stop()


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
        bootstrap.prepare(settings, database)
    finally:
        database.dispose()
    print("The database is up to date.")
