"""The yardstick: the stack of Keywright (uvicorn, uvloop, httptools, Litestar, msgspec) that only echoes.

    python -m benchmarks.echo --port 8001

`POST /echo` is the plainest endpoint that this framework has: a handler that gets its JSON body decoded and
answers it as JSON. `POST /bare` does the same as an ASGI application under Litestar's router, without what
the framework does for a handler. ADR 32 says which of the two a ratio is taken to.
"""

import argparse
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
from litestar import Litestar, asgi, get, post

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


@post("/echo", status_code=200)
async def echo(data: Any) -> Any:
    """Answers what it was sent."""
    return data


@asgi("/bare", copy_scope=False)
async def bare(scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG001 - the ASGI signature
    """Decodes the body and answers it, encoded again."""
    body = b""
    more = True
    while more:
        message: Any = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = _encoder.encode(_decoder.decode(body))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer, "more_body": False})


@get("/health/ready", sync_to_thread=False)
def ready() -> dict[str, str]:
    """What the harness waits for, as with the server under test."""
    return {"status": "ok"}


def main() -> None:
    """Serves the echo until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.echo")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    app = Litestar([echo, bare, ready], openapi_config=None, logging_config=None)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
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
