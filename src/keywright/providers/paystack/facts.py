"""What Paystack's objects say, in the words of `domain/facts.py`.

Its events tell no time that orders them, so none of them is a fact: each names what to fetch, and the names
by which it belongs to a purchase. What is fetched is dated by Paystack's answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from keywright.domain.errors import Unreadable
from keywright.domain.facts import (
    Alias,
    AliasKind,
    CheckoutSeen,
    DisputeSeen,
    Fact,
    FeeSeen,
    HolderSeen,
    Item,
    PaidLine,
    PaymentSeen,
    Projected,
    Reading,
    Refetch,
    RefundPart,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
    SubscriptionStatus,
)
from keywright.domain.money import to_iso_minor
from keywright.providers.paystack import shapes
from keywright.providers.paystack.amounts import PAYSTACK_EXPONENT
from keywright.providers.paystack.intervals import period_end, stepped

RANK: Final = 100
"""Of everything that was fetched: at an equal second it stands above what a webhook told."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OURS: Final = re.compile(r"(KW-[0-9A-Z]{4,64})(?:\.[0-9])?")
_PAID: Final = frozenset({"success", "reversed"})
_ON_ITS_WAY: Final = frozenset({"pending", "processing", "queued"})
_STATUSES: Final[Mapping[str, SubscriptionStatus]] = {
    "active": "active",
    "non-renewing": "active",  # paid time runs, and nothing is collected after it
    "attention": "past_due",
    "completed": "ended",
    "complete": "ended",
    "cancelled": "ended",
}
_REFUND_STATES: Final[Mapping[str, Literal["pending", "done", "failed"]]] = {
    "processed": "done",
    "failed": "failed",
}
_DISPUTE_STATES: Final[Mapping[str, Literal["won", "lost"]]] = {
    "declined": "won",
    "merchant-accepted": "lost",
    "auto-accepted": "lost",
}


def our_reference(reference: str) -> str | None:
    """Our own name of the checkout a transaction was made for; None when it is not ours.

    Never from metadata: with the public key any page can start a payment with any metadata, while a reference
    is taken once and for all.
    """
    found = _OURS.fullmatch(reference)
    return found[1] if found is not None else None


def says_something(kept: shapes.Kept) -> bool:
    """Whether a fetched object is more than a page nobody has paid on yet.

    A failed try is nothing either: the buyer may go back to the page and try another card. Nor is a list of
    refunds without any.
    """
    if kept.refunds is not None:
        return bool(kept.refunds.refunds)
    return kept.transaction is None or kept.transaction.status in _PAID | _ON_ITS_WAY


