"""Facts: what a provider told us, in our words.

An adapter turns one event into one `Reading`. Facts carry no provider vocabulary, so the rules in
`purchase.py` and `grant.py` never ask which provider spoke.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

AliasKind = Literal["session", "intent", "charge", "invoice", "reference", "subscription"]

SubscriptionStatus = Literal[
    "incomplete",  # the first payment is still open
    "abandoned",  # it never came: terminal
    "trialing",
    "active",
    "past_due",
    "unpaid",  # the provider gave up collecting, the subscription lives
    "paused",
    "ended",  # terminal
    "unknown",  # a status from a future API version: no evidence either way
]

PaymentState = Literal["pending", "failed", "paid"]


class Alias(msgspec.Struct, frozen=True, order=True):
    """A name under which a provider may speak of a purchase."""

    kind: AliasKind
    external_id: str


class Stamp(msgspec.Struct, frozen=True, order=True):
    """The total order of facts about one object: time, then rank, then the digest of the projection.

    Providers stamp events to the second, so equal times with different content are normal at sign-up. The
    digest makes the order total: every order of arrival ends alike.
    """

    at: datetime
    rank: int = 0
    digest: str = ""


class Refetch(msgspec.Struct, frozen=True, order=True):
    """An object to ask the provider for. `kind` is the adapter's own word; nobody else reads it."""

    kind: str
    external_id: str


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One priced position of a subscription. `quantity` is None for metered prices, which grant nothing."""

    price: str
    quantity: int | None
    starts_at: datetime | None = None
    ends_at: datetime | None = None


class SubscriptionSeen(msgspec.Struct, frozen=True, tag="subscription", omit_defaults=True):
    """The whole state of a subscription at one moment."""

    stamp: Stamp
    status: SubscriptionStatus
    items: tuple[Item, ...]
    canceling: bool = False
    ended_at: datetime | None = None
    # False while the seller has told the provider not to collect: the period moves on and nobody pays for it.
    collecting: bool = True


class PaidLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one line of a payment was for. A prorated line never moves a period."""

    price: str
    quantity: int | None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    prorated: bool = False


class PaymentSeen(msgspec.Struct, frozen=True, tag="payment", omit_defaults=True):
    """Money that moved, or failed to.

    `payment` is the invoice id; of a one-off order the intent's, or the session's where there is no intent.
    The checkout and the payment behind it may both tell of it, and must not count twice.
    """

    stamp: Stamp
    payment: str
    state: PaymentState
    amount: int
    currency: str
    lines: tuple[PaidLine, ...] = ()
    intent: str | None = None
    charge: str | None = None


class PaymentLinked(msgspec.Struct, frozen=True, tag="link"):
    """An invoice was settled by this payment intent. Later refunds name only the intent."""

    intent: str
    payment: str


class RefundSeen(msgspec.Struct, frozen=True, tag="refund", omit_defaults=True):
    """The cumulative refund of one charge. `full` only when nothing of the charge is left."""

    stamp: Stamp
    charge: str
    full: bool
    amount: int
    currency: str
    intent: str | None = None
    payment: str | None = None


class RefundPart(msgspec.Struct, frozen=True, tag="refund_part", omit_defaults=True):
    """One refund by itself. Several add up; one that failed gave nothing back after all."""

    stamp: Stamp
    refund: str
    state: Literal["pending", "done", "failed"]
    amount: int
    currency: str
    charge: str | None = None
    intent: str | None = None
    payment: str | None = None


class DisputeSeen(msgspec.Struct, frozen=True, tag="dispute", omit_defaults=True):
    """A buyer, or his bank, contests a payment.

    `warning`: the bank suspects fraud, nobody has asked for the money yet. `inquiry`: a question, no money
    moved. `open`: the money is taken back for now. `won`: it came back to the seller. `lost`: it did not.
    `over`: ended without a decision about the money.
    """

    stamp: Stamp
    dispute: str
    state: Literal["warning", "inquiry", "open", "won", "lost", "over"]
    amount: int
    currency: str
    charge: str | None = None
    intent: str | None = None
    payment: str | None = None


