"""What the seller changes at PayPal: seats, cancellation, refunds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from keywright.domain.errors import Invalid, NotFound, Unsupported
from keywright.ports import Deal, Markable, Preview
from keywright.providers.paypal import shapes, values
from keywright.providers.paypal.api import decimals
from keywright.providers.paypal.client import PayPalClient, Refusal

_LIVE_PAYMENTS: Final = "https://www.paypal.com/myaccount/autopay/"
_SANDBOX_PAYMENTS: Final = "https://www.sandbox.paypal.com/myaccount/autopay/"
_CANCELED: Final = "Canceled by the seller"
_OVER: Final = frozenset({"CANCELLED", "EXPIRED"})


class PayPalBilling:
    """Implements `ports.BillingApi`. Safe to use from several threads."""

    def __init__(self, client: PayPalClient, *, live: bool) -> None:
        self._client = client
        self._live = live

    def preview_quantity(self, deal: Deal, quantity: int) -> Preview:
        """PayPal prorates nothing: the new number is billed from the next cycle on.

        Raises Unsupported for a plan without one price; ProviderUnavailable, Misconfigured, NotFound.
        """
        found = self._client.get(f"{_path(deal)}", {"fields": "plan"}).body
        price, currency = _unit_price(found)
        info = found.get("billing_info")
        next_at = info.get("next_billing_time") if isinstance(info, dict) else None
        return Preview(
            quantity=quantity,
            due_now=0,
            next_amount=price * quantity,
            currency=currency,
            next_at=values.moment(next_at) if isinstance(next_at, str) else None,
        )

    def change_quantity(self, deal: Deal, quantity: int, key: str) -> str | None:
        """Have so many from the next cycle on. Returns where the buyer has to agree, when he has to."""
        answer = self._client.post(f"{_path(deal)}/revise", {"quantity": str(quantity)}, key=key)
        links = answer.body.get("links")
        for link in links if isinstance(links, list) else ():
            if isinstance(link, dict) and link.get("rel") == "approve":
                return str(link.get("href"))
        return None

    def cancel(self, deal: Deal) -> None:
        """End it. At PayPal that is at once and for good; the time that is paid for is ours to keep."""
        try:
            self._client.post(f"{_path(deal)}/cancel", {"reason": _CANCELED})
        except Refusal:
            if self._status(deal) not in _OVER:
                raise

    def resume(self, deal: Deal) -> None:
        """Let a suspended subscription run again. Raises Unsupported for one that was canceled."""
        status = self._status(deal)
        if status == "ACTIVE":
            return
        if status != "SUSPENDED":
            raise Unsupported(
                "PayPal cannot bring back a subscription that was canceled. Send the customer "
                "a new checkout: with the renewal key the same license goes on."
            )
        self._client.post(f"{_path(deal)}/activate", {"reason": "Resumed by the seller"})

    def refund(
        self,
        deal: Deal,
        amount: int | None,
        currency: str,
        key: str,
        *,
        fee_back: bool = False,  # noqa: ARG002  # it has no call for it
    ) -> None:
        """Give the money of one payment back. Raises Unsupported when the payment's id is not known."""
        charge = deal.charge
        if charge is None or not shapes.is_id(charge):
            raise Unsupported(
                "The payment's id at PayPal is not known here. Refund it on PayPal's own pages."
            )
        text = None if amount is None else decimals(amount, currency)
        part = None if text is None else {"amount": {"value": text, "currency_code": currency}}
        try:
            self._client.post(f"/v2/payments/captures/{charge}/refund", part, key=key)
        except NotFound:
            # A subscription's payment is a sale, an object of the first API.
            old = None if text is None else {"amount": {"total": text, "currency": currency}}
            self._client.post(f"/v1/payments/sale/{charge}/refund", old, key=key)

    def mark(self, thing: Markable, external_id: str, words: Mapping[str, str], key: str) -> bool:  # noqa: ARG002  # nothing to write into
        """Raises Unsupported: a PayPal customer has no place for words of the seller's."""
        raise Unsupported("PayPal keeps no words beside a customer. The tenant's mapping here says it alone.")

    def portal(self, deal: Deal, return_url: str) -> str:  # noqa: ARG002  # PayPal's page leads nowhere else
        """PayPal has no page for one subscription: the buyer's list of automatic payments."""
        return _LIVE_PAYMENTS if self._live else _SANDBOX_PAYMENTS

    def _status(self, deal: Deal) -> str:
        return str(self._client.get(_path(deal)).body.get("status", "")).upper()


def _path(deal: Deal) -> str:
    if deal.subscription is None or not shapes.is_id(deal.subscription):
        raise Unsupported("This was not bought as a subscription at PayPal.")
    return f"/v1/billing/subscriptions/{deal.subscription}"


def _unit_price(found: dict[str, Any]) -> tuple[int, str]:
    """What one costs in a cycle that is no trial. Raises Unsupported for prices in tiers."""
    plan = found.get("plan")
    cycles = plan.get("billing_cycles") if isinstance(plan, dict) else None
    for cycle in cycles if isinstance(cycles, list) else ():
        pricing = cycle.get("pricing_scheme") if cycle.get("tenure_type") == "REGULAR" else None
        price = pricing.get("fixed_price") if isinstance(pricing, dict) else None
        if isinstance(price, dict):
            currency = str(price.get("currency_code", "")).upper()
            try:
                return values.minor(str(price.get("value")), currency), currency
            except ArithmeticError:
                raise Invalid("PayPal's plan has a price that is no number") from None
    raise Unsupported("PayPal's plan has no single price. Look at it on PayPal's own pages.")
