"""The calls of Stripe's API that the sandbox answers, one row each: method, path, parameters, what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from keywright.sandbox import stripe_agenda as agenda
from keywright.sandbox import stripe_catalog as catalog
from keywright.sandbox import stripe_checkout as checkout
from keywright.sandbox import stripe_connect as connect
from keywright.sandbox import stripe_disputes as disputes
from keywright.sandbox import stripe_endpoints as endpoints
from keywright.sandbox import stripe_invoices as invoices
from keywright.sandbox import stripe_params as spec
from keywright.sandbox import stripe_payments as payments
from keywright.sandbox import stripe_proration as proration
from keywright.sandbox import stripe_sessions as sessions
from keywright.sandbox import stripe_shapes as shapes
from keywright.sandbox import stripe_subscriptions as subscriptions
from keywright.sandbox.cards import GENERIC_DECLINE
from keywright.sandbox.stripe_errors import StripeRefusal, missing
from keywright.sandbox.stripe_forms import (
    Params,
    Spec,
    choice,
    flag,
    in_range,
    listed,
    nested,
    required,
    text,
)
from keywright.sandbox.stripe_pages import page
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState

Handler = Callable[[StripeState, list[str], Params], Obj]


class Route(msgspec.Struct, frozen=True):
    """One call: how it is matched, what it takes, what does it."""

    method: str
    pattern: re.Pattern[str]
    spec: Spec
    handler: Handler


def _route(method: str, path: str, takes: Spec, handler: Handler) -> Route:
    pattern = re.compile(r"\A/v1/" + path.replace("{}", r"([A-Za-z0-9_]+)") + r"\Z")
    return Route(method, pattern, takes, handler)


def _reader(kind: str) -> Handler:
    return lambda state, ids, _params: state.get(kind, ids[0])


def _lister(kind: str, url: str, *same: str) -> Handler:
    """List a kind, filtered by `created` and by members that must equal a parameter of the same name."""

    def listing(state: StripeState, _ids: list[str], params: Params) -> Obj:
        wanted = {name: text(params, name) for name in same}
        found = [
            obj
            for obj in state.every(kind)
            if in_range(obj.get("created", 0), params.get("created"))
            and all(value is None or _shown(obj[name]) == value for name, value in wanted.items())
        ]
        return page(found, params, url, kind)

    return listing


def _shown(value: Any) -> str | None:
    return str(value).lower() if isinstance(value, bool) else value


def _creator(make: Callable[[StripeState, Params], Obj]) -> Handler:
    return lambda state, _ids, params: make(state, params)


def _changer(change: Callable[[StripeState, str, Params], Obj]) -> Handler:
    return lambda state, ids, params: change(state, ids[0], params)


def _session_lines(state: StripeState, ids: list[str], params: Params) -> Obj:
    state.get("checkout.session", ids[0])
    url = f"/v1/checkout/sessions/{ids[0]}/line_items"
    # Lines come in their own order, not newest first.
    return page(list(reversed(state.terms[ids[0]].lines)), params, url, "item")


def _sessions(state: StripeState, _ids: list[str], params: Params) -> Obj:
    email = text(nested(params, "customer_details"), "email")
    names = ("customer", "payment_intent", "subscription", "status")
    wanted = {name: text(params, name) for name in names}
    found = [
        session
        for session in state.every("checkout.session")
        if in_range(session["created"], params.get("created"))
        and all(value is None or session[name] == value for name, value in wanted.items())
        and (email is None or (session["customer_details"] or {}).get("email") == email)
    ]
    return page(found, params, "/v1/checkout/sessions", "checkout.session")


def _prices(state: StripeState, _ids: list[str], params: Params) -> Obj:
    interval = text(nested(params, "recurring"), "interval")
    keys = listed(params, "lookup_keys")
    wanted = {name: text(params, name) for name in ("active", "currency", "product", "type")}
    found = [
        price
        for price in state.every("price")
        if in_range(price["created"], params.get("created"))
        and all(value is None or _shown(price[name]) == value for name, value in wanted.items())
        and (interval is None or (price["recurring"] or {}).get("interval") == interval)
        and (not keys or price["lookup_key"] in keys)
    ]
    return page(found, params, "/v1/prices", "price")


def _products(state: StripeState, _ids: list[str], params: Params) -> Obj:
    ids, active = listed(params, "ids"), text(params, "active")
    found = [
        product
        for product in state.every("product")
        if in_range(product["created"], params.get("created"))
        and (not ids or product["id"] in ids)
        and (active is None or _shown(product["active"]) == active)
    ]
    return page(found, params, "/v1/products", "product")


def _subscriptions(state: StripeState, _ids: list[str], params: Params) -> Obj:
    status, price = text(params, "status"), text(params, "price")
    customer = text(params, "customer")

    def fits(subscription: Obj) -> bool:
        if status is None:
            fitting = subscription["status"] != "canceled"
        elif status == "ended":
            fitting = subscription["status"] in subscriptions.ENDED
        else:
            fitting = status in ("all", subscription["status"])
        return (
            fitting
            and in_range(subscription["created"], params.get("created"))
            and customer in (None, subscription["customer"])
            and (price is None or any(i["price"]["id"] == price for i in subscription["items"]["data"]))
        )

    found = [subscription for subscription in state.every("subscription") if fits(subscription)]
    return page(found, params, "/v1/subscriptions", "subscription")


def _invoices(state: StripeState, _ids: list[str], params: Params) -> Obj:
    wanted = text(params, "subscription")
    names = {name: text(params, name) for name in ("customer", "status")}
    found = [
        invoice
        for invoice in (state.every("invoice") if wanted is None else state.owned("invoice", wanted))
        if in_range(invoice["created"], params.get("created"))
        and all(value is None or invoice[name] == value for name, value in names.items())
        and wanted in (None, invoice["parent"]["subscription_details"]["subscription"])
    ]
    return page(found, params, "/v1/invoices", "invoice")


def _invoice_lines(state: StripeState, ids: list[str], params: Params) -> Obj:
    lines = state.get("invoice", ids[0])["lines"]["data"]
    # Lines come in their own order, not newest first.
    return page(list(reversed(lines)), params, f"/v1/invoices/{ids[0]}/lines", "line_item")


def _subscription_items(state: StripeState, _ids: list[str], params: Params) -> Obj:
    owner = state.get("subscription", required(params, "subscription"), "subscription")
    items = list(reversed(owner["items"]["data"]))
    return page(items, params, "/v1/subscription_items", "subscription_item")


def _given_up(how: str) -> Handler:
    return lambda state, ids, _params: invoices.give_up(state, state.get("invoice", ids[0]), how)


def _pay_invoice(state: StripeState, ids: list[str], _params: Params) -> Obj:
    """`POST /v1/invoices/{id}/pay`: the operator's retry; a refused card is a 402."""
    invoice = invoices.open_invoice(state, ids[0])
    if not agenda.settle(state, invoice):
        card = state.cards.get(invoice["customer"])
        decline = (card.decline if card else None) or GENERIC_DECLINE
        raise StripeRefusal(
            decline.message,
            status=402,
            kind="card_error",
            code=decline.code,
            decline_code=decline.decline_code,
        )
    return invoice


