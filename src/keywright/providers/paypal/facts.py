"""What PayPal says, in the words of `domain/facts.py`.

An event says nothing by itself: it names what to fetch. Facts are read from what was fetched, in PayPal's
present shape. Pure, and lenient with times, because PayPal's own samples hold impossible ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from keywright.domain.errors import Unreadable
from keywright.domain.facts import (
    Alias,
    CheckoutSeen,
    DisputeSeen,
    Fact,
    HolderSeen,
    PaymentSeen,
    PaymentState,
    Projected,
    Reading,
    Refetch,
    RefundPart,
    RefundSeen,
    Stamp,
)
from keywright.providers.paypal import shapes
from keywright.providers.paypal.subscriptions import read_subscription
from keywright.providers.paypal.values import (
    DISPUTE_RANKS,
    PAID,
    PAYMENT_RANKS,
    PENDING,
    amount_of,
    is_reference,
    moment,
    ranked,
    reference_in,
    reversal,
)

FETCHED_RANK: Final = 100
"""Above whatever an event of the same second would have."""

_REFUND_RANKS: Final[Mapping[str, int]] = {"pending": 0, "done": 1, "failed": 2}
RefundState = Literal["pending", "done", "failed"]
DisputeState = Literal["inquiry", "open", "won", "lost", "over"]


def read_projection(projected: Projected) -> Reading:
    """The facts of a projection whose standing is `read`. Raises Unreadable."""
    try:
        if not projected.type.startswith(shapes.FETCHED):
            return _read_event(projected.type, msgspec.json.decode(projected.body, type=shapes.Named))
        kept = msgspec.json.decode(projected.body, type=shapes.Kept)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem = f"not a projection of ours: {type(error).__name__}"
    else:
        stamp = Stamp(projected.occurred_at, FETCHED_RANK, projected.digest)
        for member, reader in _READERS.items():
            seen = getattr(kept, member)
            if seen is not None:
                return reader(stamp, seen, kept)
        problem = "a projection of nothing"
    raise Unreadable(problem)


def says_something(kept: shapes.Kept) -> bool:
    """Whether there is a fact in it: nothing is known of what the buyer has not agreed to."""
    if kept.order is not None:
        return kept.order.status.upper() == "VOIDED" or bool(_captures(kept.order))
    if kept.subscription is not None:
        return kept.subscription.status.upper() not in ("APPROVAL_PENDING", "APPROVED")
    return True


# ---------------------------------------------------------------------------------------------- events


def _read_event(kind: str, named: shapes.Named) -> Reading:
    """What to ask for. Aliases stay, so that the event is found with its purchase."""
    charges = [named.sale, named.capture, *named.transactions]
    aliases = [Alias("charge", one) for one in charges if one is not None]
    if named.subscription is not None:
        aliases.append(Alias("subscription", named.subscription))
    if named.order is not None:
        aliases.append(Alias("session", named.order))
    wanted = _wanted(kind, named)
    if not wanted:
        raise Unreadable(f"{kind} names nothing to ask for")
    return Reading(tuple(dict.fromkeys(aliases)), (), founds=False, refetches=wanted)


def _wanted(kind: str, named: shapes.Named) -> tuple[Refetch, ...]:
    pairs: list[tuple[str, str | None]]
    if kind in shapes.SALE_EVENTS:
        # The sale leads to its subscription, whose own list may not have it for minutes.
        first = ("subscription", named.subscription) if named.sale is None else ("sale", named.sale)
        pairs = [("refund", named.refund), first]
    elif kind in shapes.CAPTURE_EVENTS:
        # The order tells of its captures and their refunds.
        first = ("order", named.order) if named.order is not None else ("capture", named.capture)
        pairs = [first, ("refund", named.refund)]
    else:
        pairs = [("subscription", named.subscription), ("order", named.order), ("dispute", named.dispute)]
    return tuple(Refetch(what, id_) for what, id_ in pairs if id_ is not None)


# ---------------------------------------------------------------------------------- orders and captures


def _read_order(stamp: Stamp, seen: shapes.Order, _: shapes.Kept) -> Reading:
    captures = _captures(seen)
    references = [unit.custom_id for unit in seen.purchase_units]
    references += [capture.custom_id for capture in captures]
    reference = next((one for one in references if is_reference(one)), None)
    aliases = [Alias("session", seen.id)]
    if reference is not None:
        aliases.append(Alias("reference", reference))
    aliases += [Alias("charge", capture.id) for capture in captures]
    if not captures:
        gone = CheckoutSeen(stamp, seen.id, "expired")
        return Reading(tuple(aliases), (gone,), founds=False, reference=reference)
    payer = seen.payer or shapes.Person()
    facts: list[Fact] = [
        *_order_payment(stamp, seen.id, captures),
        HolderSeen(stamp, customer=payer.payer_id, email=payer.email_address),
    ]
    facts += _order_refunds(stamp, seen, captures)
    return Reading(tuple(aliases), tuple(facts), founds=True, reference=reference, exact=True)


def _captures(seen: shapes.Order) -> list[shapes.Capture]:
    return [one for unit in seen.purchase_units if unit.payments for one in unit.payments.captures]


def _order_payment(stamp: Stamp, order: str, captures: Sequence[shapes.Capture]) -> list[Fact]:
    """The payment, by the order's id: whichever event or fetch brought it, it is one payment."""
    best = max(captures, key=lambda one: PAYMENT_RANKS[_capture_state(one)])
    state = _capture_state(best)
    # The capture's own time: asking again, a year later, must not begin the bought year anew.
    at = moment(best.create_time) or stamp.at
    own = Stamp(at, FETCHED_RANK + PAYMENT_RANKS[state])
    amount, currency = amount_of(best.amount)
    told: Literal["paid", "processing", "failed"] = (
        "paid" if state == "paid" else "processing" if state == "pending" else "failed"
    )
    return [
        PaymentSeen(own, order, state, amount, currency, charge=best.id),
        CheckoutSeen(own, order, told),
    ]


