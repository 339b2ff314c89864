"""Tells the program at once when its license changes at the server; by asking now and then where that cannot
be had."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from . import events
from .exchange import Exchange
from .result import Result

_POLL_EVERY = 60.0
_NO_KEY_YET = 2.0
_VOLATILE = ("server_time", "cache_until", "lease", "nonce", "offline_until")  # pass without news


class Watch:
    """Calls back with every new result, from a thread of its own that ends with the program or at `close`.

    Attributes:
        error: what the program's callback raised, which ended the watch; None for nothing.
    """

    def __init__(
        self,
        exchange: Exchange,
        credentials: Callable[[], str],
        validate: Callable[[], Result],
        check: Callable[[], Result],
        callback: Callable[[Result], Any],
    ) -> None:
        self.error: BaseException | None = None
        self._validate, self._check, self._callback = validate, check, callback
        self._stop = threading.Event()
        self._credentials = credentials
        self._line = events.Line(exchange.wire, credentials, exchange.headers, self._stop)
        self._told: Result | None = None
        self._mark: dict[str, object] | None = None
        self._polled_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="license-watch", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """End the watch and wait for its thread."""
        self._stop.set()
        self._line.cut()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._tell(self._check())
            while not self._stop.is_set():
                event = self._line.next(_POLL_EVERY)
                if event is None:
                    # Whoever has no key yet may get one: looked at soon.
                    self._stop.wait(
                        min(self._line.pause(), _POLL_EVERY) if self._credentials() else _NO_KEY_YET
                    )
                if self._stop.is_set():
                    return
                # What the stream says is a reason to ask: only an answer to our own question has our nonce.
                asks = self._may_poll() if event is None else event.is_news and self._is_new(event)
                self._polled_at = time.monotonic() if asks else self._polled_at
                self._tell(self._validate() if asks else self._check())
        except Exception as error:  # noqa: BLE001 - the program's callback; nobody is above a thread
            self.error = error
        finally:
            self._line.close()

    def _may_poll(self) -> bool:
        """Without a stream: whether a server that answered last time is asked again before it is due."""
        if time.monotonic() - self._polled_at < _POLL_EVERY or not self._credentials():
            return False
        return self._check().contact in ("fine", "refused")

    def _is_new(self, event: events.Event) -> bool:
        """Whether the event says something else than the last one, or, the first one, than what was told."""
        told, members = self._told, event.members
        license_ = members.get("license")
        mark = {name: value for name, value in members.items() if name not in _VOLATILE}
        if isinstance(license_, dict):
            mark["license"] = {name: value for name, value in license_.items() if name not in _VOLATILE}
        if event.name == "end":
            # A server that stops ends all lines at once, and must not be asked by all at once.
            return members.get("reason") != "server"
        known, self._mark = self._mark, mark
        if known is not None:
            return event.name != "verdict" or known != mark
        if told is None or event.name != "verdict" or not isinstance(license_, dict):
            return True
        same = (
            members.get("code") == told.code
            and license_.get("plan") == told.plan
            and license_.get("seats") == told.seats
            and license_.get("limits") == told.limits
            and license_.get("trial") == told.trial
            and license_.get("canceling") == told.canceling
        )
        return not same

    def _tell(self, result: Result) -> None:
        if result != self._told:
            self._told = result
            self._callback(result)
