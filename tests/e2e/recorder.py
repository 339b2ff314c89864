"""A server that stands before the sandbox: it writes down what it is sent, and passes it on."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


class Recorder:
    """Stands before the sandbox and writes down what it is sent. `forbids`: paths that are answered 403."""

    def __init__(self, sandbox: str, forbids: frozenset[str] = frozenset()) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                recorder.bodies.append((self.path, body))
                self._pass_on(body)

            def do_GET(self) -> None:
                self._pass_on(None)

            def _pass_on(self, body: bytes | None) -> None:
                headers = {
                    k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length")
                }
                if self.path.partition("?")[0] in forbids:
                    answer = httpx.Response(403, json={"error": {"type": "invalid_request_error"}})
                else:
                    answer = self._asked(body, headers)
                self.send_response(answer.status_code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def _asked(self, body: bytes | None, headers: dict[str, str]) -> httpx.Response:
                return httpx.request(self.command, sandbox + self.path, content=body, headers=headers)

            def log_message(self, *args: Any) -> None:
                """Say nothing: the test asserts on what was received."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def sent_to(self, path: str) -> bytes:
        (body,) = [body for to, body in self.bodies if to == path]
        return body

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
