"""The buy button for a seller's own pages, and a page of the demo that has one.

The script is fetched by other sites, so it must be let in from everywhere, and its address never changes: it
is kept for an hour, not for ever. It makes a link and nothing else.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from litestar import Response, get

from keywright.web.api.public import offers_of
from keywright.web.storefront.pages import Pages
from keywright.web.storefront.words import full_name
from keywright.web.till import Till

_SCRIPT: Final = (Path(__file__).parent.parent / "embed" / "buy.js").read_bytes()
_HEADERS: Final = {
    "cache-control": "public, max-age=3600",
    "x-content-type-options": "nosniff",
    # Pages that isolate themselves take no script without this, and `integrity` needs the other.
    "cross-origin-resource-policy": "cross-origin",
    "access-control-allow-origin": "*",
}


def routes(pages: Pages, till: Till) -> list[Any]:
    """`/buy.js`, and in sandbox mode `/demo/buy-button`."""

    @get("/buy.js", include_in_schema=False)
    async def script() -> Response[bytes]:
        return Response(_SCRIPT, media_type="text/javascript", headers=_HEADERS)

    @get("/demo/buy-button", include_in_schema=False)
    async def demo() -> Response[str]:
        offers = await asyncio.to_thread(offers_of, till.context)
        plans = [
            (f"{one.product.slug}/{one.plan.slug}", full_name(one.product.name, one.plan.name))
            for one in offers
            if one.prices
        ]
        return pages.render("buy_button.html", plans=plans, base_url=till.context.base_url)

    return [script, demo] if till.context.policy.sandbox else [script]