class Renews(msgspec.Struct, frozen=True):
    """The older license that a checkout was opened for, its product, and what becomes of it when it is paid.

    Other products that a purchase comes to have later do nothing to it.
    """

    license: str
    product: str
    how: Literal["extend", "replace"]


class Ordered(msgspec.Struct, frozen=True, tag="ordered", omit_defaults=True):
    """What our own checkout sold under this reference. It never changes once the buyer was sent away."""

    reference: str
    plan_id: str
    price: str
    quantity: int
    firm: str | None = None
    renews: Renews | None = None


class HolderSeen(msgspec.Struct, frozen=True, tag="holder", omit_defaults=True):
    """Who bought, as far as this event knows. No name: nothing that we do needs it.

    `tenant`: the tenant that the seller's own mark on the purchase says it was bought for. A claim, which is
    believed only where that tenant's mapping holds the customer: anybody who may mark could write it.
    """

    stamp: Stamp
    customer: str | None = None
    email: str | None = None
    tenant: str | None = None


class CheckoutSeen(msgspec.Struct, frozen=True, tag="checkout"):
    """A checkout of ours was completed, is waiting for money, failed or ran out of time."""

    stamp: Stamp
    session: str
    state: Literal["paid", "processing", "failed", "expired"]


class FeeSeen(msgspec.Struct, frozen=True):
    """What the platform got of a connected account's charge, and how much of it it gave back so far.

    `payer` is the account as the platform's provider account names it. It belongs to no purchase: the money
    is the platform's, and the purchase somebody else's.
    """

    stamp: Stamp
    fee: str
    payer: str
    amount: int
    given_back: int
    currency: str
    taken_at: datetime
    charge: str | None = None


class AccountSeen(msgspec.Struct, frozen=True):
    """How a connected account stands: what it may do, and what is asked of its owner before it may do more.

    `due`: in the provider's own names. `left`: the owner took back what lets us act for the account.
    """

    stamp: Stamp
    account: str
    charges: bool = False
    payouts: bool = False
    submitted: bool = False
    due: tuple[str, ...] = ()
    disabled_reason: str | None = None
    left: bool = False


Fact = (
    SubscriptionSeen
    | PaymentSeen
    | PaymentLinked
    | RefundSeen
    | RefundPart
    | DisputeSeen
    | Ordered
    | HolderSeen
    | CheckoutSeen
)


class Reading(msgspec.Struct, frozen=True):
    """Everything one event says.

    `aliases` lead to the purchase; the event belongs to all of them. `founds` is True when the event may
    start a purchase by itself; otherwise it waits until a partner has made one. `prices` are the provider
    price ids it depends on, `reference` our own name of the checkout that led to it.

    `refetches`: the event proves nothing by itself; these objects are fetched before anything is granted.
    `fallback`: what to fetch when none of its names is known here, because the answer may name more.
    `exact`: the amount that was paid must be the amount that was ordered; no price id stands for it.
    `custom`: its price may be another than its price id stands for: it founds only what we ordered ourselves.
    `person`: the event is about a customer and no purchase; it has no aliases then. `fee` and `standing`:
    it is about what the platform got, or about a connected account, and no purchase either.
    """

    aliases: tuple[Alias, ...]
    facts: tuple[Fact, ...]
    founds: bool
    prices: tuple[str, ...] = ()
    reference: str | None = None
    refetches: tuple[Refetch, ...] = ()
    fallback: tuple[Refetch, ...] = ()
    exact: bool = False
    custom: bool = False
    person: HolderSeen | None = None
    fee: FeeSeen | None = None
    standing: AccountSeen | None = None


class Projected(msgspec.Struct, frozen=True):
    """An authentic event, reduced to what we may keep.

    `standing`: `read` (facts can be taken), `later` (a type that a later release reads; kept for replay),
    `unknown` (nothing for us). `body` is the allow-listed projection as JSON; `raw_sha256` and `raw_size`
    describe the bytes that were received and not kept.
    """

    dedupe_key: str
    type: str
    occurred_at: datetime
    live: bool
    account: str | None
    standing: Literal["read", "later", "unknown"]
    body: bytes
    digest: str
    raw_sha256: str
    raw_size: int
    api_version: str | None = None
