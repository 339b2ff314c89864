"""Which parameters each call takes. Anything else is refused, as Stripe refuses what it does not know.

This names what the sandbox acts on or echoes; a parameter of Stripe's that is missing here is refused
too, so that nobody believes it had an effect.
"""

from __future__ import annotations

from keywright.sandbox.stripe_forms import Each, Spec

EXPAND: Spec = {"expand": None}
PAGE: Spec = {"limit": None, "starting_after": None, "ending_before": None, "expand": None}
CREATED: Spec = {**PAGE, "created": None}

_RECURRING: Spec = {"interval": None, "interval_count": None, "usage_type": None}
_PRODUCT_DATA: Spec = {
    "name": None,
    "metadata": None,
    "description": None,
    "active": None,
    "statement_descriptor": None,
    "tax_code": None,
    "unit_label": None,
}
_PRICE_DATA: Spec = {
    "currency": None,
    "product": None,
    "product_data": _PRODUCT_DATA,
    "recurring": _RECURRING,
    "tax_behavior": None,
    "unit_amount": None,
}
_ITEM: Spec = {"id": None, "price": None, "quantity": None, "deleted": None}
_CANCELLATION: Spec = {"comment": None, "feedback": None}

SESSION_CREATE: Spec = {
    "allow_promotion_codes": None,
    "billing_address_collection": None,
    "cancel_url": None,
    "client_reference_id": None,
    "customer": None,
    "customer_creation": None,
    "customer_email": None,
    "discounts": Each({"coupon": None}),
    "expand": None,
    "expires_at": None,
    "integration_identifier": None,
    "line_items": Each(
        {
            "adjustable_quantity": {"enabled": None, "minimum": None, "maximum": None},
            "price": None,
            "price_data": _PRICE_DATA,
            "quantity": None,
        }
    ),
    "locale": None,
    "metadata": None,
    "mode": None,
    "payment_intent_data": {
        "application_fee_amount": None,
        "description": None,
        "metadata": None,
        "receipt_email": None,
    },
    "payment_method_collection": None,
    "submit_type": None,
    "subscription_data": {
        "application_fee_percent": None,
        "billing_mode": {"type": None},
        "description": None,
        "metadata": None,
        "trial_period_days": None,
    },
    "success_url": None,
    "ui_mode": None,
}
SESSION_LIST: Spec = {
    **CREATED,
    "customer": None,
    "payment_intent": None,
    "subscription": None,
    "status": None,
    "customer_details": {"email": None},
}

CUSTOMER: Spec = {
    "description": None,
    "email": None,
    "expand": None,
    "metadata": None,
    "name": None,
    "phone": None,
}
CUSTOMER_LIST: Spec = {**CREATED, "email": None}

PRODUCT_CREATE: Spec = {
    **_PRODUCT_DATA,
    "default_price_data": {
        "currency": None,
        "metadata": None,
        "recurring": _RECURRING,
        "tax_behavior": None,
        "unit_amount": None,
    },
    "expand": None,
    "id": None,
    "images": None,
    "url": None,
}
PRODUCT_UPDATE: Spec = {**_PRODUCT_DATA, "default_price": None, "expand": None}
PRODUCT_LIST: Spec = {**CREATED, "active": None, "ids": None}

PRICE_CREATE: Spec = {
    **_PRICE_DATA,
    "active": None,
    "expand": None,
    "lookup_key": None,
    "metadata": None,
    "nickname": None,
}
PRICE_UPDATE: Spec = {"active": None, "expand": None, "lookup_key": None, "metadata": None, "nickname": None}
PRICE_LIST: Spec = {
    **CREATED,
    "active": None,
    "currency": None,
    "lookup_keys": None,
    "product": None,
    "recurring": {"interval": None},
    "type": None,
}
COUPON_CREATE: Spec = {
    "amount_off": None,
    "currency": None,
    "duration": None,
    "duration_in_months": None,
    "expand": None,
    "id": None,
    "metadata": None,
    "name": None,
    "percent_off": None,
}

