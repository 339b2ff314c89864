"""What a customer is written about, besides the mail that brings a key.

`notices_of` looks at what one pass changed and tells what is news. It asks no clock of its own and keeps no
record: each notice names its occurrence, and whoever writes it down keeps the first of each. News that comes
late is none: what was settled meanwhile, or lies further back than a provider repeats a delivery.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from keywright.domain.facts import PaymentSeen, RefundPart, RefundSeen
from keywright.domain.license import License, status
from keywright.domain.plan import NoticeKind, Terms
from keywright.domain.purchase import Purchase

FRESH_FOR: Final = timedelta(days=4)
"""How old news may be. Stripe, Paystack and PayPal repeat a delivery for three days."""

_NOTHING: Final = Purchase()
_RUNNING: Final = ("active", "grace")
_GONE: Final = ("revoked", "suspended", "pending")


class Notice(msgspec.Struct, frozen=True):
    """One thing to tell, once: unique by `subject`, `kind` and `occurrence`.

    Money is the tenant's: a payment or a refund concerns every license it paid for, and is told once. All
    else is the license's own. `detail` holds what the mail says and no later look could tell; no person.
    """

    kind: NoticeKind
    subject: str
    occurrence: str
    detail: dict[str, str | int]


def notices_of(
    before: License | None, after: License, was: Purchase, is_: Purchase, terms: Terms, now: datetime
) -> tuple[Notice, ...]:
    """What is news in a change, by the terms of the license's plan. Cheap where there is none.

    Args:
        before: the license as it was; None when this pass made it.
        after: the license as it is now; the same object when only the purchase changed.
        was: what was known of its purchase before; `is_`: what is known now.
        terms: which notices are on.
        now: what lies longer back than `FRESH_FOR` is not told.
    """
    # Of several keys of one purchase the first one speaks: it is the last that would go.
    if after.unit or not terms.notices:
        return ()
    known = was if before is not None else _NOTHING
    found: list[Notice] = []
    if is_.payments is not known.payments or after.past_due:
        found += _of_payments(before, after, known, is_, terms, now)
    if is_.refunds is not known.refunds or is_.parts is not known.parts:
        found += _of_refunds(after, known, is_, terms, now)
    if before is not None and before is not after:
        found += _of_change(before, after, is_, terms, now)
    return tuple(found)


def still_holds(kind: NoticeKind, detail: dict[str, str | int], held: License, now: datetime) -> bool:
    """Whether a notice is still true when its mail goes out: that may have waited for an address.

    `detail` is the notice's own: a reminder names the clock it is about, which may have moved since.
    """
    state = status(held, now)
    match kind:
        case "refunded":
            return True
        case "renewed" | "seats_changed":
            return state in _RUNNING
        case "payment_failed":
            return held.past_due and state not in _GONE
        case "trial_ending":
            on_trial = held.trial and not held.canceling and state == "active"
            return on_trial and detail.get("clock") == clock_name(held.entitled_until or now)
        case "grace_ending":
            return state == "grace" and detail.get("clock") == clock_name(held.grace_until or now)
    return state == "expired"


def clock_name(clock: datetime) -> str:
    """A clock as part of an occurrence: seconds since 1970."""
    return str(int(clock.timestamp()))


# -- payments -------------------------------------------------------------------------------------------


def _of_payments(
    before: License | None, after: License, was: Purchase, is_: Purchase, terms: Terms, now: datetime
) -> Iterator[Notice]:
    fresh = [
        payment
        for id_, payment in is_.payments.items()
        if was.payments.get(id_) is not payment and payment.stamp.at >= now - FRESH_FOR
    ]
    if "payment_failed" in terms.notices and after.past_due and status(after, now) not in _GONE:
        yield from _failures(before, after, was, is_, fresh, now)
    if "renewed" in terms.notices and before is not None and status(after, now) in _RUNNING:
        for payment in fresh:
            if payment.state == "paid" and _is_renewal(payment, after, is_):
                end = clock_name(after.entitled_until or now)
                detail: dict[str, str | int] = {"amount": payment.amount, "currency": payment.currency}
                yield Notice("renewed", after.id, end, detail)
                return


def _failures(
    before: License | None,
    after: License,
    was: Purchase,
    is_: Purchase,
    fresh: list[PaymentSeen],
    now: datetime,
) -> Iterator[Notice]:
    """`past_due` says that no later word took the failure back."""
    was_past_due = before is not None and before.past_due
    if any(payment.state == "failed" for payment in is_.payments.values()):
        if was_past_due and not _has_failed(was):
            return  # told already, when a snapshot alone said so
        for payment in fresh:
            known = was.payments.get(payment.payment)
            if payment.state == "failed" and (known is None or known.state != "failed"):
                detail: dict[str, str | int] = {"amount": payment.amount, "currency": payment.currency}
                yield Notice("payment_failed", after.tenant_id, payment.payment, detail)
        return
    seen = is_.subscription
    if not was_past_due and seen is not None and seen.stamp.at >= now - FRESH_FOR:
        until = after.entitled_until
        yield Notice("payment_failed", after.id, clock_name(until) if until is not None else "first", {})


def _has_failed(purchase: Purchase) -> bool:
    return any(payment.state == "failed" for payment in purchase.payments.values())


def _is_renewal(payment: PaymentSeen, held: License, known: Purchase) -> bool:
    """Whether it paid for the time that the license runs now, and not for the first of it.

    The money counts, not the snapshot: a provider may say "active" an hour before it tries to collect.
    """
    end = held.entitled_until
    if end is None or not any(line.ends_at == end and not line.prorated for line in payment.lines):
        return False
    others = (line for other in known.payments.values() if other.state == "paid" for line in other.lines)
    earlier = any(line.ends_at is not None and line.ends_at < end and not line.prorated for line in others)
    return earlier or any(period.ends_at < end for period in known.periods.values())


# -- refunds --------------------------------------------------------------------------------------------


def _of_refunds(
    after: License, was: Purchase, is_: Purchase, terms: Terms, now: datetime
) -> Iterator[Notice]:
    """One notice for each sum that was given back of a payment, whichever way the provider tells of it.

    The sum names the occurrence: Stripe tells of one refund twice, by itself and as part of its charge.
    """
    if "refunded" not in terms.notices or after.reason == "merged":
        return
    names = _Names(is_)
    before, sums = names.sums(was), names.sums(is_)
    for payment, (amount, currency, at) in sorted(sums.items()):
        told = before[payment][0] if payment in before else 0
        if amount > told and at >= now - FRESH_FOR:
            detail: dict[str, str | int] = {"amount": amount, "before": told, "currency": currency}
            yield Notice("refunded", after.tenant_id, f"{payment}:{amount}", detail)


class _Names:
    """Under which one name each payment's refunds are added up: its charge, where that is known."""

    def __init__(self, purchase: Purchase) -> None:
        told: list[PaymentSeen | RefundSeen | RefundPart] = [*purchase.payments.values()]
        told += [*purchase.refunds.values(), *purchase.parts.values()]
        self._by_intent: dict[str, str] = {}
        self._by_payment: dict[str, str] = {}
        for one in told:
            if one.charge is not None and one.intent is not None:
                self._by_intent[one.intent] = one.charge
            if one.charge is not None and one.payment is not None:
                self._by_payment[one.payment] = one.charge
        for intent, payment in purchase.links.items():
            if payment in self._by_payment:
                self._by_intent.setdefault(intent, self._by_payment[payment])

    def sums(self, purchase: Purchase) -> dict[str, tuple[int, str, datetime]]:
        """Payment -> how much of it was given back, in which currency, and when the last of it."""
        cumulative: dict[str, tuple[int, str, datetime]] = {}
        for refund in purchase.refunds.values():
            name = self._name(refund)
            amount = refund.amount - self._undone(refund, purchase)
            if name not in cumulative or amount > cumulative[name][0]:
                cumulative[name] = (amount, refund.currency, refund.stamp.at)
        parts: dict[str, tuple[int, str, datetime]] = {}
        for part in purchase.parts.values():
            if part.state == "done":
                name = self._name(part)
                amount, _, at = parts.get(name, (0, "", part.stamp.at))
                parts[name] = (amount + part.amount, part.currency, max(at, part.stamp.at))
        merged = dict(parts)
        for name, one in cumulative.items():
            merged[name] = max(one, parts.get(name, one))
        return {name: one for name, one in merged.items() if one[0] > 0}

    def _undone(self, seen: RefundSeen, purchase: Purchase) -> int:
        """What failed after the cumulative word, which told of it as given back."""
        name = self._name(seen)
        return sum(
            part.amount
            for part in purchase.parts.values()
            if part.state == "failed" and part.stamp.at >= seen.stamp.at and self._name(part) == name
        )

    def _name(self, refund: RefundSeen | RefundPart) -> str:
        if refund.charge is not None:
            return refund.charge
        charge = self._by_intent.get(refund.intent or "") or self._by_payment.get(refund.payment or "")
        own = refund.refund if isinstance(refund, RefundPart) else ""
        return charge or refund.intent or refund.payment or own


