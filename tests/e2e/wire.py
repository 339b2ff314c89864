"""HTTP as bytes: a client that can send what no library would, and many requests at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.conftest import SECRET
from tests.life import stripe

HOOK = "/api/webhooks/stripe"
_ANSWER_LIMIT = 30.0


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of a problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        found = self.json()
        assert found["status"] == self.status
        code: str = found["code"]
        return code

    @property
    def outcome(self) -> str:
        """The outcome of a webhook, with its reason."""
        assert self.status == 200, self
        found = self.json()
        assert found["received"] is True
        return f"{found['outcome']} {found['reason']}" if "reason" in found else str(found["outcome"])


class Gone(Exception):
    """The server closed the connection before the answer was whole."""


class Line:
    """One connection, kept open. Use as `async with Line(port) as line`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Line:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def _pick_up(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer

    async def ask(
        self,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Answer:
        """One request and its answer. POST when there is a body, unless `method` says otherwise.

        Raises Gone when the server went away before the whole answer had come.
        """
        method = method or ("GET" if body is None else "POST")
        head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        raw = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + (body or b"")
        return await self.send(raw, bodiless=method == "HEAD")

    async def send(self, raw: bytes, *, bodiless: bool = False) -> Answer:
        """These bytes as they are, and the answer to them."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(_ANSWER_LIMIT):
                reader, writer = await self._pick_up()
                with suppress(ConnectionError):  # it may have answered, and closed, before it read all
                    writer.write(raw)
                    await writer.drain()
                status, headers, body = await _read(reader, bodiless=bodiless)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            await self.hang_up()
            raise Gone(type(error).__name__) from None
        if headers.get("connection") == "close":
            await self.hang_up()
        return Answer(status, headers, body, time.perf_counter() - began)


async def _read(reader: asyncio.StreamReader, *, bodiless: bool) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    headers = {}
    for one in head[1:]:
        name, _, value = one.partition(":")
        headers[name.lower()] = value.strip()
    if bodiless or status in (204, 304):
        return status, headers, b""
    if "content-length" in headers:
        return status, headers, await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") == "chunked":
        return status, headers, await _read_chunks(reader)
    return status, headers, await reader.read()


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def ask(port: int, path: str, body: bytes | None = None, **more: Any) -> Answer:
    """One request on a connection of its own."""
    async with Line(port) as line:
        return await line.ask(path, body, **more)


async def tell(line: Line, raw: bytes, *, secret: str = SECRET, path: str = HOOK) -> Answer:
    """Deliver one event as Stripe would: signed now."""
    return await line.ask(path, raw, stripe.signed(raw, secret, datetime.now(UTC)))
