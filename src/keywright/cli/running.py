"""One process of the server: the application, with the workflow engine in it or without."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from keywright.cli import collector
from keywright.domain.errors import Misconfigured

if TYPE_CHECKING:
    import socket

    from litestar import Litestar

    from keywright.flows.context import Context
    from keywright.settings import Settings
    from keywright.store.engine import Database
    from keywright.workflows.engine import Engine

BACKLOG = 2048
_API_THREADS = 16
_API_THREADS_OF_ONE = 6


def serve_here(
    settings: Settings, database: Database, host: str, listeners: list[socket.socket], *, engine: bool
) -> None:
    """Answer on these sockets until SIGTERM or SIGINT. Raises Misconfigured when that cannot begin."""
    import uvicorn

    with _application(settings, database, engine=engine) as app:
        server = uvicorn.Server(_config(app, settings, host))
        # After its own orderly end uvicorn raises the signal again, which would end us before we close.
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        server.run(listeners)
        if not server.started:
            raise Misconfigured(f"The server could not listen on {host} port {settings.port}.")


@contextmanager
def engine_of(settings: Settings, database: Database) -> Iterator[tuple[Context, Engine]]:
    """The context of this process and its workflow engine, which the caller launches and stops."""
    from keywright import bootstrap
    from keywright.flows import announce, importing, provisioning, reconcile, refetching, webhook_deliveries
    from keywright.flows.context import new_id
    from keywright.workflows.courier import Courier
    from keywright.workflows.engine import ONLY, Engine
    from keywright.workflows.sweep import Sweep

    try:
        context = bootstrap.build(settings, database)
        name = ONLY if database.is_sqlite else new_id("exe")
        yield (
            context,
            Engine(
                database,
                executor=name,
                new_name=lambda: new_id("exe"),
                let_go=lambda executor: webhook_deliveries.let_go(context, executor),
                announce=lambda batch: announce.send_due(context, batch),
                refetch=lambda: refetching.run_due(context),
                reconcile=lambda wish: reconcile.run(context, wish),
                bring=lambda tenant, run: importing.work(context, tenant, run),
                provision=lambda name, work, wish: provisioning.run_step(context, name, work, wish),
                give_up=lambda work, error: provisioning.give_up(context, work, error),
                sweep=Sweep(context),
                courier=Courier(context, name),
            ),
        )
    finally:
        database.dispose()


@contextmanager
def _application(settings: Settings, database: Database, *, engine: bool) -> Iterator[Litestar]:
    from litestar.concurrency import set_asyncio_executor

    from keywright import bootstrap
    from keywright.web.app import create_app
    from keywright.web.fair import FairThreads
    from keywright.workflows.elsewhere import Elsewhere

    # Apart from the threads of buyers and sold software, which tokens' calls would otherwise hold up.
    set_asyncio_executor(FairThreads("api", threads=_API_THREADS, most_of_one=_API_THREADS_OF_ONE))
    token = settings.metrics_token
    shown = token.get_secret_value() if token else None
    if engine:
        with engine_of(settings, database) as (context, workflows):
            yield create_app(context, workflows, metrics_token=shown, started=collector.settle)
        return
    try:
        context = bootstrap.build(settings, database)
        yield create_app(
            context,
            Elsewhere(database),
            metrics_token=shown,
            own_engine=False,
            started=collector.settle,
        )
    finally:
        database.dispose()


def _config(app: Any, settings: Settings, host: str) -> Any:
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
        backlog=BACKLOG,
    )
