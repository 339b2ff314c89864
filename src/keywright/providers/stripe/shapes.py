"""The allow-list: every member of a Stripe event that we look at, and nothing else.

A member without a place here is dropped while the event is projected, so it can reach neither a row nor a
log. Members keep Stripe's names, of every API version since 2018 side by side, because `facts.py` reads by
presence: old endpoints keep their old shape for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from msgspec import Meta

LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second Python can hold."""

# What is kept as an id must look like one, and like no credential, token, bank or social security number that
# somebody put in its place: an id is stored in the clear.
_NO_CREDENTIAL = (
    r"(?!(?:sk|rk)_(?:live|test)_|whsec_|AUTH_|kw_|AKIA|gh[pousr]_|xox[abprs]-|eyJ|cv[cv]"
    r"|[A-Z]{2}[0-9]{2}[A-Z0-9]{11}|[0-9]{3}-[0-9]{2}-[0-9]{4})(?!.*_secret_)"
)
Id = Annotated[str, Meta(max_length=255, pattern=rf"\A{_NO_CREDENTIAL}[A-Za-z0-9_]+\Z")]
# Plans made before 2018 may carry names that their seller chose.
PriceId = Annotated[str, Meta(max_length=255, pattern=rf"\A{_NO_CREDENTIAL}[A-Za-z0-9_.-]+\Z")]
Word = Annotated[str, Meta(max_length=64, pattern=rf"\A{_NO_CREDENTIAL}[a-z_]+\Z")]
Kind = Annotated[str, Meta(max_length=64, pattern=rf"\A{_NO_CREDENTIAL}[a-z0-9_.]+\Z")]
Version = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}(?:\.[a-z]{1,20})?\Z")]
Time = Annotated[int, Meta(ge=0, le=LAST_SECOND)]
# Twelve digits at most: enough for any price, and too short for a card number to pass as an amount.
Amount = Annotated[int, Meta(gt=-(10**12), lt=10**12)]
Count = Annotated[int, Meta(ge=0, lt=10**12)]
Currency = Annotated[str, Meta(pattern=r"\A[A-Za-z]{3}\Z")]
# Bounded by `hook.py`, which shortens or drops: a long name is no reason to refuse a payment.
FreeText = str


