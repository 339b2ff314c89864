"""Paystack and PayPal on loopback, answering by `elsewhere.py` with something planted in each answer."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from keywright.sandbox.paypal_signing import Authority
from tests.e2e import elsewhere
from tests.e2e.elsewhere import OAUTH_TOKEN, Provider
from tests.e2e.test_secrets import leaves

# What a path must hold for an answer that is none.
REFUSES, FAILS, HANGS_UP, SOLD = "REFUSES", "FAILS", "HANGSUP", "SOLD"
PLANTED_HEADERS = ("Set-Cookie", "X-Authorization", "PayPal-Debug-Id", "X-Request-Id")


class Responder:
    """Both providers. `url(name)` is where one of them answers; `places` counts what was planted."""

    def __init__(self, folder: Path, texts: Iterator[str]) -> None:
        self.authority = Authority(folder)
        self.providers = {name: Provider(name, datetime.now(UTC)) for name in ("paystack", "paypal")}
        self.planted = dict.fromkeys(self.providers, 0)
        self.wrong = False
        self._texts = texts
        # Each object has its own turn, so that each of its places is planted in.
        self._turns = {
            (name, what): itertools.cycle(list(leaves(found)))
            for name, told in self.providers.items()
            for what, found in told.pristine.items()
        }
        self._lock = threading.Lock()
        responder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", "0")))
                responder.serve(self)

            do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815  # the names are the library's

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def headers(self, raw: bytes, number: int, webhook_id: str) -> dict[str, str]:
        """A delivery of PayPal's, signed."""
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "PayPal-Transmission-Id": f"delivery-{number}",
            "PayPal-Transmission-Time": time,
            "PayPal-Transmission-Sig": self.authority.sign(f"delivery-{number}", time, webhook_id, raw),
            "PayPal-Cert-Url": f"{self.url('paypal')}/v1/notifications/certs/{self.authority.certificate_id}",
            "PayPal-Auth-Algo": "SHA256withRSA",
        }

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """One answer."""
        _, name, rest = handler.path.split("/", 2)
        path = f"/{rest}"
        with self._lock:
            if HANGS_UP in path:
                handler.close_connection = True
                return
            status, body = self._answer(name, path)
            text = next(self._texts)
        handler.send_response(status)
        handler.send_header("Date", format_datetime(datetime.now(UTC), usegmt=True))
        handler.send_header("Content-Length", str(len(body)))
        for header in PLANTED_HEADERS:
            handler.send_header(header, text.encode("ascii", "replace").decode())
        handler.end_headers()
        handler.wfile.write(body)

    def _answer(self, name: str, path: str) -> tuple[int, bytes]:
        told = self.providers[name]
        if "/notifications/certs/" in path:
            return 200, self.authority.leaf
        if path.endswith("/oauth2/token"):
            return 200, json.dumps({"access_token": OAUTH_TOKEN, "expires_in": 32400}).encode()
        text = next(self._texts)
        if self.wrong or REFUSES in path or FAILS in path:
            word = {
                "message": text,
                "name": text,
                "code": text,
                "debug_id": text,
                "details": [{"issue": text}],
            }
            return 401 if self.wrong else 400 if REFUSES in path else 500, json.dumps(word).encode()
        if SOLD in path:
            told.objects = {key: elsewhere.with_extras(one, text) for key, one in told.pristine.items()}
        elif what := told.object_at(path):
            told.plant(what, next(self._turns[name, what]), text)
            self.planted[name] += 1
        status, body = told.answer(path)
        return status, json.dumps(body).encode()

    def __enter__(self) -> Responder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
