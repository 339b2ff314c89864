"""Whether a form comes from a page of ours."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from litestar import Request

from keywright.flows.return_urls import origin_of

_FOREIGN = ("cross-site", "same-site")


def is_ours(base_url: str, request: Request[Any, Any, Any]) -> bool:
    """By the Origin that browsers send with every form, and by what they say about the site, where they do.

    The origin is APP_BASE_URL's, or that of the Host the browser used: a proxy in front may write a name
    of its own there, and on a test machine APP_BASE_URL need not be the address in use.
    """
    if request.headers.get("sec-fetch-site", "") in _FOREIGN:
        return False
    origin = origin_of(request.headers.get("origin", ""))
    host = request.headers.get("host", "")
    return origin is not None and (
        origin == origin_of(base_url) or urlsplit(origin).netloc == _netloc(origin, host)
    )


def _netloc(origin: str, host: str) -> str | None:
    """The Host in the spelling of an origin: without the scheme's own port."""
    seen = origin_of(f"{urlsplit(origin).scheme}://{host}")
    return urlsplit(seen).netloc if seen is not None else None
