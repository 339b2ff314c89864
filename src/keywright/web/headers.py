"""What every answer says to a browser, whoever made it: pages, the API, files, refusals, redirects.

A route that knows better says so itself: pages carry a policy of their own, public files may be kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import Message, Send

Pair = tuple[bytes, bytes]

_ALWAYS: Final[tuple[Pair, ...]] = (
    # For what is no page: nothing in it may run, and nothing may show it in a frame.
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_OVER_HTTPS: Final[Pair] = (b"strict-transport-security", b"max-age=31536000")


class Headers:
    """Those of one server. One object for each: which they are depends on its address alone."""

    def __init__(self, base_url: str) -> None:
        self._own = (*_ALWAYS, _OVER_HTTPS) if base_url.startswith("https://") else _ALWAYS

    def beside(self, told: Iterable[Pair]) -> list[Pair]:
        """These headers, and those of ours that are not among them."""
        said = list(told)
        names = {name for name, _ in said}
        said += [one for one in self._own if one[0] not in names]
        return said

    def through(self, send: Send) -> Send:
        """`send`, with the headers added to the head of the answer."""

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self.beside(message["headers"])
            await send(message)

        return tell
