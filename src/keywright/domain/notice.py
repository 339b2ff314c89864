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

    A failed payment is the purchase's and a refund the tenant's: whatever licenses they concern, they are
    told once. All else is the license's own. `detail` holds what no later look could tell; no person.
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
    known, on = (was if before is not None else _NOTHING), terms.notices
    found: list[Notice] = []
    if after.past_due and "payment_failed" in on and status(after, now) not in _GONE:
        found += _failure(before, after, known, is_, now)
    is_paid = before is not None and is_.payments is not known.payments
    if is_paid and "renewed" in on and status(after, now) in _RUNNING:
        found += _renewal(after, known, is_, now)
    if (is_.refunds or is_.parts) and (is_.refunds is not known.refunds or is_.parts is not known.parts):
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
        case "renewed":
            return state in _RUNNING and detail.get("until") == clock_name(held.entitled_until or now)
        case "seats_changed":
            return state in _RUNNING and detail.get("seats") == _last_seats(held)
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


def _failure(
    before: License | None, after: License, was: Purchase, is_: Purchase, now: datetime
) -> Iterator[Notice]:
    """One notice for each time that payments begin to fail, until one succeeds.

    A provider tells of it in its own way: by one payment tried again and again, by a payment for each try, by
    the state of the subscription alone, or by several of these. `past_due` says that no later word took it
    back; the day until which is paid names the occurrence.
    """
    known, told = _failed_at(is_), _failed_at(was)
    if known is None or known < now - FRESH_FOR:
        return
    was_news = told is not None and told >= now - FRESH_FOR
    if was_news and before is not None and before.past_due and status(before, now) not in _GONE:
        return
    failed = [one for one in is_.payments.values() if one.state == "failed"]
    newest = max(failed, key=lambda one: (one.stamp, one.payment), default=None)
    occurrence = clock_name(after.entitled_until) if after.entitled_until is not None else "first"
    detail: dict[str, str | int] = {}
    if newest is not None and newest.stamp.at >= now - FRESH_FOR:
        detail = {"amount": newest.amount, "currency": newest.currency}
        if newest.lines and all(line.prorated for line in newest.lines):
            occurrence = newest.payment  # in the middle of a period: the next renewal may fail as well
    yield Notice("payment_failed", after.purchase_id or after.id, occurrence, detail)


def _failed_at(known: Purchase) -> datetime | None:
    """The newest word of a payment that failed and was not made good."""
    told = [payment.stamp.at for payment in known.payments.values() if payment.state == "failed"]
    seen = known.subscription
    if seen is not None and seen.status in ("past_due", "unpaid"):
        told.append(seen.stamp.at)
    return max(told, default=None)


def _renewal(after: License, was: Purchase, is_: Purchase, now: datetime) -> Iterator[Notice]:
    for id_, payment in is_.payments.items():
        is_new = was.payments.get(id_) is not payment and payment.stamp.at >= now - FRESH_FOR
        if is_new and payment.state == "paid" and _is_renewal(payment, after, is_):
            end = clock_name(after.entitled_until or now)
            detail: dict[str, str | int] = {
                "amount": payment.amount,
                "currency": payment.currency,
                "until": end,
            }
            yield Notice("renewed", after.id, end, detail)
            return


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
    if state == "expired" and "expired" in terms.notices and after.lost_until is None:
        ended = _ended(before, after, now)
        if ended is not None:
            cause = "unpaid" if before.past_due and not before.canceling else cause_of_end(before, after)
            yield Notice("expired", after.id, clock_name(ended), {"cause": cause})


def _ended(before: License, after: License, now: datetime) -> datetime | None:
    """Until when it was paid, if an event ended a license that ran, or one that stopped a moment ago.

    The schedule looks for clocks that run out, and may not have looked yet: a cancellation moves the
    end to where the paid time was over, and that is no news any more.
    """
    state = status(before, now)
    if state in _RUNNING:
        return after.entitled_until
    stopped = max(before.active_until or before.created_at, before.grace_until or before.created_at)
    if state == "expired" and stopped > before.created_at and stopped > now - FRESH_FOR:
        return before.entitled_until
    return None


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
