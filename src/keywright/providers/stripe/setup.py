"""Going live at Stripe: the account, our webhook endpoint, the prices."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec
import stripe

from keywright.domain.errors import Forbidden, Invalid, KeywrightError, Misconfigured, ProviderUnavailable
from keywright.ports import Delivery, Endpoint, PriceSeen
from keywright.providers.stripe import shapes
from keywright.providers.stripe.api import API_BASE, API_VERSION
from keywright.providers.stripe.hook import SIGNATURE_HEADER
from keywright.providers.stripe.platform import ACCOUNT_EVENTS, FEE_EVENTS
from keywright.providers.stripe.prices import price_in

if TYPE_CHECKING:
    from stripe.params import WebhookEndpointCreateParams, WebhookEndpointUpdateParams

EVENTS: Final = tuple(sorted(shapes.READ.keys() - ACCOUNT_EVENTS))
"""What our endpoint asks for: the types that we read, and none that we would only keep."""

_MARK: Final = "keywright"
_TIMEOUTS: Final = (5.0, 20.0)
_EVERYTHING: Final = "*"
_COUNTED: Final = 100

T = TypeVar("T")


class StripeSetup:
    """Implements ProviderSetup for one Stripe account."""

    def __init__(self, secret_key: str, *, base: str = API_BASE) -> None:
        """Make a client; nothing is sent yet. Raises Misconfigured for what cannot be a secret key."""
        if not secret_key.startswith(("sk_", "rk_")):
            raise Misconfigured("a secret key of Stripe begins with sk_ or rk_, and this one does not")
        self._live = secret_key.startswith(("sk_live_", "rk_live_"))
        self._client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": base.rstrip("/")},
            max_network_retries=1,
            http_client=stripe.RequestsClient(timeout=_TIMEOUTS),
        )

    def whose(self) -> str:
        """The account's name in the Dashboard, else its id."""
        account: dict[str, Any] = _ask(self._client.v1.accounts.retrieve_current).to_dict()
        named = ((account.get("settings") or {}).get("dashboard") or {}).get("display_name")
        return f"{named} ({account['id']})" if named else str(account["id"])

    def clicks(self, url: str) -> tuple[str, ...]:  # noqa: ARG002  # Stripe has a call for it
        """Nothing: all of it is done by API."""
        return ()

    def list_endpoints(self, url: str) -> tuple[Endpoint, ...]:
        """The endpoints at exactly this address. Stripe never shows their secrets again."""
        found = _ask(lambda: list(self._client.v1.webhook_endpoints.list({"limit": 100}).auto_paging_iter()))
        seen = [one.to_dict() for one in found]
        ours = sorted((one for one in seen if one["url"] == url), key=lambda one: (one["created"], one["id"]))
        return tuple(_endpoint(one) for one in ours)

    def register(self, url: str, known: Endpoint | None) -> Endpoint:
        """Make the endpoint, in our API version, or give the known one exactly our events.

        The version of an endpoint is fixed when it is made; a known one keeps its own.
        """
        if known is None:
            params = {
                "url": url,
                "api_version": API_VERSION,
                "enabled_events": list(EVENTS),
                "description": "Licenses",
                "metadata": {"made_by": _MARK},
            }
            wanted = cast("WebhookEndpointCreateParams", params)
            made = _ask(lambda: self._client.v1.webhook_endpoints.create(wanted)).to_dict()
        else:
            changed = cast("WebhookEndpointUpdateParams", {"enabled_events": list(EVENTS), "disabled": False})
            id_ = known.id
            made = _ask(lambda: self._client.v1.webhook_endpoints.update(id_, changed)).to_dict()
        return _endpoint(made)

    def remove(self, endpoint: Endpoint) -> None:
        """Delete the endpoint. What Stripe still wanted to repeat there is not sent any more."""
        _ask(lambda: self._client.v1.webhook_endpoints.delete(endpoint.id))

    def list_prices(self) -> tuple[PriceSeen, ...]:
        """Every active price with a fixed amount: what is metered or tiered sells nothing that we count."""
        pages = _ask(
            lambda: list(
                self._client.v1.prices.list(
                    {"active": True, "limit": 100, "expand": ["data.product"]}
                ).auto_paging_iter()
            )
        )
        found = (price_in(one.to_dict()) for one in pages)
        return tuple(price for price in found if price is not None)

    def count_undelivered(self, since: datetime) -> int | None:
        """Events whose delivery Stripe counts as failed; a hundred at the most."""
        asked = {"delivery_success": False, "created": {"gte": int(since.timestamp())}, "limit": _COUNTED}
        found = _ask(lambda: self._client.v1.events.list(cast("Any", asked)))
        return len(found.data)

    def greeting(self, secret: str, now: datetime) -> Delivery:
        """An event of a type that Stripe does not have, signed like Stripe's. One id, so it is kept once."""
        stamp = int(now.timestamp())
        raw = msgspec.json.encode(
            {
                "id": f"evt_keywright_greeting_{'live' if self._live else 'test'}",
                "object": "event",
                "type": "keywright.greeting",
                "created": stamp,
                "livemode": self._live,
                "data": {"object": {}},
            }
        )
        signature = hmac.new(secret.encode(), b"%d." % stamp + raw, hashlib.sha256).hexdigest()
        return Delivery(raw, {SIGNATURE_HEADER: f"t={stamp},v1={signature}"}, genuine=True)


def _endpoint(seen: dict[str, Any]) -> Endpoint:
    lacks, differs = [], []
    if seen["status"] != "enabled":
        lacks.append("it is disabled")
    kinds, ours = set(seen["enabled_events"]), set(EVENTS)
    if _EVERYTHING in kinds:
        differs.append("it is sent every event there is")
    else:
        # An endpoint of before fees were heard of does no harm: most sellers take none.
        if ours - kinds == FEE_EVENTS:
            differs.append("it is not sent the fees of connected accounts")
        elif missing := sorted(ours - kinds):
            lacks.append(f"it is not sent {', '.join(missing)}")
        if more := sorted(kinds - ours):
            differs.append(f"it is sent {len(more)} types of event that are not read")
    version = seen.get("api_version")
    if version != API_VERSION:
        differs.append(f"its events are of version {version or 'that the account has'}, not {API_VERSION}")
    return Endpoint(seen["id"], seen["url"], seen.get("secret"), tuple(lacks), tuple(differs))


def _ask(question: Callable[[], T]) -> T:
    try:
        return question()
    except stripe.StripeError as error:
        refusal = _refusal(error)
    # Raised outside the except block: the SDK's error holds the whole answer, which has no place in a log.
    raise refusal


def _refusal(error: stripe.StripeError) -> KeywrightError:
    """The SDK's error in our words. Stripe's message is left out: it may quote a key."""
    if isinstance(error, stripe.AuthenticationError):
        return Misconfigured("Stripe does not know this key: it is wrong, or revoked.")
    if isinstance(error, stripe.PermissionError):
        return Forbidden(
            "Stripe knows this key, and it may not do this: give the restricted key more rights."
        )
    status = error.http_status or 0
    if isinstance(error, stripe.APIConnectionError) or status == 0:
        return ProviderUnavailable("Stripe cannot be reached from here.")
    if status == 429 or status >= 500:
        return ProviderUnavailable(f"Stripe answers {status}: try again later.")
    return Invalid(f"Stripe refused the request ({error.code or status}).")
