"""Answers the one question a license mail has for Stripe: `GET /v1/customers/{id}`, whose e-mail is this?

    python -m benchmarks.lookup --port 8002

A `customer.subscription.created` carries no address, so a server that mails a key for it must ask. In a bench
it asks here and not on the internet. Every customer exists; the address is made of the id.
"""

import argparse
import asyncio

import msgspec
import uvloop


class _Lookup(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for request in requests:
            self._transport.write(_answer(request.split(b" ", 2)[1].decode()))  # type: ignore[attr-defined] # uvloop's transport is no asyncio.WriteTransport


def _answer(target: str) -> bytes:
    path = target.partition("?")[0]
    if path == "/health/ready":
        return _http(200, {"status": "ok"})
    if not path.startswith("/v1/customers/"):
        return _http(404, {"error": {"type": "invalid_request_error", "message": f"nothing at {path}"}})
    customer_id = path.removeprefix("/v1/customers/")
    email = f"{customer_id}@example.com"
    customer = {"id": customer_id, "object": "customer", "email": email, "livemode": False, "metadata": {}}
    return _http(200, customer)


def _http(status: int, content: object) -> bytes:
    body = msgspec.json.encode(content)
    head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Lookup, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lookup")
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
