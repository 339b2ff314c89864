"""The sandbox over HTTP: a Litestar application, a server to run it, a server to embed it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from litestar import Litestar, Request, Response, route
from litestar.di import Provide
from litestar.types import Message, Scope

from keywright.sandbox import control, fill_control, paypal_app, paystack_app
from keywright.sandbox.pay_page import (
    PayController,
    PortalController,
    hosted_invoice,
    index,
    page,
    stylesheet,
)
from keywright.sandbox.paypal_state import PayPalRefusal
from keywright.sandbox.paystack_state import PaystackRefusal
from keywright.sandbox.sandbox import Sandbox
from keywright.sandbox.stripe_api import MAX_BODY_BYTES, ApiRequest
from keywright.sandbox.stripe_connect_pages import AccountController, SetupController
from keywright.sandbox.stripe_control import StripeController
from keywright.sandbox.stripe_errors import StripeRefusal

DEFAULT_API_KEY = "sk_test_sandbox"
START_SECONDS = 10.0
TICK_SECONDS = 0.25


@route("/v1/{rest:path}", http_method=["GET", "POST", "DELETE"])
async def stripe_call(request: Request[Any, Any, Any], sandbox: control.Box) -> Response[bytes]:
    """Everything under /v1 is Stripe's API."""
    answer = sandbox.api.answer(
        ApiRequest(
            method=request.method,
            path=request.url.path.rstrip("/"),
            query=request.url.query or "",
            body=await request.body(),
            headers={name.lower(): value for name, value in request.headers.items()},
        )
    )
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Type"}
    return Response(answer.body, status_code=answer.status, headers=headers, media_type="application/json")


def _refused(request: Request[Any, Any, Any], refusal: StripeRefusal) -> Response[Any]:
    """A refusal outside /v1: JSON on the control interface, a page for people."""
    status, body = control.refused(request, refusal)
    if request.url.path.startswith("/_sandbox"):
        return Response(body, status_code=status)
    return page("refused.html", status=status, message=refusal.message)


async def _tick(sandbox: Sandbox) -> None:
    """What real time brings due happens without anybody asking; another process may turn the clock, too."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        sandbox.catch_up()


def create_app(sandbox: Sandbox) -> Litestar:
    """The application around a sandbox; deliveries run while it does."""

    @asynccontextmanager
    async def living(_: Litestar) -> AsyncIterator[None]:
        for sender in sandbox.dispatchers:
            await sender.start()
        ticking = asyncio.create_task(_tick(sandbox))
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            for sender in sandbox.dispatchers:
                await sender.stop()

    async def begin(request: Request[Any, Any, Any]) -> Response[Any] | None:
        refused = fill_control.refusal(sandbox, request.url.path)
        if refused is None:
            sandbox.catch_up()
        return refused

    async def date(message: Message, _: Scope) -> None:
        # The time of the sandbox, not of the machine: what is fetched is dated by it.
        if message["type"] == "http.response.start":
            told = format_datetime(sandbox.clock.now(), usegmt=True)
            message["headers"] = [*message["headers"], (b"date", told.encode())]

    return Litestar(
        logging_config=None,
        route_handlers=[
            stripe_call,
            control.ControlController,
            fill_control.FillController,
            StripeController,
            AccountController,
            SetupController,
            *paystack_app.HANDLERS,
            *paypal_app.HANDLERS,
            PayController,
            PortalController,
            hosted_invoice,
            index,
            stylesheet,
        ],
        dependencies={"sandbox": Provide(lambda: sandbox, sync_to_thread=False)},
        exception_handlers={
            StripeRefusal: _refused,
            PaystackRefusal: paystack_app.refused,
            PayPalRefusal: paypal_app.refused,
        },
        before_request=begin,
        before_send=[date],
        lifespan=[living],
        openapi_config=None,
        request_max_body_size=MAX_BODY_BYTES,
    )


def _server(app: Litestar) -> uvicorn.Server:
    # No access log: the address of a pay page is as good as a ticket to pay.
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, date_header=False
    )
    return uvicorn.Server(config)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _address(host: str, listener: socket.socket) -> str:
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared with, not bound to
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}"


def serve(
    host: str,
    port: int,
    *,
    data_dir: Path,
    webhook_url: str | None,
    webhook_secret: str,
    app_url: str | None = None,
    api_key: str = DEFAULT_API_KEY,
) -> None:
    """Run a sandbox until it is told to stop.

    `data_dir` holds the shared clock; with a `webhook_url`, Stripe's events go there, signed with
    `webhook_secret`; with an `app_url`, each provider's events go to the server's address for it. Raises
    OSError when the port is taken, ValueError for a url without a secret.
    """
    if (webhook_url or app_url) and not webhook_secret:
        raise ValueError("a webhook url needs a webhook secret")
    with _bound(host, port) as listener:
        sandbox = Sandbox(data_dir=data_dir, base_url=_address(host, listener), api_key=api_key)
        if webhook_url:
            sandbox.register_webhook(webhook_url, webhook_secret)
        if app_url:
            doors = f"{app_url.rstrip('/')}/api/webhooks"
            sandbox.register_webhook(f"{doors}/stripe", webhook_secret)
            sandbox.register_webhook(f"{doors}/stripe/connect", webhook_secret, connect=True)
            sandbox.paystack.register_webhook(f"{doors}/paystack")
            sandbox.paypal.register_webhook(f"{doors}/paypal")
        _server(create_app(sandbox)).run(sockets=[listener])


class SandboxServer:
    """A sandbox inside this process: uvicorn on a daemon thread.

    Port 0 takes a free one. `sandbox` may be looked at from other threads, and changed only over HTTP.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        webhook_url: str | None = None,
        webhook_secret: str = "",
        api_key: str = DEFAULT_API_KEY,
        seed: int | None = None,
    ) -> None:
        self._listener = _bound(host, port)
        self.url = _address(host, self._listener)
        self.api_key = api_key
        try:
            self.sandbox = Sandbox(data_dir=data_dir, base_url=self.url, api_key=api_key, seed=seed)
            self._server = _server(create_app(self.sandbox))
        except BaseException:
            self._listener.close()
            raise
        if webhook_url:
            self.sandbox.register_webhook(webhook_url, webhook_secret)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="sandbox", daemon=True
        )

    def start(self) -> None:
        """Serve; returns once requests are answered. Raises RuntimeError when that takes over 10 s."""
        self._thread.start()
        waiting = threading.Event()
        for _ in range(int(START_SECONDS / 0.01)):
            if self._server.started:
                return
            if not self._thread.is_alive():
                break
            waiting.wait(0.01)
        raise RuntimeError("the sandbox did not start")

    def stop(self) -> None:
        """Stop serving and wait until it has."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(START_SECONDS)
        self._listener.close()

    def __enter__(self) -> SandboxServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
