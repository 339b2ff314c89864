"""The official SDK for one Stripe account: pinned, bounded in time, and its errors in our words."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec
import stripe

from keywright.domain.errors import (
    Disconnected,
    Invalid,
    KeywrightError,
    Misconfigured,
    NotFound,
    ProviderUnavailable,
)
from keywright.ports import Clock

API_VERSION: Final = "2026-10-28.endive"
"""Pinned together with the SDK. A newer SDK must not change what we send and get without us knowing."""

API_BASE: Final = "https://api.stripe.com"

_TIMEOUTS: Final = (5.0, 20.0)  # seconds to connect, seconds between two bytes of the answer
_RETRIES: Final = 2
_LARGEST_PAGE: Final = 100
_MOST_PAGES: Final = 50
_GONE: Final = "account_invalid"
_WORD: Final = re.compile(r"[A-Za-z0-9_.\[\]]{1,64}")

# Both are switches of the SDK as a whole. It would measure our requests and report them with the next one,
# and write what it posts, e-mail addresses included, to a DEBUG log.
stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True):
    """An answer in Stripe's own bytes, and when it was true."""

    body: bytes
    answered_at: datetime


class Listed(msgspec.Struct, frozen=True):
    """One page of a list: its elements in Stripe's own bytes, newest first where Stripe says so."""

    data: tuple[msgspec.Raw, ...]
    has_more: bool = False


class _Named(msgspec.Struct, frozen=True):
    id: str


class StripeClient:
    """Calls of one account: the key's own, or one connected to it. Safe to use from several threads."""

    def __init__(self, secret_key: str, clock: Clock, base: str, account: str | None = None) -> None:
        if not secret_key.strip():
            raise Misconfigured("there is no Stripe secret key")
        self.live = secret_key.startswith(("sk_live_", "rk_live_"))
        self._clock = clock
        self.sdk = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            stripe_account=account,
            base_addresses={"api": base.rstrip("/")},
            max_network_retries=_RETRIES,
            http_client=stripe.RequestsClient(timeout=_TIMEOUTS),
        )

    def get(self, path: str, **params: Any) -> Answer:
        """Read something. `path` begins with /v1/. Raises as `ask`."""
        return self._answer(ask(lambda: self.sdk.raw_request("get", path, **params)))

    def post(self, path: str, key: str | None = None, **params: Any) -> Answer:
        """Change something. `key` makes it safe to repeat for a day. Raises as `ask`."""
        named = {} if key is None else {"idempotency_key": key}
        return self._answer(ask(lambda: self.sdk.raw_request("post", path, **params, **named)))

    def delete(self, path: str) -> Answer:
        """Take something away. Raises as `ask`."""
        return self._answer(ask(lambda: self.sdk.raw_request("delete", path)))

    def page(self, path: str, **params: Any) -> tuple[Listed, datetime]:
        """One page of a list, as large as Stripe makes them, and when it was true. Raises as `get`."""
        answer = self.get(path, **{"limit": _LARGEST_PAGE, **params})
        return decoded(answer.body, Listed), answer.answered_at

    def whole(self, raw: bytes, member: str, path: str, **params: Any) -> bytes:
        """The object with all of a list of which it brought the beginning. Raises as `get`.

        Nothing is asked, and Stripe's own bytes are given back, where the list was not cut.
        """
        members = decoded(raw, dict[str, msgspec.Raw])
        listed = bytes(members.get(member, b"null"))
        begun = decoded(listed, Listed) if listed.startswith(b"{") else None
        if begun is None or not begun.has_more:
            return raw
        rest = [each for page in self._after(begun, path, params) for each in page.data]
        members[member] = msgspec.Raw(msgspec.json.encode(Listed((*begun.data, *rest))))
        return msgspec.json.encode(members)

    def _after(self, begun: Listed, path: str, params: dict[str, Any]) -> Iterator[Listed]:
        page = begun
        for _ in range(_MOST_PAGES):
            if not page.has_more or not page.data:
                return
            page, _ = self.page(path, starting_after=id_in(page.data[-1]), **params)
            yield page

    def _answer(self, response: Any) -> Answer:
        return Answer(response.body.encode(), self._answered_at(dict(response.headers)))

    def _answered_at(self, headers: dict[str, str]) -> datetime:
        date = next((value for name, value in headers.items() if name.lower() == "date"), "")
        try:
            answered_at = parsedate_to_datetime(date)
        except ValueError:
            return self._clock.now()
        return answered_at if answered_at.tzinfo is not None else answered_at.replace(tzinfo=UTC)


def address(*parts: str) -> str:
    """A path below /v1/. The parts are quoted: an id leads nowhere but to its object."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def id_in(raw: bytes | msgspec.Raw) -> str:
    """The id of an object in Stripe's own bytes. Raises ProviderUnavailable when there is none."""
    return decoded(bytes(raw), _Named).id


def decoded(raw: bytes, kind: type[T]) -> T:
    """What Stripe answered, as this type. Raises ProviderUnavailable when it is not."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError:
        pass
    raise ProviderUnavailable("Stripe's answer cannot be read")


def ask(question: Callable[[], T]) -> T:
    """Ask Stripe, through the SDK and its retries.

    Raises:
        ProviderUnavailable: no usable answer, 429, or 5xx, after the retries.
        Misconfigured: Stripe refuses the key; Disconnected: it has the key act for this account no longer.
        NotFound: there is no such object.
        Invalid: Stripe refuses the request; the detail names Stripe's code and parameter.
    """
    try:
        return question()
    except stripe.StripeError as error:
        refusal = _refusal(error)
    except ValueError:
        # The SDK decodes a raw answer itself, and lets this through when it is no JSON.
        refusal = ProviderUnavailable("Stripe's answer cannot be read")
    # Raised outside the except block: the SDK's error holds the whole answer, which has no place in a log.
    raise refusal


def _code_of(error: stripe.StripeError) -> str | None:
    """Stripe's code. The SDK leaves it out of a refusal for lack of permission."""
    body = error.json_body
    told = body.get("error") if isinstance(body, dict) else None
    return told.get("code") if isinstance(told, dict) else None


def _refusal(error: stripe.StripeError) -> KeywrightError:
    """The SDK's error in our words. Stripe's message is left out: it may quote a key or an address."""
    if isinstance(error, stripe.PermissionError) and _code_of(error) == _GONE:
        return Disconnected("Stripe does not let us act for this account: it was disconnected, or never was")
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return Misconfigured("Stripe refuses the API key: it is wrong, revoked, or lacks a permission")
    status = error.http_status or 0
    unreachable = isinstance(error, stripe.APIConnectionError | stripe.RateLimitError | stripe.APIError)
    # 409: an earlier try with the same idempotency key is still running at Stripe.
    if unreachable or status in (0, 409, 429) or status >= 500:
        detail = f"Stripe does not answer usefully (HTTP status {status or 'none'})"
        return ProviderUnavailable(detail, retry_after=_retry_after(error))
    words = [word for word in (error.code, getattr(error, "param", None)) if word and _WORD.fullmatch(word)]
    detail = f"Stripe refused the request: {' at '.join(words) or f'HTTP status {status}'}"
    return NotFound(detail) if status == 404 else Invalid(detail)


def _retry_after(error: stripe.StripeError) -> int | None:
    """For how many seconds Stripe wants to be left alone, when it says so."""
    told = next((v for n, v in (error.headers or {}).items() if n.lower() == "retry-after"), "")
    return int(told) if str(told).isdecimal() and len(str(told)) < 6 else None
