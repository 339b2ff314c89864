"""The sites of all tenants but the master: the same pages and calls, each beneath `/t/{slug}`.

A tenant's site is an application of its own, made of the same functions around his context when somebody
first asks for it. So a page cannot reach another tenant's data by forgetting whose it is: it knows no other.
What costs something is shared with the master's site: threads, gatherers, streams, and the limits on callers.
What the sold software calls all day needs no site: none is made for it, however many tenants it calls.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from litestar import Litestar
from litestar.exceptions import HTTPException

from keywright.domain.errors import Unavailable
from keywright.flows.context import Context
from keywright.flows.shops import Shop
from keywright.web import errors, wire
from keywright.web.api import firms, license_file
from keywright.web.api.licensing import Desk
from keywright.web.api.stream import StreamDesk
from keywright.web.portal.gate import Gate
from keywright.web.rooted import BENEATH
from keywright.web.storefront import site
from keywright.web.storefront.pages import Pages
from keywright.web.till import Till

if TYPE_CHECKING:
    from litestar.types import ASGIApp

MOST: Final = 100
"""Sites kept in memory at a time. Each is a megabyte, and made in a tenth of a second (measured)."""

_PUBLIC_KEYS: Final = "/.well-known/"
"""What is found beneath a tenant's id as well, and belongs to the signing keys: not a site's."""

Handlers = dict[Any, Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Counters:
    """Where callers are served, with the threads and limits that all sites share."""

    till: Till
    gate: Gate
    desk: Desk
    streams: StreamDesk

    def of(self, context: Context) -> Counters:
        """The same for another tenant."""
        desk = self.desk.of(context)
        return Counters(self.till.of(context), self.gate.of(context), desk, self.streams.of(context, desk))


@dataclass(slots=True)
class _Site:
    """A tenant's application, and what serves it: all of it looks at its context anew with each request."""

    shop: Shop | None
    counters: Counters
    pages: Pages
    app: Litestar

    def fits(self, context: Context) -> bool:
        """Whether the application would be made the same: by name, address, and whose pages may call it."""
        before = self.pages.context
        told = (context.tenant, context.policy.website_origins)
        return told == (before.tenant, before.policy.website_origins)

    def serve(self, context: Context) -> None:
        """Go on with this context: the tenant has other credentials."""
        self.shop, self.pages.context = context.shop, context
        for one in (self.counters.till, self.counters.gate, self.counters.desk, self.counters.streams):
            one.context = context


class TenantSites:
    """The sites that were asked for lately, by their tenants. Safe for threads."""

    def __init__(self, context: Context, counters: Counters, handlers: Handlers, *, most: int = MOST) -> None:
        self._context = context
        self._counters = counters
        self._handlers = handlers
        self._most = most
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._kept: OrderedDict[str, _Site] = OrderedDict()

    async def find(self, path: str) -> ASGIApp | None:
        """The site that a path leads to; None when it is not a tenant's, or he is not there.

        Raises Unavailable.
        """
        if not path.startswith(BENEATH):
            return None
        slug, _, rest = path.removeprefix(BENEATH).partition("/")
        if not slug or f"/{rest}".startswith(_PUBLIC_KEYS):
            return None
        # In a thread: now and then the database is asked whether anything changed, and may be silent.
        try:
            async with asyncio.timeout(self._context.policy.answer_within):
                return await asyncio.to_thread(self._find, slug, f"/{rest}")
        except TimeoutError:
            raise Unavailable("The database does not answer. Please try again.", retry_after=5) from None

    def _find(self, slug: str, path: str) -> ASGIApp | None:
        shop = self._context.shops.find(slug)
        if shop is None or shop.tenant.id == self._context.master.id:
            return None
        context = self._context.of(shop.tenant.id)
        act = self._counters.desk.of(context).acts().get(path)
        return wire.posted(act) if act is not None else self._site(context)

    def _site(self, context: Context) -> ASGIApp:
        known = self._known(context)
        if known is not None:
            return known
        with self._making:  # one makes it, the others take what is there then
            known = self._known(context)
            if known is not None:
                return known
            made = self._make(context)
            with self._lock:
                self._kept[context.tenant.id] = made
                self._kept.move_to_end(context.tenant.id)
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            return made.app

    def _known(self, context: Context) -> ASGIApp | None:
        with self._lock:
            found = self._kept.get(context.tenant.id)
            if found is None or not found.fits(context):
                return None
            if found.shop is not context.shop:
                found.serve(context)
            self._kept.move_to_end(context.tenant.id)
            return found.app

    def _make(self, context: Context) -> _Site:
        """The site of a tenant. It has no life of its own: nothing is to be started or closed with it."""
        counters, pages = self._counters.of(context), Pages(context)
        app = Litestar(
            path=pages.root,
            route_handlers=[
                *site.routes(pages, counters.till, counters.gate),
                *counters.desk.routes(),
                *license_file.routes(counters.desk),
                *firms.routes(counters.desk),
                *counters.streams.routes(),
            ],
            exception_handlers={
                **self._handlers,
                HTTPException: errors.lost(pages.refused, api=f"{pages.root}/api/"),
            },
            logging_config=None,
            openapi_config=None,
            request_max_body_size=1 << 20,
        )
        return _Site(context.shop, counters, pages, app)