def _invoice_payments(state: StripeState, _ids: list[str], params: Params) -> Obj:
    intent = text(nested(params, "payment"), "payment_intent")
    wanted = {name: text(params, name) for name in ("invoice", "status")}
    found = [
        payment
        for payment in state.every("invoice_payment")
        if in_range(payment["created"], params.get("created"))
        and intent in (None, payment["payment"]["payment_intent"])
        and all(value is None or payment[name] == value for name, value in wanted.items())
    ]
    return page(found, params, "/v1/invoice_payments", "invoice_payment")


def _events(state: StripeState, _ids: list[str], params: Params) -> Obj:
    kinds = listed(params, "types") or [kind for kind in [text(params, "type")] if kind]
    delivered = flag(params, "delivery_success") if text(params, "delivery_success") else None
    found = [
        event
        for event in state.every("event")
        if in_range(event["created"], params.get("created"))
        and (not kinds or event["type"] in kinds)
        and (delivered is None or (event["id"] not in state.undelivered) == delivered)
    ]
    return page(found, params, "/v1/events", "event")


def _pause(state: StripeState, ids: list[str], params: Params) -> Obj:
    choice(params, "type", ("subscription",))
    return subscriptions.pause(state, ids[0])


def _account(state: StripeState, _ids: list[str], _params: Params) -> Obj:
    if state.platform is not None:
        return connect.read(state.platform, state.account_id)
    return shapes.account("seller@sandbox.invalid", state.now())


