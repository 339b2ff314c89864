"""One request to Paystack's API and its answer, with every refusal in our words."""

from __future__ import annotations

import logging
import re
import threading
import time
import weakref
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import msgspec

from keywright.domain.errors import Invalid, KeywrightError, Misconfigured, NotFound, ProviderUnavailable
from keywright.domain.strict_json import StrictJSONError, loads
from keywright.ports import Clock

# They write the whole address of each call, and below it every header of the answer.
for _talkative in ("httpx", "httpcore"):
    logging.getLogger(_talkative).setLevel(logging.WARNING)

API_BASE: Final = "https://api.paystack.co"

_TIMEOUTS: Final = httpx.Timeout(10.0, connect=5.0)
_LARGEST_ANSWER: Final = 8 << 20
_DEEPEST_ANSWER: Final = 64
_A_SECOND: Final = 5
"""Paystack publishes no rate limit. Lists are asked for no faster than this."""
_SKEW: Final = timedelta(seconds=5)
_NEXT: Final = timedelta(microseconds=1)
# Three digits in a row are in no word of Paystack's, and in every key.
_WORD: Final = re.compile(r"(?![sr]k_|.*[0-9]{3})[a-z0-9_]{1,64}")
# The API's own words for a reference that was used before; older accounts get no code with them.
_DUPLICATE: Final = re.compile(r"duplicate.{0,20}reference", re.IGNORECASE)
_MISSING: Final = re.compile(r"not found|does not exist", re.IGNORECASE)


class DuplicateReference(Invalid):
    """A transaction with this reference exists already. Never leaves the adapter."""


class Answer(msgspec.Struct, frozen=True):
    """`data` and `meta` of a successful answer, and the moment Paystack dated it with."""

    data: Any
    meta: Mapping[str, Any]
    at: datetime


class PaystackHttp:
    """Paystack's API for one account. Safe to use from several threads."""

    def __init__(
        self,
        secret_key: str,
        clock: Clock,
        *,
        base: str = API_BASE,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a client; nothing is sent yet. `clock` dates an answer that has no `Date`."""
        if not secret_key.strip():
            raise Misconfigured("there is no Paystack secret key")
        self.live = secret_key.startswith("sk_live_")
        self._clock = clock
        # A proxy or netrc of the machine has no business here: they would see the key.
        self._client = httpx.Client(
            base_url=base.rstrip("/"),
            headers={"Authorization": f"Bearer {secret_key}", "Accept": "application/json"},
            timeout=_TIMEOUTS,
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )
        # Whoever lets go of the account's adapter lets go of its connections.
        weakref.finalize(self, self._client.close)
        self._pace = threading.Lock()
        self._next_at = 0.0
        self._answered_at = datetime.min.replace(tzinfo=UTC)

    def now(self) -> datetime:
        """The time here."""
        return self._clock.now()

    def get(self, path: str, *, paced: bool = False, **params: str | int | None) -> Answer:
        """Ask. `paced`: wait for a turn, as part of a long listing. Raises as `send`."""
        if paced:
            self._wait_for_a_turn()
        asked = {name: value for name, value in params.items() if value is not None}
        return self.send("GET", path, params=asked)

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Tell. Raises as `send`."""
        return self.send("POST", path, body=body)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """One request.

        Raises:
            ProviderUnavailable: no answer, 429 (with `retry_after` when Paystack says), 5xx, or no JSON.
            Misconfigured: Paystack refuses the key.
            NotFound: there is no such object.
            DuplicateReference: the reference was used before.
            Invalid: Paystack refuses the request; the detail names its code, never its message, which may
                quote an address.
        """
        try:
            response = self._client.request(method, path, params=params, json=body)
        except httpx.HTTPError as error:
            trouble = type(error).__name__
        else:
            return self._read(response)
        # Raised outside the except block: the error holds the request, and with it the key.
        raise ProviderUnavailable(f"Paystack does not answer ({trouble})")

    def _read(self, response: httpx.Response) -> Answer:
        status = response.status_code
        if status == 429 or status >= 500:
            detail = f"Paystack does not answer usefully (HTTP status {status})"
            raise ProviderUnavailable(detail, retry_after=_retry_after(response))
        if status == 401:
            raise Misconfigured("Paystack refuses the API key: it is wrong, revoked, or of the other mode")
        told = _parsed(response.content)
        if response.is_success and told.get("status") is True:
            meta = told.get("meta")
            return Answer(told.get("data"), meta if isinstance(meta, dict) else {}, self._date(response))
        raise _refusal(status, told)

    def _date(self, response: httpx.Response) -> datetime:
        """When Paystack answered. It tells seconds only: of two answers in one, the later is later here."""
        try:
            told = parsedate_to_datetime(response.headers.get("date", ""))
        except ValueError:
            told = self._clock.now()
        told = told if told.tzinfo is not None else told.replace(tzinfo=UTC)
        with self._pace:
            # One of Paystack's clocks that is far ahead must not hold all that follows in the future.
            if told <= self._answered_at <= told + _SKEW:
                told = self._answered_at + _NEXT
            self._answered_at = told
        return told

    def _wait_for_a_turn(self) -> None:
        with self._pace:
            now = time.monotonic()
            turn = max(now, self._next_at)
            self._next_at = turn + 1 / _A_SECOND
        time.sleep(turn - now)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        if len(content) <= _LARGEST_ANSWER:
            told = loads(content, max_depth=_DEEPEST_ANSWER)
            if isinstance(told, dict):
                return told
    except StrictJSONError:
        pass
    raise ProviderUnavailable("Paystack's answer cannot be read")


def _retry_after(response: httpx.Response) -> int | None:
    told = response.headers.get("retry-after", "")
    return int(told) if told.isdecimal() and len(told) < 6 else None


def _refusal(status: int, told: Mapping[str, Any]) -> KeywrightError:
    code, message = told.get("code"), told.get("message")
    code = code if isinstance(code, str) and _WORD.fullmatch(code) else None
    message = message if isinstance(message, str) else ""
    if code == "duplicate_reference" or _DUPLICATE.search(message):
        return DuplicateReference("Paystack has seen this reference before")
    if status == 400 and message.strip().lower() == "invalid key":
        return Misconfigured("Paystack refuses the API key: it is wrong, revoked, or of the other mode")
    if status == 404 or (code or "").endswith("not_found") or _MISSING.search(message):
        return NotFound("Paystack knows no such object")
    return Invalid(f"Paystack refused the request: {code or f'HTTP status {status}'}")
