"""Orders of the stand-in for PayPal: made, approved by the buyer, captured, refunded, contested."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal

from keywright.sandbox.paypal_state import (
    Obj,
    PayPalRefusal,
    PayPalState,
    Terms,
    decimal_in,
    invalid,
    missing,
    money,
    old_money,
    text_of,
    visible,
)

_CHARGES = ("capture", "sale")


def create(state: PayPalState, body: Obj) -> Obj:
    """`POST /v2/checkout/orders`."""
    units = body.get("purchase_units")
    if body.get("intent") != "CAPTURE" or not isinstance(units, list) or len(units) != 1:
        raise invalid("INVALID_PARAMETER_VALUE", "The stand-in takes one unit with intent CAPTURE.")
    unit = units[0]
    amount = unit.get("amount") if isinstance(unit, dict) else None
    if decimal_in(amount) <= 0:
        raise invalid("CANNOT_BE_ZERO_OR_NEGATIVE")
    wallet = (body.get("payment_source") or {}).get("paypal") or {}
    context = wallet.get("experience_context") or body.get("application_context") or {}
    id_ = state.new_id()
    order: Obj = {
        "id": id_,
        "intent": "CAPTURE",
        "status": "PAYER_ACTION_REQUIRED" if wallet else "CREATED",
        "purchase_units": [{"reference_id": "default", **deepcopy(unit)}],
        "create_time": state.stamp(),
        "links": [
            state.link(f"/v2/checkout/orders/{id_}", "self"),
            state.link(f"/paypal/approve/{id_}", "payer-action" if wallet else "approve"),
        ],
    }
    state.terms[id_] = Terms(str(context.get("return_url", "")), str(context.get("cancel_url", "")))
    return state.add("order", order)


def is_open(state: PayPalState, order: Obj) -> bool:
    """Whether the buyer can agree: the first time, or with another card after one that was declined."""
    refused = order["status"] == "APPROVED" and state.terms[order["id"]].funding == "declines"
    return refused or order["status"] in ("CREATED", "PAYER_ACTION_REQUIRED")


def approve(state: PayPalState, order: Obj, email: str, funding: str) -> None:
    """The buyer agrees. Nobody has paid yet: the seller has to capture."""
    if not is_open(state, order):
        raise invalid("ORDER_ALREADY_APPROVED")
    state.terms[order["id"]].funding = funding
    order["status"] = "APPROVED"
    order["payer"] = {
        "payer_id": state.new_id(length=13),
        "email_address": email,
        "name": {"given_name": "Sandbox", "surname": "Buyer"},
    }
    state.emit("CHECKOUT.ORDER.APPROVED", "checkout-order", order)


def capture(state: PayPalState, order: Obj) -> Obj:
    """`POST /v2/checkout/orders/{id}/capture`."""
    if order["status"] == "COMPLETED":
        raise invalid("ORDER_ALREADY_CAPTURED")
    if order["status"] != "APPROVED":
        raise invalid("ORDER_NOT_APPROVED")
    funding = state.terms[order["id"]].funding
    if funding == "declines":
        raise invalid("INSTRUMENT_DECLINED")
    unit = order["purchase_units"][0]
    id_ = state.new_id()
    made: Obj = {
        "id": id_,
        "status": "PENDING" if funding == "echeck" else "COMPLETED",
        "amount": deepcopy(unit["amount"]),
        "final_capture": True,
        "create_time": state.stamp(),
        "update_time": state.stamp(),
        "supplementary_data": {"related_ids": {"order_id": order["id"]}},
        "links": [
            state.link(f"/v2/payments/captures/{id_}", "self"),
            state.link(f"/v2/checkout/orders/{order['id']}", "up"),
        ],
    }
    for name in ("custom_id", "invoice_id"):
        if name in unit:
            made[name] = unit[name]
    if funding == "echeck":
        made["status_details"] = {"reason": "ECHECK"}
    state.add("capture", made)
    unit["payments"] = {"captures": [made]}
    order["status"] = "COMPLETED"
    kind = "PENDING" if funding == "echeck" else "COMPLETED"
    state.emit(f"PAYMENT.CAPTURE.{kind}", "capture", made)
    return order


def settle(state: PayPalState, charge_id: str, *, succeeded: bool) -> Obj:
    """A payment that was on its way arrives, or does not."""
    kind, charge = find_charge(state, charge_id)
    name = "status" if kind == "capture" else "state"
    if charge[name].upper() != "PENDING":
        raise invalid("PAYMENT_NOT_PENDING")
    word = "COMPLETED" if succeeded else "DECLINED" if kind == "capture" else "DENIED"
    charge[name] = word if kind == "capture" else word.lower()
    charge["update_time"] = state.stamp()
    state.emit(f"PAYMENT.{kind.upper()}.{word}", kind, charge, version="2.0" if kind == "capture" else None)
    return charge


def find_charge(state: PayPalState, charge_id: str) -> tuple[str, Obj]:
    """A capture or a sale. Raises PayPalRefusal when there is none."""
    for kind in _CHARGES:
        found = state.find(kind, charge_id)
        if found is not None:
            return kind, found
    raise missing("payment")


def value_of(charge: Obj) -> tuple[Decimal, str]:
    """What was paid."""
    amount = charge["amount"]
    return decimal_in(amount), amount.get("currency_code") or amount["currency"]


def refund(state: PayPalState, kind: str, charge_id: str, body: Obj) -> Obj:
    """`POST …/captures/{id}/refund` and `POST …/sale/{id}/refund`."""
    charge = state.get(kind, charge_id)
    name = "status" if kind == "capture" else "state"
    if charge[name].upper() not in ("COMPLETED", "PARTIALLY_REFUNDED"):
        raise invalid("CAPTURE_FULLY_REFUNDED")
    paid, currency = value_of(charge)
    left = paid - _refunded(state, charge_id)
    value = decimal_in(body["amount"]) if body.get("amount") else left
    if value > left or value <= 0:
        raise invalid("REFUND_AMOUNT_EXCEEDED")
    made = _make_refund(state, kind, charge, value, currency)
    whole = value == left
    word = "REFUNDED" if whole else "PARTIALLY_REFUNDED"
    charge[name] = word if kind == "capture" else word.lower()
    _announce_refund(state, kind, made, "REFUNDED")
    return made


def _refunded(state: PayPalState, charge_id: str) -> Decimal:
    return sum(
        (one["_value"] for one in state.every("refund") if one["_charge"] == charge_id), start=Decimal(0)
    )


def _make_refund(state: PayPalState, kind: str, charge: Obj, value: Decimal, currency: str) -> Obj:
    id_ = state.new_id()
    made: Obj = {"id": id_, "_value": value, "_charge": charge["id"], "create_time": state.stamp()}
    if kind == "sale":
        amount = old_money(value, currency)
        amount["total"] = "-" + amount["total"]
        made |= {"state": "completed", "amount": amount, "sale_id": charge["id"]}
        return state.add("refund", made)
    total = _refunded(state, charge["id"]) + value
    made |= {
        "status": "COMPLETED",
        "amount": money(value, currency),
        "seller_payable_breakdown": {"total_refunded_amount": money(total, currency)},
        "links": [
            state.link(f"/v2/payments/refunds/{id_}", "self"),
            state.link(f"/v2/payments/captures/{charge['id']}", "up"),
        ],
    }
    order = state.get("order", charge["supplementary_data"]["related_ids"]["order_id"])
    order["purchase_units"][0]["payments"].setdefault("refunds", []).append(made)
    return state.add("refund", made)


def _announce_refund(state: PayPalState, kind: str, made: Obj, word: str) -> None:
    resource_type, version = ("refund", "2.0") if kind == "capture" else ("sale", None)
    state.emit(f"PAYMENT.{kind.upper()}.{word}", resource_type, made, version=version)


def reverse(state: PayPalState, charge_id: str) -> Obj:
    """The bank takes the money back."""
    kind, charge = find_charge(state, charge_id)
    paid, currency = value_of(charge)
    charge["_reversed"] = True
    if kind == "sale":
        charge["state"] = "reversed"
        told = visible(charge) | {"amount": {"total": f"-{text_of(paid, currency)}", "currency": currency}}
        state.emit("PAYMENT.SALE.REVERSED", "sale", told, version=None)
        return charge
    made = _make_refund(state, kind, charge, paid, currency)
    charge["status"] = "REFUNDED"
    _announce_refund(state, kind, made, "REVERSED")
    return charge


def _give_back(state: PayPalState, charge_id: str) -> None:
    """The seller won: what the bank had taken comes home."""
    kind, charge = find_charge(state, charge_id)
    if not charge.pop("_reversed", False):
        return
    charge["status" if kind == "capture" else "state"] = "COMPLETED" if kind == "capture" else "completed"
    for made in state.every("refund"):
        if made["_charge"] == charge_id and made.get("status") == "COMPLETED":
            made["status"] = "CANCELLED"


def open_dispute(state: PayPalState, charge_id: str, stage: str) -> Obj:
    """A buyer contests a payment."""
    _, charge = find_charge(state, charge_id)
    paid, currency = value_of(charge)
    id_ = f"PP-D-{state.new_id(length=7)}"
    made: Obj = {
        "id": id_,
        "dispute_id": id_,
        "create_time": state.stamp(),
        "disputed_transactions": [{"seller_transaction_id": charge_id}],
        "reason": "UNAUTHORISED",
        "status": "WAITING_FOR_SELLER_RESPONSE",
        "dispute_amount": money(paid, currency),
        "dispute_life_cycle_stage": stage,
    }
    state.add("dispute", made)
    state.emit("CUSTOMER.DISPUTE.CREATED", "dispute", made)
    return made


def resolve_dispute(state: PayPalState, dispute_id: str, outcome: str) -> Obj:
    """A dispute ends."""
    made = state.get("dispute", dispute_id)
    if made["status"] == "RESOLVED":
        raise PayPalRefusal(422, "UNPROCESSABLE_ENTITY", "DISPUTE_ALREADY_RESOLVED")
    made |= {"status": "RESOLVED", "dispute_outcome": {"outcome_code": outcome}}
    if "BUYER" not in outcome or "CANCEL" in outcome:
        _give_back(state, made["disputed_transactions"][0]["seller_transaction_id"])
    state.emit("CUSTOMER.DISPUTE.RESOLVED", "dispute", made)
    return made
