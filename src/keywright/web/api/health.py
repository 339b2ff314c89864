"""Health, readiness and metrics."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from keywright import __version__
from keywright.domain.errors import NotFound, Unauthorized
from keywright.flows.context import Context
from keywright.web.watch import Watch


def routes(
    context: Context, watch: Watch, engine_alive: Callable[[], bool], metrics_token: str | None
) -> list[HTTPRouteHandler]:
    def state() -> tuple[dict[str, str], int]:
        database, workflows = context.database.is_alive(), engine_alive()
        shown = {
            "status": "ok" if database and workflows else "degraded",
            "database": "ok" if database else "dead",
            "workflows": "ok" if workflows else "dead",
            "version": __version__,
        }
        return shown, 200 if database and workflows else 503

    # Two handlers: one with two paths is wrapped twice by the framework, and never awaited.
    @get("/health", sync_to_thread=True)
    def health() -> Response[dict[str, str]]:
        shown, status = state()
        return Response(shown, status_code=status)

    @get("/health/ready", sync_to_thread=True)
    def ready() -> Response[dict[str, str]]:
        shown, status = state()
        return Response(shown, status_code=status)

    @get("/health/live", sync_to_thread=False)
    def live() -> dict[str, str]:
        return {"status": "ok"}

    @get("/metrics", sync_to_thread=True, media_type="text/plain")
    def metrics(request: Request[None, None, State]) -> Response[bytes]:
        if metrics_token is None:
            raise NotFound("Metrics are off: set METRICS_TOKEN.")
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), metrics_token.encode()):
            raise Unauthorized("A bearer token is needed here.")
        return Response(watch.render(context), media_type="text/plain; version=0.0.4")

    return [health, ready, live, metrics]
