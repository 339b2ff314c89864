"""Builds Stripe events in today's API shape, and signs them."""

from __future__ import annotations

import hashlib
import hmac
import itertools
from datetime import datetime
from typing import Any

import msgspec

API = "2026-10-28.endive"
DAY = 86400
_numbers = itertools.count(1)

Json = dict[str, Any]


def stamp(moment: datetime) -> int:
    return int(moment.timestamp())


def event(kind: str, obj: Json, at: datetime, *, id_: str | None = None, live: bool = False) -> Json:
    return {
        "id": id_ or f"evt_{next(_numbers):08d}",
        "object": "event",
        "api_version": API,
        "type": kind,
        "created": stamp(at),
        "livemode": live,
        "data": {"object": obj},
        "request": {"id": None, "idempotency_key": None},
        "pending_webhooks": 1,
    }


def subscription(
    sub: str,
    start: datetime,
    end: datetime,
    *,
    price: str = "price_pro",
    quantity: int = 1,
    status: str = "active",
    customer: str = "cus_1",
    reference: str | None = None,
    **more: Any,
) -> Json:
    return {
        "id": sub,
        "object": "subscription",
        "status": status,
        "customer": customer,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "ended_at": None,
        "metadata": {"keywright_reference": reference} if reference else {},
        "items": {
            "object": "list",
            "has_more": False,
            "data": [
                {
                    "id": f"si_{sub}",
                    "object": "subscription_item",
                    "price": {"id": price, "object": "price"},
                    "quantity": quantity,
                    "current_period_start": stamp(start),
                    "current_period_end": stamp(end),
                }
            ],
        },
        **more,
    }


def invoice(
    id_: str,
    sub: str,
    start: datetime,
    end: datetime,
    *,
    price: str = "price_pro",
    quantity: int = 1,
    amount: int = 5000,
    customer: str = "cus_1",
    email: str | None = "buyer@example.com",
    reference: str | None = None,
    proration: bool = False,
    **more: Any,
) -> Json:
    return {
        "id": id_,
        "object": "invoice",
        "status": "paid",
        "customer": customer,
        "customer_email": email,
        "currency": "usd",
        "amount_paid": amount,
        "amount_due": amount,
        "total": amount,
        "billing_reason": "subscription_cycle",
        "attempt_count": 1,
        "next_payment_attempt": None,
        "parent": {
            "type": "subscription_details",
            "subscription_details": {
                "subscription": sub,
                "metadata": {"keywright_reference": reference} if reference else {},
            },
        },
        "lines": {
            "object": "list",
            "has_more": False,
            "data": [
                {
                    "id": f"il_{id_}",
                    "object": "line_item",
                    "amount": amount,
                    "quantity": quantity,
                    "period": {"start": stamp(start), "end": stamp(end)},
                    "pricing": {"type": "price_details", "price_details": {"price": price}},
                    "parent": {
                        "type": "subscription_item_details",
                        "subscription_item_details": {"subscription": sub, "proration": proration},
                    },
                }
            ],
        },
        **more,
    }


def session(
    id_: str,
    *,
    mode: str = "payment",
    payment_status: str = "paid",
    reference: str | None = None,
    intent: str | None = "pi_1",
    sub: str | None = None,
    customer: str | None = "cus_1",
    email: str | None = "buyer@example.com",
    amount: int = 19900,
    **more: Any,
) -> Json:
    return {
        "id": id_,
        "object": "checkout.session",
        "mode": mode,
        "status": "complete",
        "payment_status": payment_status,
        "client_reference_id": reference,
        "metadata": {"keywright_reference": reference} if reference else {},
        "payment_intent": intent if mode == "payment" else None,
        "subscription": sub,
        "invoice": None,
        "customer": customer,
        "customer_details": {"email": email, "name": "A Buyer"},
        "amount_total": amount,
        "currency": "usd",
        **more,
    }


def refund(charge: str, intent: str, *, amount: int = 5000, refunded: int | None = None) -> Json:
    back = amount if refunded is None else refunded
    return {
        "id": charge,
        "object": "charge",
        "payment_intent": intent,
        "amount": amount,
        "amount_refunded": back,
        "refunded": back == amount,
        "currency": "usd",
        "metadata": {},
    }


def invoice_payment(invoice_id: str, intent: str) -> Json:
    return {
        "id": f"inpay_{invoice_id}",
        "object": "invoice_payment",
        "invoice": invoice_id,
        "status": "paid",
        "payment": {"type": "payment_intent", "payment_intent": intent},
    }


def encoded(made: Json) -> bytes:
    return msgspec.json.encode(made)


def signed(raw: bytes, secret: str, at: datetime) -> dict[str, str]:
    """The signature header of a delivery."""
    moment = str(stamp(at))
    digest = hmac.new(secret.encode(), moment.encode() + b"." + raw, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={moment},v1={digest}"}
