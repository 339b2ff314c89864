"""Cross-origin answers: the seller's own website may call the public and the checkout routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from keywright.flows.return_urls import origin_of
from keywright.web import wire

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type, idempotency-key"),
    (b"access-control-max-age", b"600"),
)


def allow(origins: Iterable[str]) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware for a router. Its answers, refusals included, carry the headers for these origins.

    No credentials: the claim token and the idempotency key travel in headers, cookies never do.
    """
    known = {origin.encode() for origin in map(origin_of, origins) if origin is not None}

    def middleware(app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            origin = wire.header(scope, b"origin")
            allowed = origin in known

            async def tell(message: Message) -> None:
                if message["type"] == "http.response.start":
                    added: list[tuple[bytes, bytes]] = [(b"vary", b"Origin")]
                    if allowed and origin is not None:
                        added.append((b"access-control-allow-origin", origin))
                        added += _PREFLIGHT if scope.get("method") == "OPTIONS" else ()
                    message["headers"] = [*message["headers"], *added]
                await send(message)

            await app(scope, receive, tell)

        return answer

    return middleware
