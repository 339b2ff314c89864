"""What Keywright asks Paystack for one account: checkouts, objects, changes.

Everything that is fetched becomes an envelope of ours, `{"event": "fetched.…", "data": …, "at": …}`, which
`hook.py` reduces like an event. The seller's key reads it over TLS, so that it is true where an event is not.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from keywright.domain.errors import Invalid, NotFound, ProviderUnavailable
from keywright.domain.facts import Refetch
from keywright.import_ports import Turn
from keywright.ports import ChangePage, CheckoutCreated, CheckoutRequest, Clock
from keywright.providers.paystack.amounts import to_paystack
from keywright.providers.paystack.changes import Listing
from keywright.providers.paystack.envelopes import enveloped, refunds_of, rfc3339, with_begun
from keywright.providers.paystack.existing import A_SECOND, PaystackExisting
from keywright.providers.paystack.http import API_BASE, Answer, DuplicateReference, PaystackHttp
from keywright.providers.paystack.links import customer_id_of, founding_of, is_pair, subscription_of
from keywright.providers.paystack.reduce import Data, first_moment, number, plan_of, within

PAY_PAGES: Final = "https://checkout.paystack.com"
"""Where the hosted checkouts are, and what the script frames."""

INLINE_SCRIPT: Final = "https://js.paystack.co/v2/inline.js"

_REMEMBERED: Final = 256
_TRIES: Final = 9
_LIST: Final = 100
_MOST_PAGES: Final = 20
_ACCESS: Final = re.compile(r"[A-Za-z0-9_-]{4,64}")
_YOUNG: Final = timedelta(days=3)
_AROUND: Final = timedelta(minutes=30)


class PaystackApi:
    """The outbound half of Paystack. Safe to use from several threads."""

    def __init__(
        self,
        secret_key: str,
        clock: Clock,
        *,
        base: str = API_BASE,
        transport: httpx.BaseTransport | None = None,
        subaccount: str | None = None,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            secret_key: `sk_test_…` or `sk_live_…`; it selects the mode.
            clock: dates an answer that has no `Date`.
            base: where the API answers; the sandbox, in a demo.
            transport: what carries the requests, for tests.
            subaccount: `ACCT_…` for a tenant that sells through the key's account; None: the key's own sales.
        """
        self._subaccount = subaccount
        self.http = PaystackHttp(secret_key, clock, base=base, transport=transport)
        self._listing = Listing(self.http, subaccount=subaccount)
        self._opened: OrderedDict[CheckoutRequest, CheckoutCreated] = OrderedDict()
        self._lock = threading.Lock()

    # -- checkout -----------------------------------------------------------------------------------

    def create_checkout(self, request: CheckoutRequest) -> CheckoutCreated:
        """Open a hosted checkout: initialize a transaction under our reference.

        Paystack has no idempotency key. A reference that was used is refused, and its page cannot be asked
        for again: when the first answer was lost, nobody knows the page it named, and a transaction
        `KW-….1` takes its place.

        Raises:
            ProviderUnavailable: no usable answer.
            Misconfigured: Paystack refuses the key.
            Invalid: `EMAIL_REQUIRED`, `QUANTITY_UNSUPPORTED`, `TRIAL_UNSUPPORTED`, before anything is sent;
                or Paystack refuses the request.
        """
        _check(request)
        with self._lock:
            known = self._opened.get(request)
        if known is not None:
            return known
        created = self._initialize(request)
        with self._lock:
            self._opened[request] = created
            while len(self._opened) > _REMEMBERED:
                self._opened.popitem(last=False)
        return created

    def _initialize(self, request: CheckoutRequest) -> CheckoutCreated:
        for attempt in range(_TRIES):
            reference = request.reference if attempt == 0 else f"{request.reference}.{attempt}"
            try:
                answer = self.http.post(
                    "/transaction/initialize", _initializing(request, reference, self._subaccount)
                )
            except DuplicateReference:
                continue
            url = within({"data": answer.data}, "data").get("authorization_url")
            if not isinstance(url, str) or urlsplit(url).scheme not in ("https", "http"):
                raise Invalid("Paystack opened a checkout without a page to send the buyer to")
            return CheckoutCreated(reference, url, request.expires_at)
        raise Invalid("Paystack has seen every form of this reference before")

    # -- fetch --------------------------------------------------------------------------------------

    def fetch(self, wanted: Refetch, *, look: bool = False) -> tuple[bytes, ...]:  # noqa: ARG002  # asking changes nothing here
        """What Paystack says of an object now, with what it hangs together with.

        Raises ProviderUnavailable, Misconfigured, Invalid; NotFound when there is no such object.
        """
        fetchers: Mapping[str, Callable[[str], tuple[bytes, ...]]] = {
            "checkout": self._fetch_transaction,
            "transaction": self._fetch_transaction,
            "subscription": self._fetch_subscription,
            "renewal": self._fetch_renewal,
            "refunds": self._fetch_refunds,
            "dispute": self._fetch_dispute,
        }
        if wanted.kind not in fetchers:
            raise Invalid(f"Paystack is not asked for a {wanted.kind}")
        return fetchers[wanted.kind](wanted.external_id)

    def _fetch_transaction(self, reference: str) -> tuple[bytes, ...]:
        """A transaction, and the subscription it began or renewed."""
        return self._told(self._verify(reference))

    def _told(self, answer: Answer) -> tuple[bytes, ...]:
        begun = self._subscription_of(answer.data)
        told = [enveloped("transaction", with_begun(answer.data, begun), answer.at)]
        if begun is not None:
            told.append(enveloped("subscription", begun, answer.at))
        return tuple(told)

    def _verify(self, reference: str) -> Answer:
        return _of_object(self.http.get(f"/transaction/verify/{quote(reference, safe='')}"))

    def _subscription_of(self, transaction: Data) -> Data | None:
        """The subscription behind a plan's payment; None for a one-off, or while that cannot be told."""
        plan = plan_of(transaction)
        if plan is None or transaction.get("status") not in ("success", "reversed"):
            return None
        plan_id = number(within(transaction, "plan_object").get("id")) or number(
            within(transaction, "plan").get("id")
        )
        listed = self._every("/subscription", customer=customer_id_of(transaction), plan=plan_id)
        return subscription_of(transaction, listed)

    def _fetch_subscription(self, name: str) -> tuple[bytes, ...]:
        """A subscription, before it the payment that ties it to a purchase.

        The payment comes first: it carries all the names, so that the snapshot finds its purchase made.
        """
        answer = _of_object(self.http.get(f"/subscription/{quote(name, safe='')}"))
        told = [enveloped("subscription", answer.data, answer.at)]
        paid = self._payment_of(answer.data, answer.at)
        if paid is not None:
            told.insert(0, enveloped("transaction", with_begun(paid, answer.data), answer.at))
        return tuple(told)

    def _fetch_renewal(self, names: str) -> tuple[bytes, ...]:
        """A subscription and the payment that its invoice named, `SUB_…/reference`."""
        name, _, reference = names.partition("/")
        paid = self._verify(reference)
        answer = _of_object(self.http.get(f"/subscription/{quote(name, safe='')}"))
        begun = answer.data if is_pair(paid.data, answer.data) else None
        return (
            enveloped("transaction", with_begun(paid.data, begun), paid.at),
            enveloped("subscription", answer.data, answer.at),
        )

    def _payment_of(self, subscription: Data, at: datetime) -> Data | None:
        """The newest payment for a subscription, as far as Paystack tells."""
        last = number(within(subscription, "most_recent_invoice").get("transaction"))
        if last is not None:
            try:
                return dict(_of_object(self.http.get(f"/transaction/{last}")).data)
            except NotFound:
                return None
        created = first_moment(subscription, "createdAt", "created_at")
        customer = customer_id_of(subscription)
        if created is None or customer is None or at - created > _YOUNG:
            return None
        paid = self._every(
            "/transaction",
            customer=customer,
            status="success",
            **{"from": rfc3339(created - _AROUND), "to": rfc3339(created + _AROUND)},
        )
        return founding_of(subscription, paid)

    def _fetch_refunds(self, reference: str) -> tuple[bytes, ...]:
        """All refunds of a transaction, and the transaction itself, whose status they change."""
        answer = self._verify(reference)
        listed = self._every("/refund", transaction=number(answer.data.get("id")))
        refunds = enveloped("refunds", refunds_of(answer.data, listed), answer.at)
        return (*self._told(answer), refunds)

    def _fetch_dispute(self, id_: str) -> tuple[bytes, ...]:
        answer = _of_object(self.http.get(f"/dispute/{quote(id_, safe='')}"))
        return (enveloped("dispute", answer.data, answer.at),)

    def _every(self, path: str, **params: str | None) -> list[Data]:
        """All of a short list. It is one object's: a list that never ends is an answer that cannot be."""
        found: list[Data] = []
        for page in range(1, _MOST_PAGES + 1):
            answer = self.http.get(path, paced=page > 1, perPage=_LIST, page=page, **params)
            listed = [one for one in _listed(answer) if isinstance(one, Mapping)]
            found += listed
            if len(listed) < _LIST:
                return found
        raise ProviderUnavailable("Paystack's list does not end")

    # -- lists --------------------------------------------------------------------------------------

    def list_changes(self, since: datetime, cursor: str | None) -> ChangePage:
        """What was made or changed since then: subscriptions, transactions, refunds, disputes.

        Raises ProviderUnavailable, Misconfigured.
        """
        return self._listing.page(since, cursor)

    @property
    def a_second(self) -> float:
        """How many requests a second an import may send."""
        return A_SECOND

    def existing(self, turn: Turn) -> PaystackExisting:
        """A listing of everything that is there, for an import."""
        return PaystackExisting(self.http, turn, subaccount=self._subaccount)

    def check(self) -> str:
        """Ask whether the key is taken. Returns the mode and the account's number, which is all it tells.

        Raises ProviderUnavailable, Misconfigured.
        """
        answer = self.http.get("/transaction", perPage=1, page=1)
        first = next((one for one in _listed(answer) if isinstance(one, Mapping)), {})
        mode = "live" if self.http.live else "test"
        integration = number(first.get("integration"))
        return f"Paystack {mode} account" + (f" {integration}" if integration is not None else "")


