"""Which periods of a purchase count, each judged by its best evidence.

A paid line decides: the period counts, or is lost when its payment was given back in full. Without one the
newest snapshot of the period decides, unless a payment for it failed since, or nobody was asked to pay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from keywright.domain.facts import PaidLine, PaymentSeen
from keywright.domain.money_back import TakenBack
from keywright.domain.plan import Terms
from keywright.domain.purchase import PeriodSeen, Purchase, period_key, settled_at


class Period(msgspec.Struct, frozen=True, order=True):
    """A period that counts, or that would if its payment had not been given back (`lost`, and why).

    `refundable`: its payment is not known by any name a refund could use, so that a refund which names no
    payment of ours may be the one that took it back. `payments` paid for it, and were kept.
    """

    ends_at: datetime
    began_at: datetime
    lost: str = ""
    trial: bool = False
    refundable: bool = False
    payments: tuple[str, ...] = ()


def periods_of(purchase: Purchase, prices: frozenset[str], taken: TakenBack) -> list[Period]:
    """The periods of a subscription line. `taken`: the payments that were given back."""
    linked = frozenset(purchase.links.values()) if taken.strays else frozenset()
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
                lost = taken.payments.get(payment.payment, "")
                period = Period(
                    end,
                    line.starts_at if line.starts_at is not None else settled_at(purchase, payment),
                    lost,
                    payment.amount == 0 and said is not None and said.trial,
                    bool(taken.strays) and _is_nameless(payment, linked),
                    () if lost else (payment.payment,),
                )
                known = settled.get(end)
                settled[end] = period if known is None else _better(known, period)
            elif payment.state == "failed":
                failed[end] = max(failed.get(end, payment.stamp.at), payment.stamp.at)
    for end, said in heard.items():
        # At equal times the failure is the truth: had it been paid, the paid line would say so.
        refused = end in failed and failed[end] >= said.stamp.at
        if end not in settled and said.counts and not refused and not _is_free(purchase, said):
            settled[end] = Period(end, _began(said), trial=said.trial, refundable=not said.trial)
    return _lose(list(settled.values()), taken)


def paid_once(
    purchase: Purchase, prices: frozenset[str], terms: Terms, taken: TakenBack, *, ours: bool
) -> list[Period]:
    """The terms that were bought once. `ours`: our checkout sold them, so payments without lines pay them."""
    linked = frozenset(purchase.links.values())
    paid = [payment for payment in purchase.payments.values() if payment.state == "paid"]
    orders = [payment for payment in paid if ours and not payment.lines]
    # An order that also made an invoice is told twice; the checkout's own word is enough.
    mine = orders or [payment for payment in paid if any(_is_for(line, prices) for line in payment.lines)]
    periods = []
    for told in _same_money(purchase, mine):
        # Told under two names, or again when it was asked for: the money came once, and first.
        began = min(settled_at(purchase, payment) for payment in told)
        periods.append(
            Period(
                terms.term_end(began),
                began,
                lost=max(taken.payments.get(payment.payment, "") for payment in told),
                refundable=all(_is_nameless(payment, linked) for payment in told),
            )
        )
    return _lose(periods, taken)


def _same_money(purchase: Purchase, payments: Sequence[PaymentSeen]) -> list[list[PaymentSeen]]:
    """The payments, those together that share a name: an order may be told of as a session and an intent."""
    groups: list[tuple[set[str], list[PaymentSeen]]] = []
    for payment in payments:
        names = _names(purchase, payment)
        together = [payment]
        apart = []
        for known, others in groups:
            if known & names:
                names |= known
                together += others
            else:
                apart.append((known, others))
        groups = [*apart, (names, together)]
    return [together for _, together in groups]


def _names(purchase: Purchase, payment: PaymentSeen) -> set[str]:
    names = {payment.payment, payment.intent, payment.charge, purchase.links.get(payment.intent or "")}
    # A payment that is told of under its intent's own name is linked by that too.
    names.add(purchase.links.get(payment.payment))
    return {name for name in names if name is not None}


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
    return (seen.stamp, seen.counts, not seen.trial, _began(seen), seen.price)


def _began(seen: PeriodSeen) -> datetime:
    return seen.starts_at if seen.starts_at is not None else seen.first_at


def _better(one: Period, other: Period) -> Period:
    """Of two payments for one period the one that was kept, and then the one that cost something."""
    best = max(one, other, key=lambda p: (not p.lost, not p.trial, not p.refundable, p.began_at, p.lost))
    both = {*one.payments, *other.payments}
    return msgspec.structs.replace(best, payments=tuple(sorted(both))) if len(both) > 1 else best


def _is_nameless(payment: PaymentSeen, linked: frozenset[str]) -> bool:
    named = payment.intent is not None or payment.charge is not None or payment.payment in linked
    return not named and payment.amount > 0


def _is_free(purchase: Purchase, said: PeriodSeen) -> bool:
    """Whether the provider was not to collect when the period began; a later pause takes nothing back."""
    since = purchase.uncollected.get(period_key(said.price, said.ends_at))
    return since is not None and since <= said.first_at and not said.trial


def _lose(periods: list[Period], taken: TakenBack) -> list[Period]:
    """A full refund of a payment that we never saw takes back the period it fell into.

    Each refund is judged by itself, so that their order cannot matter.
    """
    hits: dict[Period, str] = {}
    for stray in taken.strays:
        running = [p for p in periods if p.refundable and not p.lost and p.began_at <= stray.at]
        if running:
            hit = max(running)
            hits[hit] = max(hits.get(hit, ""), stray.cause)
    return (
        [msgspec.structs.replace(p, lost=hits[p]) if p in hits else p for p in periods] if hits else periods
    )
