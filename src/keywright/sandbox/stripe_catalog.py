"""Products, prices, coupons, customers."""

from __future__ import annotations

from copy import deepcopy

from keywright.sandbox import stripe_shapes as shapes
from keywright.sandbox.periods import INTERVALS
from keywright.sandbox.stripe_errors import StripeRefusal, needed
from keywright.sandbox.stripe_forms import (
    Params,
    choice,
    flag,
    integer,
    listed,
    merged_metadata,
    metadata,
    nested,
    required,
    text,
    web_address,
)
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState

PRODUCT_TEXTS = ("description", "statement_descriptor", "tax_code", "unit_label")


def create_product(state: StripeState, params: Params) -> Obj:
    """`POST /v1/products`."""
    object_id = text(params, "id") or state.ids.new("prod")
    if state.find("product", object_id):
        raise StripeRefusal("Product already exists.", code="resource_already_exists", param="id")
    given = {name: text(params, name) for name in PRODUCT_TEXTS}
    product = shapes.product(
        object_id,
        state.now(),
        required(params, "name"),
        **given,
        active=flag(params, "active", default=True),
        metadata=metadata(params),
        images=listed(params, "images"),
        url=web_address(params, "url"),
    )
    state.add(product)
    if params.get("default_price_data"):
        price = inline_price(state, nested(params, "default_price_data"), "default_price_data", product["id"])
        product["default_price"] = price["id"]
    state.emit("product.created", product)
    return product


def update_product(state: StripeState, product_id: str, params: Params) -> Obj:
    """`POST /v1/products/{id}`."""
    product = state.get("product", product_id)
    before = deepcopy(product)
    for name in (*PRODUCT_TEXTS, "name"):
        if name in params:
            product[name] = text(params, name)
    if "default_price" in params:
        product["default_price"] = state.get("price", required(params, "default_price"), "default_price")[
            "id"
        ]
    product["active"] = flag(params, "active", default=product["active"])
    product["metadata"] = merged_metadata(product["metadata"], params)
    if product != before:
        product["updated"] = state.now()
    state.update("product.updated", product, before)
    return product


def create_price(state: StripeState, params: Params) -> Obj:
    """`POST /v1/prices`, with `product` or `product_data`."""
    if text(params, "product") and params.get("product_data"):
        raise StripeRefusal("You may only specify one of these parameters: product, product_data.")
    price = inline_price(state, params, "", text(params, "product"))
    price |= {
        "active": flag(params, "active", default=True),
        "lookup_key": text(params, "lookup_key"),
        "metadata": metadata(params),
        "nickname": text(params, "nickname"),
    }
    state.emit("price.created", price)
    return price


def inline_price(state: StripeState, params: Params, path: str, product_id: str | None) -> Obj:
    """A price out of `price_data`-like parameters; makes its product when `product_data` describes one."""

    def named(name: str) -> str:
        return f"{path}[{name}]" if path else name

    currency = required(params, "currency", named("currency")).lower()
    if len(currency) != 3 or not currency.isalpha():
        raise StripeRefusal(f"Invalid currency: {currency[:10]}", param=named("currency"))
    amount = integer(params, "unit_amount")
    if amount is None:
        raise needed(named("unit_amount"))
    terms = _recurring(params, named("recurring"))
    product_data = nested(params, "product_data")
    if product_id is None and not product_data:
        raise needed(named("product"))
    if product_id is None:
        product_id = create_product(state, product_data)["id"]
    else:
        state.get("product", product_id, named("product"))
    given = {"recurring": terms, "tax_behavior": text(params, "tax_behavior", "unspecified")}
    return state.add(shapes.price(state.ids.new("price"), state.now(), product_id, currency, amount, **given))


def _recurring(params: Params, name: str) -> Obj | None:
    given = nested(params, "recurring")
    if not given:
        return None
    required(given, "interval", f"{name}[interval]")
    interval = choice(given, "interval", INTERVALS) or ""
    count = integer(given, "interval_count", 1, least=1) or 1
    longest = {"day": 1095, "week": 156, "month": 36, "year": 3}[interval]
    if count > longest:
        raise StripeRefusal(
            f"Interval count is too long: at most {longest} {interval}s.", param=f"{name}[interval_count]"
        )
    return shapes.recurring(interval, count)


def update_price(state: StripeState, price_id: str, params: Params) -> Obj:
    """`POST /v1/prices/{id}`: what may change of a price, never its amount."""
    price = state.get("price", price_id)
    before = deepcopy(price)
    for name in ("nickname", "lookup_key"):
        if name in params:
            price[name] = text(params, name)
    price["active"] = flag(params, "active", default=price["active"])
    price["metadata"] = merged_metadata(price["metadata"], params)
    state.update("price.updated", price, before)
    return price


def create_coupon(state: StripeState, params: Params) -> Obj:
    """`POST /v1/coupons`: `percent_off`, or `amount_off` with `currency`."""
    percent, amount = text(params, "percent_off"), integer(params, "amount_off", least=1)
    if (percent is None) == (amount is None):
        raise StripeRefusal("You must pass either `percent_off` or `amount_off`.", param="percent_off")
    months = integer(params, "duration_in_months", least=1)
    coupon = shapes.coupon(
        text(params, "id") or state.ids.secret("coupon")[7:15],
        state.now(),
        amount_off=amount,
        currency=required(params, "currency") if amount is not None else None,
        duration=choice(params, "duration", ("once", "repeating", "forever"), "once"),
        duration_in_months=months,
        metadata=metadata(params),
        name=text(params, "name"),
        percent_off=_percent(percent),
    )
    if (coupon["duration"] == "repeating") != (months is not None):
        raise StripeRefusal(
            "`duration_in_months` goes with `duration=repeating`.", param="duration_in_months"
        )
    return state.add(coupon)


def _percent(given: str | None) -> float | None:
    if given is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 < value <= 100:
        raise StripeRefusal("`percent_off` must be above 0 and at most 100.", param="percent_off")
    return value


def new_customer(state: StripeState, **given: object) -> Obj:
    """A customer, announced (`customer.created`)."""
    object_id = state.ids.new("cus")
    prefix = state.ids.secret("x")[2:10].upper()
    customer = state.add(shapes.customer(object_id, state.now(), prefix, **given))
    state.emit("customer.created", customer)
    return customer


def create_customer(state: StripeState, params: Params) -> Obj:
    """`POST /v1/customers`."""
    given = {name: text(params, name) for name in ("email", "name", "phone", "description")}
    return new_customer(state, **given, metadata=metadata(params))


def update_customer(state: StripeState, customer_id: str, params: Params) -> Obj:
    """`POST /v1/customers/{id}`."""
    customer = state.get("customer", customer_id)
    before = deepcopy(customer)
    for name in ("email", "name", "phone", "description"):
        if name in params:
            customer[name] = text(params, name)
    customer["metadata"] = merged_metadata(customer["metadata"], params)
    state.update("customer.updated", customer, before)
    return customer
