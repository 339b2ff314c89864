"""Which periods of a purchase count, each judged by its best evidence.

A paid line decides: the period counts, or is lost when its payment was given back in full. Without one the
newest snapshot of the period decides, unless a payment for it failed since.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from keywright.domain.facts import PaidLine, PaymentSeen, RefundSeen
from keywright.domain.plan import Terms
from keywright.domain.purchase import PeriodSeen, Purchase, payments_of


class Period(msgspec.Struct, frozen=True, order=True):
    """A period that counts, or that would if its payment had not been given back (`lost`).

    `refundable`: its payment is not known by any name a refund could use, so that a refund which names no
    payment of ours may be the one that took it back.
    """

    ends_at: datetime
    began_at: datetime
    lost: bool = False
    trial: bool = False
    refundable: bool = False


def periods_of(purchase: Purchase, prices: frozenset[str], *, revoke: bool) -> list[Period]:
    """The periods of a subscription line; with `revoke` a full refund takes its period back."""
    refunds = [refund for refund in purchase.refunds.values() if refund.full] if revoke else []
    refunded = _refunded(purchase, refunds)
    linked = frozenset(purchase.links.values()) if refunds else frozenset()
    heard = _heard(purchase.periods.values(), prices)
    settled: dict[datetime, Period] = {}
    failed: dict[datetime, datetime] = {}
    for payment in purchase.payments.values():
        for line in payment.lines:
            end = line.ends_at
            if line.prorated or end is None or line.price not in prices:
                continue
            if payment.state == "paid":
                said = heard.get(end)
                period = Period(
                    end,
                    line.starts_at if line.starts_at is not None else payment.stamp.at,
                    payment.payment in refunded,
                    payment.amount == 0 and said is not None and said.trial,
                    bool(refunds) and _is_nameless(payment, linked),
                )
                known = settled.get(end)
                settled[end] = period if known is None else _better(known, period)
            elif payment.state == "failed":
                failed[end] = max(failed.get(end, payment.stamp.at), payment.stamp.at)
    for end, said in heard.items():
        # At equal times the failure is the truth: had it been paid, the paid line would say so.
        if end not in settled and said.counts and not (end in failed and failed[end] >= said.stamp.at):
            settled[end] = Period(end, _began(said), trial=said.trial, refundable=not said.trial)
    return _lose(list(settled.values()), purchase, refunds)


def paid_once(purchase: Purchase, prices: frozenset[str], terms: Terms, *, ours: bool) -> list[Period]:
    """The terms that were bought once. `ours`: our checkout sold them, so payments without lines pay them."""
    refunds = [refund for refund in purchase.refunds.values() if refund.full]
    if terms.on_refund == "keep":
        refunds = []
    refunded = _refunded(purchase, refunds)
    linked = frozenset(purchase.links.values())
    paid = [payment for payment in purchase.payments.values() if payment.state == "paid"]
    orders = [payment for payment in paid if ours and not payment.lines]
    # An order that also made an invoice is told twice; the checkout's own word is enough.
    mine = orders or [payment for payment in paid if any(_is_for(line, prices) for line in payment.lines)]
    periods = [
        Period(
            terms.term_end(payment.stamp.at),
            payment.stamp.at,
            lost=payment.payment in refunded,
            refundable=_is_nameless(payment, linked),
        )
        for payment in mine
    ]
    return _lose(periods, purchase, refunds)


def _is_for(line: PaidLine, prices: frozenset[str]) -> bool:
    return line.price in prices and not line.prorated


def _heard(told: Iterable[PeriodSeen], prices: frozenset[str]) -> dict[datetime, PeriodSeen]:
    """The newest word of a snapshot on each period, whichever of the line's prices it was about."""
    heard: dict[datetime, PeriodSeen] = {}
    for seen in told:
        if seen.price in prices:
            known = heard.get(seen.ends_at)
            if known is None or _rank(seen) > _rank(known):
                heard[seen.ends_at] = seen
    return heard


def _rank(seen: PeriodSeen) -> tuple[object, ...]:
    return (seen.stamp, seen.counts, not seen.trial, _began(seen))


def _began(seen: PeriodSeen) -> datetime:
    return seen.starts_at if seen.starts_at is not None else seen.stamp.at


def _better(one: Period, other: Period) -> Period:
    """Of two payments for one period the one that was kept, and then the one that cost something."""
    return max(one, other, key=lambda p: (not p.lost, not p.trial, not p.refundable, p.began_at))


def _is_nameless(payment: PaymentSeen, linked: frozenset[str]) -> bool:
    named = payment.intent is not None or payment.charge is not None or payment.payment in linked
    return not named and payment.amount > 0


def _refunded(purchase: Purchase, refunds: Iterable[RefundSeen]) -> frozenset[str]:
    """The payments that were given back in full."""
    return frozenset(payment for refund in refunds for payment in payments_of(purchase, refund))


def _lose(periods: list[Period], purchase: Purchase, refunds: Iterable[RefundSeen]) -> list[Period]:
    """A full refund of a payment that we never saw takes back the period it fell into.

    Each refund is judged by itself, so that their order cannot matter.
    """
    hits = set()
    for refund in refunds:
        if payments_of(purchase, refund):
            continue
        running = (p for p in periods if p.refundable and not p.lost and p.began_at <= refund.stamp.at)
        hits.add(max(running, default=None))
    return [msgspec.structs.replace(p, lost=True) if p in hits else p for p in periods] if hits else periods
