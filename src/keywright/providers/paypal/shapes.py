"""The allow-list: every member of PayPal's bodies that we look at, and nothing else.

Of an event only the ids are kept: an event proves nothing, it asks for a fetch. Of what was fetched, the
members that `facts.py` reads. Names are PayPal's, of its first and second API side by side, because old
subscriptions and sales keep their old shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

# What is kept as an id must look like one, and like no credential, token or bank number in its place.
# A bank number of 17 characters there is none: that is the length of most of PayPal's ids.
_NO_CREDENTIAL = (
    r"(?!(?:.*[^A-Za-z0-9])?(?:(?:sk|rk)_(?:live|test)_|whsec_|AUTH_|kw_|AKIA[A-Z0-9]{8}|gh[pousr]_|xox[abprs]-"
    r"|eyJ|A21AA|cv[cv]2?[_.=-]?[0-9]{3,4}(?![A-Za-z0-9])))"
    r"(?![A-Z]{2}[0-9]{2}[A-Z0-9]{11}\Z)(?!(?=[A-Z0-9]{18,34}\Z)[A-Z]{2}[0-9]{2}[A-Z]{0,4}[0-9]{10})"
    r"(?![0-9]{3}-[0-9]{2}-[0-9]{4}(?![A-Za-z0-9]))(?!.*_secret_)"
)
_ID_PATTERN = rf"\A{_NO_CREDENTIAL}[A-Za-z0-9_-]+\Z"
_LOOKS_LIKE_AN_ID: Final = re.compile(_ID_PATTERN)
_LONGEST_ID = 64
Id = Annotated[str, Meta(max_length=_LONGEST_ID, pattern=_ID_PATTERN)]
Word = Annotated[str, Meta(max_length=64, pattern=rf"\A{_NO_CREDENTIAL}[A-Za-z_]+\Z")]
_KIND: Final = re.compile(r"[A-Z]+(?:[._-][A-Z]+)*")
_LONGEST_KIND = 96
# Kept as sent and read leniently: PayPal's own samples hold a nineteenth month. Digits alone are no time.
Time = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=r"\A(?:[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt][0-9:.]+(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?)?)?\Z",
    ),
]
# Twelve digits at most before the point: enough for any price, too short for a card number.
Decimals = Annotated[str, Meta(max_length=20, pattern=r"\A-?[0-9]{1,12}(?:\.[0-9]{1,4})?\Z")]
Currency = Annotated[str, Meta(pattern=r"\A[A-Za-z]{3}\Z")]
Count = Annotated[int, Meta(ge=0, lt=10**9)]
Digits = Annotated[str, Meta(pattern=r"\A[0-9]{1,9}\Z")]


class Shape(msgspec.Struct, frozen=True, omit_defaults=True):
    """Unknown members are ignored, absent ones are None; what is there must have the right type."""


class Named(Shape, frozen=True):
    """What an event is about: ids, by what they name. All that is kept of an event."""

    subscription: str | None = None
    sale: str | None = None
    capture: str | None = None
    order: str | None = None
    refund: str | None = None
    dispute: str | None = None
    transactions: tuple[str, ...] = ()


class Money(Shape, frozen=True):
    """`value` and `currency_code` since the second API, `total` and `currency` in the first."""

    currency_code: Currency | None = None
    value: Decimals | None = None
    currency: Currency | None = None
    total: Decimals | None = None


class Person(Shape, frozen=True):
    """A buyer. No name, no address."""

    payer_id: Id | None = None
    email_address: str | None = None


class Link(Shape, frozen=True):
    """Read for the id at its end while it is projected, and not kept: a link is never followed."""

    rel: str
    href: str


class Frequency(Shape, frozen=True):
    interval_unit: Word
    interval_count: Count = 1


class Pricing(Shape, frozen=True):
    fixed_price: Money | None = None


class BillingCycle(Shape, frozen=True):
    tenure_type: Word
    frequency: Frequency
    total_cycles: Count = 0
    pricing_scheme: Pricing | None = None


class Plan(Shape, frozen=True):
    billing_cycles: tuple[BillingCycle, ...] = ()


class CycleExecution(Shape, frozen=True):
    tenure_type: Word
    cycles_completed: Count = 0


class Payment(Shape, frozen=True):
    time: Time | None = None
    amount: Money | None = None


class BillingInfo(Shape, frozen=True):
    outstanding_balance: Money | None = None
    cycle_executions: tuple[CycleExecution, ...] = ()
    last_payment: Payment | None = None
    last_failed_payment: Payment | None = None
    next_billing_time: Time | None = None
    failed_payments_count: Count = 0


class Subscription(Shape, frozen=True):
    id: Id
    status: Word
    plan_id: Id | None = None
    quantity: Digits | None = None
    plan_overridden: bool | None = None
    custom_id: str | None = None
    start_time: Time | None = None
    status_update_time: Time | None = None
    subscriber: Person | None = None
    billing_info: BillingInfo | None = None
    plan: Plan | None = None


class Breakdown(Shape, frozen=True):
    gross_amount: Money | None = None


class Transaction(Shape, frozen=True):
    """One payment of a subscription."""

    id: Id
    status: Word
    time: Time | None = None
    amount_with_breakdown: Breakdown | None = None


class RelatedIds(Shape, frozen=True):
    order_id: Id | None = None


class Supplement(Shape, frozen=True):
    related_ids: RelatedIds | None = None


class Capture(Shape, frozen=True):
    id: Id
    status: Word | None = None
    amount: Money | None = None
    custom_id: str | None = None
    create_time: Time | None = None
    supplementary_data: Supplement | None = None


class Refund(Shape, frozen=True):
    id: Id
    status: Word | None = None
    state: Word | None = None
    amount: Money | None = None
    sale_id: Id | None = None
    capture_id: Id | None = None
    links: tuple[Link, ...] = ()


class UnitPayments(Shape, frozen=True):
    captures: tuple[Capture, ...] = ()
    refunds: tuple[Refund, ...] = ()


class Unit(Shape, frozen=True):
    custom_id: str | None = None
    payments: UnitPayments | None = None


class Order(Shape, frozen=True):
    id: Id
    status: Word
    purchase_units: tuple[Unit, ...] = ()
    payer: Person | None = None


class Sale(Shape, frozen=True):
    id: Id
    state: Word | None = None
    status: Word | None = None
    amount: Money | None = None
    billing_agreement_id: Id | None = None


class Outcome(Shape, frozen=True):
    outcome_code: Word | None = None


class Contested(Shape, frozen=True):
    seller_transaction_id: Id | None = None


class Dispute(Shape, frozen=True):
    dispute_id: Id
    status: Word | None = None
    dispute_life_cycle_stage: Word | None = None
    dispute_outcome: Outcome | None = None
    dispute_amount: Money | None = None
    disputed_transactions: tuple[Contested, ...] = ()


class Kept(Shape, frozen=True):
    """The projection of what was fetched, as it is stored; beside `transactions` one member is set."""

    subscription: Subscription | None = None
    transactions: tuple[Transaction, ...] = ()
    order: Order | None = None
    capture: Capture | None = None
    sale: Sale | None = None
    refund: Refund | None = None
    dispute: Dispute | None = None


class Envelope(Shape, frozen=True):
    """A webhook event. No member says whether it is about real money: the account's mode counts."""

    id: Id
    event_type: str
    create_time: str | None = None
    resource: Any = None


