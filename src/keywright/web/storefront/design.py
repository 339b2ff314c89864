"""Every component of the stylesheet on one page, to look at. Only in sandbox mode."""

from __future__ import annotations

from typing import Any

from litestar import Response, get

from keywright.web.storefront.pages import Pages


def routes(pages: Pages) -> list[Any]:
    """`/demo/design`."""

    @get("/demo/design", include_in_schema=False)
    async def design() -> Response[str]:
        return pages.render("design.html")

    return [design]
