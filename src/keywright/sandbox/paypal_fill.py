"""Fills the stand-in for PayPal with a shop that was there before."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from keywright.sandbox import filling
from keywright.sandbox import paypal_subscriptions as subscriptions
from keywright.sandbox.filling import DAY, Sold
from keywright.sandbox.paypal_state import Obj, PayPalState, Terms, money, old_money
from keywright.sandbox.periods import shifted

_AMOUNTS: Final = {"basic": 9, "pro": 19, "team": 49, filling.UNMAPPED: 15}
_STATUSES: Final = {
    "unpaid": "SUSPENDED",
    "paused": "SUSPENDED",
    "canceled": "CANCELLED",
    "canceling": "CANCELLED",
    "incomplete": "APPROVAL_PENDING",
    "incomplete_expired": "EXPIRED",
}
_FAILING: Final = frozenset({"past_due", "unpaid"})


def fill(state: PayPalState, count: int, seed: int) -> dict[str, str]:
    """So many subscriptions, each with its newest payments. Returns the plans by product and interval."""
    plans: dict[str, Obj] = {}
    with state.at(state.now() - 1000 * DAY):
        for name, amount in _AMOUNTS.items():
            product = subscriptions.create_product(state, {"name": name.capitalize()})
            for interval, factor in (("month", 1), ("year", 10)):
                plans[f"{name}/{interval}"] = _plan(state, product, name, interval, amount * factor)
    payers: dict[int, str] = {}
    for sold in sorted(filling.shop(count, seed), key=lambda one: -one.age):
        interval = "year" if sold.yearly else "month"
        _subscribe(state, sold, plans[f"{sold.product}/{interval}"], interval, payers)
    return {name: plan["id"] for name, plan in plans.items()}


def _plan(state: PayPalState, product: Obj, name: str, interval: str, amount: int) -> Obj:
    cycle = {
        "tenure_type": "REGULAR",
        "sequence": 1,
        "frequency": {"interval_unit": interval.upper(), "interval_count": 1},
        "total_cycles": 0,
        "pricing_scheme": {"fixed_price": {"value": f"{amount}.00", "currency_code": "USD"}},
    }
    body = {"product_id": product["id"], "name": name.capitalize(), "billing_cycles": [cycle]}
    return subscriptions.create_plan(state, {**body, "quantity_supported": True})


def _subscribe(state: PayPalState, sold: Sold, plan: Obj, interval: str, payers: dict[int, str]) -> None:
    now, anchor = state.now(), state.now() - sold.age * DAY
    steps = 0
    while shifted(anchor, interval, steps + 1) <= now:
        steps += 1
    if (sold.status in _FAILING or sold.status in ("canceled", "paused")) and steps:
        steps -= 1
    ends = shifted(anchor, interval, steps + 1)
    status = _STATUSES.get(sold.status, "ACTIVE")
    id_ = state.new_id("I-", 12)
    subscriber: Obj = {}
    if status != "APPROVAL_PENDING":
        subscriber["payer_id"] = payers.setdefault(sold.buyer.number, state.new_id(length=13))
        if sold.buyer.email is not None:
            subscriber["email_address"] = sold.buyer.email
    made: Obj = {
        "id": id_,
        "status": status,
        "status_update_time": state.stamp(min(shifted(anchor, interval, steps) + 2 * DAY, now - 60)),
        "plan_id": plan["id"],
        "quantity": str(sold.quantity),
        "start_time": state.stamp(anchor),
        "create_time": state.stamp(anchor),
        "subscriber": subscriber,
        "links": [state.link(f"/v1/billing/subscriptions/{id_}", "self")],
    }
    state.terms[id_] = Terms("", "", anchor=anchor, cycles=steps + 1)
    paid = status not in ("APPROVAL_PENDING", "EXPIRED")
    if paid:
        made["billing_info"] = _billing(state, sold, plan, steps, ends)
        for step in range(max(0, steps - 1), steps + 1):
            _sale(state, made, sold, plan, shifted(anchor, interval, step), last=step == steps)
    state.add("subscription", made)


def _price(sold: Sold, plan: Obj) -> Decimal:
    return Decimal(plan["billing_cycles"][0]["pricing_scheme"]["fixed_price"]["value"]) * sold.quantity


def _billing(state: PayPalState, sold: Sold, plan: Obj, steps: int, ends: int) -> Obj:
    failing = sold.status in _FAILING
    owed = _price(sold, plan) if failing else Decimal(0)
    told: Obj = {
        "outstanding_balance": money(owed, "USD"),
        "cycle_executions": [{"tenure_type": "REGULAR", "sequence": 1, "cycles_completed": steps + 1}],
        "failed_payments_count": 1 if failing else 0,
    }
    if _STATUSES.get(sold.status) != "CANCELLED":
        told |= {"next_billing_time": state.stamp(ends), "_due": ends}
    return told


def _sale(state: PayPalState, made: Obj, sold: Sold, plan: Obj, at: int, *, last: bool) -> None:
    value = _price(sold, plan)
    sale = {
        "id": state.new_id(),
        "state": "refunded" if last and sold.refunded else "completed",
        "amount": old_money(value, "USD"),
        "payment_mode": "INSTANT_TRANSFER",
        "billing_agreement_id": made["id"],
        "create_time": state.stamp(at),
        "update_time": state.stamp(at),
    }
    state.add("sale", sale)
    made["billing_info"]["last_payment"] = {"amount": money(value, "USD"), "time": state.stamp(at)}