SUBSCRIPTION_CREATE: Spec = {
    "application_fee_percent": None,
    "billing_mode": {"type": None},
    "customer": None,
    "description": None,
    "expand": None,
    "items": Each({"price": None, "quantity": None}),
    "metadata": None,
    "trial_end": None,
    "trial_period_days": None,
}
SUBSCRIPTION_UPDATE: Spec = {
    "application_fee_percent": None,
    "cancel_at": None,
    "cancel_at_period_end": None,
    "cancellation_details": _CANCELLATION,
    "description": None,
    "expand": None,
    "items": Each(_ITEM),
    "metadata": None,
    "pause_collection": {"behavior": None, "resumes_at": None},
    "payment_behavior": None,
    "proration_behavior": None,
    "trial_end": None,
}
SUBSCRIPTION_CANCEL: Spec = {
    "cancellation_details": _CANCELLATION,
    "expand": None,
    "invoice_now": None,
    "prorate": None,
}
SUBSCRIPTION_PAUSE: Spec = {"expand": None, "type": None}
SUBSCRIPTION_RESUME: Spec = {"billing_cycle_anchor": {"type": None}, "expand": None}
SUBSCRIPTION_LIST: Spec = {**CREATED, "customer": None, "price": None, "status": None}

ITEM_LIST: Spec = {**PAGE, "subscription": None}

INVOICE_LIST: Spec = {**CREATED, "customer": None, "status": None, "subscription": None}
INVOICE_PREVIEW: Spec = {
    "customer": None,
    "expand": None,
    "subscription": None,
    "subscription_details": {"items": Each(_ITEM), "proration_behavior": None, "proration_date": None},
}
INVOICE_PAYMENT_LIST: Spec = {
    **CREATED,
    "invoice": None,
    "payment": {"type": None, "payment_intent": None},
    "status": None,
}
INTENT_LIST: Spec = {**CREATED, "customer": None}
CHARGE_LIST: Spec = {**CREATED, "customer": None, "payment_intent": None}

DISPUTE_LIST: Spec = {**CREATED, "charge": None, "payment_intent": None}

REFUND_CREATE: Spec = {
    "amount": None,
    "charge": None,
    "expand": None,
    "metadata": None,
    "payment_intent": None,
    "reason": None,
    "refund_application_fee": None,
}
REFUND_LIST: Spec = {**CREATED, "charge": None, "payment_intent": None}
EVENT_LIST: Spec = {**CREATED, "delivery_success": None, "type": None, "types": None}

_CONTROLLER: Spec = {
    "fees": {"payer": None},
    "losses": {"payments": None},
    "requirement_collection": None,
    "stripe_dashboard": {"type": None},
}
ACCOUNT_CREATE: Spec = {
    "business_type": None,
    "controller": _CONTROLLER,
    "country": None,
    "email": None,
    "expand": None,
    "metadata": None,
    "type": None,
}
ACCOUNT_LINK_CREATE: Spec = {
    "account": None,
    "collection_options": {"fields": None},
    "expand": None,
    "refresh_url": None,
    "return_url": None,
    "type": None,
}
FEE_LIST: Spec = {**CREATED, "charge": None}
FEE_REFUND_CREATE: Spec = {"amount": None, "expand": None, "metadata": None}

PORTAL_CREATE: Spec = {
    "configuration": None,
    "customer": None,
    "expand": None,
    "flow_data": {
        "after_completion": None,
        "subscription_cancel": {"subscription": None},
        "subscription_update": {"subscription": None},
        "type": None,
    },
    "locale": None,
    "return_url": None,
}
ENDPOINT_CREATE: Spec = {
    "api_version": None,
    "connect": None,
    "description": None,
    "enabled_events": None,
    "expand": None,
    "metadata": None,
    "url": None,
}
ENDPOINT_UPDATE: Spec = {
    "description": None,
    "disabled": None,
    "enabled_events": None,
    "expand": None,
    "metadata": None,
    "url": None,
}