def _capture_state(capture: shapes.Capture) -> PaymentState:
    state = (capture.status or "").lower()
    return "paid" if state in PAID else "pending" if state in PENDING else "failed"


def _order_refunds(stamp: Stamp, seen: shapes.Order, captures: Sequence[shapes.Capture]) -> list[Fact]:
    listed = [one for unit in seen.purchase_units if unit.payments for one in unit.payments.refunds]
    only = captures[0].id if len(captures) == 1 else None
    facts: list[Fact] = [_part(stamp, one, one.capture_id or only, seen.id) for one in listed]
    if not listed:
        facts += [fact for capture in captures for fact in _whole_refund(stamp, capture, seen.id)]
    return facts


def _whole_refund(stamp: Stamp, capture: shapes.Capture, order: str | None) -> list[Fact]:
    if (capture.status or "").lower() not in ("refunded", "reversed"):
        return []
    amount, currency = amount_of(capture.amount)
    return [RefundSeen(stamp, capture.id, full=True, amount=amount, currency=currency, payment=order)]


def _read_capture(stamp: Stamp, seen: shapes.Capture, _: shapes.Kept) -> Reading:
    """A capture by itself: its order could not be read."""
    related = seen.supplementary_data.related_ids if seen.supplementary_data is not None else None
    order = related.order_id if related is not None else None
    facts: list[Fact] = _whole_refund(stamp, seen, order)
    if order is not None:
        facts = [*_order_payment(stamp, order, [seen]), *facts]
    reference = reference_in(seen.custom_id)
    aliases = [Alias("charge", seen.id)]
    aliases += [Alias("session", order)] if order is not None else []
    aliases += [Alias("reference", reference)] if reference is not None else []
    return Reading(tuple(aliases), tuple(facts), founds=order is not None, reference=reference, exact=True)


# ------------------------------------------------------------------------- sales, refunds and disputes


