"""The seller's color and logo on his pages, as three small files: the policy allows no style inside a page.

They are asked for by each page and kept for a minute, so that a new look is seen at once.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar import Response, get
from markupsafe import escape

from keywright.domain.look import COLOR, Look, Tones, tones
from keywright.flows import looks
from keywright.web.storefront.pages import Pages

_HEADERS: Final = {"cache-control": "public, max-age=60"}
# Logos are drawn for white paper.
_ON_WHITE: Final = ".brand img.logo { padding: .2rem .35rem; border-radius: 6px; background: #fff; }\n"
_RULE: Final = ":root {{ --accent: {}; --accent-deep: {}; --on-accent: {}; --tint: {}; }}\n"


def routes(pages: Pages) -> list[Any]:
    """`/brand/colors.css`, `/brand/logo` and `/brand/mark.svg`."""
    context = pages.context

    async def look() -> Look:
        return await asyncio.to_thread(looks.show, context, context.tenant.id)

    def mark(color: str) -> Response[Any]:
        body = mark_of(context.tenant.name, color)
        return Response(body, media_type="image/svg+xml", headers=_HEADERS)

    @get("/brand/colors.css", include_in_schema=False)
    async def colors() -> Response[str]:
        return Response(colors_of(await look()), media_type="text/css", headers=_HEADERS)

    @get("/brand/logo", include_in_schema=False)
    async def logo() -> Response[Any]:
        worn = await look()
        if worn.logo is None:
            return mark(worn.color)
        return Response(worn.logo.png, media_type="image/png", headers=_HEADERS)

    @get("/brand/mark.svg", include_in_schema=False)
    async def small() -> Response[Any]:
        return mark((await look()).color)

    return [colors, logo, small]


def colors_of(look: Look) -> str:
    """What the stylesheet is told of a look: nothing about the color of who chose none."""
    by_day, by_night = "", _ON_WHITE if look.logo is not None else ""
    if look.color != COLOR:
        day, night = tones(look.color)
        by_day, by_night = _rule(day), _rule(night) + by_night
    return f"{by_day}@media (prefers-color-scheme: dark) {{\n{by_night}}}\n" if by_night else ""


def _rule(of: Tones) -> str:
    return _RULE.format(of.accent, of.deep, of.on_accent, of.tint)


def mark_of(name: str, color: str) -> bytes:
    """The first letter of a seller's name on his color, for who has no logo."""
    letter = next((one for one in name if one.isalnum()), "")
    worn = tones(color)[0]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        f'<rect width="32" height="32" rx="8" fill="{worn.accent}"/>'
        f'<text x="16" y="22.5" fill="{worn.on_accent}" font-family="system-ui, sans-serif" font-size="18"'
        f' font-weight="700" text-anchor="middle">{escape(letter.upper()[:1])}</text></svg>'
    ).encode()
