"""What was given back of the payments of a purchase, and what is contested.

Two kinds of evidence tell of refunds: the cumulative refund of a charge, and each refund by itself. Neither
is complete alone (a seller listens to one of them, or events are missing), so the larger of the two counts.
All of it is commutative: only the registers and their stamps are looked at, never the order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from keywright.domain.facts import DisputeSeen, PaymentSeen, RefundPart, RefundSeen
from keywright.domain.plan import Terms
from keywright.domain.purchase import Purchase, payments_of

Cause = Literal["refunded", "dispute lost"]


class Stray(msgspec.Struct, frozen=True):
    """A payment was given back in full, and it is none that we know. It was paid before `at`."""

    at: datetime
    cause: Cause


class TakenBack(msgspec.Struct, frozen=True):
    """The known payments that were given back in full, and why; and those that are not known."""

    payments: Mapping[str, Cause] = {}
    strays: tuple[Stray, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.payments or self.strays)


_NOTHING = TakenBack()


def taken_back(purchase: Purchase, terms: Terms) -> TakenBack:
    """Which payments do not count any more, as far as the plan lets a refund or a lost dispute take them.

    `on_refund = "keep"` leaves refunds out, `on_dispute = "keep"` disputes. Parts add up: a payment is given
    back when they reach its amount.
    """
    disputes: list[DisputeSeen] = []
    if purchase.disputes and terms.on_dispute == "suspend":
        disputes = [dispute for dispute in purchase.disputes.values() if dispute.state == "lost"]
    refunds: list[RefundSeen] = []
    parts: list[RefundPart] = []
    if (purchase.refunds or purchase.parts) and terms.on_refund == "revoke":
        refunds, parts = list(purchase.refunds.values()), list(purchase.parts.values())
    if not (disputes or refunds or parts):
        return _NOTHING
    claims: list[RefundSeen | RefundPart | DisputeSeen] = [*disputes, *refunds, *parts]
    about = {id(one): payments_of(purchase, one) for one in claims}
    found: dict[str, Cause] = {}
    for payment in purchase.payments.values():
        cause = _why_taken(
            payment,
            [one for one in refunds if payment.payment in about[id(one)]],
            [one for one in parts if payment.payment in about[id(one)]],
            [one for one in disputes if payment.payment in about[id(one)]],
        )
        if cause is not None:
            found[payment.payment] = cause
    strays = [
        Stray(one.stamp.at, "refunded")
        for one in refunds
        if one.full and not about[id(one)] and not _undone(one, [p for p in parts if _is_same(one, p)])
    ]
    strays += [
        # The first word on a dispute is nearer to the payment than its end months later.
        Stray(min(one.stamp.at, purchase.opened.get(one.dispute, one.stamp.at)), "dispute lost")
        for one in disputes
        if not about[id(one)]
    ]
    return TakenBack(found, tuple(strays))


def _why_taken(
    payment: PaymentSeen,
    refunds: Sequence[RefundSeen],
    parts: Sequence[RefundPart],
    disputes: Sequence[DisputeSeen],
) -> Cause | None:
    whole = payment.amount
    told = sum(standing_refund(one, whole, parts) for one in refunds)
    done = sum(one.amount for one in parts if one.state == "done")
    refunded = max(told, done)
    # Of a bill of nothing nothing can be given back in parts.
    if refunded >= whole > 0 or any(one.full and not _undone(one, parts) for one in refunds):
        return "refunded"
    if disputes and refunded + sum(contested(one, payment) for one in disputes) >= whole:
        return "dispute lost"
    return None


def standing_refund(seen: RefundSeen, whole: int, parts: Iterable[RefundPart]) -> int:
    """What a cumulative refund still says, after those that failed since it was told."""
    return max(0, (whole if seen.full else seen.amount) - _undone(seen, parts))


def _undone(seen: RefundSeen, parts: Iterable[RefundPart]) -> int:
    """What failed after the cumulative word, which told of it as given back.

    At an equal second too: a refund is told of when it is made, and fails after that.
    """
    failed = (one for one in parts if one.state == "failed" and one.stamp.at >= seen.stamp.at)
    return sum(max(one.amount, 1) for one in failed)


def _is_same(seen: RefundSeen, part: RefundPart) -> bool:
    """Whether both speak of one charge, where its payment is not known."""
    return (
        seen.charge == part.charge
        or (seen.intent is not None and seen.intent == part.intent)
        or (seen.payment is not None and seen.payment == part.payment)
    )


def contested(dispute: DisputeSeen, payment: PaymentSeen) -> int:
    """How much of a payment a dispute is about: all of it, where the amounts cannot be compared."""
    if dispute.currency != payment.currency or dispute.amount <= 0:
        return max(payment.amount, 1)
    return dispute.amount


def disputed_since(purchase: Purchase, prices: frozenset[str], terms: Terms) -> datetime | None:
    """Since when a payment of the line with these prices is contested; None: none is, or the plan keeps on.

    A dispute about a payment that is not known here is about the whole purchase: its names led here.
    """
    if not purchase.disputes or terms.on_dispute == "keep":
        return None
    since = [
        purchase.opened.get(dispute.dispute, dispute.stamp.at)
        for dispute in purchase.disputes.values()
        if dispute.state == "open" and _is_about(purchase, dispute, prices)
    ]
    return max(since, default=None)


def _is_about(purchase: Purchase, dispute: DisputeSeen, prices: frozenset[str]) -> bool:
    contested = [purchase.payments[payment] for payment in payments_of(purchase, dispute)]
    if not contested:
        return True
    return any(not one.lines or any(line.price in prices for line in one.lines) for one in contested)