def read_kept(projected: Projected) -> Reading:
    """The facts of a projection whose standing is `read`. Raises Unreadable."""
    try:
        kept = _DECODER.decode(projected.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem = f"not a projection of ours: {type(error).__name__}"
    else:
        return _read(projected, kept)
    raise Unreadable(problem)


def _read(projected: Projected, kept: shapes.Kept) -> Reading:
    fetched = projected.type.startswith("fetched.")
    for member, by_event, by_answer in _READERS:
        seen = getattr(kept, member)
        if seen is not None:
            return by_answer(projected, seen) if fetched else by_event(seen)
    raise Unreadable(f"no facts are read from {projected.type}")


# ------------------------------------------------------------------------- events: what is to be fetched


def _charged(seen: shapes.Transaction) -> Reading:
    return _asking(_names_of(seen.reference, seen.number), Refetch("transaction", seen.reference))


def _subscribed(seen: shapes.Subscription) -> Reading:
    return _asking(_aliases(subscription=seen.code), Refetch("subscription", seen.code))


def _invoiced(seen: shapes.Invoice) -> Reading:
    names = _aliases(subscription=seen.subscription, invoice=seen.code)
    if seen.reference is None:
        return _asking(names, Refetch("subscription", seen.subscription))
    names += _names_of(seen.reference, seen.number)
    # Nothing else names both, so they are asked for together and the answer can tie them.
    return _asking(names, Refetch("renewal", f"{seen.subscription}/{seen.reference}"))


def _refunded(seen: shapes.Refunded) -> Reading:
    return _asking(_names_of(seen.reference, None), Refetch("refunds", seen.reference))


def _disputed(seen: shapes.Dispute) -> Reading:
    return _asking(_names_of(seen.reference, seen.transaction), Refetch("dispute", seen.number))


def _asking(aliases: tuple[Alias, ...], *wanted: Refetch) -> Reading:
    return Reading(aliases, (), founds=False, refetches=wanted)


# --------------------------------------------------------------------------------- answers: what is true


def _read_transaction(event: Projected, seen: shapes.Transaction) -> Reading:
    ours, at = our_reference(seen.reference), event.occurred_at
    asked = Stamp(at, RANK, event.digest)
    paid = seen.status in _PAID
    facts: list[Fact] = [_payment(event, seen)]
    if paid and seen.status == "reversed":
        facts.append(_given_back(seen, asked))
    if ours is not None:
        facts.append(CheckoutSeen(asked, seen.reference, "paid" if paid else "processing"))
    if seen.customer is not None:
        facts.append(HolderSeen(asked, customer=seen.customer.code, email=seen.customer.email))
    return Reading(
        _aliases(subscription=seen.subscription) + _names_of(seen.reference, seen.number),
        tuple(facts),
        # A payment that is neither ours nor a plan's is for something else the seller sells.
        founds=ours is not None or seen.plan is not None,
        prices=(seen.plan,) if seen.plan is not None else (),
        reference=ours,
        exact=seen.plan is None,
        fee=_fee(event, seen) if paid else None,
    )


def _fee(event: Projected, seen: shapes.Transaction) -> FeeSeen | None:
    """What of a split payment stayed with the platform. It has no name of its own at Paystack."""
    if seen.subaccount is None or seen.fee is None:
        return None
    return FeeSeen(
        stamp=Stamp(event.occurred_at, RANK, event.digest),
        fee=seen.reference,
        payer=seen.subaccount,
        amount=_iso(seen.fee, seen.currency),
        given_back=0,
        currency=seen.currency,
        taken_at=seen.paid_at or event.occurred_at,
        charge=seen.number,
    )


def _payment(event: Projected, seen: shapes.Transaction) -> PaymentSeen:
    paid = seen.status in _PAID
    paid_at = seen.paid_at if paid and seen.paid_at is not None else event.occurred_at
    lines: tuple[PaidLine, ...] = ()
    # When the money moved is the time of this fact, and terms are counted from it. Of several looks at one
    # payment the newest counts, but an estimated period never replaces a known one.
    rank = (event.occurred_at - _EPOCH) // timedelta(microseconds=1)
    if seen.plan is not None:
        end, known = period_end(paid_at, seen.interval, seen.next_at)
        lines = (PaidLine(seen.plan, 1, paid_at, end),)
        rank = rank if known else 0
    return PaymentSeen(
        stamp=Stamp(paid_at, rank, event.digest),
        payment=seen.reference,
        state="paid" if paid else "pending",
        amount=_iso(seen.amount, seen.currency),
        currency=seen.currency,
        lines=lines,
        intent=seen.reference,
        charge=seen.number,
    )


def _given_back(seen: shapes.Transaction, asked: Stamp) -> RefundSeen:
    """All of a transaction was given back, with or without a refund that could be listed."""
    return RefundSeen(
        stamp=asked,
        charge=seen.number or seen.reference,
        full=True,
        amount=_iso(seen.amount, seen.currency),
        currency=seen.currency,
        intent=seen.reference,
        payment=seen.reference,
    )


def _read_subscription(event: Projected, seen: shapes.Subscription) -> Reading:
    if seen.plan is None:
        raise Unreadable("a subscription without a plan")
    stamp = Stamp(event.occurred_at, RANK, event.digest)
    status = _STATUSES.get(seen.status, "unknown")
    snapshot = SubscriptionSeen(
        stamp=stamp,
        status=status,
        items=(Item(seen.plan, 1, _began(seen), seen.next_at),),
        canceling=seen.status == "non-renewing",
        ended_at=seen.changed_at if status == "ended" else None,
    )
    facts: tuple[Fact, ...] = (snapshot,)
    if seen.customer is not None:
        facts += (HolderSeen(stamp, customer=seen.customer.code, email=seen.customer.email),)
    last = seen.last or shapes.Paid()
    names = _aliases(subscription=seen.code, invoice=last.invoice, charge=last.number)
    return Reading(names, facts, founds=True, prices=(seen.plan,))


def _began(seen: shapes.Subscription) -> datetime | None:
    """When the running period began: an interval before its end, and not before there was a subscription."""
    if seen.next_at is None or seen.interval is None:
        return None
    began = stepped(seen.next_at, seen.interval, -1)
    if began is None or seen.created_at is None:
        return began
    return max(began, min(seen.created_at, seen.next_at))


def _read_refunds(event: Projected, seen: shapes.Refunds) -> Reading:
    names: dict[Alias, None] = {}
    facts: list[Fact] = []
    for one in seen.refunds:
        charge, reference = one.transaction or seen.number, one.reference or seen.reference
        names |= dict.fromkeys(_names_of(reference, charge))
        part = RefundPart(
            stamp=Stamp(event.occurred_at, RANK, event.digest),
            refund=one.number,
            state=_REFUND_STATES.get(one.status, "pending"),
            amount=_iso(one.amount, one.currency),
            currency=one.currency,
            charge=charge,
            intent=reference,
            payment=reference,
        )
        facts.append(part)
    if not names:
        raise Unreadable("refunds that name no payment")
    return Reading(tuple(names), tuple(facts), founds=False)


def _read_dispute(event: Projected, seen: shapes.Dispute) -> Reading:
    names = _names_of(seen.reference, seen.transaction)
    if not names:
        raise Unreadable("a dispute that names no payment")
    open_or_over: Literal["open", "over"] = "over" if seen.status == "resolved" else "open"
    dispute = DisputeSeen(
        stamp=Stamp(event.occurred_at, RANK, event.digest),
        dispute=seen.number,
        state=_DISPUTE_STATES.get(seen.resolution or "", open_or_over),
        amount=_iso(seen.amount, seen.currency),
        currency=seen.currency,
        charge=seen.transaction,
        intent=seen.reference,
        payment=seen.reference,
    )
    return Reading(names, (dispute,), founds=False)


# --------------------------------------------------------------------------------------- small readers


def _names_of(reference: str | None, number: str | None) -> tuple[Alias, ...]:
    """All names of a transaction. As a session too when it is ours: it must be the one that we opened."""
    ours = our_reference(reference) if reference is not None else None
    session = reference if ours is not None else None
    return _aliases(session=session, intent=reference, charge=number, reference=ours)


def _aliases(**external_ids: str | None) -> tuple[Alias, ...]:
    """Aliases in the order of the arguments, whose names are alias kinds."""
    kinds: Mapping[Any, str | None] = external_ids
    return tuple(_alias(kind, name) for kind, name in kinds.items() if name is not None)


def _alias(kind: AliasKind, name: str) -> Alias:
    return Alias(kind, name)


def _iso(amount: int, currency: str) -> int:
    return to_iso_minor(amount, currency, PAYSTACK_EXPONENT)


_DECODER: Final = msgspec.json.Decoder(shapes.Kept)
_Asking = Callable[[Any], Reading]
_Telling = Callable[[Projected, Any], Reading]
_READERS: Final[tuple[tuple[str, _Asking, _Telling], ...]] = (
    ("transaction", _charged, _read_transaction),
    ("subscription", _subscribed, _read_subscription),
    ("dispute", _disputed, _read_dispute),
    ("refunds", lambda seen: _refunded(shapes.Refunded(seen.reference or "")), _read_refunds),
    ("refunded", _refunded, lambda _, seen: _refunded(seen)),
    ("invoice", _invoiced, lambda _, seen: _invoiced(seen)),
)
