"""`/api/license/*`: what the sold software calls."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec
from litestar import asgi

from keywright.domain.errors import Invalid, Unavailable
from keywright.domain.verdict import is_valid, refusal_of_activation
from keywright.flows import activating, licensing
from keywright.flows.context import Context
from keywright.flows.gather import Gatherer
from keywright.flows.licensing import Ask, Asked, Bookkeeping, Verdict
from keywright.web import wire
from keywright.web.limits import AddressLimit, Limit
from keywright.web.straight import STRAIGHT
from keywright.web.watch import Watch

if TYPE_CHECKING:
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import Receive, Scope

T = TypeVar("T")

_LARGEST_BODY = 16 * 1024
_decode = msgspec.json.Decoder(Ask).decode


class Desk:
    """Answers the sold software. One per process."""

    def __init__(self, context: Context, watch: Watch) -> None:
        self.context = context
        self.books = Bookkeeping()
        self.reads: Gatherer[Asked, Verdict] = Gatherer(
            "validate",
            lambda several: licensing.validate_many(context, self.books, several),
            traffic=context.traffic,
            limit=256,
            backlog=4096,
            patience=context.policy.answer_within,
        )
        self.admissions: Gatherer[Asked, Verdict] = Gatherer(
            "activate",
            lambda several: activating.activate_many(context, several),
            traffic=context.traffic,
            limit=64,
            backlog=1024,
            patience=context.policy.answer_within,
            manner="urgent",
        )
        self.seats: Gatherer[tuple[Asked, Verdict], Verdict] = Gatherer(
            "seats",
            lambda several: activating.keep_many(context, several),
            traffic=context.traffic,
            limit=64,
            backlog=1024,
            patience=context.policy.answer_within,
        )
        self.only: str | None = None
        self._watch = watch
        self._per_key = Limit(context.policy.per_key_a_minute)
        self._failures = AddressLimit(context.policy.failures_a_minute)
        # Writers pass one gate on SQLite; a few threads are enough to keep it busy.
        self._writers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="licensing")

    def of(self, context: Context) -> Self:
        """The desk beneath a tenant's address: it knows his keys alone, and no other is a key there."""
        other = copy.copy(self)
        other.context, other.only = context, context.tenant.id
        return other

    def acts(self) -> dict[str, wire.Handler]:
        """What answers each path that the sold software calls most."""
        return {
            "/api/license/validate": self.validate,
            "/api/license/activate": self.activate,
            "/api/license/deactivate": self.deactivate,
        }

    def routes(self) -> list[ASGIRouteHandler]:
        return [
            asgi(path, copy_scope=False, opt=STRAIGHT)(wire.posted(act)) for path, act in self.acts().items()
        ]

    async def validate(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        asked, address = await self.asked(scope, receive, fingerprint_needed=False)
        verdict = await self._look_up(asked)
        if verdict.lease is None and licensing.wants_writer(asked, verdict):
            verdict = await self.seats.ask((asked, verdict))
        self.count("validate", verdict, address)
        return 200, wire.encode(verdict)

    async def _look_up(self, asked: Asked) -> Verdict:
        if self.context.database.is_sqlite or asked.key_hash is None:
            # A read on SQLite is a few dozen microseconds: less than handing it to a thread and back. And a
            # key that cannot exist is not looked for at all.
            return licensing.validate(self.context, self.books, asked)
        return await self.reads.ask(asked)

    async def before_writing(self, call: str, asked: Asked, address: str) -> None:
        """Whoever guesses keys must not keep the writers busy: past the limit a key is looked up first."""
        if self._failures.is_reached(address):
            verdict = await self._look_up(asked)
            if verdict.code == "NOT_FOUND":
                self.count(call, verdict, address)

    async def activate(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        asked, address = await self.asked(scope, receive, fingerprint_needed=True)
        await self.before_writing("activate", asked, address)
        verdict = await self.admissions.ask(asked)
        self.count("activate", verdict, address)
        status = 200 if is_valid(verdict.code) else refusal_of_activation(verdict.code)
        return status, wire.encode(verdict)

    async def deactivate(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        asked, address = await self.asked(scope, receive, fingerprint_needed=True)
        await self.before_writing("deactivate", asked, address)
        verdict, refusal = await self.write(licensing.deactivate, self.context, asked)
        self.count("deactivate", verdict, address)
        status = {None: 200, "MOVES_EXHAUSTED": 409}.get(refusal, 404)
        return status, wire.encode(verdict)

    async def write(self, act: Callable[..., T], *arguments: Any) -> T:
        """Run what writes in a thread of its own. Raises Unavailable when it takes too long."""
        writing = asyncio.get_running_loop().run_in_executor(self._writers, act, *arguments)
        try:
            async with asyncio.timeout(self.context.policy.answer_within):
                return await writing
        except TimeoutError:
            raise Unavailable("No answer came in time. Please try again.", retry_after=5) from None

    async def asked(
        self,
        scope: Scope,
        receive: Receive,
        *,
        fingerprint_needed: bool,
        decode: Callable[[bytes], Ask] = _decode,
    ) -> tuple[Asked, str]:
        """The question, counted for its key, and the address it came from."""
        address = wire.address_of(scope)
        body = await wire.body_of(scope, receive, _LARGEST_BODY)
        try:
            ask = decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Invalid("The body must be a JSON object with `key` and what the call needs.") from None
        asked = licensing.check(self.context, ask, fingerprint_needed=fingerprint_needed)
        if asked.also:
            loop = asyncio.get_running_loop()
            asked = await loop.run_in_executor(None, licensing.settle, self.context, asked)
        if self.only is not None:
            asked = await self.confined(asked)
        if asked.key_hash is not None:
            self._per_key.count(asked.key_hash)
        return asked, address

    async def confined(self, asked: Asked) -> Asked:
        """The question, if the key may be answered for here; else as it would be for a key that is none."""
        if self.only is None:
            return asked
        return await asyncio.to_thread(licensing.only_of, self.context, asked)

    def count(self, call: str, verdict: Verdict, address: str) -> None:
        """Count an answer. Raises TooMany for one key too many that is not found."""
        self._watch.verdict(call, verdict.code)
        if verdict.code == "NOT_FOUND":
            # Only now, after the look-up: behind a proxy or a firm's router many share an address, and one
            # program with a wrong key must not turn off the programs that hold a right one.
            self._failures.count(address)

    def failed(self, address: str) -> None:
        """Count a look-up that found nothing. Raises TooMany when it is one too many."""
        self._failures.count(address)

    def close(self) -> None:
        self._writers.shutdown(wait=True)
        self.books.write(self.context)
