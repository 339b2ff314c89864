"""What we ask Stripe for one account: checkouts opened, objects fetched, changes listed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from keywright.domain.errors import Invalid
from keywright.domain.facts import Refetch
from keywright.import_ports import Turn
from keywright.ports import ChangePage, CheckoutCreated, CheckoutRequest, Clock
from keywright.providers.stripe import changes
from keywright.providers.stripe.client import (
    API_BASE,
    API_VERSION,
    StripeClient,
    address,
    ask,
    decoded,
    id_in,
)
from keywright.providers.stripe.existing import A_SECOND, StripeExisting
from keywright.providers.stripe.values import from_iso

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams

__all__ = ["API_BASE", "API_VERSION", "StripeApi"]

_UNPAID_FOR_GOOD: Final = frozenset({"requires_payment_method", "canceled"})
# The intent tells a failed payment from one on its way, where the session says "unpaid" for both; and when
# it was paid. The lines tell what a shop of the seller's own sold.
_OF_SESSIONS: Final = ("payment_intent", "subscription", "line_items")


class StripeApi:
    """Implements PaymentApi. Safe to use from several threads."""

    def __init__(
        self, secret_key: str, clock: Clock, *, base: str = API_BASE, account: str | None = None
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            secret_key: `sk_…`, or a restricted `rk_…`.
            account: a connected account, `acct_…`, that the key speaks for; None: the key's own.
            clock: dates an answer that has no `Date`, and tells how far back events reach.
            base: where the API answers; the sandbox, in a demo.
        """
        self._client = StripeClient(secret_key, clock, base, account)
        self._clock = clock
        self._fetchers: Final[Mapping[str, Callable[[str], tuple[bytes, ...]]]] = {
            "checkout": self._fetch_checkout,
            "subscription": self._fetch_subscription,
            "invoice": self._fetch_invoice,
            "charge": self._fetch_charge,
            "payment_intent": self._fetch_payer,
            "refund": lambda id_: self._fetch_plain("refund", "refunds", id_),
            "dispute": lambda id_: self._fetch_plain("dispute", "disputes", id_),
        }

    def create_checkout(self, request: CheckoutRequest) -> CheckoutCreated:
        """Open a hosted checkout. Safe to repeat with the same request: the idempotency key is the reference.

        Raises:
            ProviderUnavailable: no answer, 429, or 5xx, after the retries.
            Misconfigured: Stripe refuses the key.
            Invalid: Stripe refuses the request; the detail names Stripe's code and parameter.
        """
        session = ask(
            lambda: self._client.sdk.v1.checkout.sessions.create(
                _checkout_params(request),
                {"idempotency_key": f"keywright-checkout-{request.reference}"},
            )
        )
        if not session.url:
            raise Invalid("Stripe opened a checkout without a page to send the buyer to")
        return CheckoutCreated(session.id, session.url, datetime.fromtimestamp(session.expires_at, UTC))

    def fetch(self, wanted: Refetch, *, look: bool = False) -> tuple[bytes, ...]:  # noqa: ARG002  # asking changes nothing here
        """What Stripe says of an object now, shaped like Stripe's events; see `shapes.FETCHED`.

        A `payment_intent` brings what it paid: the invoices, or the checkout. Raises as `create_checkout`;
        NotFound when there is no such object.
        """
        fetcher = self._fetchers.get(wanted.kind)
        if fetcher is None:
            raise Invalid(f"Stripe is not asked for a {wanted.kind}")
        return fetcher(wanted.external_id)

    def list_changes(self, since: datetime, cursor: str | None) -> ChangePage:
        """What happened since then; see `changes.py`. Raises as `create_checkout`."""
        phases = changes.phases(since, self._clock.now())
        number, after = changes.place_of(cursor, len(phases))
        phase = phases[number]
        listed, answered_at = self._client.page(
            phase.path, **phase.params, **({"starting_after": after} if after else {})
        )
        told = [changes.Change(bytes(raw), fetched=False) for raw in listed.data]
        if phase.kind is not None:
            wholes = [self._told(phase.kind, bytes(raw), answered_at) for raw in listed.data]
            told = [changes.Change(raw, fetched=True) for several in wholes for raw in reversed(several)]
        last = id_in(listed.data[-1]) if listed.has_more and listed.data else None
        # Oldest last at Stripe, oldest first here: what founds a purchase comes before what follows it.
        return ChangePage(tuple(reversed(told)), changes.next_place(number, last, len(phases)))

    @property
    def a_second(self) -> float:
        """How many requests a second an import may send."""
        return A_SECOND[self._client.live]

    def existing(self, turn: Turn) -> StripeExisting:
        """A listing of everything that is there, for an import."""
        return StripeExisting(self._client, self._clock, self._told, turn)

    def check(self) -> str:
        """Ask who we are: the account's name, or its id. Raises ProviderUnavailable, Misconfigured."""
        account: dict[str, Any] = ask(self._client.sdk.v1.accounts.retrieve_current).to_dict()
        settings, profile = account.get("settings") or {}, account.get("business_profile") or {}
        name = (settings.get("dashboard") or {}).get("display_name") or profile.get("name")
        return str(name or account["id"])

    # -- fetching -----------------------------------------------------------------------------------

    def _fetch_checkout(self, session: str) -> tuple[bytes, ...]:
        """The checkout as Stripe sees it now, and the subscription it began.

        One that is still open has no type that Stripe would announce it with: it reads as
        `checkout.session.open`, about which there is nothing to know.
        """
        found = self._client.get(address("checkout", "sessions", session), expand=list(_OF_SESSIONS))
        return self._told("checkout", found.body, found.answered_at)

    def _fetch_subscription(self, id_: str) -> tuple[bytes, ...]:
        found = self._client.get(address("subscriptions", id_))
        return self._told("subscription", found.body, found.answered_at)

    def _fetch_invoice(self, id_: str) -> tuple[bytes, ...]:
        found = self._client.get(address("invoices", id_), expand=["payments"])
        return self._told("invoice", found.body, found.answered_at)

    def _fetch_plain(self, kind: str, path: str, id_: str) -> tuple[bytes, ...]:
        found = self._client.get(address(path, id_))
        return self._told(kind, found.body, found.answered_at)

    def _fetch_charge(self, id_: str) -> tuple[bytes, ...]:
        """The charge, and what it paid: since 2025-03-31 it does not name its invoice itself."""
        found = self._client.get(address("charges", id_))
        told = self._told("charge", found.body, found.answered_at)
        intent = decoded(found.body, _PaidBy).payment_intent
        return (*self._fetch_payer(intent), *told) if intent is not None else told

    def _fetch_payer(self, intent: str) -> tuple[bytes, ...]:
        """The invoices that a payment intent paid, else its checkout, else itself.

        https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices
        """
        paid = {"type": "payment_intent", "payment_intent": intent}
        links, answered_at = self._client.page(
            address("invoice_payments"), payment=paid, expand=["data.invoice"]
        )
        told: list[bytes] = []
        for raw in links.data:
            invoice = bytes(decoded(bytes(raw), _Settles).invoice)
            if invoice.startswith(b"{"):
                told += self._told("invoice", invoice, answered_at)
            told += self._told("invoice_payment", bytes(raw), answered_at)
        if told:
            return tuple(told)
        expand = [f"data.{member}" for member in _OF_SESSIONS]
        sessions, answered_at = self._client.page(
            address("checkout", "sessions"), payment_intent=intent, expand=expand
        )
        for raw in sessions.data:
            told += self._told("checkout", bytes(raw), answered_at)
        return tuple(told) or self._fetch_plain("payment_intent", "payment_intents", intent)

    def _told(self, kind: str, raw: bytes, answered_at: datetime) -> tuple[bytes, ...]:
        """An object in envelopes, the lists whole that Stripe cut."""
        if kind == "checkout":
            return self._told_checkout(raw, answered_at)
        if kind == "subscription":
            raw = self._client.whole(raw, "items", address("subscription_items"), subscription=id_in(raw))
        elif kind == "invoice":
            raw = self._client.whole(raw, "lines", address("invoices", id_in(raw), "lines"))
            raw = self._client.whole(raw, "payments", address("invoice_payments"), invoice=id_in(raw))
        return (self._envelope(f"fetched.{kind}", raw, answered_at),)

    def _told_checkout(self, raw: bytes, answered_at: datetime) -> tuple[bytes, ...]:
        raw = self._client.whole(raw, "line_items", address("checkout", "sessions", id_in(raw), "line_items"))
        told = [self._envelope(_announcing_type(decoded(raw, dict[str, Any])), raw, answered_at)]
        begun = bytes(decoded(raw, _Began).subscription)
        if begun.startswith(b"{"):
            told += self._told("subscription", begun, answered_at)
        return tuple(told)

    def _envelope(self, kind: str, raw: bytes, answered_at: datetime) -> bytes:
        """An answer in the envelope of an event, dated with the moment it was true."""
        created = int(answered_at.timestamp())
        said = decoded(raw, _Moded)
        envelope = {
            # Two looks within one second may differ, and must not be taken for one event.
            "id": f"fetch_{said.id}_{created}_{hashlib.sha256(raw).hexdigest()[:12]}",
            "object": "event",
            "type": kind,
            "created": created,
            # A refund does not say.
            "livemode": self._client.live if said.livemode is None else said.livemode,
            "api_version": API_VERSION,
            # Stripe's own bytes, so that what is read is what was sent.
            "data": {"object": msgspec.Raw(raw)},
        }
        return msgspec.json.encode(envelope)


