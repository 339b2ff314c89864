"""The application: routes, the two gatherers, the workflow engine, and how they start and stop."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import structlog
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from keywright import __version__
from keywright.domain.errors import KeywrightError
from keywright.flows import activating, alarms
from keywright.flows.context import Context
from keywright.flows.gather import Gatherer
from keywright.flows.intake import Intake
from keywright.web import errors, hooks, stopping
from keywright.web.api import (
    admin,
    firms,
    health,
    license_file,
    reconcile,
    signing_keys,
    webhooks,
    well_known,
)
from keywright.web.api.licensing import Desk
from keywright.web.api.stream import StreamDesk
from keywright.web.console import site as console
from keywright.web.storefront import site
from keywright.web.storefront.pages import Pages
from keywright.web.straight import Application
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


def create_app(context: Context, engine: WorkflowEngine, *, metrics_token: str | None = None) -> Litestar:
    """The server for this context. The engine is launched with it and stopped with it."""
    watch = Watch()
    intake = Intake(context)
    desk = Desk(context, watch)
    streams = StreamDesk(context, desk, watch)
    pulse = health.Pulse(context)
    gatherers: list[Gatherer[Any, Any]] = [
        intake.gatherer,
        desk.reads,
        desk.admissions,
        desk.seats,
        pulse.looks,
    ]

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        for one in gatherers:
            one.start(loop)
        streams.streams.start(loop)
        await loop.run_in_executor(None, engine.launch)
        _settle_interpreter()
        try:
            # What waits for the streams to end before it stops waits for ever: they are told first.
            with _kept(context, desk, watch), stopping.when_asked_to_stop(streams.streams.end_all):
                yield
        finally:
            streams.streams.end_all()
            await loop.run_in_executor(None, streams.streams.stop)
            for one in gatherers:
                await loop.run_in_executor(None, one.stop)
            await loop.run_in_executor(None, desk.close)
            await loop.run_in_executor(None, engine.stop)

    return Application(
        [
            *hooks.routes(intake, watch),
            *desk.routes(),
            *streams.routes(),
            *health.routes(context, watch, pulse, engine.is_alive, metrics_token),
            *admin.routes(context),
            *reconcile.routes(context),
            *license_file.routes(desk),
            *firms.routes(desk),
            *signing_keys.routes(context),
            *webhooks.routes(context),
            *well_known.routes(context),
            *site.routes(context),
            *console.routes(context),
        ],
        lifespan=[lifespan],
        exception_handlers={**_HANDLERS, HTTPException: errors.lost(Pages(context).refused)},
        logging_config=None,
        openapi_config=_OPENAPI,
        include_in_schema=False,
        request_max_body_size=1 << 20,
        base_url=context.policy.base_url,
    )


def _settle_interpreter() -> None:
    """Take what start-up made out of the collector's sight, let it look less often, and take turns faster.

    A request makes hundreds of small objects and no cycles. With the default thresholds the collector went
    through all modules again and again under load (measured: the slowest webhook in a hundred came back after
    160 ms, and after 90 ms without it).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # A thread that comes back from SQLite waits for its turn this long while another one computes; an
    # activation comes back ten times.
    sys.setswitchinterval(0.001)


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
    """Take up changed signing keys, write what the validations gathered, report bursts of bad signatures."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_BOOKKEEPING_SECONDS)
        try:
            await loop.run_in_executor(None, context.signer.refresh)
            await loop.run_in_executor(None, desk.books.write, context)
            await loop.run_in_executor(None, activating.release_lapsed, context)
            # Another process may have brought in keys of a kind that this one has not looked for yet.
            await loop.run_in_executor(None, context.schemes.learn, context.database)
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
