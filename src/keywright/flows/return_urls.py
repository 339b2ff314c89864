"""Where a buyer may be sent after paying: only where the operator said so.

A return URL that anybody may choose is an open redirect with the payment provider's good name in front of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from keywright.domain.errors import Invalid

_LONGEST: Final = 2048
# The characters of RFC 3986 section 2, without "@" before the path: see below. No backslash, which browsers
# read as a slash, and no control characters, which the standard library silently drops.
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_PLACEHOLDER: Final = "{CHECKOUT_SESSION_ID}"  # Stripe fills it in
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def origin_of(url: str) -> str | None:
    """`scheme://host[:port]` in one spelling, or None for anything that is not plainly an http(s) URL."""
    if len(url) > _LONGEST or not _CHARACTERS.fullmatch(url.replace(_PLACEHOLDER, "")):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc or "%" in parts.netloc:
        return None
    shown = f"[{host}]" if ":" in host else host
    suffix = "" if port is None or port == _DEFAULT_PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{shown}{suffix}"


def check_return_url(name: str, url: str, allowed: Iterable[str]) -> str:
    """The URL, if its origin is one of `allowed` (URLs or origins).

    Raises:
        Invalid: `RETURN_URL_REFUSED`; `name` is the request member it speaks of.
    """
    origin = origin_of(url)
    if origin is None or origin not in {origin_of(one) for one in allowed}:
        detail = f"`{name}` does not begin with one of the ALLOWED_RETURN_ORIGINS of this server."
        raise Invalid(detail, code="RETURN_URL_REFUSED")
    return url
