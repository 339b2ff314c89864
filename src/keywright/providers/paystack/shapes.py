"""The allow-list: every member of a Paystack event or answer that is kept, and nothing else.

Paystack spells one thing in several ways, so `reduce.py` picks the members out of what was sent, and what it
picked must fit these shapes. No authorization, card digit, name, phone, address or e-mail token has a place.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

# What is kept as an id must look like one, and like no credential, token, bank or social security number that
# somebody put in its place: an id is stored in the clear. An authorization code charges a card.
# Sellers choose references as they like, so a credential may stand behind a word of theirs: `order-7-sk_…`.
_NO_CREDENTIAL = (
    r"(?!(?:.*[^A-Za-z0-9])?(?:(?:sk|rk)_(?:live|test)_|whsec_|AUTH_|kw_|AKIA[A-Z0-9]{8}|gh[pousr]_|xox[abprs]-"
    r"|eyJ|A21AA|cv[cv]2?[_.=-]?[0-9]{3,4}(?![A-Za-z0-9])))"
    r"(?!(?=[A-Z0-9]{15,34}(?![A-Za-z0-9]))[A-Z]{2}[0-9]{2}[A-Z]{0,4}[0-9]{10})"
    r"(?![0-9]{3}-[0-9]{2}-[0-9]{4}(?![A-Za-z0-9]))(?!.*_secret_)"
)
Number = Annotated[str, Meta(pattern=r"\A[0-9]{1,20}\Z")]
"""Paystack counts its objects with unsigned 64 bits. As text, because no integer column holds them all."""
Code = Annotated[str, Meta(max_length=100, pattern=rf"\A{_NO_CREDENTIAL}[A-Za-z0-9_]+\Z")]
# Paystack takes - . = beside letters and digits; the underscore stands in references it makes itself.
Reference = Annotated[str, Meta(max_length=200, pattern=rf"\A{_NO_CREDENTIAL}[A-Za-z0-9_.=-]+\Z")]
Word = Annotated[str, Meta(max_length=64, pattern=rf"\A{_NO_CREDENTIAL}[a-z_-]+\Z")]
# Paystack's types are words and have no digits. A type that nobody reads is kept, too.
Kind = Annotated[str, Meta(max_length=64, pattern=rf"\A{_NO_CREDENTIAL}[a-z_.-]+\Z")]
# Twelve digits at most: enough for any price, and too short for a card number to pass as an amount.
Amount = Annotated[int, Meta(gt=-(10**12), lt=10**12)]
Currency = Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")]
Time = Annotated[datetime, Meta(tz=True)]


class Shape(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Absent members are None; what is there must have the right type."""


class Customer(Shape, frozen=True):
    code: Code | None = None
    email: str | None = None  # bounded by `reduce.py`: a long address is no reason to refuse a payment


class Transaction(Shape, frozen=True):
    """A payment. `plan` is None for a one-off order; `interval` and `next_at` only from an answer."""

    reference: Reference
    status: Word
    amount: Amount
    currency: Currency
    number: Number | None = None
    customer: Customer | None = None
    plan: Code | None = None
    interval: Word | None = None
    paid_at: Time | None = None
    subscription: Code | None = None
    next_at: Time | None = None
    subaccount: Code | None = None  # with whom it was split, and what of it stayed with the platform
    fee: Amount | None = None


class Paid(Shape, frozen=True):
    """One invoice of a subscription and the transaction that paid it."""

    invoice: Code | None = None
    number: Number | None = None


class Subscription(Shape, frozen=True):
    code: Code
    status: Word
    plan: Code | None = None
    interval: Word | None = None
    customer: Customer | None = None
    created_at: Time | None = None
    changed_at: Time | None = None
    next_at: Time | None = None
    last: Paid | None = None


class Invoice(Shape, frozen=True):
    """It names both the subscription and the transaction, and is the surest link between them."""

    code: Code
    subscription: Code
    status: Word | None = None
    reference: Reference | None = None
    number: Number | None = None


class Refunded(Shape, frozen=True):
    """A refund as its event tells of it: without the refund's own id."""

    reference: Reference
    status: Word | None = None


class Refund(Shape, frozen=True):
    number: Number
    status: Word
    amount: Amount
    currency: Currency
    transaction: Number | None = None
    reference: Reference | None = None


class Refunds(Shape, frozen=True):
    """The refunds of one transaction, or one of them when they were listed by themselves."""

    refunds: tuple[Refund, ...]
    number: Number | None = None
    reference: Reference | None = None


class Dispute(Shape, frozen=True):
    number: Number
    status: Word
    currency: Currency
    amount: Amount = 0
    resolution: Word | None = None
    transaction: Number | None = None
    reference: Reference | None = None


class Kept(Shape, frozen=True):
    """The projection as it is stored: one of them, by the type of the event."""

    transaction: Transaction | None = None
    subscription: Subscription | None = None
    invoice: Invoice | None = None
    refunded: Refunded | None = None
    refunds: Refunds | None = None
    dispute: Dispute | None = None
