"""Everything people and scripts meet without signing in, as one list of routers."""

from __future__ import annotations

from litestar import Response, Router
from litestar.exceptions import HTTPException

from keywright.domain.errors import KeywrightError
from keywright.flows.context import Context
from keywright.web.api import public
from keywright.web.portal import files, licenses, seats, sign_in, you
from keywright.web.portal.gate import Gate
from keywright.web.storefront import button, claimed, design, mails, order, pay, result, shop
from keywright.web.storefront.pages import Pages, Web, asset_routes
from keywright.web.till import Till


def routes(context: Context) -> list[Router]:
    """The public API, the pages, and their stylesheet and script."""
    till, pages = Till(context), Pages(context)
    gate = Gate(context)
    handlers = [*shop.routes(pages, till), *order.routes(pages, till), *pay.routes(pages), *asset_routes()]
    handlers += [*result.routes(pages, till), *claimed.routes(pages, till), *button.routes(pages, till)]
    if context.policy.sandbox:
        handlers += design.routes(pages)
    for part in (sign_in, licenses, seats, files, you):
        handlers += part.routes(pages, gate)
    if context.policy.sandbox and context.policy.outbox is not None:
        handlers += mails.routes(pages, context.policy.outbox)

    # A function, not the bound method: routers are copied with all that hangs on them.
    def refused(request: Web, error: Exception) -> Response[str]:
        return pages.refused(request, error)

    kinds: tuple[type[Exception], ...] = (KeywrightError, HTTPException, Exception)
    site = Router("/", route_handlers=handlers, exception_handlers=dict.fromkeys(kinds, refused))
    return [*public.routes(context, till), site]
