"""Server-sent events from the license server, read patiently: the line is opened again whenever it ends."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from .asking import object_in
from .wire import Away, Stream, Wire, seconds_of

PATH = "/api/license/stream"

_SILENCE = 75.0  # seconds without a sign of life, comments included, after which the line is dead
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_TRY_AGAIN = 300.0  # where there is no stream, or only broken ones
_MOST_FAILURES = 3
_STEADY = 30.0  # a line that lived so long was no failure
_LONGEST_DATA = 256 * 1024


@dataclass(frozen=True)
class Event:
    """One event; `name` empty for a pause in which nothing came."""

    name: str = ""
    data: str = ""

    @property
    def is_news(self) -> bool:
        """Whether something was told."""
        return bool(self.name)

    @property
    def members(self) -> dict[str, object]:
        """The data as a JSON object; empty for anything else."""
        return object_in(self.data.encode())


class Reader:
    """Puts the lines of a stream together to events (HTML, section "Server-sent events")."""

    def __init__(self) -> None:
        self.last_id = ""
        self.retry: float | None = None
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, line: bytes) -> Event | None:
        """Take one line with its end; an event when it completes one. Raises Away for one that never ends."""
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            event = Event(self._name or "message", "\n".join(self._data)) if self._data else None
            self._name, self._data, self._size = "", [], 0
            return event
        field, _, value = text.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "data":
            self._size += len(value)
            if self._size > _LONGEST_DATA:
                raise Away("an event is too long")
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value and value.isascii() and len(value) < 512:
            self.last_id = value
        elif field == "retry" and value.isdigit():
            self.retry = min(float(value[:9]) / 1000, _LONGEST_PAUSE)
        return None


class Line:
    """The stream, opened again after every end with the id of the last event.

    Args:
        wire: to the server.
        credentials: the value of `Authorization`, asked for at every opening; empty for none.
        machine: headers that name the machine and the product, so that the verdicts are about them.
        stop: set by whoever wants no more.
    """

    def __init__(
        self,
        wire: Wire | None,
        credentials: Callable[[], str],
        machine: Mapping[str, str],
        stop: threading.Event,
    ) -> None:
        self._wire, self._credentials, self._stop = wire, credentials, stop
        self._machine = machine
        self._reader = Reader()
        self._open: Stream | None = None
        self._holding = ExitStack()
        self._failures = 0
        self._not_before = self._opened_at = 0.0

    def next(self, patience: float) -> Event | None:
        """The next event, an empty one when none came for a while, None while there is no stream to wait at.

        Blocks for up to `patience` seconds while the line is down; while it is up, until the server says
        something or gives a sign of life after that time.
        """
        end = time.monotonic() + patience
        while not self._stop.is_set():
            if self._open is None and not self._dial():
                return None
            event = self._listen(end)
            if event is not None or self._open is not None:
                return event or Event()
        return None

    def pause(self) -> float:
        """In how many seconds the line may be opened again."""
        return max(self._not_before - time.monotonic(), 0.05)

    def close(self) -> None:
        """End the line. From another thread, set `stop` first and call `cut`."""
        self._holding.close()
        self._open = None

    def cut(self) -> None:
        """Make a blocked `next` return, from another thread."""
        stream = self._open
        if stream is not None:
            stream.close()

    def _dial(self) -> bool:
        """Open the line. False when there is nothing to open now: the caller polls meanwhile."""
        credentials = self._credentials()
        if self._wire is None or not credentials or time.monotonic() < self._not_before:
            return False
        headers = {"Authorization": credentials, "Accept": "text/event-stream", **self._machine}
        if self._reader.last_id:
            headers["Last-Event-ID"] = self._reader.last_id
        try:
            stream = self._holding.enter_context(self._wire.stream(self._wire.site + PATH, headers, _SILENCE))
        except Away:
            self._failed(None)
            return False
        if stream.status != 200 or not stream.headers.get("content-type", "").startswith("text/event-stream"):
            wait = seconds_of(stream.headers.get("retry-after"), time.time())
            self._holding.close()
            self._failed(float(wait) if wait is not None else _TRY_AGAIN if stream.status < 500 else None)
            return False
        self._open, self._opened_at = stream, time.monotonic()
        return True

    def _listen(self, end: float) -> Event | None:
        """Read until there is an event, the time is over, or the line ends (then `_open` is None)."""
        stream = self._open
        while stream is not None:
            try:
                line = stream.readline()
                event = self._reader.feed(line) if line else None
            except Away:
                line, event = b"", None
            if not line:
                self.close()
                if time.monotonic() - self._opened_at > _STEADY:
                    self._failures = 0
                self._failed(self._reader.retry)
                return None
            if event is not None:
                self._failures = 0
                return event
            if time.monotonic() >= end:
                return None
        return None

    def _failed(self, wait: float | None) -> None:
        self._failures += 1
        pause = min(_FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
        if self._failures > _MOST_FAILURES:
            wait = None if wait is None else max(wait, pause)
        # The server says how soon to come back, but a line that always breaks is not worth it. And all lines
        # of a server that is started again end in one moment; they must not come back in one.
        self._not_before = time.monotonic() + (pause if wait is None else wait) * (
            0.5 + secrets.randbelow(500) / 1000
        )