# -- what became of the license -------------------------------------------------------------------------


def _of_change(
    before: License, after: License, is_: Purchase, terms: Terms, now: datetime
) -> Iterator[Notice]:
    state = status(after, now)
    seen = is_.subscription
    had, has = _last_seats(before), _last_seats(after)
    if (
        had != has
        and "seats_changed" in terms.notices
        and state in _RUNNING
        and seen is not None
        and seen.stamp.at >= now - FRESH_FOR
    ):
        detail: dict[str, str | int] = {"before": had, "seats": has}
        if after.seats_after_at is not None and after.seats_after_at > now:
            detail["from"] = clock_name(after.seats_after_at)
        yield Notice("seats_changed", after.id, f"{had}-{has}@{clock_name(seen.stamp.at)}", detail)
    # Clocks that run out are looked for by the schedule. Here it is an event that ended what was running.
    if (
        state == "expired"
        and "expired" in terms.notices
        and after.entitled_until is not None
        and after.lost_until is None
        and status(before, now) in _RUNNING
    ):
        cause = "unpaid" if before.past_due and not before.canceling else cause_of_end(before, after)
        yield Notice("expired", after.id, clock_name(after.entitled_until), {"cause": cause})


def _last_seats(held: License) -> int:
    """How many there will be in the end: fewer are told of when they are ordered, not when they begin."""
    return held.seats if held.seats_after is None else held.seats_after


def cause_of_end(before: License, after: License) -> str:
    """Why a license ended: `trial`, `canceled`, `unpaid`, or `over` where nothing more was to be expected."""
    if before.trial or after.trial:
        return "trial"
    if after.canceling or after.reason in ("ended", "removed"):
        return "canceled"
    end = after.entitled_until or after.created_at
    expected = max(after.active_until or end, after.grace_until or end) > end
    return "unpaid" if after.past_due or expected else "over"
