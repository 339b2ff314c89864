"""Which subscription a payment belongs to. A payment at Paystack does not name it.

The invoices of a subscription name the payments they were settled by: that is certain. The first payment has
none; Paystack makes the subscription within moments after it, for the same customer and plan. A renewal
whose invoice is not told of belongs to the only subscription it can; where there are two, `invoice.update`
will tell, which names both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from keywright.providers.paystack.facts import our_reference
from keywright.providers.paystack.reduce import Data, code, first_moment, number, plan_of, within

_BEFORE: Final = timedelta(seconds=5)  # between two clocks of Paystack's
_SOON: Final = timedelta(minutes=15)


def customer_of(data: Data) -> str | None:
    """The customer's code."""
    return code(data.get("customer"), "customer_code")


def customer_id_of(data: Data) -> str | None:
    """The customer's number, by which lists are filtered."""
    return number(within(data, "customer").get("id")) or number(data.get("customer"))


def is_pair(transaction: Data, subscription: Data) -> bool:
    """Whether both are of one customer and one plan."""
    plan, customer = plan_of(transaction), customer_of(transaction)
    return (
        plan is not None
        and customer is not None
        and plan == plan_of(subscription)
        and customer == customer_of(subscription)
    )


def subscription_of(transaction: Data, listed: Iterable[Data]) -> Data | None:
    """The subscription that this payment of a plan began or renewed; None while that cannot be told.

    Args:
        transaction: as Paystack answered it.
        listed: subscriptions, of this customer and plan or not.
    """
    mine = [one for one in listed if is_pair(transaction, one)]
    id_ = number(transaction.get("id"))
    for one in mine:
        if id_ is not None and id_ in _invoiced(one):
            return one
    paid = _paid_at(transaction)
    if paid is None:
        return None
    begun = [(at, one) for one in mine if (at := _created_at(one)) is not None and _began(paid, at)]
    if begun:
        return min(begun, key=lambda pair: pair[0])[1]
    reference = transaction.get("reference")
    if isinstance(reference, str) and our_reference(reference) is not None:
        return None  # a first payment: its subscription is about to be made
    older = [one for one in mine if (at := _created_at(one)) is None or at < paid]
    return older[0] if len(older) == 1 else None


def founding_of(subscription: Data, paid: Sequence[Data]) -> Data | None:
    """The payment that began this subscription: the last one before it, of the same customer and plan."""
    created = _created_at(subscription)
    if created is None:
        return None
    fitting = [
        (at, one)
        for one in paid
        if one.get("status") in ("success", "reversed")
        and is_pair(one, subscription)
        and (at := _paid_at(one)) is not None
        and _began(at, created)
    ]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _began(paid: datetime, created: datetime) -> bool:
    return paid - _BEFORE <= created <= paid + _SOON


def _invoiced(subscription: Data) -> set[str | None]:
    """The numbers of the transactions that this subscription's invoices name."""
    listed: list[Any] = [subscription.get("most_recent_invoice")]
    for name in ("invoices", "invoices_history"):
        several = subscription.get(name)
        listed += several if isinstance(several, list) else []
    found = [one.get("transaction") for one in listed if isinstance(one, dict)]
    return {number(one) or (number(one.get("id")) if isinstance(one, dict) else None) for one in found}


def _paid_at(transaction: Data) -> datetime | None:
    return first_moment(transaction, "paid_at", "paidAt", "created_at", "createdAt")


def _created_at(subscription: Data) -> datetime | None:
    return first_moment(subscription, "createdAt", "created_at")
