"""The application: routes, the two gatherers, the workflow engine, and how they start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from keywright import __version__
from keywright.domain.errors import KeywrightError
from keywright.flows import activating, alarms
from keywright.flows.context import Context
from keywright.flows.gather import Gatherer
from keywright.flows.intake import Intake
from keywright.flows.keeping_up import keep_up
from keywright.web import errors, hooks, stopping
from keywright.web.api import (
    admin,
    connect,
    firms,
    health,
    imports,
    license_file,
    provisioning,
    reconcile,
    signing_keys,
    tenants,
    webhooks,
    well_known,
)
from keywright.web.api.licensing import Desk
from keywright.web.api.stream import StreamDesk
from keywright.web.console import site as console
from keywright.web.portal.gate import Gate
from keywright.web.storefront import site
from keywright.web.storefront.pages import Pages
from keywright.web.straight import Application
from keywright.web.tenant_sites import Counters, TenantSites
from keywright.web.till import Till
from keywright.web.watch import Watch

log = structlog.get_logger(__name__)

_BOOKKEEPING_SECONDS = 2.0
_LOG_SECONDS = 0.5

# The document alone: the pages that come with the framework load their scripts from a CDN. Only the typed
# routes are in it, by their own word. Its path is the document's: beneath it the framework answers what it
# does not know with a page of its own.
_OPENAPI = OpenAPIConfig(
    title="Keywright",
    version=__version__,
    path="/api/openapi.json",
    render_plugins=[JsonRenderPlugin(path="/")],
)

_HANDLERS: dict[Any, Callable[..., Any]] = {
    KeywrightError: errors.refused,
    Exception: errors.failed,
}


class WorkflowEngine(Protocol):
    def launch(self) -> None: ...
    def is_alive(self) -> bool: ...
    def stop(self) -> None: ...


def create_app(
    context: Context,
    engine: WorkflowEngine,
    *,
    metrics_token: str | None = None,
    own_engine: bool = True,
    started: Callable[[], None] | None = None,
) -> Litestar:
    """The server for this context. The engine is launched with it and stopped with it.

    With `own_engine` false others do the work, and their absence makes this server no less ready.
    `started` is called once all of it runs.
    """
    watch = Watch()
    intake = Intake(context)
    desk = Desk(context, watch)
    streams = StreamDesk(context, desk, watch)
    counters, pages = Counters(Till(context), Gate(context), desk, streams), Pages(context)
    pulse = health.Pulse(context)
    lines: list[Gatherer[Any, Any]] = [intake.gatherer, desk.reads, desk.admissions, desk.seats, pulse.looks]
    running = _Running(context, engine, watch, desk, streams, lines, started)
    return Application(
        [
            *hooks.routes(intake, watch),
            *desk.routes(),
            *streams.routes(),
            *health.routes(context, watch, pulse, engine.is_alive, metrics_token, own_engine=own_engine),
            *_for_programs(context),
            *license_file.routes(desk),
            *firms.routes(desk),
            *well_known.routes(context),
            *site.routes(pages, counters.till, counters.gate),
            *site.shared_routes(pages),
            *console.routes(context),
        ],
        lifespan=[running.life],
        exception_handlers={**_HANDLERS, HTTPException: errors.lost(pages.refused)},
        logging_config=None,
        openapi_config=_OPENAPI,
        include_in_schema=False,
        request_max_body_size=1 << 20,
        base_url=context.policy.base_url,
        sites=TenantSites(context, counters, _HANDLERS),
    )


def _for_programs(context: Context) -> list[HTTPRouteHandler]:
    """`/api/admin/*`: what tokens open."""
    parts = (admin, reconcile, imports, signing_keys, tenants, connect, provisioning, webhooks)
    return [route for part in parts for route in part.routes(context)]


@dataclass(frozen=True, slots=True)
class _Running:
    """What is started with the application, and stopped with it."""

    context: Context
    engine: WorkflowEngine
    watch: Watch
    desk: Desk
    streams: StreamDesk
    lines: list[Gatherer[Any, Any]]
    started: Callable[[], None] | None

    @asynccontextmanager
    async def life(self, _app: Litestar) -> AsyncIterator[None]:
        loop, streams = asyncio.get_running_loop(), self.streams.streams
        for one in self.lines:
            one.start(loop)
        streams.start(loop)
        await loop.run_in_executor(None, self.engine.launch)
        if self.started is not None:
            self.started()
        try:
            # What waits for the streams to end before it stops waits for ever: they are told first.
            with _kept(self.context, self.desk, self.watch), stopping.when_asked_to_stop(streams.end_all):
                yield
        finally:
            streams.end_all()
            await loop.run_in_executor(None, streams.stop)
            for one in self.lines:
                await loop.run_in_executor(None, one.stop)
            await loop.run_in_executor(None, self.desk.close)
            await loop.run_in_executor(None, self.engine.stop)


@contextmanager
def _kept(context: Context, desk: Desk, watch: Watch) -> Iterator[None]:
    """What goes on beside the requests, until the server stops."""
    keepers = [asyncio.create_task(_keep_books(context, desk, watch))]
    if context.database.is_sqlite:
        keepers.append(asyncio.create_task(_keep_log_short(context)))
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()


async def _keep_books(context: Context, desk: Desk, watch: Watch) -> None:
    """Take up what others changed, write what the validations gathered, report bursts of bad signatures."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_BOOKKEEPING_SECONDS)
        try:
            await loop.run_in_executor(None, keep_up, context)
            await loop.run_in_executor(None, desk.books.write, context)
            await loop.run_in_executor(None, activating.release_lapsed, context)
            if watch.burst_due():
                await loop.run_in_executor(None, _report_burst, context)
        except Exception as error:  # noqa: BLE001  # a database that is away for a moment must not end the keeper
            log.warning("bookkeeping_failed", error=type(error).__qualname__)


async def _keep_log_short(context: Context) -> None:
    """Empty SQLite's log before a writer has to: often, so that there is little each time."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_LOG_SECONDS)
        try:
            await loop.run_in_executor(None, context.database.checkpoint)
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("checkpoint_failed", error=type(error).__qualname__)


def _report_burst(context: Context) -> None:
    with context.database.write() as connection:
        alarms.raise_alarm(context, connection, "bad_signatures", context.new_id("bad"), {})