# --------------------------------------------------------------------------------------- requests, answers


def _check(request: CheckoutRequest) -> None:
    """Refuse what Paystack cannot do before the buyer is sent there."""
    if request.email is None:
        raise Invalid("Paystack needs the buyer's e-mail address.", code="EMAIL_REQUIRED")
    if request.interval is None:
        return
    if request.quantity != 1:
        detail = "Paystack's plans have no quantity: one plan for each number of seats can be sold instead."
        raise Invalid(detail, code="QUANTITY_UNSUPPORTED")
    if request.trial_days > 0:
        raise Invalid("Paystack's plans have no trial.", code="TRIAL_UNSUPPORTED")
    if request.price_external_id is None:
        raise Invalid("at Paystack a subscription is sold by its plan code, and this price has none")


def _initializing(request: CheckoutRequest, reference: str, subaccount: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "email": request.email or "",
        "amount": str(to_paystack(request.amount * request.quantity, request.currency)),
        "currency": request.currency,
        "reference": reference,
        "callback_url": request.success_url,
        # Only for people who look at Paystack's pages; nothing of ours reads it.
        "metadata": msgspec.json.encode(
            {"keywright_reference": request.reference, "cancel_action": request.cancel_url}
        ).decode(),
    }
    if request.interval is not None and request.price_external_id is not None:
        body["plan"] = request.price_external_id
    if subaccount is not None:
        # Whoever sells bears Paystack's own fees, as with any account of his own.
        body |= {"subaccount": subaccount, "bearer": "subaccount"}
        fee = request.fee
        if fee is not None and request.interval is None and fee.amount > 0:
            # An amount stands above the subaccount's percentage. It is told of this payment alone, so a
            # subscription has the percentage, which its renewals have too.
            body["transaction_charge"] = to_paystack(fee.amount, request.currency)
    return body


def access_code_of(url: str) -> str | None:
    """What opens the same checkout inside the shop's own page; None when the address names none."""
    last = urlsplit(url).path.rsplit("/", 1)[-1]
    return last if _ACCESS.fullmatch(last) else None


def _of_object(answer: Answer) -> Answer:
    if not isinstance(answer.data, Mapping):
        raise ProviderUnavailable("Paystack's answer holds no object")
    return answer


def _listed(answer: Answer) -> list[Any]:
    if not isinstance(answer.data, list):
        raise ProviderUnavailable("Paystack's answer holds no list")
    return answer.data
