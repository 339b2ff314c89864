"""Reduces what Paystack sends to the shapes that may be kept.

One thing has several spellings at Paystack: `paid_at` and `paidAt`, an amount as number or string, a plan as
object, code, number, `{}` or null, a customer as object or number. The differences end here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from keywright.domain.card_numbers import find_card_numbers
from keywright.domain.email_address import is_email_address
from keywright.domain.errors import Unreadable
from keywright.providers.paystack import shapes

Data = Mapping[str, Any]

_MAX_EMAIL = 320  # RFC 5321: 64 before the at sign, 255 after
_LONGEST_TIME = 40
_DIGITS: Final = re.compile(r"-?[0-9]{1,15}")
_NO_CURRENCY: Final = "XXX"  # ISO 4217 for "no currency is involved"


def kept_of(kind: str, data: Data) -> shapes.Kept:
    """What may be kept of an object of this event type.

    Raises Unreadable, which names the place and never the value.
    """
    picked = PICKS[kind](data)
    try:
        return msgspec.convert(picked, shapes.Kept)
    except (msgspec.ValidationError, ValueError) as error:
        problem = str(error) if isinstance(error, msgspec.ValidationError) else "a string is not Unicode"
    raise Unreadable(f"not an event of Paystack's as we know it: {problem}")


def moment(value: Any) -> datetime | None:
    """A time as Paystack writes it, in UTC; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        if isinstance(value, int):
            return datetime.fromtimestamp(value, UTC)
        if len(value) > _LONGEST_TIME:
            return None
        read = datetime.fromisoformat(value.strip())
        return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def first_moment(data: Data, *names: str) -> datetime | None:
    """The first of these members that is a time."""
    return next((found for found in (moment(data.get(name)) for name in names) if found is not None), None)


def number(value: Any) -> str | None:
    """An object's number, as text."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value) if str(value).isdecimal() else None


def code(value: Any, member: str) -> str | None:
    """The code of an object that was sent whole or as its code; None for `{}`, null and a bare number."""
    found = value.get(member) if isinstance(value, Mapping) else value
    return found if isinstance(found, str) and found else None


def within(data: Data, name: str) -> Data:
    """The object in this member; an empty one when there is none."""
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}


def _amount(value: Any) -> Any:
    """Paystack sends amounts as numbers and as strings of digits; anything else is refused by the shape."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


def _currency(*values: Any) -> str:
    found = next((value for value in values if isinstance(value, str) and value), _NO_CURRENCY)
    return found.upper()


def _customer(data: Data) -> dict[str, Any] | None:
    told = within(data, "customer")
    email = told.get("email")
    found = {"code": code(told, "customer_code"), "email": email if _is_address(email) else None}
    return found if any(found.values()) else None


def _is_address(text: Any) -> bool:
    if not isinstance(text, str) or len(text) > _MAX_EMAIL:
        return False
    return is_email_address(text) and not find_card_numbers(text)


def plan_of(data: Data) -> str | None:
    """The plan's code, from `plan` or, in answers, `plan_object`."""
    return code(data.get("plan"), "plan_code") or code(data.get("plan_object"), "plan_code")


def _interval(data: Data) -> str | None:
    found = within(data, "plan").get("interval") or within(data, "plan_object").get("interval")
    return found if isinstance(found, str) and found else None


def _transaction(data: Data) -> dict[str, Any]:
    begun = within(data, "begun")  # the subscription, put beside the transaction by `api.py`
    return {
        "reference": data.get("reference"),
        "status": data.get("status"),
        "amount": _amount(data.get("amount")),
        "currency": _currency(data.get("currency")),
        "number": number(data.get("id")),
        "customer": _customer(data),
        "plan": plan_of(data),
        "interval": _interval(data) or _interval(begun),
        "paid_at": first_moment(data, "paid_at", "paidAt"),
        "subscription": code(begun, "subscription_code"),
        "next_at": moment(begun.get("next_payment_date")),
        "subaccount": code(data.get("subaccount"), "subaccount_code"),
        "fee": _amount(within(data, "fees_split").get("integration")),
    }