class _Moded(msgspec.Struct, frozen=True):
    id: str
    livemode: bool | None = None


class _Began(msgspec.Struct, frozen=True):
    subscription: msgspec.Raw = msgspec.Raw(b"null")


class _PaidBy(msgspec.Struct, frozen=True):
    payment_intent: str | None = None


class _Settles(msgspec.Struct, frozen=True):
    invoice: msgspec.Raw = msgspec.Raw(b"null")


def _checkout_params(request: CheckoutRequest) -> SessionCreateParams:
    if request.price_external_id is None:
        raise Invalid("at Stripe a price is sold by its price id, and this one has none")
    ours = {"keywright_reference": request.reference}
    if request.tenant is not None:
        ours["tenant_id"] = request.tenant
    params: SessionCreateParams = {
        "mode": "payment" if request.interval is None else "subscription",
        "line_items": [{"price": request.price_external_id, "quantity": request.quantity}],
        "success_url": request.success_url,
        "cancel_url": request.cancel_url,
        "expires_at": int(request.expires_at.timestamp()),
        "client_reference_id": request.reference,
        "metadata": ours,
    }
    if request.customer is not None:
        params["customer"] = request.customer
    elif request.email is not None:
        params["customer_email"] = request.email
    # Stripe copies no metadata from the session: renewals and refunds name only the object that it made.
    if request.interval is None:
        if request.customer is None:  # Stripe takes one of the two
            params["customer_creation"] = "always"
        params["payment_intent_data"] = {"metadata": ours}
    else:
        params["subscription_data"] = {"metadata": ours}
        if request.trial_days > 0:
            params["subscription_data"]["trial_period_days"] = request.trial_days
    _put_fee(params, request)
    return params


def _put_fee(params: SessionCreateParams, request: CheckoutRequest) -> None:
    """The platform's fee: an amount of one charge, or a part of every charge of a subscription.

    https://docs.stripe.com/connect/direct-charges#collect-fees and
    https://docs.stripe.com/connect/subscriptions#collect-fees
    """
    fee = request.fee
    if fee is None:
        return
    if request.interval is None and fee.amount > 0:
        amount = from_iso(fee.amount, request.currency)
        params["payment_intent_data"] = {**params["payment_intent_data"], "application_fee_amount": amount}
    elif request.interval is not None and fee.basis_points > 0:
        percent = fee.basis_points / 100
        params["subscription_data"] = {**params["subscription_data"], "application_fee_percent": percent}


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