def _event(state: StripeState, ids: list[str], _params: Params) -> Obj:
    """One event of this account alone: the platform asks for those of another under its name."""
    found = state.get("event", ids[0])
    if found.get("account") != (state.account_id if state.platform is not None else None):
        raise missing("event", ids[0])
    return found


ROUTES: tuple[Route, ...] = (
    _route("POST", "checkout/sessions", spec.SESSION_CREATE, _creator(sessions.create)),
    _route("GET", "checkout/sessions", spec.SESSION_LIST, _sessions),
    _route("GET", "checkout/sessions/{}", spec.EXPAND, _reader("checkout.session")),
    _route("GET", "checkout/sessions/{}/line_items", spec.PAGE, _session_lines),
    _route(
        "POST",
        "checkout/sessions/{}/expire",
        spec.EXPAND,
        lambda state, ids, _params: checkout.expire(state, state.get("checkout.session", ids[0])),
    ),
    _route("POST", "customers", spec.CUSTOMER, _creator(catalog.create_customer)),
    _route("GET", "customers", spec.CUSTOMER_LIST, _lister("customer", "/v1/customers", "email")),
    _route("GET", "customers/{}", spec.EXPAND, _reader("customer")),
    _route("POST", "customers/{}", spec.CUSTOMER, _changer(catalog.update_customer)),
    _route(
        "DELETE", "customers/{}", {}, lambda state, ids, _params: subscriptions.delete_customer(state, ids[0])
    ),
    _route("POST", "products", spec.PRODUCT_CREATE, _creator(catalog.create_product)),
    _route("GET", "products", spec.PRODUCT_LIST, _products),
    _route("GET", "products/{}", spec.EXPAND, _reader("product")),
    _route("POST", "products/{}", spec.PRODUCT_UPDATE, _changer(catalog.update_product)),
    _route("POST", "prices", spec.PRICE_CREATE, _creator(catalog.create_price)),
    _route("GET", "prices", spec.PRICE_LIST, _prices),
    _route("GET", "prices/{}", spec.EXPAND, _reader("price")),
    _route("POST", "prices/{}", spec.PRICE_UPDATE, _changer(catalog.update_price)),
    _route("POST", "coupons", spec.COUPON_CREATE, _creator(catalog.create_coupon)),
    _route("GET", "coupons/{}", spec.EXPAND, _reader("coupon")),
    _route("POST", "subscriptions", spec.SUBSCRIPTION_CREATE, _creator(subscriptions.create)),
    _route("GET", "subscriptions", spec.SUBSCRIPTION_LIST, _subscriptions),
    _route("GET", "subscriptions/{}", spec.EXPAND, _reader("subscription")),
    _route("POST", "subscriptions/{}", spec.SUBSCRIPTION_UPDATE, _changer(subscriptions.update)),
    _route("DELETE", "subscriptions/{}", spec.SUBSCRIPTION_CANCEL, _changer(subscriptions.delete)),
    _route("POST", "subscriptions/{}/pause", spec.SUBSCRIPTION_PAUSE, _pause),
    _route("POST", "subscriptions/{}/resume", spec.SUBSCRIPTION_RESUME, _changer(subscriptions.resume)),
    _route("GET", "invoices", spec.INVOICE_LIST, _invoices),
    _route("POST", "invoices/create_preview", spec.INVOICE_PREVIEW, _creator(proration.preview)),
    _route("GET", "invoices/{}", spec.EXPAND, _reader("invoice")),
    _route("POST", "invoices/{}/pay", spec.EXPAND, _pay_invoice),
    _route("POST", "invoices/{}/void", spec.EXPAND, _given_up("void")),
    _route("POST", "invoices/{}/mark_uncollectible", spec.EXPAND, _given_up("uncollectible")),
    _route("GET", "invoices/{}/lines", spec.PAGE, _invoice_lines),
    _route("GET", "subscription_items", spec.ITEM_LIST, _subscription_items),
    _route("GET", "invoice_payments", spec.INVOICE_PAYMENT_LIST, _invoice_payments),
    _route("GET", "invoice_payments/{}", spec.EXPAND, _reader("invoice_payment")),
    _route(
        "GET",
        "payment_intents",
        spec.INTENT_LIST,
        _lister("payment_intent", "/v1/payment_intents", "customer"),
    ),
    _route("GET", "payment_intents/{}", spec.EXPAND, _reader("payment_intent")),
    _route(
        "GET", "charges", spec.CHARGE_LIST, _lister("charge", "/v1/charges", "customer", "payment_intent")
    ),
    _route("GET", "charges/{}", spec.EXPAND, _reader("charge")),
    _route("POST", "refunds", spec.REFUND_CREATE, _creator(payments.create_refund)),
    _route("GET", "refunds", spec.REFUND_LIST, _lister("refund", "/v1/refunds", "charge", "payment_intent")),
    _route("GET", "refunds/{}", spec.EXPAND, _reader("refund")),
    _route(
        "GET", "disputes", spec.DISPUTE_LIST, _lister("dispute", "/v1/disputes", "charge", "payment_intent")
    ),
    _route("GET", "disputes/{}", spec.EXPAND, _reader("dispute")),
    _route(
        "POST",
        "disputes/{}/close",
        spec.EXPAND,
        lambda state, ids, _params: disputes.close(state, ids[0], "lost"),
    ),
    _route("GET", "events", spec.EVENT_LIST, _events),
    _route("GET", "events/{}", spec.EXPAND, _event),
    _route("POST", "billing_portal/sessions", spec.PORTAL_CREATE, _creator(endpoints.create_portal)),
    _route("POST", "webhook_endpoints", spec.ENDPOINT_CREATE, _creator(endpoints.create)),
    _route("GET", "webhook_endpoints", spec.PAGE, _lister("webhook_endpoint", "/v1/webhook_endpoints")),
    _route("GET", "webhook_endpoints/{}", spec.EXPAND, _reader("webhook_endpoint")),
    _route("POST", "webhook_endpoints/{}", spec.ENDPOINT_UPDATE, _changer(endpoints.update)),
    _route("DELETE", "webhook_endpoints/{}", {}, lambda state, ids, _params: endpoints.delete(state, ids[0])),
    _route("GET", "account", spec.EXPAND, _account),
    _route("POST", "accounts", spec.ACCOUNT_CREATE, _creator(connect.create)),
    _route("GET", "accounts", spec.CREATED, _lister("account", "/v1/accounts")),
    _route("GET", "accounts/{}", spec.EXPAND, lambda state, ids, _params: connect.read(state, ids[0])),
    _route("POST", "account_links", spec.ACCOUNT_LINK_CREATE, _creator(connect.create_link)),
    _route(
        "GET", "application_fees", spec.FEE_LIST, _lister("application_fee", "/v1/application_fees", "charge")
    ),
    _route("GET", "application_fees/{}", spec.EXPAND, _reader("application_fee")),
    _route(
        "POST",
        "application_fees/{}/refunds",
        spec.FEE_REFUND_CREATE,
        _changer(connect.create_fee_refund),
    ),
)
