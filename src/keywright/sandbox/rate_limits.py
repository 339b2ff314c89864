"""Rate limits of the stand-ins: a bucket of tokens for each provider, off unless somebody sets it.

Counts every request and every refusal, so that a test can tell a steady pace from a storm.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

Provider = Literal["stripe", "paystack", "paypal"]
PROVIDERS: Final[tuple[Provider, ...]] = ("stripe", "paystack", "paypal")
RETRY_AFTER: Final = 1

_OF_PAYPAL: Final = (
    "/v2/",
    "/v1/billing/",
    "/v1/notifications/",
    "/v1/payments/",
    "/v1/catalogs/",
    "/v1/customer/",
)
_BODIES: Final[dict[Provider, dict[str, Any]]] = {
    "stripe": {
        "error": {
            "type": "invalid_request_error",
            "code": "rate_limit",
            "message": "Request rate limit exceeded.",
        }
    },
    "paystack": {
        "status": False,
        "message": "Too many requests",
        "type": "api_error",
        "code": "rate_limited",
    },
    "paypal": {
        "name": "RATE_LIMIT_REACHED",
        "message": "Too many requests. Blocked due to rate limiting.",
        "details": [],
    },
}


class Seen(msgspec.Struct):
    """What came to one provider. `busiest`: the most requests within one second."""

    requests: int = 0
    refused: int = 0
    busiest: int = 0


class RateLimits:
    """The buckets, which hold what a second may bring."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._rates: dict[Provider, float] = {}
        self._tokens: dict[Provider, tuple[float, float]] = {}
        self._second: dict[Provider, tuple[int, int]] = {}
        self.seen: dict[Provider, Seen] = {name: Seen() for name in PROVIDERS}

    def set(self, provider: Provider, a_second: float | None) -> None:
        """So many requests a second from now on; None: as many as come. Counting begins anew."""
        self.seen[provider] = Seen()
        self._tokens.pop(provider, None)
        self._rates.pop(provider, None)
        if a_second is not None:
            self._rates[provider] = a_second

    def refuse(self, path: str) -> tuple[Provider, dict[str, Any]] | None:
        """Count a request. The provider and the body of its refusal, when it comes too fast."""
        provider = provider_of(path)
        if provider is None:
            return None
        now, seen = self._monotonic(), self.seen[provider]
        seen.requests += 1
        second, count = self._second.get(provider, (int(now), 0))
        self._second[provider] = (int(now), count + 1 if second == int(now) else 1)
        seen.busiest = max(seen.busiest, self._second[provider][1])
        rate = self._rates.get(provider)
        if rate is None:
            return None
        tokens, at = self._tokens.get(provider, (rate, now))
        tokens = min(rate, tokens + (now - at) * rate)
        if tokens < 1:
            self._tokens[provider] = (tokens, now)
            seen.refused += 1
            return provider, _BODIES[provider]
        self._tokens[provider] = (tokens - 1, now)
        return None


def provider_of(path: str) -> Provider | None:
    """Whose API a path belongs to; None for pages of people and for levers. Tokens are not counted."""
    if path.startswith("/paystack/"):
        return None if path.startswith(("/paystack/pay", "/paystack/manage")) else "paystack"
    if path.startswith(_OF_PAYPAL):
        return "paypal"
    return "stripe" if path.startswith("/v1/") and not path.startswith("/v1/oauth2") else None
