"""Health, readiness and metrics."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from keywright import __version__
from keywright.domain.errors import NotFound, Unauthorized, Unavailable
from keywright.flows.context import Context
from keywright.flows.gather import Gatherer
from keywright.web.watch import Watch


class Pulse:
    """Asks the database whether it is there. In a thread of its own: where it hangs, nothing else does."""

    def __init__(self, context: Context) -> None:
        self._database = context.database
        self.looks: Gatherer[None, bool] = Gatherer(
            "pulse",
            self._look,
            traffic=context.traffic,
            limit=1024,
            backlog=1024,
            patience=context.policy.answer_within,
        )

    def _look(self, several: Sequence[None]) -> Sequence[bool]:
        return [self._database.is_alive()] * len(several)

    async def is_there(self) -> bool:
        """Whether it is, within the time that anybody waits for an answer here."""
        try:
            return await self.looks.ask(None)
        except Unavailable:
            return False


def routes(
    context: Context,
    watch: Watch,
    pulse: Pulse,
    engine_alive: Callable[[], bool],
    metrics_token: str | None,
    *,
    own_engine: bool = True,
) -> list[HTTPRouteHandler]:
    async def state(*, all_of_it: bool) -> tuple[dict[str, str], int]:
        database, workflows = await pulse.is_there(), engine_alive()
        shown = {
            "status": "ok" if database and workflows else "degraded",
            "database": "ok" if database else "dead",
            "workflows": "ok" if workflows else "dead",
            "version": __version__,
        }
        return shown, 200 if database and (workflows or not all_of_it) else 503

    # Two handlers: one with two paths is wrapped twice by the framework, and never awaited.
    @get("/health")
    async def health() -> Response[dict[str, str]]:
        shown, status = await state(all_of_it=True)
        return Response(shown, status_code=status)

    @get("/health/ready")
    async def ready() -> Response[dict[str, str]]:
        # Whoever sends requests here must not stop because the workers of another machine are away: what
        # they would do waits for them.
        shown, status = await state(all_of_it=own_engine)
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
