"""The open live streams of this process: who is woken by what, and what they are told.

A stream costs a connection and nothing else until something happens: it has no query, no timer and no thread
of its own. A commit wakes the streams of what it changed; those woken together are looked at together. One
task sends heartbeats and looks at the clock.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from keywright.domain.errors import TooMany, Unavailable
from keywright.flows import streams
from keywright.flows.context import Context
from keywright.flows.gather import Gatherer
from keywright.flows.licensing import Bookkeeping
from keywright.flows.streams import Glimpse, Over, Subject
from keywright.store.changes import EVERYTHING
from keywright.web import wire
from keywright.web.limits import party_of

if TYPE_CHECKING:
    from litestar.types import Receive, Send

log = structlog.get_logger(__name__)

Reason = Over | Literal["server"]

HEARTBEAT: Final = 15.0  # seconds
_TICK: Final = 1.0
_STUCK: Final = 45.0  # seconds in which a reader took nothing
_TRY_AGAIN: Final = 1.0
_LAST_WORD: Final = 1.0  # seconds for telling why a stream ends
_AT_ONCE: Final = 250
_PATIENCE: Final = 10.0  # seconds; whoever listens waits anyway, and asking again would only cost more
_HEAD: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),  # proxies must not wait for the end of it
]


class Stream:
    """One open stream. `claim_mark`, `verdict_mark`: what it was told last. `over`: why it is to end."""

    __slots__ = (
        "claim_mark",
        "due",
        "key_hash",
        "lock",
        "over",
        "refreshing",
        "renews",
        "send",
        "subject",
        "topics",
        "verdict_mark",
        "woken",
        "written_at",
    )

    def __init__(self, subject: Subject, send: Send, claim_mark: str) -> None:
        self.subject = subject
        self.send = send
        self.claim_mark = claim_mark
        self.verdict_mark = ""
        self.key_hash: str | None = None
        self.topics: frozenset[str] = frozenset()
        self.due: datetime | None = None
        self.renews = False
        self.woken = False
        self.refreshing: asyncio.Task[None] | None = None
        self.over: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
        self.lock = asyncio.Lock()
        self.written_at = time.monotonic()

    def end(self, reason: Reason) -> None:
        if not self.over.done():
            self.over.set_result(reason)

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """Send bytes, one after the other. Waits while the reader takes nothing."""
        async with self.lock:
            self.written_at = time.monotonic()
            await self.send({"type": "http.response.body", "body": body, "more_body": not last})
            self.written_at = time.monotonic()


class Streams:
    """One per process. `hear` may be called from any thread; everything else from the event loop."""

    def __init__(self, context: Context, books: Bookkeeping) -> None:
        self._context = context
        self._looks: Gatherer[Subject, Glimpse] = Gatherer(
            "streams",
            lambda several: streams.look_each(context, books, several),
            traffic=context.traffic,
            limit=_AT_ONCE,
            backlog=2 * context.policy.streams,
            patience=_PATIENCE,
        )
        self._open: set[Stream] = set()
        self._by_topic: dict[str, set[Stream]] = {}
        self._of_name: Counter[str] = Counter()
        self._of_address: Counter[str] = Counter()
        self._entered = 0
        self._heard = 0
        self._counting = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = False

    def __len__(self) -> int:
        return len(self._open)

    # -- life -------------------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._looks.start(loop)
        self._ticking = loop.create_task(self._tick())
        self._context.database.changes.listen(self.hear)

    def end_all(self) -> None:
        """Tell every stream that the server stops, and take no more: the process is waiting for them."""
        self._stopping = True
        for stream in tuple(self._open):
            stream.end("server")

    def stop(self) -> None:
        """Called from a thread beside the loop, when every stream has ended."""
        self._context.database.changes.stop()
        self._looks.stop()
        if self._loop is not None and self._ticking is not None:
            self._loop.call_soon_threadsafe(self._ticking.cancel)

    # -- a stream ---------------------------------------------------------------------------------------

    @contextmanager
    def place(self, name: str, address: str) -> Iterator[None]:
        """Hold one of the places. `name`: the key or the checkout.

        Raises Unavailable when all are taken or the server stops, TooMany when a key or address has enough.
        """
        policy, address = self._context.policy, party_of(address)
        if self._stopping:
            raise Unavailable("The server is stopping. Please try again.", retry_after=2)
        if self._entered >= policy.streams:
            raise Unavailable("Too many streams are open. Please try again.", retry_after=30)
        if (
            self._of_name[name] >= policy.streams_of_key
            or self._of_address[address] >= policy.streams_of_address
        ):
            raise TooMany("Too many streams are open from here. Please close some.", retry_after=60)
        self._entered += 1
        self._of_name[name] += 1
        self._of_address[address] += 1
        try:
            yield
        finally:
            self._entered -= 1
            for counter, held in ((self._of_name, name), (self._of_address, address)):
                counter[held] -= 1
                if not counter[held]:
                    del counter[held]

    async def look(self, subject: Subject) -> tuple[Glimpse, int]:
        """What there is to tell now, and the state of the world it was looked at in. Raises Unavailable."""
        heard = self._heard
        return await self._looks.ask(subject), heard

    async def run(
        self, stream: Stream, first: Glimpse, heard: int, receive: Receive, count: Callable[[int], None]
    ) -> None:
        """Tell a stream what there is, and whatever comes, until it ends or its reader has gone."""
        await stream.send({"type": "http.response.start", "status": 200, "headers": _HEAD})
        gone = asyncio.ensure_future(_gone(receive))
        self._open.add(stream)
        count(len(self._open))
        try:
            # Not all at the same moment after a restart.
            await stream.write(f"retry: {random.randint(1000, 5000)}\n\n".encode())  # noqa: S311  # no secret
            await self._tell(stream, first, again=True)
            if self._heard != heard:
                # Something was committed while the first look was on its way: it may have been this.
                self._wake(stream)
            await asyncio.wait((gone, stream.over), return_when=asyncio.FIRST_COMPLETED)
            if stream.over.done() and not gone.done():
                await _say_goodbye(stream)
        finally:
            gone.cancel()
            self._leave(stream)
            count(len(self._open))

    def _leave(self, stream: Stream) -> None:
        self._open.discard(stream)
        self._follow(stream, frozenset())
        stream.over.cancel()
        if stream.refreshing is not None:
            stream.refreshing.cancel()

    def _follow(self, stream: Stream, topics: frozenset[str]) -> None:
        for topic in stream.topics - topics:
            followers = self._by_topic[topic]
            followers.discard(stream)
            if not followers:
                del self._by_topic[topic]
        for topic in topics - stream.topics:
            self._by_topic.setdefault(topic, set()).add(stream)
        stream.topics = topics

    async def _tell(self, stream: Stream, seen: Glimpse, *, again: bool = False) -> None:
        """Write what is new in this; with `again` the verdict in any case."""
        if seen.over == "key" or stream.key_hash not in (None, seen.key_hash):
            stream.end("key")
            return
        stream.key_hash = seen.key_hash
        stream.due, stream.renews = seen.due, seen.renews
        self._follow(stream, seen.topics)
        body = b""
        if seen.standing is not None and seen.claim_mark != stream.claim_mark:
            kind = b"license" if seen.standing.licenses else b"pending"
            body += _event(kind, wire.encode(seen.standing), f"{seen.claim_mark}.")
        if seen.verdict is not None and (again or seen.verdict_mark != stream.verdict_mark):
            body += _event(b"verdict", wire.encode(seen.verdict), f"{seen.claim_mark}.{seen.verdict_mark}")
        stream.claim_mark, stream.verdict_mark = seen.claim_mark, seen.verdict_mark
        if body:
            await stream.write(body)
        if seen.over is not None:
            stream.end(seen.over)

    # -- waking -----------------------------------------------------------------------------------------

    def hear(self, topics: frozenset[str]) -> None:
        """Something was committed. From any thread."""
        with self._counting:
            self._heard += 1
        # Counted before it is looked whether anybody is there: `run` compares after it has become somebody.
        if self._open and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody is there any more
                self._loop.call_soon_threadsafe(self._wake_all, topics)

    def _wake_all(self, topics: frozenset[str]) -> None:
        if EVERYTHING in topics:
            for stream in self._open:
                self._wake(stream)
            return
        for topic in topics:
            for stream in self._by_topic.get(topic, ()):
                self._wake(stream)

    def _wake(self, stream: Stream) -> None:
        stream.woken = True
        if stream.refreshing is None:
            stream.refreshing = asyncio.ensure_future(self._refresh(stream))

    async def _refresh(self, stream: Stream) -> None:
        """Look, and again while it is woken meanwhile. A slow reader is told the newest, not everything."""
        try:
            while stream.woken and not stream.over.done():
                stream.woken = False
                renews = stream.renews and stream.due is not None and stream.due <= self._context.clock.now()
                try:
                    seen, _ = await self.look(stream.subject)
                except Exception as error:  # noqa: BLE001  # a database that is away comes back
                    log.warning("stream_not_refreshed", error=type(error).__qualname__)
                    stream.woken = True
                    await asyncio.sleep(_TRY_AGAIN + random.random())  # noqa: S311  # no secret
                else:
                    await self._tell(stream, seen, again=renews)
        finally:
            stream.refreshing = None

    # -- time -------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Heartbeats, readers that take nothing, and what time alone has made new."""
        while True:
            await asyncio.sleep(_TICK)
            if not self._open:
                continue
            now, clock = time.monotonic(), self._context.clock.now()
            for stream in tuple(self._open):
                if stream.due is not None and stream.due <= clock and stream.refreshing is None:
                    self._wake(stream)
                silent = now - stream.written_at
                if stream.lock.locked():
                    if silent > _STUCK:
                        stream.end("server")
                elif silent >= HEARTBEAT:
                    self._spawn(stream.write(b":\n\n"))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _gone(receive: Receive) -> None:
    """Returns when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _say_goodbye(stream: Stream) -> None:
    body = _event(b"end", wire.encode({"reason": stream.over.result()}), "")
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORD):
            await stream.write(body, last=True)


def _event(kind: bytes, data: bytes, id_: str) -> bytes:
    """One event. JSON has no line breaks of its own."""
    name = f"id: {id_}\n".encode() if id_ else b""
    return b"event: " + kind + b"\n" + name + b"data: " + data + b"\n\n"
