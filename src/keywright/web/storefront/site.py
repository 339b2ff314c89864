"""Everything people and scripts meet without signing in, as one list of routers."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router
from litestar.exceptions import HTTPException

from keywright.domain.errors import KeywrightError
from keywright.web.api import public
from keywright.web.portal import files, licenses, seats, sign_in, you
from keywright.web.portal.gate import Gate
from keywright.web.storefront import brand, button, claimed, design, mails, order, pay, result, shop
from keywright.web.storefront.pages import Pages, Web, asset_routes
from keywright.web.till import Till


def routes(pages: Pages, till: Till, gate: Gate) -> list[Router]:
    """The public API and the pages of one tenant."""
    handlers = [*shop.routes(pages, till), *order.routes(pages, till), *pay.routes(pages)]
    handlers += [*result.routes(pages, till), *claimed.routes(pages, till), *button.routes(pages, till)]
    handlers += brand.routes(pages)
    for part in (sign_in, licenses, seats, files, you):
        handlers += part.routes(pages, gate)
    return [*public.routes(till), _site(pages, handlers)]


def shared_routes(pages: Pages) -> list[Router]:
    """What every tenant's pages lean on and is there once: stylesheet and scripts; and, in sandbox mode, the
    components to look at and the mails of all."""
    policy, handlers = pages.context.policy, asset_routes()
    if policy.sandbox:
        handlers += design.routes(pages)
    if policy.sandbox and policy.outbox is not None:
        handlers += mails.routes(pages, policy.outbox)
    return [_site(pages, handlers)]


def _site(pages: Pages, handlers: list[Any]) -> Router:

    # A function, not the bound method: routers are copied with all that hangs on them.
    def refused(request: Web, error: Exception) -> Response[str]:
        return pages.refused(request, error)

    kinds: tuple[type[Exception], ...] = (KeywrightError, HTTPException, Exception)
    return Router("/", route_handlers=handlers, exception_handlers=dict.fromkeys(kinds, refused))
