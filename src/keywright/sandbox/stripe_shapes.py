"""The shape of Stripe's objects as of 2026-10-28.endive: catalog, customers, sessions, endpoints, events.

Built from scratch as plain dictionaries, member for member what the official samples carry; a member
the sandbox has no use for is null or empty, as Stripe sends it.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

API_VERSION = "2026-10-28.endive"
ACCOUNT_ID = "acct_1SandboxKeywright"
PORTAL_CONFIGURATION = "bpc_1SandboxKeywright"
SESSION_LIFE_SECONDS = 86_400

Obj = dict[str, Any]


def no_address() -> Obj:
    """An address nobody typed."""
    return dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def list_of(data: list[Obj], url: str, *, has_more: bool = False) -> Obj:
    """Stripe's list envelope."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def account(email: str, created: int) -> Obj:
    """The account behind the sandbox key."""
    return {
        "id": ACCOUNT_ID,
        "object": "account",
        "business_profile": {"name": "Keywright sandbox", "support_email": email, "url": None},
        "business_type": None,
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": "US",
        "created": created,
        "default_currency": "usd",
        "details_submitted": True,
        "email": email,
        "metadata": {},
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "Keywright sandbox", "timezone": "Etc/UTC"}},
        "type": "standard",
    }


def product(object_id: str, created: int, name: str, **given: Any) -> Obj:
    """A product; `given` overrides members."""
    return {
        "id": object_id,
        "object": "product",
        "active": True,
        "created": created,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": created,
        "url": None,
    } | given


def recurring(interval: str, count: int) -> Obj:
    """How a price recurs."""
    return {
        "interval": interval,
        "interval_count": count,
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def price(object_id: str, created: int, product_id: str, currency: str, amount: int, **given: Any) -> Obj:
    """A price per unit; recurring when `given` has a `recurring` object."""
    return {
        "id": object_id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": created,
        "currency": currency,
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": {},
        "nickname": None,
        "product": product_id,
        "recurring": None,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if given.get("recurring") else "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    } | given


def plan(of_price: Obj) -> Obj:
    """The older twin of a recurring price, which subscription items still carry."""
    terms = of_price["recurring"]
    return {
        "id": of_price["id"],
        "object": "plan",
        "active": of_price["active"],
        "amount": of_price["unit_amount"],
        "amount_decimal": of_price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": of_price["created"],
        "currency": of_price["currency"],
        "interval": terms["interval"],
        "interval_count": terms["interval_count"],
        "livemode": False,
        "metadata": of_price["metadata"],
        "meter": None,
        "nickname": of_price["nickname"],
        "product": of_price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def coupon(object_id: str, created: int, **given: Any) -> Obj:
    """A coupon: percent_off, or amount_off with a currency."""
    return {
        "id": object_id,
        "object": "coupon",
        "amount_off": None,
        "created": created,
        "currency": None,
        "duration": "once",
        "duration_in_months": None,
        "livemode": False,
        "max_redemptions": None,
        "metadata": {},
        "name": None,
        "percent_off": None,
        "redeem_by": None,
        "times_redeemed": 0,
        "valid": True,
    } | given


def customer(object_id: str, created: int, invoice_prefix: str, **given: Any) -> Obj:
    """A customer."""
    return {
        "id": object_id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": created,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": invoice_prefix,
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    } | given


def customer_details(email: str | None, name: str | None) -> Obj:
    """What a session tells about its buyer."""
    return {
        "address": no_address() if name else None,
        "business_name": None,
        "email": email,
        "individual_name": None,
        "name": name,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [] if name else None,
    }


_SESSION: Final[Obj] = {
    "object": "checkout.session",
    "adaptive_pricing": {"enabled": False},
    "after_expiration": None,
    "allow_promotion_codes": None,
    "amount_subtotal": 0,
    "amount_total": 0,
    "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
    "billing_address_collection": None,
    "cancel_url": None,
    "client_reference_id": None,
    "client_secret": None,
    "collected_information": None,
    "consent": None,
    "consent_collection": None,
    "currency": None,
    "currency_conversion": None,
    "custom_fields": [],
    "custom_text": {
        "after_submit": None,
        "shipping_address": None,
        "submit": None,
        "terms_of_service_acceptance": None,
    },
    "customer": None,
    "customer_account": None,
    "customer_creation": None,
    "customer_details": None,
    "customer_email": None,
    "discounts": None,
    "integration_identifier": None,
    "invoice": None,
    "invoice_creation": None,
    "livemode": False,
    "locale": None,
    "managed_payments": {"enabled": False},
    "metadata": {},
    "mode": "payment",
    "origin_context": None,
    "payment_intent": None,
    "payment_link": None,
    "payment_method_collection": None,
    "payment_method_configuration_details": None,
    "payment_method_options": {},
    "payment_method_types": ["card", "us_bank_account"],
    "payment_status": "unpaid",
    "permissions": None,
    "phone_number_collection": {"enabled": False},
    "recovered_from": None,
    "saved_payment_method_options": None,
    "setup_intent": None,
    "shipping_address_collection": None,
    "shipping_cost": None,
    "shipping_options": [],
    "status": "open",
    "submit_type": None,
    "subscription": None,
    "success_url": None,
    "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    "ui_mode": "hosted_page",
    "wallet_options": None,
}


def session(object_id: str, created: int, url: str, **given: Any) -> Obj:
    """A Checkout Session on the hosted page, open and unpaid."""
    own: Obj = {
        "id": object_id,
        "created": created,
        "expires_at": created + SESSION_LIFE_SECONDS,
        "url": url,
    }
    return deepcopy(_SESSION) | own | given


def session_item(object_id: str, of_price: Obj, quantity: int, name: str, discount: int, total: int) -> Obj:
    """One line of a Checkout Session (object `item`)."""
    subtotal = of_price["unit_amount"] * quantity
    return {
        "id": object_id,
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": discount,
        "amount_subtotal": subtotal,
        "amount_tax": 0,
        "amount_total": total,
        "currency": of_price["currency"],
        "description": name,
        "metadata": {},
        "price": of_price,
        "quantity": quantity,
    }


def portal_session(object_id: str, created: int, customer_id: str, url: str, **given: Any) -> Obj:
    """A customer portal session."""
    return {
        "id": object_id,
        "object": "billing_portal.session",
        "configuration": PORTAL_CONFIGURATION,
        "created": created,
        "customer": customer_id,
        "customer_account": None,
        "flow": None,
        "livemode": False,
        "locale": None,
        "on_behalf_of": None,
        "return_url": None,
        "url": url,
    } | given


def webhook_endpoint(object_id: str, created: int, url: str, enabled_events: list[str], **given: Any) -> Obj:
    """A webhook endpoint, without its secret: that is shown once, by the call that makes it."""
    return {
        "id": object_id,
        "object": "webhook_endpoint",
        "api_version": API_VERSION,
        "application": None,
        "created": created,
        "description": None,
        "enabled_events": enabled_events,
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
    } | given


def event(object_id: str, created: int, kind: str, data: Obj, request: Obj) -> Obj:
    """An event; `data` has `object` and, for updates, `previous_attributes`."""
    return {
        "id": object_id,
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": request,
        "type": kind,
    }
