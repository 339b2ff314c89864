"""Making Checkout Sessions, with the refusals Stripe has for contradictory ones."""

from __future__ import annotations

from typing import Any

from keywright.sandbox import stripe_connect as connect
from keywright.sandbox import stripe_invoices as invoices
from keywright.sandbox import stripe_shapes as shapes
from keywright.sandbox.stripe_catalog import inline_price
from keywright.sandbox.stripe_errors import StripeRefusal, needed
from keywright.sandbox.stripe_forms import (
    Params,
    choice,
    flag,
    integer,
    listed,
    metadata,
    nested,
    required,
    text,
    web_address,
)
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import SessionTerms, StripeState

ECHOED_TEXTS = (
    "client_reference_id",
    "customer_email",
    "locale",
    "submit_type",
    "billing_address_collection",
    "integration_identifier",
)
MAX_LINES = 20


def create(state: StripeState, params: Params) -> Obj:
    """`POST /v1/checkout/sessions` for the hosted page, in `payment` or `subscription` mode."""
    mode = choice(params, "mode", ("payment", "subscription"))
    if mode is None:
        raise needed("mode")
    choice(params, "ui_mode", ("hosted_page",))
    _refuse_other_mode(params, mode)
    if web_address(params, "success_url") is None:
        raise needed("success_url")
    customer_id = _customer_id(state, params)
    expires_at = _expiry(state, params)
    subscription_data = _subscription_data(state, params)
    intent_data = _intent_data(state, params)
    session_metadata = metadata(params)
    coupon = _coupon(state, params)
    lines = _lines(state, params, mode)
    session_id = state.ids.new("cs_test")
    given: dict[str, Any] = {name: text(params, name) for name in ECHOED_TEXTS}
    given |= {
        "allow_promotion_codes": flag(params, "allow_promotion_codes") or None,
        "cancel_url": web_address(params, "cancel_url"),
        "currency": lines[0]["currency"],
        "customer": customer_id,
        "customer_creation": _customer_creation(params, mode, customer_id),
        "customer_details": _details(state, params, customer_id),
        "discounts": [{"coupon": coupon["id"], "promotion_code": None}] if coupon else [],
        "expires_at": expires_at,
        "metadata": session_metadata,
        "mode": mode,
        "payment_method_collection": _collection(params, mode),
        "success_url": text(params, "success_url"),
    }
    session = shapes.session(session_id, state.now(), f"{state.base_url}/c/pay/{session_id}", **given)
    state.terms[session_id] = SessionTerms(lines, subscription_data, intent_data, coupon)
    total_up(state, session)
    if (intent_data["fee"] or 0) > session["amount_total"]:
        raise StripeRefusal(
            "The application fee must not be greater than the amount.",
            param="payment_intent_data[application_fee_amount]",
        )
    state.add(session)
    state.schedule(expires_at, "session_expiry", session_id)
    return session


