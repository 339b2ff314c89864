"""Going live at PayPal: whose app it is, our webhook, the plans."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from keywright.domain.errors import KeywrightError, Misconfigured, NotFound, ProviderUnavailable
from keywright.ports import Clock, Delivery, Endpoint, PriceSeen
from keywright.providers.paypal import shapes
from keywright.providers.paypal.api import LIVE_BASE, PayPalApi
from keywright.providers.paypal.client import Answer, PayPalClient, Refusal
from keywright.providers.paypal.prices import PLANS, price_in

SANDBOX_BASE: Final = "https://api-m.sandbox.paypal.com"
OTHER_MODES: Final[Mapping[str, str]] = {LIVE_BASE: SANDBOX_BASE, SANDBOX_BASE: LIVE_BASE}

_WEBHOOKS: Final = "/v1/notifications/webhooks"
_EVERYTHING: Final = "*"
_PAGE: Final = 20
_MOST_PAGES: Final = 50


class _Client(PayPalClient):
    """What a set-up needs beyond what a sale does."""

    def patch(self, path: str, body: object) -> Answer:
        return self._send("PATCH", path, content=msgspec.json.encode(body))

    def delete(self, path: str) -> Answer:
        return self._send("DELETE", path)


class PayPalSetup:
    """Implements ProviderSetup for one app of a PayPal account."""

    def __init__(
        self,
        keys: tuple[str, str],
        clock: Clock,
        *,
        base: str = LIVE_BASE,
        other_modes: Mapping[str, str] = OTHER_MODES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            keys: the app's client id and secret.
            clock: tells when a token is due for renewal.
            base: where the API answers. The address is what tells test from live at PayPal.
            other_modes: address -> that of the other mode, to tell a wrong key from one of the other mode.
            transport: what carries the requests, for tests.
        """
        self._keys, self._clock, self._transport = keys, clock, transport
        self._base = base.rstrip("/")
        self._other = other_modes.get(self._base)
        self._client = _Client(*keys, clock, base=self._base, transport=transport)

    def whose(self) -> str:
        """What PayPal tells of the account. Raises Misconfigured; its detail says when the mode is wrong."""
        try:
            return PayPalApi(self._client, self._clock).check()
        except Misconfigured as error:
            refusal = error
        if self._other is not None and self._works_at(self._other):
            raise Misconfigured(
                f"these credentials are of the other mode: they work at {self._other}, and PAYPAL_API_BASE is"
                f" {self._base}"
            )
        raise refusal

    def _works_at(self, base: str) -> bool:
        try:
            _Client(*self._keys, self._clock, base=base, transport=self._transport).get(_WEBHOOKS)
        except KeywrightError:
            return False
        return True

    def clicks(self, url: str) -> tuple[str, ...]:  # noqa: ARG002  # PayPal has a call for it
        """Nothing: all of it is done by API."""
        return ()

    def list_endpoints(self, url: str) -> tuple[Endpoint, ...]:
        """The app's webhooks at exactly this address. Their ids are what deliveries are checked with."""
        listed = self._client.get(_WEBHOOKS).body.get("webhooks")
        found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        return tuple(_endpoint(one) for one in found if one.get("url") == url and shapes.is_id(one.get("id")))

    def register(self, url: str, known: Endpoint | None) -> Endpoint:
        """Make a webhook for exactly our events, or give the known one these."""
        events = [{"name": name} for name in shapes.EVENT_TYPES]
        if known is None:
            made = self._make({"url": url, "event_types": events})
            if not shapes.is_id(made.get("id")):
                raise ProviderUnavailable("PayPal's answer holds no webhook")
            return _endpoint(made)
        path = f"{_WEBHOOKS}/{quote(known.id, safe='')}"
        try:
            changed = self._client.patch(path, [{"op": "replace", "path": "/event_types", "value": events}])
        except Refusal as error:
            if error.issue != "WEBHOOK_PATCH_REQUEST_NO_CHANGE":
                raise
            return msgspec.structs.replace(known, lacks=(), differs=())
        return _endpoint(changed.body)

    def _make(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """PayPal takes an address once: the webhook that is there gives way."""
        try:
            return self._client.post(_WEBHOOKS, wanted).body
        except Refusal as error:
            if error.issue != "WEBHOOK_URL_ALREADY_EXISTS":
                raise
        for old in self.list_endpoints(wanted["url"]):
            self.remove(old)
        return self._client.post(_WEBHOOKS, wanted).body

    def remove(self, endpoint: Endpoint) -> None:
        """Delete the webhook, unless it is gone already."""
        with suppress(NotFound):
            self._client.delete(f"{_WEBHOOKS}/{quote(endpoint.id, safe='')}")

    def list_prices(self) -> tuple[PriceSeen, ...]:
        """Every active plan, with the price of its regular cycle. What is sold once has no plan."""
        found: list[PriceSeen] = []
        for page in range(1, _MOST_PAGES + 1):
            asked = {"page_size": str(_PAGE), "page": str(page)}
            listed = self._client.get(PLANS, asked).body.get("plans")
            plans = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
            active = [one for one in plans if one.get("status", "ACTIVE") == "ACTIVE"]
            found += [price for one in active if (price := price_in(self._client, one)) is not None]
            if len(plans) < _PAGE:
                return tuple(found)
        raise ProviderUnavailable("PayPal's list of plans does not end")

    def count_undelivered(self, since: datetime) -> int | None:  # noqa: ARG002  # PayPal tells it for each event alone
        """None: PayPal tells it for each event by itself."""
        return None

    def greeting(self, secret: str, now: datetime) -> Delivery:  # noqa: ARG002  # nobody can sign like PayPal
        """An event without a signature: only PayPal can sign, so all it can prove is that it is refused."""
        raw = msgspec.json.encode({"id": "WH-KEYWRIGHT-GREETING", "event_type": "KEYWRIGHT.GREETING"})
        return Delivery(raw, {}, genuine=False)


def _endpoint(seen: dict[str, Any]) -> Endpoint:
    listed = seen.get("event_types")
    names = (
        {one.get("name") for one in listed if isinstance(one, dict)} if isinstance(listed, list) else set()
    )
    ours = set(shapes.EVENT_TYPES)
    lacks: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    if _EVERYTHING in names:
        differs = ("it is sent every event there is",)
    else:
        if missing := sorted(ours - names):
            lacks = (f"it is not sent {', '.join(missing)}",)
        if more := names - ours:
            differs = (f"it is sent {len(more)} types of event that are not read",)
    return Endpoint(str(seen["id"]), str(seen.get("url", "")), str(seen["id"]), lacks, differs)
