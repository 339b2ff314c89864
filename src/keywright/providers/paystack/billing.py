"""What a seller changes at Paystack: renewals, refunds, the page where the buyer changes the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from keywright.domain.errors import Conflict, Invalid, NotFound, ProviderUnavailable, Unsupported
from keywright.ports import Deal, Markable, Preview
from keywright.providers.paystack.amounts import to_paystack
from keywright.providers.paystack.envelopes import refunds_of
from keywright.providers.paystack.http import PaystackHttp
from keywright.providers.paystack.reduce import Data, number

_NO_QUANTITY: Final = (
    "Paystack's plans have no quantity. Sell one plan for each number of seats: the customer buys the plan "
    "with the seats wanted, and the old subscription is canceled."
)
_PAGES: Final = 20
_PAGE: Final = 100
_NOTE: Final = "keywright"


class PaystackBilling:
    """The changes Paystack can make. Safe to use from several threads."""

    def __init__(self, http: PaystackHttp) -> None:
        self._http = http

    def preview_quantity(self, deal: Deal, quantity: int) -> Preview:
        """Raises Unsupported: a subscription's quantity can be neither set nor changed by API."""
        del deal, quantity
        raise Unsupported(_NO_QUANTITY)

    def change_quantity(self, deal: Deal, quantity: int, key: str) -> str | None:
        """Raises Unsupported, as `preview_quantity`."""
        del deal, quantity, key
        raise Unsupported(_NO_QUANTITY)

    def cancel(self, deal: Deal) -> None:
        """Disable the subscription: it does not renew, and what is paid stays paid.

        Safe to repeat. Raises ProviderUnavailable, Misconfigured, NotFound, Invalid.
        """
        found = self._subscription(deal)
        if found.get("status") in ("active", "attention"):
            self._switch("disable", found)

    def resume(self, deal: Deal) -> None:
        """Enable the subscription again. Safe to repeat.

        Raises Unsupported for one that has ended, else as `cancel`.
        """
        found = self._subscription(deal)
        if found.get("status") in ("active", "attention"):
            return
        if found.get("status") != "non-renewing":
            raise Unsupported(
                "Paystack cannot revive a subscription that has ended: it has to be bought again."
            )
        self._switch("enable", found)

    def _subscription(self, deal: Deal) -> Data:
        if deal.subscription is None:
            raise Invalid("there is no Paystack subscription behind this license")
        answer = self._http.get(f"/subscription/{quote(deal.subscription, safe='')}")
        if not isinstance(answer.data, Mapping):
            raise ProviderUnavailable("Paystack's answer holds no subscription")
        return answer.data

    def _switch(self, act: str, subscription: Data) -> None:
        # The token is as good as the right to cancel: it is fetched for the moment, and never kept.
        body = {"code": subscription.get("subscription_code"), "token": subscription.get("email_token")}
        self._http.post(f"/subscription/{act}", body)

    def refund(
        self,
        deal: Deal,
        amount: int | None,
        currency: str,
        key: str,
        *,
        fee_back: bool = False,  # noqa: ARG002  # it has no call for it
    ) -> None:
        """Give the money of one payment back.

        Paystack's refunds have no idempotency key. The key is written into the refund's note, and a refund
        that carries it already is the one that was asked for.

        Args:
            deal: `payment` or `intent` is the transaction's reference, `charge` its number.
            amount: in ISO minor units; None for all that is left.
            currency: upper-case ISO code.
            key: what makes it safe to repeat.

        Raises:
            ProviderUnavailable, Misconfigured.
            NotFound: no such transaction.
            Conflict: `REFUNDED_ALREADY`.
            Invalid: Paystack refuses.
        """
        transaction = self._transaction(deal)
        note = f"{_NOTE} {key}"
        made = self._refunds(transaction)
        if any(one.get("merchant_note") == note for one in made):
            return
        wanted = self._left(transaction, made) if amount is None else to_paystack(amount, currency)
        if wanted <= 0:
            raise Conflict("All of this payment was given back before.", code="REFUNDED_ALREADY")
        body = {
            "transaction": str(transaction.get("id")),
            "amount": wanted,
            "currency": currency,
            "merchant_note": note,
        }
        self._http.post("/refund", body)

    def _transaction(self, deal: Deal) -> Data:
        reference = deal.intent or deal.payment
        if reference is not None:
            answer = self._http.get(f"/transaction/verify/{quote(reference, safe='')}")
        elif deal.charge is not None:
            answer = self._http.get(f"/transaction/{quote(deal.charge, safe='')}")
        else:
            raise NotFound("no Paystack transaction is known for this license")
        if not isinstance(answer.data, Mapping):
            raise ProviderUnavailable("Paystack's answer holds no transaction")
        return answer.data

    def _refunds(self, transaction: Data) -> list[Data]:
        found: list[Data] = []
        for page in range(1, _PAGES + 1):
            id_ = number(transaction.get("id"))
            answer = self._http.get("/refund", paced=page > 1, perPage=_PAGE, page=page, transaction=id_)
            listed = answer.data if isinstance(answer.data, list) else []
            found += [one for one in listed if isinstance(one, Mapping)]
            if len(listed) < _PAGE:
                break
        mine: list[Data] = refunds_of(transaction, found)["refunds"]
        return mine

    @staticmethod
    def _left(transaction: Data, refunds: list[Data]) -> int:
        """What is left of a payment, in Paystack's hundredths: refunds that failed gave nothing back."""
        given = sum(_whole(one.get("amount")) for one in refunds if one.get("status") != "failed")
        return _whole(transaction.get("amount")) - given

    def mark(self, thing: Markable, external_id: str, words: Mapping[str, str], key: str) -> bool:  # noqa: ARG002  # nothing to write into
        """Raises Unsupported: a Paystack customer has no place for words of the seller's."""
        raise Unsupported("Paystack keeps no words beside a customer: the tenant's mapping alone says it.")

    def portal(self, deal: Deal, return_url: str) -> str:
        """Paystack's page for one subscription: another card, or no renewal. It leads back to no address.

        Raises Unsupported for a one-off order, else as `cancel`.
        """
        del return_url
        if deal.subscription is None:
            raise Unsupported("Paystack has a page for subscriptions only; a one-off order has none.")
        answer = self._http.get(f"/subscription/{quote(deal.subscription, safe='')}/manage/link")
        link = answer.data.get("link") if isinstance(answer.data, Mapping) else None
        if not isinstance(link, str) or urlsplit(link).scheme not in ("https", "http"):
            raise ProviderUnavailable("Paystack's answer holds no link")
        return link


def _whole(amount: Any) -> int:
    told = number(amount)
    return int(told) if told is not None else 0
