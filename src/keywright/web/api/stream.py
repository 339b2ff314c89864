"""`GET /api/license/stream`: a running program learns of a change the moment it is committed.

What identifies the reader comes in headers, never in the address: addresses end up in logs.
"""

from __future__ import annotations

import asyncio
import copy
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from litestar import Request, asgi, get
from litestar.params import FromPath
from litestar.types import ASGIApp

from keywright.domain.errors import KeywrightError, Unauthorized
from keywright.flows import licensing, streams
from keywright.flows.context import Context
from keywright.flows.licensing import Ask
from keywright.flows.streams import Subject
from keywright.web import claim, wire
from keywright.web.api.licensing import Desk
from keywright.web.limits import Limit
from keywright.web.streams import Stream, Streams
from keywright.web.watch import Watch

if TYPE_CHECKING:
    from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
    from litestar.types import Receive, Scope, Send

# A firm's programs come back together after a restart, and wait between their tries.
_OPENED_A_MINUTE: Final = 4
_EVENT_ID: Final = re.compile(r"([0-9a-f]{24})\.([0-9a-f]{24})?")
_WRONG_CLAIM: Final = "This is not the claim token of a checkout."
_NOTHING: Final = "Send `Authorization: License <key>` or `Authorization: Claim <claim_token>`."


class StreamDesk:
    """Admits streams. One per process."""

    def __init__(self, context: Context, desk: Desk, watch: Watch) -> None:
        self.streams = Streams(context, desk.books)
        self.context = context
        self.desk = desk
        self._watch = watch
        self._opened = Limit(_OPENED_A_MINUTE * context.policy.per_key_a_minute)

    def of(self, context: Context, desk: Desk) -> Self:
        """The same beneath a tenant's address; the streams and their limits are those of the process."""
        other = copy.copy(self)
        other.context, other.desk = context, desk
        return other

    def routes(self) -> list[ASGIRouteHandler | HTTPRouteHandler]:
        """The stream for programs, and the same beneath the path of the claim cookie, for the page there."""
        desk = self

        @asgi("/api/license/stream", copy_scope=False)
        async def stream(scope: Scope, receive: Receive, send: Send) -> None:
            await desk.answer(scope, receive, send)

        # Not as the one above: the framework looks for the parameters of such a route in the wrong place.
        @get("/checkout/{reference:str}/stream", include_in_schema=False)
        async def of_checkout(reference: FromPath[str]) -> ASGIApp:
            async def answer(scope: Scope, receive: Receive, send: Send) -> None:
                await desk.answer(scope, receive, send, reference)

            return answer

        return [stream, of_checkout]

    async def answer(self, scope: Scope, receive: Receive, send: Send, reference: str = "") -> None:
        """Serve one stream to its end, or refuse it."""
        address = wire.address_of(scope)
        with ExitStack() as held:
            try:
                if scope.get("method") != "GET":
                    raise wire.MethodRefused("Only GET is answered here.")
                subject = await self._subject(scope, address, reference)
                name = subject.reference or (subject.asked.key_hash if subject.asked is not None else None)
                if subject.asked is not None and name is None:
                    await self._not_found(send, subject, address)
                    return
                self._opened.count(name or "")
                held.enter_context(self.streams.place(name or "", address))
                glimpse, heard = await self.streams.look(subject)
                if subject.asked is not None and glimpse.over == "key":
                    await self._not_found(send, subject, address)
                    return
            except KeywrightError as error:
                await wire.refuse(send, error)
                return
            if glimpse.verdict is not None:
                self._watch.verdict("stream", glimpse.verdict.code)
            stream = Stream(subject, send, _resumed_at(scope))
            await self.streams.run(stream, glimpse, heard, receive, self._watch.streams)

    async def _subject(self, scope: Scope, address: str, reference: str) -> Subject:
        """Whom the credentials speak for. Raises Unauthorized, TooMany, Invalid."""
        kind, _, secret = (_text(scope, b"authorization") or "").partition(" ")
        ask = Ask(
            "",
            fingerprint=_text(scope, b"keywright-fingerprint"),
            product=_text(scope, b"keywright-product"),
            nonce=_text(scope, b"keywright-nonce"),
        )
        kind, secret = kind.lower(), secret.strip()
        if kind == "license" and secret and not reference:
            ask = Ask(secret, fingerprint=ask.fingerprint, product=ask.product, nonce=ask.nonce)
            by_key = await asyncio.to_thread(streams.by_key, self.context, ask)
            asked = None if by_key.asked is None else await self.desk.confined(by_key.asked)
            return msgspec.structs.replace(by_key, asked=asked)
        if not kind:
            # A cookie counts for the checkout that the address names and no other: one that somebody planted
            # must not show his order as the reader's own.
            request: Request[Any, Any, Any] = Request(scope)
            reference = reference or str(request.query_params.get("checkout", ""))
            kind = "claim"
            secret = (claim.claim_of(self.context, request, reference) or "") if reference else ""
        if kind != "claim" or not secret:
            raise Unauthorized(_NOTHING)
        found = await asyncio.to_thread(streams.by_claim, self.context, secret, ask, reference or None)
        if found is None:
            self.desk.failed(address)
            raise Unauthorized(_WRONG_CLAIM)
        return found

    async def _not_found(self, send: Send, subject: Subject, address: str) -> None:
        """The answer of `activate` to a key that is none."""
        self._watch.verdict("stream", "NOT_FOUND")
        self.desk.failed(address)
        if subject.asked is not None:
            verdict = licensing.not_found(self.context, subject.asked)
            await wire.answer(send, 404, wire.encode(verdict))


def _text(scope: Scope, name: bytes) -> str | None:
    value = wire.header(scope, name)
    return None if value is None else value.decode("latin-1")


def _resumed_at(scope: Scope) -> str:
    """The state of the claim that the reader has been told already."""
    found = _EVENT_ID.fullmatch(_text(scope, b"last-event-id") or "")
    return found[1] if found is not None else ""