def _refuse_other_mode(params: Params, mode: str) -> None:
    other = {
        "payment": ("subscription_data", "payment_method_collection"),
        "subscription": ("payment_intent_data", "invoice_creation", "submit_type"),
    }
    for name in other[mode]:
        if params.get(name):
            raise StripeRefusal(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    if mode != "payment" and params.get("customer_creation"):
        raise StripeRefusal(
            "`customer_creation` can only be used in `payment` mode.", param="customer_creation"
        )


def _customer_id(state: StripeState, params: Params) -> str | None:
    customer_id = text(params, "customer")
    if customer_id is None:
        return None
    if text(params, "customer_email"):
        raise StripeRefusal(
            "You may only specify one of these parameters: customer, customer_email.", param="customer"
        )
    found: str = state.get("customer", customer_id, "customer")["id"]
    return found


def _details(state: StripeState, params: Params, customer_id: str | None) -> Obj | None:
    if customer_id is not None:
        customer = state.get("customer", customer_id)
        return shapes.customer_details(customer["email"], customer["name"])
    email = text(params, "customer_email")
    return shapes.customer_details(email, None) if email else None


def _customer_creation(params: Params, mode: str, customer_id: str | None) -> str | None:
    if mode == "subscription":
        return "always" if customer_id is None else None
    wanted = choice(params, "customer_creation", ("always", "if_required"))
    if customer_id is not None:
        return None
    return wanted or "if_required"


def _collection(params: Params, mode: str) -> str | None:
    wanted = choice(params, "payment_method_collection", ("always", "if_required"), "always")
    return wanted if mode == "subscription" else "if_required"


def _expiry(state: StripeState, params: Params) -> int:
    latest = state.now() + shapes.SESSION_LIFE_SECONDS
    at = integer(params, "expires_at") or latest
    # A minute of tolerance, because the caller's clock and ours are read at different moments.
    if not state.now() + 1_740 <= at <= latest + 60:
        raise StripeRefusal(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session "
            "creation.",
            param="expires_at",
        )
    return at


def _subscription_data(state: StripeState, params: Params) -> Obj:
    given = nested(params, "subscription_data")
    mode = nested(given, "billing_mode")
    percent = connect.percent_of(given)
    connect.refuse_alone(state, "subscription_data[application_fee_percent]", percent)
    return {
        "fee_percent": percent,
        "metadata": metadata(given),
        "description": text(given, "description"),
        "trial_days": integer(given, "trial_period_days", least=1),
        "billing_mode": choice(mode, "type", ("classic", "flexible"), "flexible"),
    }


def _intent_data(state: StripeState, params: Params) -> Obj:
    given = nested(params, "payment_intent_data")
    fee = connect.amount_of(given)
    connect.refuse_alone(state, "payment_intent_data[application_fee_amount]", fee)
    return {
        "fee": fee,
        "metadata": metadata(given),
        "description": text(given, "description"),
        "receipt_email": text(given, "receipt_email"),
    }


def _coupon(state: StripeState, params: Params) -> Obj | None:
    given = listed(params, "discounts")
    if not given:
        return None
    if len(given) > 1 or flag(params, "allow_promotion_codes"):
        raise StripeRefusal("A Checkout Session takes one discount.", param="discounts")
    return state.get("coupon", required(given[0], "coupon", "discounts[0][coupon]"), "discounts[0][coupon]")


def _lines(state: StripeState, params: Params, mode: str) -> list[Obj]:
    given = listed(params, "line_items")
    if not given:
        raise needed("line_items")
    if len(given) > MAX_LINES:
        raise StripeRefusal(f"`line_items` has at most {MAX_LINES} elements.", param="line_items")
    lines = [_line(state, line, position) for position, line in enumerate(given)]
    recurring = [line for line in lines if line["price"]["recurring"]]
    if mode == "payment" and recurring:
        raise StripeRefusal(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode "
            "or use only one-time prices.",
            param="mode",
        )
    if mode == "subscription" and not recurring:
        raise StripeRefusal(
            "You must provide at least one recurring price in `subscription` mode when using prices.",
            param="mode",
        )
    if len({line["currency"] for line in lines}) > 1:
        raise StripeRefusal(
            "All prices of a Checkout Session must use the same currency.", param="line_items"
        )
    if (
        len(
            {
                (r["price"]["recurring"]["interval"], r["price"]["recurring"]["interval_count"])
                for r in recurring
            }
        )
        > 1
    ):
        raise StripeRefusal(
            "The sandbox bills all items of a subscription at one interval.", param="line_items"
        )
    return lines


def _line(state: StripeState, given: Params, position: int) -> Obj:
    path = f"line_items[{position}]"
    quantity = integer(given, "quantity", least=1)
    if quantity is None:
        raise StripeRefusal(
            "Quantity is required. Add `quantity` to `line_items`.", param=f"{path}[quantity]"
        )
    price_id = text(given, "price")
    if price_id is None:
        data = nested(given, "price_data")
        if not data:
            raise needed(f"{path}[price]")
        price = inline_price(state, data, f"{path}[price_data]", text(data, "product"))
    else:
        price = state.get("price", price_id, f"{path}[price]")
        if not price["active"]:
            raise StripeRefusal(
                "The price specified is inactive. This field only accepts active prices.",
                param=f"{path}[price]",
            )
    name = state.get("product", price["product"])["name"]
    line = shapes.session_item(state.ids.new("li"), price, quantity, name, 0, price["unit_amount"] * quantity)
    adjustable = nested(given, "adjustable_quantity")
    if flag(adjustable, "enabled"):
        least, most = integer(adjustable, "minimum", 0), integer(adjustable, "maximum", 99)
        line["adjustable_quantity"] = {"enabled": True, "maximum": most, "minimum": least}
    return line


def total_up(state: StripeState, session: Obj) -> None:
    """Work out the session's amounts from its lines: discounts, trials, what is due today."""
    terms = state.terms[session["id"]]
    trial = bool(terms.subscription_data["trial_days"])
    for line in terms.lines:
        free = trial and line["price"]["recurring"] is not None
        line["amount_subtotal"] = 0 if free else line["price"]["unit_amount"] * line["quantity"]
    subtotal = sum(line["amount_subtotal"] for line in terms.lines)
    off = invoices.coupon_amount(terms.coupon, subtotal) if terms.coupon else 0
    left = off
    for line in terms.lines:
        line["amount_discount"] = min(left, line["amount_subtotal"])
        line["amount_total"] = line["amount_subtotal"] - line["amount_discount"]
        left -= line["amount_discount"]
    session |= {
        "amount_subtotal": subtotal,
        "amount_total": subtotal - off,
        "payment_status": "unpaid" if subtotal > off else "no_payment_required",
        "total_details": {"amount_discount": off, "amount_shipping": 0, "amount_tax": 0},
    }


def change_quantity(state: StripeState, session: Obj, line_id: str, quantity: int) -> None:
    """The buyer changes a quantity on the pay page, where the seller allowed it and no payment was tried."""
    terms = state.terms[session["id"]]
    line = next((each for each in terms.lines if each["id"] == line_id), None)
    bounds = line["adjustable_quantity"] if line else None
    if line is None or bounds is None or not max(bounds["minimum"], 1) <= quantity <= bounds["maximum"]:
        raise StripeRefusal("This quantity is not on offer.", param="quantity")
    if quantity == line["quantity"]:
        return
    line["quantity"] = quantity
    total_up(state, session)
    if terms.intent_id is not None:
        state.get("payment_intent", terms.intent_id)["amount"] = session["amount_total"]