Fetched = Literal["subscription", "order", "capture", "sale", "refund", "dispute"]


class FetchedEnvelope(Shape, frozen=True):
    """What `api.py` makes of an answer: what was asked for, when it was true, and PayPal's own words."""

    event_type: str
    at: Annotated[str, Meta(max_length=40)]
    resource: Any
    transactions: tuple[Any, ...] = ()


FETCHED: Final = "fetched."

FETCHED_SHAPES: Final[Mapping[str, type[Shape]]] = {
    "subscription": Subscription,
    "order": Order,
    "capture": Capture,
    "sale": Sale,
    "refund": Refund,
    "dispute": Dispute,
}

SUBSCRIPTION_EVENTS: Final = frozenset(
    f"BILLING.SUBSCRIPTION.{word}"
    for word in (
        "CREATED",
        "ACTIVATED",
        "UPDATED",
        "PAYMENT.FAILED",
        "SUSPENDED",
        "RE-ACTIVATED",
        "RENEWED",
        "CANCELLED",
        "EXPIRED",
    )
)
SALE_EVENTS: Final = frozenset(
    f"PAYMENT.SALE.{word}" for word in ("COMPLETED", "PENDING", "DENIED", "REFUNDED", "REVERSED")
)
ORDER_EVENTS: Final = frozenset({"CHECKOUT.ORDER.APPROVED", "CHECKOUT.ORDER.COMPLETED"})
CAPTURE_EVENTS: Final = frozenset(
    f"PAYMENT.CAPTURE.{word}"
    for word in ("COMPLETED", "PENDING", "DECLINED", "DENIED", "REFUNDED", "REVERSED")
)
DISPUTE_EVENTS: Final = frozenset(
    {
        "CUSTOMER.DISPUTE.CREATED",
        "CUSTOMER.DISPUTE.UPDATED",
        "CUSTOMER.DISPUTE.RESOLVED",
        "RISK.DISPUTE.CREATED",  # the old name
    }
)
EVENT_TYPES: Final[tuple[str, ...]] = tuple(
    sorted(SUBSCRIPTION_EVENTS | SALE_EVENTS | ORDER_EVENTS | CAPTURE_EVENTS | DISPUTE_EVENTS)
)
"""The events that are read: what an endpoint has to be registered for."""


def kind_of(event_type: str) -> str:
    """The type as it is kept, also when nobody reads it: PayPal's are words in capitals, and any other is
    "unknown"."""
    good = len(event_type) <= _LONGEST_KIND and _KIND.fullmatch(event_type)
    return event_type if good else "unknown"


def is_id(text: object) -> bool:
    """Whether this can be kept, or put into an address, as an id of PayPal's."""
    return isinstance(text, str) and len(text) <= _LONGEST_ID and bool(_LOOKS_LIKE_AN_ID.match(text))


_LAST_PART: Final = re.compile(r"/(?P<kind>[a-z-]+)/(?P<id>[A-Za-z0-9_-]+)\Z")


def linked_id(href: object, *kinds: str) -> str | None:
    """The id at the end of a link to one of these kinds of object. The link itself is never followed:
    PayPal's simulator sends links to addresses inside PayPal."""
    found = _LAST_PART.search(href) if isinstance(href, str) and len(href) <= 512 else None
    if found is None or found["kind"] not in kinds or not is_id(found["id"]):
        return None
    return found["id"]
