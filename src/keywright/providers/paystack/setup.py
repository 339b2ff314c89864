"""Going live at Paystack: whose key it is, what to paste into its dashboard, the plans."""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import Final

import httpx
import msgspec

from keywright.domain.errors import Misconfigured, ProviderUnavailable, Unsupported
from keywright.ports import Clock, Delivery, Endpoint, PriceSeen
from keywright.providers.paystack.api import PaystackApi
from keywright.providers.paystack.hook import SIGNATURE_HEADER
from keywright.providers.paystack.http import API_BASE
from keywright.providers.paystack.prices import price_in

DASHBOARD: Final = "https://dashboard.paystack.com/#/settings/developers"
_BY_HAND: Final = "Paystack has no call for its webhook address: it stands in the dashboard, under"
_LIST: Final = 100
_MOST_PAGES: Final = 20


class PaystackSetup:
    """Implements ProviderSetup for one Paystack account."""

    def __init__(
        self,
        secret_key: str,
        clock: Clock,
        *,
        base: str = API_BASE,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a client; nothing is sent yet. Raises Misconfigured for what cannot be a secret key."""
        if not secret_key.startswith("sk_"):
            raise Misconfigured("a secret key of Paystack begins with sk_, and this one does not")
        self._api = PaystackApi(secret_key, clock, base=base, transport=transport)

    @property
    def _mode(self) -> str:
        return "live" if self._api.http.live else "test"

    def whose(self) -> str:
        """The mode, and the account's number once it has sold anything: Paystack tells no more of it."""
        return self._api.check()

    def clicks(self, url: str) -> tuple[str, ...]:
        """The way through the dashboard. There is one webhook address for each mode."""
        mode = self._mode
        return (
            f"Open {DASHBOARD} (Settings, API Keys & Webhooks), with the dashboard in {mode} mode.",
            f"Paste into {mode.capitalize()} Webhook URL: {url}",
            "Save. No events are to be chosen: Paystack sends all, and signs them with the secret key.",
        )

    def list_endpoints(self, url: str) -> tuple[Endpoint, ...]:
        """Raises Unsupported: Paystack does not tell where it delivers to."""
        raise Unsupported(f"{_BY_HAND} {DASHBOARD}; it should be {url}")

    def register(self, url: str, known: Endpoint | None) -> Endpoint:  # noqa: ARG002  # nothing is known there
        """Raises Unsupported, with what to do instead."""
        raise Unsupported(f"{_BY_HAND} {DASHBOARD}; paste {url}")

    def remove(self, endpoint: Endpoint) -> None:
        """Raises Unsupported."""
        raise Unsupported(f"{_BY_HAND} {DASHBOARD}; remove {endpoint.url}")

    def list_prices(self) -> tuple[PriceSeen, ...]:
        """Every plan. What is sold once has no plan, and needs none."""
        found: list[PriceSeen] = []
        for page in range(1, _MOST_PAGES + 1):
            answer = self._api.http.get("/plan", paced=page > 1, perPage=_LIST, page=page)
            listed = answer.data if isinstance(answer.data, list) else []
            found += [price for one in listed if (price := price_in(one)) is not None]
            if len(listed) < _LIST:
                return tuple(found)
        raise ProviderUnavailable("Paystack's list of plans does not end")

    def count_undelivered(self, since: datetime) -> int | None:  # noqa: ARG002  # Paystack does not tell
        """None: Paystack does not tell what it could not deliver."""
        return None

    def greeting(self, secret: str, now: datetime) -> Delivery:  # noqa: ARG002  # no time is signed
        """An event of a type that Paystack does not have, signed like Paystack's. Always the same bytes, so
        it is kept once."""
        raw = msgspec.json.encode({"event": "keywright.greeting", "data": {"domain": self._mode}})
        signature = hmac.digest(secret.encode(), raw, "sha512").hex()
        return Delivery(raw, {SIGNATURE_HEADER: signature}, genuine=True)
