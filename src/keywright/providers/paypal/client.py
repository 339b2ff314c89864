"""HTTP to PayPal: one token for all, errors in our words, and nothing of a body in a log."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import weakref
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import msgspec
import structlog

from keywright.domain.card_numbers import find_card_numbers
from keywright.domain.errors import (
    Invalid,
    KeywrightError,
    Misconfigured,
    NotFound,
    ProviderUnavailable,
)
from keywright.ports import Clock

log = structlog.get_logger(__name__)

# They write the whole address of each call, and below it every header of the answer.
for _talkative in ("httpx", "httpcore"):
    logging.getLogger(_talkative).setLevel(logging.WARNING)

_TIMEOUTS: Final = httpx.Timeout(10.0, connect=5.0)
_EARLY: Final = timedelta(minutes=5)
_SKEW: Final = timedelta(seconds=5)
_NEXT: Final = timedelta(microseconds=1)
# Three digits in a row are in no word of PayPal's, and in every account number.
_WORD: Final = re.compile(r"(?!.*[0-9]{3})[A-Z][A-Z0-9_]{1,63}")
_DEBUG_ID: Final = re.compile(r"[0-9a-f]{4,32}")
_NOTHING: Final = b"{}"
_LONGEST_REQUEST_ID = 38


class Answer(msgspec.Struct, frozen=True):
    """PayPal's own bytes, what they say, and when they were true."""

    raw: bytes
    body: dict[str, Any]
    at: datetime


class _Token(msgspec.Struct, frozen=True):
    text: str
    until: datetime


class PayPalClient:
    """Calls PayPal's REST API for one app. Safe to use from several threads."""

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        clock: Clock,
        *,
        base: str,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not client_id.strip() or not client_secret.strip():
            raise Misconfigured("there is no PayPal client id or secret")
        self._credentials = (client_id, client_secret)
        self._clock = clock
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._dating = threading.Lock()
        self._answered_at = datetime.min.replace(tzinfo=UTC)
        self._http = httpx.Client(
            base_url=base.rstrip("/"),
            timeout=_TIMEOUTS,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )
        # Nobody closes an adapter: its connections end with it.
        weakref.finalize(self, self._http.close)

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """Ask for an object. Raises ProviderUnavailable, Misconfigured, Invalid, NotFound."""
        return self._send("GET", path, params=params)

    def post(self, path: str, body: object = None, *, key: str | None = None) -> Answer:
        """Make or do something. `key` makes it safe to repeat. Raises as `get`."""
        content = _NOTHING if body is None else msgspec.json.encode(body)
        return self._send("POST", path, content=content, key=key)

    def post_raw(self, path: str, content: bytes) -> Answer:
        """Send bytes as they are. Raises as `get`."""
        return self._send("POST", path, content=content)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        key: str | None = None,
    ) -> Answer:
        answer = self._try(method, path, self._authority(), params, content, key)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            # A token may be taken back before its time. A new one is asked for once.
            fresh = self._authority(refused=answer.request.headers["authorization"])
            answer = self._try(method, path, fresh, params, content, key)
        if answer.is_success:
            return self._read(answer)
        refusal = _refusal(answer, path)
        raise refusal

    def _try(
        self,
        method: str,
        path: str,
        authority: str,
        params: Mapping[str, str] | None,
        content: bytes | None,
        key: str | None,
    ) -> httpx.Response:
        headers = {"Authorization": authority, "Accept": "application/json"}
        if content is not None:
            headers |= {"Content-Type": "application/json", "Prefer": "return=representation"}
        if key is not None:
            headers["PayPal-Request-Id"] = _request_id(key)
        try:
            return self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx.HTTPError as error:
            problem = type(error).__name__
        raise ProviderUnavailable(f"PayPal does not answer ({problem})")

    def _authority(self, refused: str | None = None) -> str:
        with self._lock:
            token = self._token
            usable = token is not None and self._clock.now() < token.until
            if token is None or not usable or f"Bearer {token.text}" == refused:
                token = self._token = self._new_token()
            return f"Bearer {token.text}"

    def _new_token(self) -> _Token:
        try:
            answer = self._http.post(
                "/v1/oauth2/token",
                auth=self._credentials,
                data={"grant_type": "client_credentials"},
                headers={"Accept": "application/json"},
            )
        except httpx.HTTPError as error:
            problem = type(error).__name__
        else:
            if answer.status_code in (400, 401, 403):
                raise Misconfigured(
                    "PayPal refuses the client id and secret: they are wrong, or of the other mode"
                )
            problem = f"HTTP status {answer.status_code}"
            told = _object_in(answer.content) if answer.is_success else {}
            text, seconds = told.get("access_token"), told.get("expires_in")
            if isinstance(text, str) and text and isinstance(seconds, int) and seconds > 0:
                life = timedelta(seconds=seconds)
                return _Token(text, self._clock.now() + max(life - _EARLY, life / 2))
        raise ProviderUnavailable(f"PayPal gives no token ({problem})")

    def _read(self, answer: httpx.Response) -> Answer:
        raw = answer.content or _NOTHING
        body = _object_in(raw)
        if not body and raw.strip() not in (b"", _NOTHING):
            raise ProviderUnavailable("PayPal's answer cannot be read")
        return Answer(raw, body, self._dated(answer.headers.get("date", "")))

    def _dated(self, date: str) -> datetime:
        """When PayPal answered. It tells seconds only: of two answers in one, the later is later here."""
        try:
            told = parsedate_to_datetime(date)
        except ValueError:
            told = self._clock.now()
        at = told.astimezone(UTC) if told.tzinfo is not None else told.replace(tzinfo=UTC)
        with self._dating:
            # One of PayPal's clocks that is far ahead must not hold all that follows in the future.
            if at <= self._answered_at <= at + _SKEW:
                at = self._answered_at + _NEXT
            self._answered_at = at
        return at


