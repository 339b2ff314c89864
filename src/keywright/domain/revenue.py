"""Revenue: what the payments of a purchase brought in, month by month, and what of it was given back.

A pure function of the registers, so it depends on no order of arrival either. What changes with a purchase is
the difference of two of its answers: sums of those are always what all purchases together say.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec.structs import replace

from keywright.domain.facts import DisputeSeen, PaymentSeen, RefundPart, RefundSeen
from keywright.domain.money_back import contested, standing_refund
from keywright.domain.purchase import Purchase, payments_of, settled_at

Claim = RefundSeen | RefundPart | DisputeSeen


class Slot(NamedTuple):
    """A month, as `2026-11` in UTC, and a currency: no two currencies are ever added."""

    month: str
    currency: str


class Money(NamedTuple):
    """In ISO minor units. `paid`: came in; `given_back`: refunded, or lost in a dispute."""

    paid: int = 0
    given_back: int = 0


_MONEY = ("payments", "refunds", "parts", "disputes", "links", "settled")
_NOTHING = Money()


def month_of(at: datetime) -> str:
    """The month of a moment, in UTC."""
    at = at.astimezone(UTC)
    return f"{at.year:04}-{at.month:02}"  # strftime costs four times as much, in every renewal


def revenue_of(purchase: Purchase) -> dict[Slot, Money]:
    """What one purchase brought in.

    A payment counts in the month in which it was first told as paid, a refund in the month of the refund; no
    more is given back than was paid. A dispute takes money back when it is lost. What was given back of a
    payment that nobody told us of is left out, as the payment is.
    """
    claims = _claims(purchase)
    about = [(claim, payments_of(purchase, claim)) for claim in claims]
    found: dict[Slot, Money] = {}
    for names, payment, at in _distinct(purchase):
        _add(found, at, payment.currency, Money(payment.amount))
        mine = [claim for claim, payments in about if payments & names]
        for moment, amount in _returned(payment, mine):
            _add(found, moment, payment.currency, Money(0, amount))
    return found


def changed(pairs: Iterable[tuple[Purchase, Purchase]]) -> dict[Slot, Money]:
    """By how much the revenue of several purchases differs, each before and after."""
    total: dict[Slot, Money] = {}
    for before, after in pairs:
        if all(getattr(before, name) is getattr(after, name) for name in _MONEY):
            continue
        if (new := _only_new(before, after)) is not None:
            if new.state == "paid" and new.amount > 0:
                _add(total, settled_at(after, new), new.currency, Money(new.amount))
            continue
        had, has = _what_differs(before, after)
        for slot, money in revenue_of(has).items():
            total[slot] = _sum(total.get(slot, _NOTHING), money)
        for slot, money in revenue_of(had).items():
            total[slot] = _sum(total.get(slot, _NOTHING), Money(-money.paid, -money.given_back))
    return {slot: money for slot, money in total.items() if money != _NOTHING}


def _only_new(before: Purchase, after: Purchase) -> PaymentSeen | None:
    """The one payment that came, where nothing else about money changed and it stands alone.

    That is nearly every renewal, so it has a short way: nothing is counted twice to be subtracted again.
    """
    if before.links is not after.links or len(after.payments) != len(before.payments) + 1:
        return None
    came = None
    for name, payment in after.payments.items():
        if before.payments.get(name) is not payment:
            if came is not None:
                return None
            came = payment
        elif before.settled.get(name) != after.settled.get(name):
            return None
    if came is None or _claims(after) or _claims(before):
        return None
    names = set(_names(after, came))
    stands_alone = all(one is came or names.isdisjoint(_names(after, one)) for one in after.payments.values())
    return came if stands_alone else None


def _what_differs(before: Purchase, after: Purchase) -> tuple[Purchase, Purchase]:
    """Both with only the payments that differ, where those stand alone.

    A renewal costs the same whether it is the first or the hundredth.
    """
    if before.links is not after.links or _claims(before) or _claims(after):
        return before, after
    differ, same = set(before.payments.keys() - after.payments.keys()), []
    for name, payment in after.payments.items():
        kept = before.payments.get(name) is payment
        if kept and before.settled.get(name) == after.settled.get(name):
            same.append(payment)
        else:
            differ.add(name)
    sides = tuple(
        {name: side.payments[name] for name in differ & side.payments.keys()} for side in (before, after)
    )
    names = {one for side in sides for payment in side.values() for one in _names(after, payment)}
    if any(not names.isdisjoint(_names(after, payment)) for payment in same):
        return before, after
    return replace(before, payments=sides[0]), replace(after, payments=sides[1])


def _claims(purchase: Purchase) -> list[Claim]:
    lost = [one for one in purchase.disputes.values() if one.state == "lost"]
    return [*purchase.refunds.values(), *purchase.parts.values(), *lost]


def _distinct(purchase: Purchase) -> list[tuple[frozenset[str], PaymentSeen, datetime]]:
    """The paid payments with their names and when each was paid.

    One charge may stand behind two of them: a one-off order that also made an invoice was told of twice, and
    is counted once.
    """
    groups: list[list[PaymentSeen]] = []
    known: dict[tuple[str, str], int] = {}
    for name in sorted(purchase.payments):
        payment = purchase.payments[name]
        if payment.state != "paid" or payment.amount <= 0:
            continue
        names = _names(purchase, payment)
        number = next((known[one] for one in names if one in known), len(groups))
        if number == len(groups):
            groups.append([])
        groups[number].append(payment)
        known |= dict.fromkeys(names, number)
    return [
        (
            frozenset(one.payment for one in group),
            max(group, key=lambda one: (one.amount, one.payment)),
            min(settled_at(purchase, one) for one in group),
        )
        for group in groups
    ]


def _names(purchase: Purchase, payment: PaymentSeen) -> list[tuple[str, str]]:
    names = [("payment", payment.payment)]
    if payment.charge is not None:
        names.append(("charge", payment.charge))
    if payment.intent is not None:
        names.append(("intent", payment.intent))
        if payment.intent in purchase.links:
            names.append(("payment", purchase.links[payment.intent]))
    return names


def _returned(payment: PaymentSeen, claims: list[Claim]) -> list[tuple[datetime, int]]:
    """When how much of a payment was given back. Where the cumulative word tells of more than the parts, the
    rest went when that word was said."""
    parts = [one for one in claims if isinstance(one, RefundPart)]
    totals = [one for one in claims if isinstance(one, RefundSeen)]
    told = sum(standing_refund(one, payment.amount, parts) for one in totals)
    given = [(one.stamp.at, one.amount) for one in parts if one.state == "done"]
    if (rest := told - sum(amount for _, amount in given)) > 0:
        given.append((max(one.stamp.at for one in totals), rest))
    given += [(one.stamp.at, contested(one, payment)) for one in claims if isinstance(one, DisputeSeen)]
    left, kept = payment.amount, []
    for at, amount in sorted(given):
        kept.append((at, min(amount, left)))
        left -= kept[-1][1]
    return kept


def _add(found: dict[Slot, Money], at: datetime, currency: str, money: Money) -> None:
    slot = Slot(month_of(at), currency)
    found[slot] = _sum(found.get(slot, _NOTHING), money)


def _sum(one: Money, other: Money) -> Money:
    return Money(one.paid + other.paid, one.given_back + other.given_back)
