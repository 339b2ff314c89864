"""Fills the stand-in for Paystack with a shop that was there before."""

from __future__ import annotations

from typing import Final

from keywright.sandbox import filling
from keywright.sandbox import paystack_shapes as shapes
from keywright.sandbox.filling import DAY, Sold
from keywright.sandbox.paystack_state import Obj, PaystackState, iso
from keywright.sandbox.periods import shifted

_AMOUNTS: Final = {"basic": 900_000, "pro": 1_900_000, "team": 4_900_000, filling.UNMAPPED: 1_500_000}
# Paystack has fewer words: there is no trial, and what was never paid is no subscription.
_STATUSES: Final = {
    "canceling": "non-renewing",
    "past_due": "attention",
    "unpaid": "attention",
    "paused": "completed",
    "canceled": "cancelled",
}


def fill(state: PaystackState, count: int, seed: int) -> dict[str, str]:
    """So many subscriptions, each with its newest payment. Returns the plans by product and interval."""
    plans: dict[str, Obj] = {}
    with state.at(state.now() - 1000 * DAY):
        for name, amount in _AMOUNTS.items():
            for interval, word, factor in (("month", "monthly", 1), ("year", "annually", 10)):
                plan = shapes.new_plan(state, name.capitalize(), amount * factor, "NGN", word)
                plans[f"{name}/{interval}"] = plan
    people: dict[str, Obj] = {}
    for sold in sorted(filling.shop(count, seed), key=lambda one: -one.age):
        _subscribe(state, sold, plans[f"{sold.product}/{'year' if sold.yearly else 'month'}"], people)
    return {name: plan["plan_code"] for name, plan in plans.items()}


def _customer(state: PaystackState, sold: Sold, people: dict[str, Obj]) -> Obj:
    # Paystack knows nobody without an address.
    email = sold.buyer.email or f"nobody{sold.buyer.number}@shop.example"
    if email not in people:
        people[email] = shapes.new_customer(state, email)
    return people[email]


def _subscribe(state: PaystackState, sold: Sold, plan: Obj, people: dict[str, Obj]) -> None:
    interval = "year" if sold.yearly else "month"
    now, anchor = state.now(), state.now() - sold.age * DAY
    start, steps = anchor, 0
    while (following := shifted(anchor, interval, steps + 1)) <= now:
        start, steps = following, steps + 1
    status = _STATUSES.get(sold.status, "active")
    if status in ("attention", "completed", "cancelled") and steps:
        steps -= 1
        start = shifted(anchor, interval, steps)
    with state.at(start):
        buyer = _customer(state, sold, people)
        paid = _paid(state, sold, plan, buyer)
    with state.at(anchor):
        made = shapes.new_subscription(state, paid, plan, shifted(anchor, interval, steps + 1))
    made["status"] = status
    made["most_recent_invoice"] = {
        "invoice_code": state.code("INV"),
        "transaction": paid["id"],
        "status": "success",
        "paid": 1,
    }
    if status == "attention":
        made["next_payment_date"] = iso(shifted(anchor, interval, steps + 2))
    if status in ("non-renewing", "completed", "cancelled"):
        made["next_payment_date"] = None
        made["cancelledAt"] = iso(min(start + 2 * DAY, now - 60))
    made["updatedAt"] = iso(min(start + 2 * DAY, now - 60))


def _paid(state: PaystackState, sold: Sold, plan: Obj, buyer: Obj) -> Obj:
    made = shapes.new_transaction(state, f"fill{state.number()}", plan["amount"], "NGN", buyer, {})
    made |= {
        "status": "reversed" if sold.refunded else "success",
        "paid_at": state.stamp(),
        "paidAt": state.stamp(),
        "plan": plan["plan_code"],
        "gateway_response": "Successful",
        "authorization": shapes.authorization(state),
    }
    return made