def _request_id(key: str) -> str:
    """PayPal takes 38 characters, where it takes the fewest."""
    short = len(key) <= _LONGEST_REQUEST_ID and key.isascii()
    return key if short else hashlib.sha256(key.encode()).hexdigest()[:_LONGEST_REQUEST_ID]


class Refusal(Invalid):
    """PayPal refused a request; `issue` is its own word for why."""

    def __init__(self, detail: str, issue: str) -> None:
        super().__init__(detail)
        self.issue = issue


def _object_in(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _refusal(answer: httpx.Response, path: str) -> KeywrightError:
    """An error of PayPal's in our words. Its message is left out: it may quote what was sent."""
    status, told = answer.status_code, _object_in(answer.content)
    debug_id = answer.headers.get("paypal-debug-id") or told.get("debug_id")
    known = isinstance(debug_id, str) and _DEBUG_ID.fullmatch(debug_id) and not find_card_numbers(debug_id)
    issue = _issue(told)
    route = "/".join(part for part in path.split("/") if part.isalpha() or part in ("v1", "v2"))
    log.warning(
        "paypal_refused", status=status, issue=issue, route=route, debug_id=debug_id if known else None
    )
    said = f": {issue}" if issue else ""
    if status in (401, 403):
        return Misconfigured(f"PayPal refuses our key, or lets it not do this{said}")
    if status == httpx.codes.NOT_FOUND:
        return NotFound(f"PayPal knows no such object{said}")
    # 409: an earlier try under the same id is still running there.
    if status in (408, 409, 425, 429) or status >= 500 or status < 400:
        told_to_wait = answer.headers.get("retry-after", "")
        wait = int(told_to_wait) if told_to_wait.isdecimal() and len(told_to_wait) < 6 else None
        detail = f"PayPal does not answer usefully (HTTP status {status}{said})"
        return ProviderUnavailable(detail, retry_after=wait)
    return Refusal(f"PayPal refused the request (HTTP status {status}{said})", issue)


def _issue(told: Mapping[str, Any]) -> str:
    """The most exact of PayPal's own words: the issue of the first detail, else the error's name."""
    details = told.get("details")
    first = details[0] if isinstance(details, list) and details and isinstance(details[0], dict) else {}
    for word in (first.get("issue"), told.get("name")):
        if isinstance(word, str) and _WORD.fullmatch(word):
            return word
    return ""
