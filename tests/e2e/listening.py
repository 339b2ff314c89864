"""A program that listens to its stream: server-sent events over a plain socket, with the moment of each."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple

PATH = "/api/license/stream"


class Event(NamedTuple):
    kind: str
    id: str
    data: Any
    at: float


class Ended(Exception):
    """The server closed the stream."""


class Listener:
    """Use as `with Listener(port, {...}) as program`. `status` and `headers` of the answer; then `next`.

    `source`: the loopback address that it comes from.
    """

    def __init__(
        self, port: int, headers: Mapping[str, str], path: str = PATH, *, source: str = "127.0.0.1"
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{n}: {v}" for n, v in headers.items())]
        self._socket.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.lower()] = value.strip()
        self.beats = 0
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        if self.status == 200:
            self._socket.settimeout(None)
            self._thread.start()

    def body(self) -> Any:
        """The body of a refusal."""
        return json.loads(self._file.read(int(self.headers["content-length"])))

    def next(self, kind: str = "verdict", *, within: float = 20.0) -> Event:
        """The next event, which must be of this kind. Raises Ended, TimeoutError."""
        try:
            event = self._events.get(timeout=within)
        except Empty:
            raise TimeoutError(f"no {kind} within {within} s") from None
        if event is None:
            raise Ended
        assert event.kind == kind, event
        return event

    def until(self, code: str, *, within: float = 20.0) -> Event:
        """The first verdict with this code."""
        end = time.monotonic() + within
        while (event := self.next(within=max(0.01, end - time.monotonic()))).data["code"] != code:
            pass
        return event

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing is told for so long."""
        try:
            self._events.get(timeout=seconds)
        except Empty:
            return True
        return False

    def _listen(self) -> None:
        try:
            while size := int(self._file.readline().strip() or b"0", 16):
                self._hear(self._file.read(size).decode())
                self._file.readline()
        except (OSError, ValueError):
            pass
        self._events.put(None)

    def _hear(self, text: str) -> None:
        now = time.monotonic()
        for block in filter(None, text.split("\n\n")):
            if block.startswith(":"):
                self.beats += 1
                continue
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            if "event" in fields:
                data = json.loads(fields["data"])
                self._events.put(Event(fields["event"], fields.get("id", ""), data, now))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR) if self._thread.is_alive() else None
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
