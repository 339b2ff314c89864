"""Whether what a provider told fits what was known, and what was ordered."""

from __future__ import annotations

from collections.abc import Sequence

from keywright.domain.facts import (
    CheckoutSeen,
    DisputeSeen,
    Fact,
    PaymentSeen,
    Reading,
    RefundPart,
    RefundSeen,
    SubscriptionSeen,
)
from keywright.store.checkouts import Checkout


def is_tie(known: SubscriptionSeen | None, facts: Sequence[Fact]) -> bool:
    """Whether two snapshots of one second say different things: only the provider knows which is newer."""
    if known is None:
        return False
    return any(
        isinstance(fact, SubscriptionSeen)
        and fact.stamp.at == known.stamp.at
        and fact.stamp.digest != known.stamp.digest
        for fact in facts
    )


def is_of_order(fact: Fact) -> bool:
    """Whether our own checkout has something to add to it."""
    return isinstance(fact, CheckoutSeen) or (isinstance(fact, PaymentSeen) and not fact.lines)


def is_elsewhere(reading: Reading, order: Checkout) -> bool:
    """Whether what names this order was not paid on the page that we opened for it.

    A payment that tells no page and no lines has only its amount to be known by.
    """
    sessions = {alias.external_id for alias in reading.aliases if alias.kind == "session"}
    if sessions:
        return order.session not in sessions
    return any(
        (fact.amount, fact.currency) != (order.amount, order.currency)
        for fact in reading.facts
        if isinstance(fact, PaymentSeen) and not fact.lines
    )


def is_exact(reading: Reading, order: Checkout) -> bool:
    """Whether what was paid is what was ordered: no price id stands for it."""
    return all(
        (fact.amount, fact.currency) == (order.amount, order.currency)
        for fact in reading.facts
        if isinstance(fact, PaymentSeen) and fact.state == "paid"
    )


def transaction_of(facts: Sequence[Fact]) -> str | None:
    """The money that an event speaks of, by the name that the provider's own pages show."""
    for fact in facts:
        if isinstance(fact, PaymentSeen):
            return fact.payment
        if isinstance(fact, RefundSeen | RefundPart | DisputeSeen):
            return fact.payment or fact.charge or fact.intent
    return None
