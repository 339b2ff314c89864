"""What a purchase is worth: a pure function of purchase and plans.

A grant carries clocks, not verdicts. No job has to run for it to be right at a later moment; `verdict.py`
reads the clocks against a `now`. The rules are those of design section 3, "What a purchase is worth".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from keywright.domain.facts import Item, PaymentSeen, SubscriptionSeen
from keywright.domain.plan import Plan
from keywright.domain.purchase import PeriodSeen, Purchase, payment_of, prices_of

Standing = Literal["ok", "paused", "suspended", "revoked"]


class Grant(msgspec.Struct, frozen=True):
    """What one line of a purchase, one product, is worth.

    `entitled_until` is the end of paid time (None: nothing was ever granted, FOREVER: never ends),
    `active_until` adds the silent slack while a renewal is being collected, `grace_until` the grace period.
    `lost_until` is the end of time that was paid for and taken back by a refund.
    """

    product_id: str
    plan: Plan
    seats: int
    units: int
    entitled_until: datetime | None
    active_until: datetime | None
    grace_until: datetime | None
    lost_until: datetime | None = None
    standing: Standing = "ok"
    reason: str = ""
    trial: bool = False
    canceling: bool = False
    past_due: bool = False


class _Period(msgspec.Struct, frozen=True):
    ends_at: datetime
    counts: bool
    lost: bool = False
    trial: bool = False
    starts_at: datetime | None = None


class _Evidence(msgspec.Struct, frozen=True):
    at: datetime
    counts: bool
    trial: bool
    starts_at: datetime | None


def worth(purchase: Purchase, plans: Mapping[str, Plan]) -> tuple[Grant, ...]:
    """The grants of a purchase, one per product, sorted by product.

    `plans` maps the provider price ids that are for sale to their plans. Prices that are not in it grant
    nothing. A subscription's lines come from its newest snapshot; a one-off order's line from our checkout.
    """
    if purchase.ordered is not None and purchase.subscription is None:
        plan = plans.get(purchase.ordered.price)
        if plan is not None and plan.terms.term != "subscription":
            return (_order_grant(purchase, plan, purchase.ordered.quantity),)
    products = {plans[price].product_id for price in prices_of(purchase) if price in plans}
    return tuple(_subscription_grant(purchase, product, plans) for product in sorted(products))


def _order_grant(purchase: Purchase, plan: Plan, quantity: int) -> Grant:
    """A one-off order counts when its payment settled; each settled payment is a period of its own."""
    lost = _refunded(purchase) if plan.terms.on_refund == "revoke" else frozenset()
    periods = [
        _Period(
            ends_at=plan.terms.term_end(payment.stamp.at),
            counts=payment.payment not in lost,
            lost=payment.payment in lost,
            starts_at=payment.stamp.at,
        )
        for payment in purchase.payments.values()
        if payment.state == "paid"
    ]
    entitled = _latest(p.ends_at for p in periods if p.counts)
    clock = entitled or _nothing_left(periods)
    seats, units = _quantity(plan, quantity)
    return Grant(
        product_id=plan.product_id,
        plan=plan,
        seats=seats,
        units=units,
        entitled_until=clock,
        active_until=clock,
        grace_until=clock,
        lost_until=_latest(p.ends_at for p in periods if p.lost),
        reason="refunded" if any(p.lost for p in periods) and entitled is None else "",
    )


def _subscription_grant(purchase: Purchase, product: str, plans: Mapping[str, Plan]) -> Grant:
    seen = purchase.subscription
    items = _items_of(seen, product, plans)
    plan = _plan_of(purchase, items, product, plans)
    terms = plan.terms
    periods = _periods(purchase, product, plans, revoke=terms.on_refund == "revoke")
    entitled = _latest(p.ends_at for p in periods if p.counts)
    last = max((p for p in periods if p.counts), key=lambda p: p.ends_at, default=None)
    if seen is not None and entitled is not None:
        if not items:  # the line is gone from the subscription
            entitled = min(entitled, seen.stamp.at)
        elif seen.ended_at is not None and terms.on_cancel == "now":
            entitled = min(entitled, seen.ended_at)
    expected = _renewal_expected(seen) and (seen is None or bool(items))
    lost = _latest(p.ends_at for p in periods if p.lost)
    in_grace = expected and last is not None and not last.trial and lost is None
    clock = entitled or _nothing_left(periods)
    seats, units = _quantity(plan, _ordered_quantity(purchase, items, product, plans))
    status = seen.status if seen is not None else "active"
    return Grant(
        product_id=product,
        plan=plan,
        seats=seats,
        units=units,
        entitled_until=clock,
        active_until=clock + timedelta(seconds=terms.slack) if expected and entitled and clock else clock,
        grace_until=clock + timedelta(seconds=terms.grace) if in_grace and clock else clock,
        lost_until=lost,
        standing="paused" if status == "paused" else "ok",
        reason=_reason(status, lost is not None and entitled is None),
        trial=status == "trialing",
        canceling=seen is not None and seen.canceling and status not in ("ended", "abandoned"),
        past_due=status in ("past_due", "unpaid") or _last_payment_failed(purchase),
    )


def _reason(status: str, refunded: bool) -> str:
    if refunded:
        return "refunded"
    return status if status in ("paused", "ended", "past_due", "unpaid") else ""


def _items_of(seen: SubscriptionSeen | None, product: str, plans: Mapping[str, Plan]) -> tuple[Item, ...]:
    if seen is None:
        return ()
    return tuple(
        item
        for item in seen.items
        if item.quantity is not None and item.price in plans and plans[item.price].product_id == product
    )


def _plan_of(purchase: Purchase, items: Iterable[Item], product: str, plans: Mapping[str, Plan]) -> Plan:
    """The plan of the newest snapshot; without one, of the newest payment; else of the newest period."""
    for item in items:
        return plans[item.price]
    candidates = [
        (payment.stamp, line.price)
        for payment in purchase.payments.values()
        for line in payment.lines
        if not line.prorated
    ]
    candidates += [(period.stamp, period.price) for period in purchase.periods.values()]
    candidates += [
        (payment.stamp, line.price) for payment in purchase.payments.values() for line in payment.lines
    ]
    mine = [(s, price) for s, price in candidates if price in plans and plans[price].product_id == product]
    return plans[max(mine)[1]]


def _ordered_quantity(
    purchase: Purchase, items: tuple[Item, ...], product: str, plans: Mapping[str, Plan]
) -> int:
    """Quantities of one plan add up; of several plans of one product the first item's plan counts."""
    if items:
        plan = plans[items[0].price]
        return sum(item.quantity or 0 for item in items if plans[item.price].id == plan.id)
    newest = [
        (payment.state == "paid", payment.stamp, line.quantity or 0)
        for payment in purchase.payments.values()
        for line in payment.lines
        if not line.prorated and _sells(plans, line.price, product)
    ]
    return max(newest)[2] if newest else 1