class Shape(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Unknown members are ignored, absent ones are None; what is there must have the right type."""


class Expanded(Shape, frozen=True):
    """An object where an id is expected. Only its id is kept."""

    id: Id


Ref = Id | Expanded | None


class ExpandedPrice(Shape, frozen=True):
    id: PriceId


PriceRef = PriceId | ExpandedPrice | None


class ExpandedCustomer(Shape, frozen=True):
    """A customer where its id is expected: whoever asks Stripe to expand it learns the address as well."""

    id: Id
    email: FreeText | None = None


class ExpandedIntent(Shape, frozen=True):
    """A payment intent where its id is expected. It is made when the buyer pays, or a moment before."""

    id: Id
    created: Time | None = None


class Metadata(Shape, frozen=True):
    """Of metadata only what we wrote ourselves."""

    keywright_reference: FreeText | None = None
    tenant_id: FreeText | None = None  # kept of subscriptions and checkouts alone


class Item(Shape, frozen=True):
    price: PriceRef = None
    plan: PriceRef = None  # before prices existed
    quantity: Count | None = None  # absent for metered prices
    current_period_start: Time | None = None  # since 2025-03-31; before, on the subscription
    current_period_end: Time | None = None


class ItemList(Shape, frozen=True):
    data: tuple[Item, ...]
    has_more: bool = False


class PauseCollection(Shape, frozen=True):
    """The subscription goes on, and nobody is charged for it."""

    behavior: Word | None = None


class PausedSubscription(Shape, frozen=True):
    type: Word | None = None


class Paused(Shape, frozen=True):
    subscription: PausedSubscription | None = None


class StatusDetails(Shape, frozen=True):
    paused: Paused | None = None


class CancellationDetails(Shape, frozen=True):
    """Why it ends. The comment that goes with it was typed by a person and is not kept."""

    reason: Word | None = None


class Subscription(Shape, frozen=True):
    """`pending_update` has no place here: seats that wait for their payment are no seats yet."""

    id: Id
    status: Word
    customer: Id | ExpandedCustomer | None = None
    items: ItemList | None = None
    plan: PriceRef = None
    quantity: Count | None = None
    current_period_start: Time | None = None
    current_period_end: Time | None = None
    cancel_at_period_end: bool | None = None
    cancel_at: Time | None = None
    ended_at: Time | None = None
    metadata: Metadata | None = None
    pause_collection: PauseCollection | None = None
    status_details: StatusDetails | None = None
    cancellation_details: CancellationDetails | None = None


class Period(Shape, frozen=True):
    start: Time | None = None
    end: Time | None = None


class PriceDetails(Shape, frozen=True):
    price: PriceRef = None


class Pricing(Shape, frozen=True):
    price_details: PriceDetails | None = None


class LineOrigin(Shape, frozen=True):
    proration: bool | None = None


class LineParent(Shape, frozen=True):
    type: Word | None = None
    subscription_item_details: LineOrigin | None = None
    invoice_item_details: LineOrigin | None = None


class Line(Shape, frozen=True):
    pricing: Pricing | None = None
    price: PriceRef = None
    plan: PriceRef = None
    quantity: Count | None = None
    period: Period | None = None
    proration: bool | None = None
    parent: LineParent | None = None
    metadata: Metadata | None = None


class LineList(Shape, frozen=True):
    data: tuple[Line, ...]
    has_more: bool = False


class SubscriptionDetails(Shape, frozen=True):
    subscription: Ref = None
    metadata: Metadata | None = None


class InvoiceParent(Shape, frozen=True):
    type: Word | None = None
    subscription_details: SubscriptionDetails | None = None


class PaymentMeans(Shape, frozen=True):
    payment_intent: Ref = None
    charge: Ref = None


class Settlement(Shape, frozen=True):
    status: Word | None = None
    payment: PaymentMeans | None = None


class SettlementList(Shape, frozen=True):
    data: tuple[Settlement, ...]
    has_more: bool = False


class Invoice(Shape, frozen=True):
    id: Id
    currency: Currency
    amount_paid: Amount | None = None
    amount_due: Amount | None = None
    total: Amount | None = None
    customer: Ref = None
    customer_email: FreeText | None = None
    parent: InvoiceParent | None = None
    subscription: Ref = None
    subscription_details: SubscriptionDetails | None = None
    payment_intent: Ref = None
    charge: Ref = None
    payments: SettlementList | None = None
    lines: LineList | None = None


class Transitions(Shape, frozen=True):
    paid_at: Time | None = None


class FetchedInvoice(Invoice, frozen=True):
    """An event's type says how its invoice stands. One that was asked for says so itself."""

    status: Word | None = None
    attempted: bool | None = None
    status_transitions: Transitions | None = None


class CustomerDetails(Shape, frozen=True):
    email: FreeText | None = None


class SessionLine(Shape, frozen=True):
    price: PriceRef = None
    quantity: Count | None = None


class SessionLineList(Shape, frozen=True):
    data: tuple[SessionLine, ...]
    has_more: bool = False


class Session(Shape, frozen=True):
    """`line_items` is in no webhook: it is there when we asked for it."""

    id: Id
    created: Time | None = None
    mode: Word | None = None
    payment_status: Word | None = None
    amount_total: Amount | None = None
    currency: Currency | None = None
    customer: Ref = None
    customer_details: CustomerDetails | None = None
    customer_email: FreeText | None = None
    subscription: Ref = None
    payment_intent: Id | ExpandedIntent | None = None
    setup_intent: Ref = None
    invoice: Ref = None
    metadata: Metadata | None = None
    line_items: SessionLineList | None = None


class Charge(Shape, frozen=True):
    id: Id
    amount: Amount
    amount_refunded: Amount
    currency: Currency
    refunded: bool | None = None
    payment_intent: Ref = None
    invoice: Ref = None  # until 2025-03-31
    metadata: Metadata | None = None


class InvoicePayment(Shape, frozen=True):
    id: Id
    invoice: Ref = None
    payment: PaymentMeans | None = None


class Refund(Shape, frozen=True):
    id: Id
    amount: Amount
    currency: Currency
    status: Word | None = None  # refunds made before 2015 have none, and went through
    charge: Ref = None
    payment_intent: Ref = None


class Dispute(Shape, frozen=True, kw_only=True):
    id: Id | None = None  # the first API versions knew a dispute by its charge alone
    status: Word
    amount: Amount
    currency: Currency
    charge: Ref = None
    payment_intent: Ref = None


class FraudWarning(Shape, frozen=True):
    id: Id
    charge: Ref = None
    payment_intent: Ref = None


class Customer(Shape, frozen=True):
    id: Id
    email: FreeText | None = None


class Intent(Shape, frozen=True):
    id: Id
    amount: Amount
    currency: Currency
    amount_received: Amount | None = None
    latest_charge: Ref = None
    customer: Ref = None
    receipt_email: FreeText | None = None
    metadata: Metadata | None = None


class ApplicationFee(Shape, frozen=True):
    """What the platform got of a connected account's charge."""

    id: Id
    amount: Amount
    amount_refunded: Amount
    currency: Currency
    account: Ref = None
    charge: Ref = None
    created: Time | None = None


class Requirements(Shape, frozen=True):
    """What Stripe asks of an account's owner: names of things, and none of the answers."""

    currently_due: tuple[FreeText, ...] = ()
    disabled_reason: FreeText | None = None


class Account(Shape, frozen=True):
    """A connected account: what it may do. Who owns it has no place here."""

    id: Id
    charges_enabled: bool | None = None
    payouts_enabled: bool | None = None
    details_submitted: bool | None = None
    requirements: Requirements | None = None


class Application(Shape, frozen=True):
    """The platform, as an account that left it names it."""

    id: Id


class Later(Shape, frozen=True):
    """What may be needed of a type that is kept and not read: who, which money, which state."""

    id: Id | None = None
    status: Word | None = None
    reason: Word | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    customer: Ref = None
    subscription: Ref = None
    invoice: Ref = None
    charge: Ref = None
    payment_intent: Ref = None
    metadata: Metadata | None = None


T = TypeVar("T")


class Data(Shape, Generic[T], frozen=True):
    object: T


class Envelope(Shape, Generic[T], frozen=True):
    """A snapshot event. `livemode` is asked for: a guess would mix test and live money."""

    id: Id
    type: Kind
    created: Time
    livemode: bool
    data: T
    api_version: Version | None = None
    account: Id | None = None


class Kept(Shape, Generic[T], frozen=True):
    """The projection as it is stored. `more`: Stripe cut a list, and the rest must be asked for."""

    object: T
    more: bool = False


READ: Final[Mapping[str, type[Shape]]] = {
    **dict.fromkeys(
        (
            "checkout.session.completed",
            "checkout.session.async_payment_succeeded",
            "checkout.session.async_payment_failed",
            "checkout.session.expired",
        ),
        Session,
    ),
    **dict.fromkeys(
        (
            "customer.subscription.created",
            "customer.subscription.updated",
            "customer.subscription.deleted",
            "customer.subscription.paused",
            "customer.subscription.resumed",
            "customer.subscription.trial_will_end",
            "customer.subscription.pending_update_applied",
            "customer.subscription.pending_update_expired",
        ),
        Subscription,
    ),
    **dict.fromkeys(
        ("invoice.paid", "invoice.payment_failed", "invoice.marked_uncollectible", "invoice.voided"), Invoice
    ),
    "invoice_payment.paid": InvoicePayment,
    "charge.refunded": Charge,
    # Accounts of before 2024-10 hear of an updated refund under the charge's name.
    **dict.fromkeys(("refund.created", "refund.updated", "refund.failed", "charge.refund.updated"), Refund),
    **dict.fromkeys(
        (
            "charge.dispute.created",
            "charge.dispute.updated",
            "charge.dispute.closed",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.funds_reinstated",
        ),
        Dispute,
    ),
    "radar.early_fraud_warning.created": FraudWarning,
    "customer.updated": Customer,
    **dict.fromkeys(("payment_intent.succeeded", "payment_intent.processing"), Intent),
    **dict.fromkeys(("application_fee.created", "application_fee.refunded"), ApplicationFee),
    "account.updated": Account,
    "account.application.deauthorized": Application,
}
"""The types that `facts.py` reads, and the part of their object that it needs."""

FETCHED: Final[Mapping[str, type[Shape]]] = {
    "fetched.subscription": Subscription,
    "fetched.invoice": FetchedInvoice,
    "fetched.invoice_payment": InvoicePayment,
    "fetched.charge": Charge,
    "fetched.refund": Refund,
    "fetched.dispute": Dispute,
    "fetched.payment_intent": Intent,
}
"""What `api.py` makes of answers. A fetched checkout has the type Stripe would announce its state with."""

LATER: Final = frozenset(
    {
        # Says again what invoice.paid says, except for invoices paid elsewhere: acting on both counts twice.
        "invoice.payment_succeeded",
        # Something is to be done about an invoice, and nothing has been decided about its money. What comes
        # of it is told by invoice.paid, invoice.payment_failed and the subscription's own events.
        "invoice.payment_action_required",
        "invoice.finalization_failed",
        "invoice.overdue",
        # A card was declined on a checkout that goes on, or a debit came back, which the checkout tells, too.
        # It takes nothing away: until it succeeds, an intent has given nothing.
        "payment_intent.payment_failed",
        # About a renewal that is still to come, without an invoice id.
        "invoice.upcoming",
        # Its subscriptions end with it, and each says so itself. The licenses they paid for outlive the
        # record that Stripe had of their buyer.
        "customer.deleted",
        # About the seller's account and shelf. What was sold is told by the events of the sale.
        "capability.updated",
        "price.updated",
        "price.deleted",
        "product.updated",
        # About a card, which we keep nothing of.
        "customer.source.expiring",
        "payment_method.automatically_updated",
    }
)
"""Types we know and take no facts from. They are kept in outline, so that a later release can replay them."""
