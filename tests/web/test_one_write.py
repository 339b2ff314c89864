"""What is written in one turn of the loop leaves as one, in order, and nothing is lost at a close."""

from __future__ import annotations

import asyncio
from typing import Any

from keywright.web.one_write import OneWriteProtocol, _Together


class Wire:
    """A transport that remembers what it was given."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> str:
        return f"extra {name}"


def test_one_turn_is_one_write_and_order_is_kept() -> None:
    async def answer() -> Wire:
        wire = Wire()
        together = _Together(wire, asyncio.get_running_loop())
        together.write(b"head")
        together.write(b" body")
        assert wire.written == []
        await asyncio.sleep(0)
        together.write(b"next")
        await asyncio.sleep(0)
        assert together.get_extra_info("peername") == "extra peername"
        return wire

    assert asyncio.run(answer()).written == [b"head body", b"next"]


def test_a_close_writes_what_is_left_and_what_comes_later_is_dropped() -> None:
    async def answer() -> Wire:
        wire = Wire()
        together = _Together(wire, asyncio.get_running_loop())
        together.write(b"last")
        together.close()
        assert (wire.written, wire.closed) == ([b"last"], True)
        together.write(b"nobody reads this")
        await asyncio.sleep(0)
        return wire

    assert asyncio.run(answer()).written == [b"last"]


def test_the_server_answers_over_it() -> None:
    """A whole answer, a streamed one and two on one connection, over a real socket."""
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await receive()
        parts = [b"a" * 70_000, b"b"] if scope["path"] == "/streamed" else [b"whole"]
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        await send(head)
        for number, part in enumerate(parts):
            more = number + 1 < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})
            await asyncio.sleep(0.01)

    async def talk() -> list[bytes]:
        config = uvicorn.Config(
            app, port=0, http=OneWriteProtocol, lifespan="off", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = []
        for path in ("/whole", "/streamed", "/whole"):
            writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            body = b""
            while size := int((await reader.readline()).strip(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            answers.append(body)
        writer.close()
        server.should_exit = True
        await serving
        return answers

    assert asyncio.run(talk()) == [b"whole", b"a" * 70_000 + b"b", b"whole"]
