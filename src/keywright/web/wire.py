"""The bare wire under the hot routes: a body in, one answer out, with limits on size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import msgspec

from keywright.domain.errors import KeywrightError, Refused, TooLarge
from keywright.domain.language import preferred

if TYPE_CHECKING:
    from litestar import Request
    from litestar.types import Receive, Scope, Send

encode = msgspec.json.Encoder().encode

_SLOWEST_BODY = 10.0
_LOOK_EVERY = 1.0
_TOO_SLOW = "The body took too long to arrive."
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")
_NO_STORE = (b"cache-control", b"no-store")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")


class Timeout(Refused):
    code = "REQUEST_TIMEOUT"
    status = 408


class MethodRefused(Refused):
    code = "METHOD_NOT_ALLOWED"
    status = 405


async def body_of(scope: Scope, receive: Receive, largest: int) -> bytes:
    """The whole body. Raises TooLarge before reading past the limit, Timeout when it only drips in."""
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > largest:
        raise TooLarge("The body is too large.")
    return await _waits.guard(_read(receive, largest))


class _Waits:
    """The bodies that are being waited for, under one timer.

    A timer for each costs a busy route as much as looking at a license's MAC (measured: 4 us), and nearly
    every body is there before anybody waits for it.
    """

    def __init__(self) -> None:
        self._until: dict[asyncio.Task[Any], float] = {}
        self._given_up: set[asyncio.Task[Any]] = set()
        self._watched: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._last: asyncio.AbstractEventLoop | None = None

    async def guard(self, reading: Awaitable[bytes]) -> bytes:
        """What is read. Raises Timeout when it is not there in time, a second more or less."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is None:
            raise RuntimeError("a body is read in a task")
        self._until[task] = loop.time() + _SLOWEST_BODY
        if self._last is not loop:
            self._watch(loop)
        try:
            return await reading
        except asyncio.CancelledError:
            if task not in self._given_up:
                raise
            task.uncancel()
            raise Timeout(_TOO_SLOW) from None
        finally:
            del self._until[task]
            self._given_up.discard(task)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last = loop
        if loop not in self._watched:
            self._watched.add(loop)
            loop.call_later(_LOOK_EVERY, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, until in list(self._until.items()):
            if task.get_loop() is loop and now >= until and task not in self._given_up:
                self._given_up.add(task)
                task.cancel()
        loop.call_later(_LOOK_EVERY, self._look, loop)


_waits = _Waits()


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Around the reading of a body, where the framework reads it. Raises Timeout when it only drips in."""
    try:
        async with asyncio.timeout(_SLOWEST_BODY):
            yield
    except TimeoutError:
        raise Timeout(_TOO_SLOW) from None


async def _read(receive: Receive, largest: int) -> bytes:
    message: Any = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        if len(body) > largest:
            raise TooLarge("The body is too large.")
        message = await receive()
        body += message.get("body", b"")
    if len(body) > largest:
        raise TooLarge("The body is too large.")
    return body


def header(scope: Scope, name: bytes) -> bytes | None:
    for known, value in scope["headers"]:
        if known == name:
            return value
    return None


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name. Bytes that are not ASCII survive as Latin-1, to be refused later.

    A header that came twice is both, with a comma between (RFC 9110 section 5.3): whoever reads a signature
    must not be shown one of two and left to believe that it was the only one.
    """
    sent = list(scope["headers"])
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent}
    if len(headers) < len(sent):
        headers = {}
        for name, value in sent:
            known, more = name.decode("latin-1"), value.decode("latin-1")
            headers[known] = f"{headers[known]},{more}" if known in headers else more
    return headers


def address_of(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"


def language_of(request: Request[Any, Any, Any]) -> str | None:
    """The language of ours that the caller's browser reads, where it says so."""
    return preferred(request.headers.get("accept-language", ""))


async def answer(send: Send, status: int, body: bytes, *, kind: tuple[bytes, bytes] = _JSON) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [kind, length, _NO_STORE, _NO_SNIFF],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


def problem(error: KeywrightError) -> dict[str, Any]:
    """The RFC 9457 document of a refusal."""
    return {
        "type": f"urn:keywright:error:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }


async def refuse(send: Send, error: KeywrightError) -> None:
    body = encode(problem(error))
    headers = [_PROBLEM, (b"content-length", str(len(body)).encode()), _NO_STORE, _NO_SNIFF]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


Handler = Callable[["Scope", "Receive"], Awaitable[tuple[int, bytes]]]


async def post(scope: Scope, receive: Receive, send: Send, handler: Handler) -> None:
    """Run a handler of a POST route: its answer, or the problem document of what it raised."""
    try:
        if scope.get("method") != "POST":
            raise MethodRefused("Only POST is answered here.")
        status, body = await handler(scope, receive)
    except KeywrightError as error:
        await refuse(send, error)
    else:
        await answer(send, status, body)


def posted(handler: Handler) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The bare ASGI application that runs a handler of a POST route."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await post(scope, receive, send, handler)

    return serve
