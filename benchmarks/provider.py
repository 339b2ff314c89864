"""The providers' APIs as Keywright asks them: one small process that makes each answer from what was asked.

    python -m benchmarks.provider --port 8002 --bought-at 1790000000 --certificate leaf.pem

Paystack is under `/paystack`, PayPal under `/paypal`. Nothing is stored: an object's name tells all about it.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import uvicorn
from litestar import Litestar, asgi, get

from benchmarks import paypal, paystack

if TYPE_CHECKING:
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import Receive, Scope, Send


def answer(path: str, query: bytes, *, bought_at: int, certificate: bytes) -> bytes | None:
    """The body for one request by its path; None for what there is not."""
    provider, _, rest = path.lstrip("/").partition("/")
    if provider == "paystack":
        return paystack.answer(rest, dict(parse_qsl(query.decode())), bought_at)
    if rest.startswith(paypal.CERTIFICATES.lstrip("/")):
        return certificate
    return paypal.answer(f"/{rest}", bought_at)


def routes(bought_at: int, certificate: bytes) -> list["ASGIRouteHandler"]:
    """One handler for each provider, bare, so that what is measured is Keywright and not this."""
    find = partial(answer, bought_at=bought_at, certificate=certificate)

    async def tell(prefix: str, scope: "Scope", receive: "Receive", send: "Send") -> None:
        while (await receive()).get("more_body", False):
            pass
        # What is mounted sees its own part of the path, and a slash more at its end.
        path = scope["path"].rstrip("/")
        body = find(path if path.startswith(prefix) else f"{prefix}{path}", scope["query_string"])
        status, content = (404, b'{"status":false,"message":"not found"}') if body is None else (200, body)
        headers: list[tuple[bytes, bytes]] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        ]
        start: Any = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": content, "more_body": False})

    def mounted(prefix: str) -> "ASGIRouteHandler":
        @asgi(prefix, is_mount=True, copy_scope=False)
        async def stand_in(scope: "Scope", receive: "Receive", send: "Send") -> None:
            await tell(prefix, scope, receive, send)

        return stand_in

    return [mounted("/paystack"), mounted("/paypal")]


@get("/health/ready", sync_to_thread=False)
def ready() -> dict[str, str]:
    """What the harness waits for."""
    return {"status": "ok"}


def main() -> None:
    """Serves the answers until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.provider")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--bought-at", type=int, required=True, help="when every payment was made, unix seconds"
    )
    parser.add_argument(
        "--certificate", type=Path, required=True, help="what PayPal's events are signed with"
    )
    arguments = parser.parse_args()
    handlers = routes(arguments.bought_at, arguments.certificate.read_bytes())
    app = Litestar([*handlers, ready], openapi_config=None, logging_config=None)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
