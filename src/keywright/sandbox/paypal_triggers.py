"""Make PayPal's events happen by name, with everything that leads to them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from keywright.sandbox import paypal_orders as orders
from keywright.sandbox import paypal_subscriptions as subscriptions
from keywright.sandbox.paypal_state import Obj, PayPalState, money
from keywright.sandbox.triggers import TriggerWish


def trigger(state: PayPalState, wish: TriggerWish) -> list[Obj]:
    """Live through the recipe of an event, which must be in `RECIPES`. Returns the events it made."""
    before = len(state.every("event"))
    RECIPES[wish.event](state, wish)
    return state.every("event")[before:]


def _reference(wish: TriggerWish) -> str:
    return wish.metadata.get("keywright_reference", "")


def _ordered(state: PayPalState, wish: TriggerWish, funding: str = "pays") -> Obj:
    unit: Obj = {"amount": money(Decimal(20 * wish.quantity), "USD")}
    if _reference(wish):
        unit["custom_id"] = _reference(wish)
    order = orders.create(state, {"intent": "CAPTURE", "purchase_units": [unit]})
    orders.approve(state, order, wish.email, funding)
    return order


def _captured(state: PayPalState, wish: TriggerWish, funding: str = "pays") -> Obj:
    order = orders.capture(state, _ordered(state, wish, funding))
    charge: Obj = order["purchase_units"][0]["payments"]["captures"][0]
    return charge


def _made(state: PayPalState, wish: TriggerWish) -> Obj:
    plan_id = wish.price
    if plan_id is None:
        product = subscriptions.create_product(state, {"name": "Triggered product"})
        cycle = {
            "tenure_type": "REGULAR",
            "sequence": 1,
            "total_cycles": 0,
            "frequency": {"interval_unit": "MONTH", "interval_count": 1},
            "pricing_scheme": {"fixed_price": money(Decimal(20), "USD")},
        }
        terms = {"product_id": product["id"], "billing_cycles": [cycle], "quantity_supported": True}
        plan_id = str(subscriptions.create_plan(state, terms)["id"])
    body: Obj = {"plan_id": plan_id, "quantity": str(wish.quantity)}
    if _reference(wish):
        body["custom_id"] = _reference(wish)
    return subscriptions.create(state, body)


def _subscribed(state: PayPalState, wish: TriggerWish, funding: str = "pays") -> Obj:
    made = _made(state, wish)
    subscriptions.approve(state, made, wish.email, funding)
    return made


def _sale(state: PayPalState, wish: TriggerWish) -> str:
    return str(subscriptions.transactions(state, _subscribed(state, wish)["id"])[0]["id"])


def _suspended(state: PayPalState, wish: TriggerWish) -> Obj:
    made = _subscribed(state, wish)
    subscriptions.suspend(state, made)
    return made


def _revised(state: PayPalState, wish: TriggerWish) -> None:
    made = _subscribed(state, wish)
    subscriptions.revise(state, made, {"quantity": str(int(made["quantity"]) + 1)})
    subscriptions.agree(state, made)


def _resolved(state: PayPalState, wish: TriggerWish) -> None:
    dispute = orders.open_dispute(state, _captured(state, wish)["id"], "CHARGEBACK")
    orders.resolve_dispute(state, dispute["id"], "RESOLVED_BUYER_FAVOUR")


RECIPES: dict[str, Callable[[PayPalState, TriggerWish], object]] = {
    "BILLING.SUBSCRIPTION.ACTIVATED": _subscribed,
    "BILLING.SUBSCRIPTION.CANCELLED": lambda s, w: subscriptions.cancel(s, _subscribed(s, w)),
    "BILLING.SUBSCRIPTION.CREATED": _made,
    "BILLING.SUBSCRIPTION.PAYMENT.FAILED": lambda s, w: _subscribed(s, w, "declines"),
    "BILLING.SUBSCRIPTION.RE-ACTIVATED": lambda s, w: subscriptions.activate(s, _suspended(s, w)),
    "BILLING.SUBSCRIPTION.SUSPENDED": _suspended,
    "BILLING.SUBSCRIPTION.UPDATED": _revised,
    "CHECKOUT.ORDER.APPROVED": _ordered,
    "CUSTOMER.DISPUTE.CREATED": lambda s, w: orders.open_dispute(s, _captured(s, w)["id"], "CHARGEBACK"),
    "CUSTOMER.DISPUTE.RESOLVED": _resolved,
    "PAYMENT.CAPTURE.COMPLETED": _captured,
    "PAYMENT.CAPTURE.DECLINED": lambda s, w: orders.settle(
        s, _captured(s, w, "echeck")["id"], succeeded=False
    ),
    "PAYMENT.CAPTURE.PENDING": lambda s, w: _captured(s, w, "echeck"),
    "PAYMENT.CAPTURE.REFUNDED": lambda s, w: orders.refund(s, "capture", _captured(s, w)["id"], {}),
    "PAYMENT.CAPTURE.REVERSED": lambda s, w: orders.reverse(s, _captured(s, w)["id"]),
    "PAYMENT.SALE.COMPLETED": _subscribed,
    "PAYMENT.SALE.PENDING": lambda s, w: _subscribed(s, w, "echeck"),
    "PAYMENT.SALE.REFUNDED": lambda s, w: orders.refund(s, "sale", _sale(s, w), {}),
    "PAYMENT.SALE.REVERSED": lambda s, w: orders.reverse(s, _sale(s, w)),
}
