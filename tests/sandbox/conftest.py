"""A sandbox on a free port, the real SDK in front of it, and a receiver for its webhooks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from stripe import StripeClient, WebhookSignature

from keywright.sandbox.app import SandboxServer

SECRET = "whsec_test_receiver"


class Backlogged(ThreadingHTTPServer):
    """Takes many connections at once: a full backlog costs a second each."""

    request_queue_size = 128


class Receiver:
    """Takes webhooks, checks each signature with the official code, and answers as it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                header = self.headers["Stripe-Signature"]
                WebhookSignature.verify_header(body.decode(), header, SECRET, None)
                status = receiver.answers.pop(0) if receiver.answers else 200
                if status == 200:
                    receiver.events.append(json.loads(body))
                receiver.headers.append(header)
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args: Any) -> None:
                """Say nothing: the test asserts on what was received."""

        self._server = Backlogged(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(data_dir=tmp_path, seed=7) as running:
        yield running


@pytest.fixture
def stripe(server: SandboxServer) -> StripeClient:
    return StripeClient(server.api_key, base_addresses={"api": server.url}, max_network_retries=0)


@pytest.fixture
def http(server: SandboxServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        yield client


Control = Callable[..., Any]


@pytest.fixture
def control(http: httpx.Client) -> Control:
    """`control("stripe/pay", session=…)`: pull a lever and get its answer."""

    def pull(lever: str, **wish: Any) -> Any:
        answer = http.post(f"/_sandbox/{lever}", json=wish)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return pull


@pytest.fixture
def settled(http: httpx.Client) -> Callable[[], list[dict[str, Any]]]:
    """Wait until nothing is on its way to the receiver; gives the deliveries."""

    def wait() -> list[dict[str, Any]]:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            answer = http.get("/_sandbox/deliveries").json()
            if answer["idle"]:
                return list(answer["deliveries"])
            time.sleep(0.02)
        raise AssertionError("deliveries did not settle")

    return wait


@pytest.fixture
def monthly(stripe: StripeClient) -> str:
    """A price of 50.00 USD a month."""
    price = stripe.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 5000,
            "recurring": {"interval": "month"},
            "product_data": {"name": "DashCaddy Pro"},
        }
    )
    return price.id


@pytest.fixture
def one_off(stripe: StripeClient) -> str:
    """A price of 99.00 USD, once."""
    price = stripe.v1.prices.create(
        {"currency": "usd", "unit_amount": 9900, "product_data": {"name": "DashCaddy for ever"}}
    )
    return price.id


@pytest.fixture
def buy(stripe: StripeClient, control: Control) -> Callable[..., Any]:
    """Make a session for a price and pay it; gives what the pay lever answered, with the session's id."""

    def purchase(
        price: str, mode: str, *, quantity: int = 1, pay: dict[str, Any] | None = None, **more: Any
    ) -> Any:
        params: Any = {
            "mode": mode,
            "line_items": [{"price": price, "quantity": quantity}],
            "success_url": "https://shop.example/thanks?s={CHECKOUT_SESSION_ID}",
            **more,
        }
        session = stripe.v1.checkout.sessions.create(params)
        paid = control("stripe/pay", session=session.id, email="ada@example.com", **(pay or {}))
        return {**paid, "session": session.id}

    return purchase
