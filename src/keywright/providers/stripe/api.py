"""Calls to Stripe, through the official SDK, for one account."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import stripe

from keywright.domain.errors import Invalid, KeywrightError, Misconfigured, ProviderUnavailable
from keywright.domain.facts import Refetch
from keywright.ports import ChangePage, CheckoutCreated, CheckoutRequest, Clock

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams

API_VERSION: Final = "2026-10-28.endive"
"""Pinned together with the SDK. A newer SDK must not change what we send and get without us knowing."""

API_BASE: Final = "https://api.stripe.com"

_TIMEOUTS: Final = (5.0, 20.0)  # seconds to connect, seconds between two bytes of the answer
_RETRIES: Final = 2
_WORD: Final = re.compile(r"[A-Za-z0-9_.\[\]]{1,64}")
_UNPAID_FOR_GOOD: Final = frozenset({"requires_payment_method", "canceled"})

# Both are switches of the SDK as a whole. It would measure our requests and report them with the next one,
# and write what it posts, e-mail addresses included, to a DEBUG log.
stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)

T = TypeVar("T")


class StripeApi:
    """The outbound half of Stripe. Safe to use from several threads."""

    def __init__(self, secret_key: str, clock: Clock, *, base: str = API_BASE) -> None:
        """Make a client; nothing is sent yet.

        Args:
            secret_key: `sk_…`, or a restricted `rk_…`.
            clock: dates a fetched checkout when the answer has no `Date`.
            base: where the API answers; the sandbox, in a demo.
        """
        if not secret_key.strip():
            raise Misconfigured("there is no Stripe secret key")
        self._clock = clock
        self._client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": base.rstrip("/")},
            max_network_retries=_RETRIES,
            http_client=stripe.RequestsClient(timeout=_TIMEOUTS),
        )

    def create_checkout(self, request: CheckoutRequest) -> CheckoutCreated:
        """Open a hosted checkout. Safe to repeat with the same request: the idempotency key is the reference.

        Raises:
            ProviderUnavailable: no answer, 429, or 5xx, after the retries.
            Misconfigured: Stripe refuses the key.
            Invalid: Stripe refuses the request; the detail names Stripe's code and parameter.
        """
        session = _ask(
            lambda: self._client.v1.checkout.sessions.create(
                _checkout_params(request),
                {"idempotency_key": f"keywright-checkout-{request.reference}"},
            )
        )
        if not session.url:
            raise Invalid("Stripe opened a checkout without a page to send the buyer to")
        return CheckoutCreated(session.id, session.url, datetime.fromtimestamp(session.expires_at, UTC))

    def fetch(self, wanted: Refetch) -> tuple[bytes, ...]:
        """What Stripe says of an object now. Raises as `create_checkout`."""
        if wanted.kind != "checkout":
            raise Invalid(f"Stripe is not asked for a {wanted.kind}")
        return self._fetch_checkout(wanted.external_id)

    def list_changes(self, since: datetime, cursor: str | None) -> ChangePage:
        """What happened since then. Raises as `create_checkout`."""
        raise Invalid(f"Stripe's changes since {since} are not listed, {cursor or 'from the first'} on")

    def _fetch_checkout(self, session: str) -> tuple[bytes, ...]:
        """The checkout as Stripe sees it now, and the subscription it began, shaped like Stripe's events.

        The checkout's type is the one Stripe would announce its present state with. One that is still open
        has no such type: it reads as `checkout.session.open`, about which there is nothing to know. The
        subscription reads as `customer.subscription.updated`, whatever happened to it. Raises as
        `create_checkout`.
        """
        # The intent tells a failed payment from one on its way; the session says "unpaid" for both.
        expand = ["payment_intent", "subscription"]
        found = _ask(lambda: self._client.v1.checkout.sessions.retrieve(session, {"expand": expand}))
        response = found.last_response
        if response is None:
            raise ProviderUnavailable("Stripe gave no answer")
        body = response.body.encode()
        answered_at = self._answered_at(dict(response.headers))
        told = [
            _as_event(_announcing_type(found.to_dict()), found.id, body, answered_at, live=found.livemode)
        ]
        begun = _subscription_in(body)
        if begun is not None:
            id_, raw = begun
            kind = "customer.subscription.updated"
            told.append(_as_event(kind, id_, raw, answered_at, live=found.livemode))
        return tuple(told)

    def check(self) -> str:
        """Ask who we are: the account's name, or its id. Raises ProviderUnavailable, Misconfigured."""
        account: dict[str, Any] = _ask(self._client.v1.accounts.retrieve_current).to_dict()
        settings, profile = account.get("settings") or {}, account.get("business_profile") or {}
        name = (settings.get("dashboard") or {}).get("display_name") or profile.get("name")
        return str(name or account["id"])

    def _answered_at(self, headers: dict[str, str]) -> datetime:
        date = next((value for name, value in headers.items() if name.lower() == "date"), "")
        try:
            answered_at = parsedate_to_datetime(date)
        except ValueError:
            return self._clock.now()
        return answered_at if answered_at.tzinfo is not None else answered_at.replace(tzinfo=UTC)


