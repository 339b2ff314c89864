"""The straight way to the routes that are asked thousands of times a second.

For a bare ASGI route the framework still walks its routing tree and wraps what is sent; beside a validation
that is a tenth of the whole (measured). Such a route is found by its path alone, before the framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Litestar
from litestar.routes import ASGIRoute

from keywright.domain.errors import KeywrightError
from keywright.store import wall
from keywright.web import errors, wire
from keywright.web.headers import Headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keywright.web.tenant_sites import TenantSites

STRAIGHT = {"straight": True}
"""The `opt` of a bare route that answers at once, whole, and needs nothing of the framework."""


class Application(Litestar):
    """The framework's application, which steps aside for routes marked STRAIGHT and other tenants' sites.

    Everything it answers carries the headers of `web/headers.py`, straight or not.
    """

    def __init__(
        self, *arguments: Any, base_url: str, sites: TenantSites | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.sites = sites
        self._headers = Headers(base_url)
        straight: dict[str, Callable[..., Awaitable[None]]] = {
            route.path: route.route_handler.fn
            for route in self.routes
            if isinstance(route, ASGIRoute) and route.route_handler.opt.get("straight")
        }
        self._straight = {path: found for path, found in straight.items() if not path.endswith("}")}
        # Those whose last part is a name, by what comes before it.
        self._below = {
            path.rpartition("/")[0]: found for path, found in straight.items() if path.endswith("}")
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or the application's life."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        # Nothing of the request before, which may have been another tenant's.
        held = wall.begin_request()
        try:
            await self._serve(scope, receive, send)
        finally:
            wall.end_request(held)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        send = self._headers.through(send)
        try:
            path = scope["path"]
            handler = self._straight.get(path) or self._below.get(path.rpartition("/")[0])
            if handler is not None:
                await handler(scope, receive, send)
                return
            site = await self.sites.find(scope["path"]) if self.sites is not None else None
        except KeywrightError as error:
            await wire.refuse(send, error)
            return
        except Exception as error:  # noqa: BLE001  # a bug leaves as a problem document, here as elsewhere
            await wire.refuse(send, errors.hidden(scope["path"], error))
            return
        # A site is an application like this one, and sees to its own errors.
        await (super().__call__ if site is None else site)(scope, receive, send)
