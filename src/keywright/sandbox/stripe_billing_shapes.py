"""The shape of Stripe's billing objects as of 2026-10-28.endive.

Today's shape means: periods stand on subscription items, an invoice names its subscription under
`parent`, its payments are a list, a charge does not know its invoice, and a line names its price under
`pricing.price_details`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from keywright.sandbox.cards import Card, Decline
from keywright.sandbox.stripe_shapes import Obj, list_of, no_address, plan


def subscription_item(
    object_id: str, created: int, subscription_id: str, of_price: Obj, quantity: int, period: tuple[int, int]
) -> Obj:
    """One item of a subscription with its own period."""
    return {
        "id": object_id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": created,
        "current_period_end": period[1],
        "current_period_start": period[0],
        "discounts": [],
        "metadata": {},
        "plan": plan(of_price),
        "price": of_price,
        "quantity": quantity,
        "subscription": subscription_id,
        "tax_rates": [],
    }


_SUBSCRIPTION: Final[Obj] = {
    "object": "subscription",
    "application": None,
    "application_fee_percent": None,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
    "billing_cycle_anchor_config": None,
    "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
    "billing_schedules": [],
    "billing_thresholds": None,
    "cancel_at": None,
    "cancel_at_period_end": False,
    "canceled_at": None,
    "cancellation_details": {"comment": None, "feedback": None, "reason": None},
    "collection_method": "charge_automatically",
    "customer_account": None,
    "days_until_due": None,
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "ended_at": None,
    "invoice_settings": {
        "account_tax_ids": None,
        "custom_fields": None,
        "description": None,
        "footer": None,
        "issuer": {"type": "self"},
    },
    "latest_invoice": None,
    "livemode": False,
    "managed_payments": {"enabled": False},
    "metadata": {},
    "next_pending_invoice_item_invoice": None,
    "on_behalf_of": None,
    "pause_collection": None,
    "payment_settings": {
        "payment_method_options": None,
        "payment_method_types": None,
        "save_default_payment_method": "off",
    },
    "pending_invoice_item_interval": None,
    "pending_setup_intent": None,
    "pending_update": None,
    "schedule": None,
    "status": "active",
    "status_details": None,
    "test_clock": None,
    "transfer_data": None,
    "trial_end": None,
    "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    "trial_start": None,
}


def subscription(object_id: str, created: int, customer_id: str, currency: str, **given: Any) -> Obj:
    """A subscription without items, active."""
    own: Obj = {
        "id": object_id,
        "billing_cycle_anchor": created,
        "created": created,
        "currency": currency,
        "customer": customer_id,
        "items": list_of([], f"/v1/subscription_items?subscription={object_id}"),
        "start_date": created,
    }
    return deepcopy(_SUBSCRIPTION) | own | given


def line_item(
    object_id: str,
    invoice_id: str,
    of_item: Obj,
    *,
    amount: int,
    quantity: int,
    description: str,
    period: tuple[int, int],
    proration: bool,
) -> Obj:
    """One line of a subscription invoice."""
    price = of_item["price"]
    return {
        "id": object_id,
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": description,
        "discount_amounts": [],
        "discountable": not proration,
        "discounts": [],
        "invoice": invoice_id,
        "livemode": False,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": proration,
                "proration_details": {"credited_items": None},
                "subscription": of_item["subscription"],
                "subscription_item": of_item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": period[1], "start": period[0]},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subtotal": amount,
        "taxes": [],
    }


_INVOICE: Final[Obj] = {
    "object": "invoice",
    "account_country": "US",
    "account_name": "Keywright sandbox",
    "account_tax_ids": None,
    "amount_overpaid": 0,
    "amount_paid": 0,
    "amount_shipping": 0,
    "application": None,
    "attempt_count": 0,
    "attempted": False,
    "auto_advance": True,
    "automatic_tax": {
        "disabled_reason": None,
        "enabled": False,
        "liability": None,
        "provider": None,
        "status": None,
    },
    "automatically_finalizes_at": None,
    "billing_reason": "subscription_cycle",
    "collection_method": "charge_automatically",
    "custom_fields": None,
    "customer_account": None,
    "customer_address": None,
    "customer_phone": None,
    "customer_shipping": None,
    "customer_tax_exempt": "none",
    "customer_tax_ids": [],
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "due_date": None,
    "effective_at": None,
    "ending_balance": None,
    "footer": None,
    "from_invoice": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "issuer": {"type": "self"},
    "last_finalization_error": None,
    "latest_revision": None,
    "livemode": False,
    "metadata": {},
    "next_payment_attempt": None,
    "number": None,
    "on_behalf_of": None,
    "payment_settings": {
        "default_mandate": None,
        "payment_method_options": None,
        "payment_method_types": None,
    },
    "post_payment_credit_notes_amount": 0,
    "pre_payment_credit_notes_amount": 0,
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "starting_balance": 0,
    "statement_descriptor": None,
    "status": "draft",
    "status_transitions": {
        "finalized_at": None,
        "marked_uncollectible_at": None,
        "paid_at": None,
        "voided_at": None,
    },
    "test_clock": None,
    "total_discount_amounts": [],
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
}


def invoice(
    object_id: str, created: int, customer: Obj, lines: list[Obj], subscription: Obj, **given: Any
) -> Obj:
    """A draft invoice of a subscription, without discounts."""
    subtotal = sum(line["amount"] for line in lines)
    own: Obj = {
        "id": object_id,
        "amount_due": max(subtotal, 0),
        "amount_remaining": max(subtotal, 0),
        "created": created,
        "currency": subscription["currency"],
        "customer": customer["id"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "lines": list_of(lines, f"/v1/invoices/{object_id}/lines"),
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        "period_end": created,
        "period_start": created,
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal,
        "total": subtotal,
        "total_excluding_tax": subtotal,
    }
    return deepcopy(_INVOICE) | own | given


def invoice_payment(object_id: str, created: int, of_invoice: Obj, intent_id: str) -> Obj:
    """The link between an invoice and the payment intent that pays it."""
    return {
        "id": object_id,
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": of_invoice["amount_due"],
        "created": created,
        "currency": of_invoice["currency"],
        "invoice": of_invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent_id, "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }


_PAYMENT_INTENT: Final[Obj] = {
    "object": "payment_intent",
    "amount_capturable": 0,
    "amount_details": {"tip": {}},
    "amount_received": 0,
    "application": None,
    "application_fee_amount": None,
    "automatic_payment_methods": None,
    "canceled_at": None,
    "cancellation_reason": None,
    "capture_method": "automatic",
    "client_secret": None,
    "confirmation_method": "automatic",
    "customer": None,
    "customer_account": None,
    "description": None,
    "excluded_payment_method_types": None,
    "last_payment_error": None,
    "latest_charge": None,
    "livemode": False,
    "managed_payments": {"enabled": False},
    "metadata": {},
    "next_action": None,
    "on_behalf_of": None,
    "payment_method": None,
    "payment_method_configuration_details": None,
    "payment_method_options": {},
    "payment_method_types": ["card", "us_bank_account"],
    "processing": None,
    "receipt_email": None,
    "review": None,
    "setup_future_usage": None,
    "shipping": None,
    "source": None,
    "statement_descriptor": None,
    "statement_descriptor_suffix": None,
    "status": "requires_payment_method",
    "transfer_data": None,
    "transfer_group": None,
}


def payment_intent(object_id: str, created: int, amount: int, currency: str, **given: Any) -> Obj:
    """A payment intent nobody has tried to pay yet."""
    own: Obj = {
        "id": object_id,
        "amount": amount,
        "created": created,
        "currency": currency,
    }
    return deepcopy(_PAYMENT_INTENT) | own | given


def payment_error(decline: Decline, charge_id: str | None) -> Obj:
    """`last_payment_error` of a payment intent."""
    return {
        "charge": charge_id,
        "code": decline.code,
        "decline_code": decline.decline_code,
        "message": decline.message,
        "type": "card_error",
    }


def _method_details(card: Card) -> Obj:
    if card.kind == "us_bank_account":
        return {
            "type": "us_bank_account",
            "us_bank_account": {"bank_name": "Sandbox Bank", "last4": card.last4, "account_type": "checking"},
        }
    return {
        "type": "card",
        "card": {
            "brand": card.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": "US",
            "exp_month": 12,  # a fixed date: the sandbox does not keep the one that was typed
            "exp_year": 2099,
            "fingerprint": f"Sandbox{card.brand}{card.last4}",
            "funding": "credit",
            "last4": card.last4,
            "network": card.brand,
            "three_d_secure": None,
            "wallet": None,
        },
    }


_CHARGE: Final[Obj] = {
    "object": "charge",
    "amount_refunded": 0,
    "application": None,
    "application_fee": None,
    "application_fee_amount": None,
    "balance_transaction": None,
    "calculated_statement_descriptor": "KEYWRIGHT SANDBOX",
    "captured": True,
    "disputed": False,
    "failure_balance_transaction": None,
    "failure_code": None,
    "failure_message": None,
    "fraud_details": {},
    "livemode": False,
    "on_behalf_of": None,
    "outcome": {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "seller_message": "Payment complete.",
        "type": "authorized",
    },
    "paid": True,
    "receipt_email": None,
    "receipt_number": None,
    "receipt_url": None,
    "refunded": False,
    "review": None,
    "shipping": None,
    "source": None,
    "source_transfer": None,
    "statement_descriptor": None,
    "statement_descriptor_suffix": None,
    "status": "succeeded",
    "transfer_data": None,
    "transfer_group": None,
}


def charge(object_id: str, created: int, intent: Obj, card: Card, **given: Any) -> Obj:
    """A charge made for a payment intent; it succeeded unless `given` says otherwise."""
    own: Obj = {
        "id": object_id,
        "amount": intent["amount"],
        "amount_captured": intent["amount"],
        "billing_details": {
            "address": no_address(),
            "email": intent["receipt_email"],
            "name": None,
            "phone": None,
            "tax_id": None,
        },
        "created": created,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "metadata": dict(intent["metadata"]),
        "payment_intent": intent["id"],
        "payment_method": card.payment_method,
        "payment_method_details": _method_details(card),
    }
    return deepcopy(_CHARGE) | own | given


def refund(object_id: str, created: int, of_charge: Obj, amount: int, **given: Any) -> Obj:
    """A refund that succeeded."""
    kind = of_charge["payment_method_details"]["type"]
    return {
        "id": object_id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": of_charge["id"],
        "created": created,
        "currency": of_charge["currency"],
        "destination_details": {kind: {"type": "refund"} if kind == "card" else {}, "type": kind},
        "metadata": {},
        "payment_intent": of_charge["payment_intent"],
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    } | given