def _subscription(data: Data) -> dict[str, Any]:
    last = within(data, "most_recent_invoice")
    return {
        "code": data.get("subscription_code"),
        "status": data.get("status"),
        "plan": plan_of(data),
        "interval": _interval(data),
        "customer": _customer(data),
        "created_at": first_moment(data, "createdAt", "created_at"),
        "changed_at": first_moment(data, "cancelledAt", "updatedAt", "updated_at"),
        "next_at": moment(data.get("next_payment_date")),
        "last": {
            "invoice": code(last, "invoice_code"),
            "number": number(last.get("transaction")) or number(within(last, "transaction").get("id")),
        }
        if last
        else None,
    }


def _invoice(data: Data) -> dict[str, Any]:
    paid = within(data, "transaction")
    return {
        "code": data.get("invoice_code"),
        "subscription": code(data.get("subscription"), "subscription_code"),
        "status": code(data.get("status"), ""),
        "reference": code(paid, "reference"),
        "number": number(paid.get("id")),
    }


def _refunded(data: Data) -> dict[str, Any]:
    whole = within(data, "transaction")
    reference = code(data.get("transaction_reference"), "reference") or code(whole, "reference")
    return {"reference": reference, "status": code(data.get("status"), "")}


def refund_of(data: Data) -> dict[str, Any]:
    """One refund out of an answer, whose transaction is an object or a number."""
    whole = data.get("transaction")
    return {
        "number": number(data.get("id")),
        "status": data.get("status"),
        "amount": _amount(data.get("amount")),
        "currency": _currency(data.get("currency"), within(data, "transaction").get("currency")),
        "transaction": number(whole) or number(within(data, "transaction").get("id")),
        "reference": code(data.get("transaction_reference"), "reference")
        or code(within(data, "transaction"), "reference"),
    }


def _refunds(data: Data) -> dict[str, Any]:
    listed = data.get("refunds")
    return {
        "refunds": [refund_of(one) for one in listed if isinstance(one, Mapping)]
        if isinstance(listed, list)
        else None,
        "number": number(data.get("id")),
        "reference": data.get("reference"),
    }


def _dispute(data: Data) -> dict[str, Any]:
    whole = within(data, "transaction")
    contested = data.get("refund_amount")
    return {
        "number": number(data.get("id")),
        "status": data.get("status"),
        "currency": _currency(data.get("currency"), whole.get("currency")),
        # Until somebody has said how much is asked for, it is all of it.
        "amount": _amount(whole.get("amount", 0) if contested is None else contested),
        "resolution": code(data.get("resolution"), ""),
        "transaction": number(whole.get("id")) or number(data.get("transaction")),
        "reference": code(whole, "reference") or code(data.get("transaction_reference"), "reference"),
    }


_Pick = Callable[[Data], dict[str, Any]]


def _as(member: str, pick: _Pick) -> _Pick:
    return lambda data: {member: pick(data)}


PICKS: Final[Mapping[str, _Pick]] = {
    "charge.success": _as("transaction", _transaction),
    **dict.fromkeys(
        ("subscription.create", "subscription.not_renew", "subscription.disable"),
        _as("subscription", _subscription),
    ),
    **dict.fromkeys(
        ("invoice.create", "invoice.update", "invoice.payment_failed"),
        _as("invoice", _invoice),
    ),
    **dict.fromkeys(
        (
            "refund.pending",
            "refund.processing",
            "refund.processed",
            "refund.failed",
            "refund.needs-attention",
        ),
        _as("refunded", _refunded),
    ),
    **dict.fromkeys(
        ("charge.dispute.create", "charge.dispute.remind", "charge.dispute.resolve"),
        _as("dispute", _dispute),
    ),
    "fetched.transaction": _as("transaction", _transaction),
    "fetched.subscription": _as("subscription", _subscription),
    "fetched.refunds": _as("refunds", _refunds),
    "fetched.dispute": _as("dispute", _dispute),
}
"""The types that are read, and what is picked of their data."""
