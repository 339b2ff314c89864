"""Three providers of the test's own: they answer what the adapters ask, and fail or hang when told to."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from keywright.sandbox.paypal_signing import Authority
from tests.crash import lives
from tests.crash.lives import Json, Life

Mood = Literal["well", "fails", "limits", "hangs"]
CLIENT = ("keywright-crash", "keywright-crash-secret")
# What of a query tells one object from another.
_TELLING = {
    "/subscription": "customer",
    "/transaction": "customer",
    "/refund": "transaction",
    "/v1/invoice_payments": "payment[payment_intent]",
}
_LONGEST_HANG = 120.0
_CERTIFICATES = "/v1/notifications/certs/"


class Book:
    """What the providers know: every life, and how far each has come."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self._reached: dict[int, int] = {}
        self._asked: dict[tuple[str, str], Life] = {}
        self.named: dict[tuple[str, str], Life] = {}

    def add(self, life: Life) -> None:
        assert life.number == len(self.lives)
        self.lives.append(life)
        for path in lives.answers_of(life, lives.LAST):
            self._asked[life.provider, path] = life
        for name in lives.names_of(life):
            self.named[life.provider, name] = life

    def reach(self, life: int, stage: int) -> None:
        """From now on the provider answers as of this stage."""
        self._reached[life] = max(stage, self._reached.get(life, 1))

    def answer(self, provider: str, path: str) -> Json | None:
        life = self._asked.get((provider, path))
        if life is None:
            return None
        return lives.answers_of(life, self._reached.get(life.number, 1)).get(path)


class Desk:
    """One provider's API over HTTP. `mood` is how it answers; `heard` counts what was asked in which mood."""

    def __init__(self, provider: str, book: Book, authority: Authority) -> None:
        self.provider = provider
        self.mood: Mood = "well"
        self.heard: Counter[str] = Counter()
        self._book = book
        self._leaf = authority.leaf
        self._recovered = threading.Event()
        desk = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                desk.serve(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                desk.serve(self)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def feel(self, mood: Mood) -> None:
        """Answer so from now on."""
        if mood == "hangs":
            self._recovered.clear()
        self.mood = mood
        if mood != "hangs":
            self._recovered.set()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        mood = self.mood
        self.heard[mood] += 1
        if mood == "hangs":
            self._recovered.wait(_LONGEST_HANG)
        if mood == "fails":
            self._send(request, 500, {"status": False, "message": "Something went wrong"})
        elif mood == "limits":
            self._send(request, 429, {"status": False, "message": "Too many"}, {"Retry-After": "2"})
        else:
            time.sleep(random.uniform(0, 0.01))  # a network between
            self._answer(request)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        if parts.path.startswith(_CERTIFICATES):
            self._write(request, 200, self._leaf, {})
        elif parts.path == "/v1/oauth2/token":
            self._send(request, 200, {"access_token": "A21token", "expires_in": 32_000})
        else:
            telling = _TELLING.get(parts.path)
            named = parse_qs(parts.query).get(telling or "", [""])[0]
            found = self._book.answer(
                self.provider, parts.path if telling is None else f"{parts.path}?{telling}={named}"
            )
            missing = {"status": False, "message": "Not found", "name": "RESOURCE_NOT_FOUND"}
            self._send(request, 404 if found is None else 200, missing if found is None else found)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        body: Json,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._write(request, status, json.dumps(body).encode(), headers or {})

    def _write(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]
    ) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def __enter__(self) -> Desk:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.feel("well")
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Quiet(ThreadingHTTPServer):
    """Says nothing of a client that is killed in the middle of an answer."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client was killed: that is what the test is about."""
