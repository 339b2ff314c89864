"""Bought from inside the program: the browser pays, and the program that waits is unlocked. Nobody types a
key."""

from __future__ import annotations

import json
import secrets
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from . import events
from .asking import Said, Silence, Throttled, object_in, understood
from .exchange import Exchange
from .result import Result
from .wire import Answer, Away, Wire

CHECKOUT = "/api/checkout/session"

_SETTLED = ("paid", "failed", "expired")
_LOOK_EVERY = 5.0  # seconds, where the stream cannot be had
_LONGEST_LOOK = 30.0


class Purchase:
    """A checkout that was opened for this machine.

    Attributes:
        reference: the checkout's; empty when it could not be opened.
        url: the pay page.
        status: `open`, `processing`, `paid`, `failed` or `expired`, as last told.
        problem: why it could not be opened: `AWAY`, `THROTTLED`, or the server's code; empty for no problem.
    """

    def __init__(
        self, exchange: Exchange, check: Callable[[], Result], claim: Mapping[str, Any], problem: str = ""
    ) -> None:
        self.reference = str(claim.get("reference", ""))
        self.url = str(claim.get("url", ""))
        self.problem = problem
        self.status = "open" if self.reference else ""
        self._token = str(claim.get("token", ""))
        self._exchange, self._check = exchange, check
        self._stop = threading.Event()
        self._line: events.Line | None = None

    def __repr__(self) -> str:  # the claim token opens the key
        return f"Purchase(reference={self.reference!r}, status={self.status!r})"

    def show(self, open_page: Callable[[str], Any]) -> bool:
        """Open the pay page. False when it is not a page of the web: nothing else is handed to the system."""
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
        ):
            return False
        open_page(self.url)
        return True

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the payment: until it is settled, was canceled, or the time is over. Returns what holds
        then."""
        end = None if timeout is None else time.monotonic() + timeout
        line = self._line = events.Line(
            self._exchange.wire, lambda: f"Claim {self._token}", self._exchange.headers, self._stop
        )
        over = threading.Timer(timeout or 0, line.cut)
        over.daemon = True
        if timeout is not None:
            over.start()
        looked_at = -_LOOK_EVERY
        while self.reference and not self._is_done():
            left = _LONGEST_LOOK if end is None else end - time.monotonic()
            if left <= 0:
                break
            event = line.next(min(left, _LONGEST_LOOK))
            if (event is None and time.monotonic() - looked_at >= _LOOK_EVERY) or (event and event.is_news):
                looked_at = time.monotonic()
                self.look()
            if event is None and not self._is_done():
                self._stop.wait(min(left, line.pause(), _LOOK_EVERY))
        over.cancel()
        line.close()
        return self._check()

    def look(self) -> str:
        """Ask once how the payment stands, and take up the license when it is there. Returns the status."""
        now = self._exchange.now()
        self._exchange.store.change(lambda old: replace(old, looked_at=now), durable=False)
        answer = self._get()
        if not isinstance(answer, Answer):
            self._exchange.miss(answer)
            return self.status
        members = object_in(answer.body)
        status = members.get("status")
        if isinstance(status, str):
            self.status = status
        key = _key_in(members)
        if key:
            self._exchange.settle(key)
        elif self.status in ("failed", "expired"):
            self.forget()
        return self.status

    def cancel(self) -> None:
        """Wait no longer, and forget the purchase. What was paid is not lost: the key comes by mail."""
        self._stop.set()
        if self._line is not None:
            self._line.cut()
        self.forget()

    def forget(self) -> None:
        """Let the program no longer ask for this purchase."""
        self._exchange.store.change(lambda old: replace(old, claim={}))

    def _is_done(self) -> bool:
        if self._stop.is_set():
            return True
        state = self._exchange.store.read().state
        return self.status in ("failed", "expired") or state.claim.get("reference") != self.reference

    def _get(self) -> Answer | Silence | Throttled:
        wire = self._exchange.wire
        if wire is None:
            return Silence("no server")
        if self._exchange.is_held():
            return Throttled(1)  # nothing is asked, and the pause is not made longer
        path = f"{wire.site}{CHECKOUT}/{urllib.parse.quote(self.reference, safe='')}"
        try:
            answer = wire.get(path, {"Authorization": f"Claim {self._token}"})
        except Away as away:
            return Silence(str(away))
        if answer.status == 200:
            return answer
        if answer.status in (401, 403, 404):
            self.status = "expired"  # the server knows no such purchase, or no longer shows it
            self.forget()
        heard = understood(answer, "", self._exchange.clock())
        return Silence("no answer") if isinstance(heard, Said) else heard


def opened(exchange: Exchange, check: Callable[[], Result], wanted: Mapping[str, Any]) -> Purchase:
    """Open a checkout. Never raises: what went wrong is in `problem`."""
    answer = _post(exchange.wire, wanted)
    if isinstance(answer, str):
        return Purchase(exchange, check, {}, answer)
    members = object_in(answer.body)
    if answer.status != 201 or not all(
        isinstance(members.get(name), str) for name in ("reference", "url", "claim_token")
    ):
        heard = understood(answer, "", exchange.clock())
        problem = heard.problem if isinstance(heard, Silence) else "THROTTLED"
        return Purchase(exchange, check, {}, problem or "AWAY")
    claim = {"reference": members["reference"], "url": members["url"], "token": members["claim_token"]}
    exchange.store.change(lambda old: replace(old, claim=claim, looked_at=exchange.now()))
    return Purchase(exchange, check, claim)


def _post(wire: Wire | None, wanted: Mapping[str, Any]) -> Answer | str:
    if wire is None:
        return "AWAY"
    # A repeat of the same request opens the same checkout.
    headers = {"Idempotency-Key": secrets.token_urlsafe(24)}
    body = json.dumps(wanted).encode()
    try:
        return wire.post(wire.site + CHECKOUT, body, headers)
    except Away:
        pass
    try:
        return wire.post(wire.site + CHECKOUT, body, headers)
    except Away:
        return "AWAY"


def _key_in(members: Mapping[str, Any]) -> str:
    """The key of the first license: the one that the named machine is activated on."""
    licenses = members.get("licenses")
    first = licenses[0] if isinstance(licenses, list) and licenses else {}
    key = first.get("key") if isinstance(first, dict) else None
    return key if isinstance(key, str) else ""