def _read_sale(stamp: Stamp, seen: shapes.Sale, _: shapes.Kept) -> Reading:
    """A payment by itself. What it paid for is told by its subscription; here, only what took it back."""
    aliases = [Alias("charge", seen.id)]
    if seen.billing_agreement_id is not None:
        aliases.append(Alias("subscription", seen.billing_agreement_id))
    state = (seen.state or seen.status or "").lower()
    amount, currency = amount_of(seen.amount)
    facts: tuple[Fact, ...] = ()
    if state == "refunded":
        facts = (RefundSeen(stamp, seen.id, full=True, amount=amount, currency=currency, payment=seen.id),)
    elif state == "reversed":
        facts = (reversal(stamp, seen.id, "lost", amount, currency),)
    return Reading(tuple(aliases), facts, founds=False)


def _read_refund(stamp: Stamp, seen: shapes.Refund, _: shapes.Kept) -> Reading:
    charge = seen.sale_id or seen.capture_id
    if charge is None:
        raise Unreadable("a refund that names no payment")
    return Reading((Alias("charge", charge),), (_part(stamp, seen, charge, None),), founds=False)


def _part(stamp: Stamp, refund: shapes.Refund, charge: str | None, payment: str | None) -> RefundPart:
    amount, currency = amount_of(refund.amount)
    state = (refund.status or refund.state or "").lower()
    done: RefundState = "pending"
    if state in ("completed", "refunded", "reversed"):
        done = "done"
    elif state in ("failed", "cancelled", "canceled", "denied"):
        done = "failed"
    own = ranked(stamp, _REFUND_RANKS[done])
    return RefundPart(own, refund.id, done, amount, currency, charge=charge, payment=payment)


def _read_dispute(stamp: Stamp, seen: shapes.Dispute, _: shapes.Kept) -> Reading:
    charges = [one.seller_transaction_id for one in seen.disputed_transactions]
    known = [one for one in charges if one is not None]
    if not known:
        raise Unreadable("a dispute that names no payment")
    amount, currency = amount_of(seen.dispute_amount)
    state = _dispute_state(seen)
    facts: list[Fact] = []
    for place, charge in enumerate(known):
        # A case about several payments is one for each: each has its own purchase.
        name = seen.dispute_id if place == 0 else f"{seen.dispute_id}-{place}"
        facts.append(
            DisputeSeen(ranked(stamp, DISPUTE_RANKS[state]), name, state, amount, currency, charge=charge)
        )
        if state == "won":
            # What the bank had taken back for it came home.
            facts.append(reversal(stamp, charge, "won", amount, currency))
    return Reading(tuple(Alias("charge", charge) for charge in known), tuple(facts), founds=False)


_OUTCOMES: Final[Mapping[str, DisputeState]] = {
    "RESOLVED_BUYER_FAVOUR": "lost",
    "RESOLVED_BUYER_FAVOR": "lost",
    "ACCEPTED": "lost",
    "RESOLVED_SELLER_FAVOUR": "won",
    "RESOLVED_SELLER_FAVOR": "won",
    "CANCELED_BY_BUYER": "won",
    "CANCELLED_BY_BUYER": "won",
    "DENIED": "won",
    "RESOLVED_WITH_PAYOUT": "won",  # PayPal paid the buyer, and not from the seller's money
}


def _dispute_state(seen: shapes.Dispute) -> DisputeState:
    if (seen.status or "").upper() == "RESOLVED":
        code = seen.dispute_outcome.outcome_code if seen.dispute_outcome is not None else None
        return _OUTCOMES.get((code or "").upper(), "over")
    # Old cases have no stage; they were all about money that is held back.
    return "inquiry" if (seen.dispute_life_cycle_stage or "").upper() == "INQUIRY" else "open"


_READERS: Final[Mapping[str, Callable[[Stamp, Any, shapes.Kept], Reading]]] = {
    "subscription": read_subscription,
    "order": _read_order,
    "capture": _read_capture,
    "sale": _read_sale,
    "refund": _read_refund,
    "dispute": _read_dispute,
}