def _checkout_params(request: CheckoutRequest) -> SessionCreateParams:
    if request.price_external_id is None:
        raise Invalid("at Stripe a price is sold by its price id, and this one has none")
    ours = {"keywright_reference": request.reference}
    params: SessionCreateParams = {
        "mode": "payment" if request.interval is None else "subscription",
        "line_items": [{"price": request.price_external_id, "quantity": request.quantity}],
        "success_url": request.success_url,
        "cancel_url": request.cancel_url,
        "expires_at": int(request.expires_at.timestamp()),
        "client_reference_id": request.reference,
        "metadata": ours,
    }
    if request.email is not None:
        params["customer_email"] = request.email
    # Stripe copies no metadata from the session: renewals and refunds name only the object that it made.
    if request.interval is None:
        params["customer_creation"] = "always"
        params["payment_intent_data"] = {"metadata": ours}
    else:
        params["subscription_data"] = {"metadata": ours}
        if request.trial_days > 0:
            params["subscription_data"]["trial_period_days"] = request.trial_days
    return params


class _Named(msgspec.Struct, frozen=True):
    id: str


class _Began(msgspec.Struct, frozen=True):
    subscription: msgspec.Raw = msgspec.Raw(b"null")


def _subscription_in(session: bytes) -> tuple[str, bytes] | None:
    """The id and Stripe's own bytes of the subscription expanded in a session."""
    try:
        raw = bytes(msgspec.json.decode(session, type=_Began).subscription)
        return (msgspec.json.decode(raw, type=_Named).id, raw) if raw.startswith(b"{") else None
    except msgspec.MsgspecError:
        pass
    raise ProviderUnavailable("Stripe's answer cannot be read")


def _as_event(kind: str, id_: str, body: bytes, answered_at: datetime, *, live: bool) -> bytes:
    """An answer in the envelope of an event, dated with the moment it was true."""
    created = int(answered_at.timestamp())
    envelope = {
        # Two looks within one second may differ, and must not be taken for one event.
        "id": f"fetch_{id_}_{created}_{hashlib.sha256(body).hexdigest()[:12]}",
        "object": "event",
        "type": kind,
        "created": created,
        "livemode": live,
        "api_version": API_VERSION,
        # Stripe's own bytes, so that what is read is what was sent.
        "data": {"object": msgspec.Raw(body)},
    }
    return msgspec.json.encode(envelope)


def _announcing_type(session: dict[str, Any]) -> str:
    if session.get("status") == "expired":
        return "checkout.session.expired"
    if session.get("status") != "complete":
        return "checkout.session.open"
    intent = session.get("payment_intent")
    failed = isinstance(intent, dict) and intent.get("status") in _UNPAID_FOR_GOOD
    if session.get("payment_status") == "unpaid" and failed:
        return "checkout.session.async_payment_failed"
    return "checkout.session.completed"


def _ask(question: Callable[[], T]) -> T:
    try:
        return question()
    except stripe.StripeError as error:
        refusal = _refusal(error)
    # Raised outside the except block: the SDK's error holds the whole answer, which has no place in a log.
    raise refusal


def _refusal(error: stripe.StripeError) -> KeywrightError:
    """The SDK's error in our words. Stripe's message is left out: it may quote a key or an address."""
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return Misconfigured("Stripe refuses the API key: it is wrong, revoked, or lacks a permission")
    status = error.http_status or 0
    unreachable = isinstance(error, stripe.APIConnectionError | stripe.RateLimitError | stripe.APIError)
    # 409: an earlier try with the same idempotency key is still running at Stripe.
    if unreachable or status in (0, 409, 429) or status >= 500:
        return ProviderUnavailable(f"Stripe does not answer usefully (HTTP status {status or 'none'})")
    words = [word for word in (error.code, getattr(error, "param", None)) if word and _WORD.fullmatch(word)]
    return Invalid(f"Stripe refused the request: {' at '.join(words) or f'HTTP status {status}'}")
