"""The straight way to the routes that are asked thousands of times a second.

For a bare ASGI route the framework still walks its routing tree and wraps what is sent; beside a validation
that is a tenth of the whole (measured). Such a route is found by its path alone, before the framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Litestar
from litestar.routes import ASGIRoute

from keywright.web import errors, wire
from keywright.web.headers import Headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STRAIGHT = {"straight": True}
"""The `opt` of a bare route that answers at once, whole, and needs nothing of the framework."""


class Application(Litestar):
    """The framework's application, which steps aside for routes marked STRAIGHT.

    Everything it answers carries the headers of `web/headers.py`, straight or not.
    """

    def __init__(self, *arguments: Any, base_url: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._headers = Headers(base_url)
        self._straight: dict[str, Callable[..., Awaitable[None]]] = {
            route.path: route.route_handler.fn
            for route in self.routes
            if isinstance(route, ASGIRoute) and route.route_handler.opt.get("straight")
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or the application's life."""
        handler = None
        if scope["type"] == "http":
            handler, send = self._straight.get(scope["path"]), self._headers.through(send)
        if handler is None:
            await super().__call__(scope, receive, send)
            return
        try:
            await handler(scope, receive, send)
        except Exception as error:  # noqa: BLE001  # a bug leaves as a problem document, here as elsewhere
            await wire.refuse(send, errors.hidden(scope["path"], error))