def _quantity(plan: Plan, quantity: int) -> tuple[int, int]:
    """Seats per license and number of licenses."""
    if plan.terms.quantity == "keys":
        return plan.terms.seats_per_unit, quantity
    return quantity * plan.terms.seats_per_unit, 1


def _periods(purchase: Purchase, product: str, plans: Mapping[str, Plan], *, revoke: bool) -> list[_Period]:
    """Every period we know of, each judged by its best evidence.

    A paid line decides: it counts, or is lost when its payment was refunded in full. Without one the newest
    of a failed payment and the snapshot decides.
    """
    refunded = _refunded(purchase) if revoke else frozenset()
    judged: dict[datetime, _Period] = {}
    evidence: dict[datetime, _Evidence] = {}
    for seen in purchase.periods.values():
        if _sells(plans, seen.price, product):
            said = _Evidence(seen.stamp.at, seen.counts, seen.trial, seen.starts_at)
            _weigh(evidence, seen.ends_at, said)
    for payment in purchase.payments.values():
        for line in payment.lines:
            if line.prorated or line.ends_at is None or not _sells(plans, line.price, product):
                continue
            if payment.state == "paid":
                known = judged.get(line.ends_at)
                lost = payment.payment in refunded
                trial = payment.amount == 0 and _is_trial(purchase.periods.values(), line.ends_at)
                if known is None or known.lost:
                    judged[line.ends_at] = _Period(line.ends_at, not lost, lost, trial, line.starts_at)
            else:
                _weigh(evidence, line.ends_at, _Evidence(payment.stamp.at, False, False, line.starts_at))
    for end, said in evidence.items():
        judged.setdefault(end, _Period(end, said.counts, False, said.trial, said.starts_at))
    return _lose_unknown(purchase, list(judged.values()), revoke=revoke)


def _weigh(evidence: dict[datetime, _Evidence], end: datetime, said: _Evidence) -> None:
    known = evidence.get(end)
    # At equal times the customer gets the benefit of the doubt.
    if known is None or (said.at, said.counts) > (known.at, known.counts):
        evidence[end] = said


def _is_trial(periods: Iterable[PeriodSeen], end: datetime) -> bool:
    return any(period.ends_at == end and period.trial for period in periods)


def _sells(plans: Mapping[str, Plan], price: str, product: str) -> bool:
    return price in plans and plans[price].product_id == product


def _refunded(purchase: Purchase) -> frozenset[str]:
    """The payments that were given back in full."""
    return frozenset(
        payment
        for refund in purchase.refunds.values()
        if refund.full and (payment := payment_of(purchase, refund)) is not None
    )


def _lose_unknown(purchase: Purchase, periods: list[_Period], *, revoke: bool) -> list[_Period]:
    """A full refund of a payment whose invoice we never saw takes back the period it fell into."""
    if not revoke:
        return periods
    for refund in purchase.refunds.values():
        payment = payment_of(purchase, refund)
        if not refund.full or (payment is not None and payment in purchase.payments):
            continue
        hit = max(
            (p for p in periods if p.counts and (p.starts_at is None or p.starts_at <= refund.stamp.at)),
            key=lambda p: p.ends_at,
            default=None,
        )
        if hit is not None:
            lost = msgspec.structs.replace(hit, counts=False, lost=True)
            periods = [lost if p is hit else p for p in periods]
    return periods


def _renewal_expected(seen: SubscriptionSeen | None) -> bool:
    if seen is None:
        return True
    return not seen.canceling and seen.status in (
        "active",
        "trialing",
        "past_due",
        "unpaid",
        "incomplete",
        "unknown",
    )


def _last_payment_failed(purchase: Purchase) -> bool:
    newest = max(purchase.payments.values(), key=_newest_first, default=None)
    return newest is not None and newest.state == "failed"


def _newest_first(payment: PaymentSeen) -> tuple[object, ...]:
    return (payment.stamp, payment.state == "paid", payment.payment)


def _nothing_left(periods: list[_Period]) -> datetime | None:
    """Something was granted once, and none of it counts any more: it ended when it began."""
    return min((p.starts_at or p.ends_at for p in periods if p.lost), default=None)


def _latest(moments: Iterable[datetime]) -> datetime | None:
    return max(moments, default=None)
