"""Paystack's objects, with the members its API and its webhooks show."""

from __future__ import annotations

from typing import Any

from keywright.sandbox.paystack_state import Obj, PaystackState, iso

INTERVALS = {
    "hourly": ("hour", 1),
    "daily": ("day", 1),
    "weekly": ("week", 1),
    "monthly": ("month", 1),
    "quarterly": ("month", 3),
    "biannually": ("month", 6),
    "annually": ("year", 1),
}


def new_customer(state: PaystackState, email: str) -> Obj:
    """A customer. Paystack knows people by address: one for each."""
    found = next((one for one in state.every("customer") if one["email"] == email), None)
    if found is not None:
        return found
    code = state.code("CUS")
    return state.add(
        "customer",
        code,
        {
            "id": state.number(),
            "first_name": None,
            "last_name": None,
            "email": email,
            "customer_code": code,
            "phone": None,
            "metadata": None,
            "risk_action": "default",
            "international_format_phone": None,
        },
    )


def new_plan(state: PaystackState, name: str, amount: int, currency: str, interval: str) -> Obj:
    """A plan; amount in hundredths."""
    code = state.code("PLN")
    return state.add(
        "plan",
        code,
        {
            "id": state.number(),
            "name": name,
            "plan_code": code,
            "description": None,
            "amount": amount,
            "interval": interval,
            "send_invoices": True,
            "send_sms": True,
            "hosted_page": False,
            "currency": currency,
            "domain": "test",
            "integration": state.integration,
            "createdAt": state.stamp(),
            "updatedAt": state.stamp(),
        },
    )


def authorization(state: PaystackState) -> Obj:
    """The card a payment was made with, as Paystack shows it: what charges it again, and four digits."""
    return {
        "authorization_code": state.code("AUTH")[:15],
        "bin": "408408",
        "last4": "4081",
        "exp_month": "12",
        "exp_year": "2030",
        "channel": "card",
        "card_type": "visa ",
        "bank": "TEST BANK",
        "country_code": "NG",
        "brand": "visa",
        "reusable": True,
        "signature": f"SIG_{state.code()}",
        "account_name": None,
    }


def new_transaction(
    state: PaystackState, reference: str, amount: int, currency: str, customer: Obj, metadata: Any
) -> Obj:
    """A transaction on which nobody has paid yet."""
    return state.add(
        "transaction",
        reference,
        {
            "id": state.number(),
            "domain": "test",
            "status": "abandoned",
            "reference": reference,
            "receipt_number": None,
            "amount": amount,
            "message": None,
            "gateway_response": "The transaction was not completed",
            "paid_at": None,
            "created_at": state.stamp(),
            "channel": "card",
            "currency": currency,
            "ip_address": "127.0.0.1",
            "metadata": metadata,
            "log": None,
            "fees": None,
            "fees_split": None,
            "authorization": {},
            "customer": customer,
            "plan": None,
            "split": {},
            "order_id": None,
            "paidAt": None,
            "createdAt": state.stamp(),
            "requested_amount": amount,
            "pos_transaction_data": None,
            "source": None,
            "fees_breakdown": None,
            "connect": None,
            "integration": state.integration,
            "subaccount": {},
        },
    )


def shown_plan(plan: Obj) -> Obj:
    """A plan as it stands inside other objects."""
    wanted = ("id", "name", "plan_code", "description", "amount", "interval", "send_invoices", "send_sms")
    return {name: plan[name] for name in (*wanted, "currency")}


def verified(state: PaystackState, transaction: Obj) -> Obj:
    """A transaction as it is verified: the plan by its code, and as `plan_object`."""
    code = transaction["plan"]
    plan = shown_plan(state.get("plan", code)) if code else {}
    return {**transaction, "plan_object": plan, "transaction_date": transaction["created_at"]}


def listed(state: PaystackState, transaction: Obj) -> Obj:
    """A transaction as it is listed and as events tell of it: the plan whole, or `{}`."""
    code = transaction["plan"]
    return {**transaction, "plan": shown_plan(state.get("plan", code)) if code else {}}


def new_subscription(state: PaystackState, transaction: Obj, plan: Obj, next_at: int) -> Obj:
    """The subscription that a plan's first payment begins."""
    code = state.code("SUB")
    state.email_tokens[code] = state.code()
    return state.add(
        "subscription",
        code,
        {
            "id": state.number(),
            "domain": "test",
            "status": "active",
            "start": state.now(),
            "quantity": 1,
            "subscription_code": code,
            "email_token": state.email_tokens[code],
            "amount": plan["amount"],
            "cron_expression": "0 0 28 * *",
            "easy_cron_id": None,
            "next_payment_date": iso(next_at),
            "open_invoice": None,
            "invoice_limit": 0,
            "payments_count": 1,
            "integration": state.integration,
            "plan": shown_plan(plan),
            "authorization": transaction["authorization"],
            "customer": transaction["customer"],
            "invoices": [],
            "most_recent_invoice": None,
            "createdAt": state.stamp(),
            "updatedAt": state.stamp(),
        },
    )


def announced(subscription: Obj) -> Obj:
    """A subscription as its events tell of it."""
    left_out = {"updatedAt", "easy_cron_id", "start", "quantity", "payments_count"}
    told = {name: value for name, value in subscription.items() if name not in left_out}
    return {**told, "created_at": subscription["createdAt"]}


def new_invoice(state: PaystackState, subscription: Obj) -> Obj:
    """The invoice of a renewal that is about to be collected."""
    code = state.code("INV")
    return state.add(
        "invoice",
        code,
        {
            "domain": "test",
            "invoice_code": code,
            "amount": subscription["amount"],
            "period_start": state.stamp(),
            "period_end": iso(state.now() - 1),  # before its start, as Paystack's own samples have it
            "status": "pending",
            "paid": False,
            "paid_at": None,
            "description": None,
            "created_at": state.stamp(),
            "of": subscription["subscription_code"],
        },
    )


def told_invoice(subscription: Obj, invoice: Obj, transaction: Obj | None) -> Obj:
    """An invoice as its events tell of it, with the subscription and the payment."""
    members = ("status", "subscription_code", "email_token", "amount", "cron_expression")
    inside = {name: subscription[name] for name in (*members, "next_payment_date", "open_invoice")}
    paid: Obj = {}
    if transaction is not None:
        paid = {name: transaction[name] for name in ("reference", "status", "amount", "currency")}
    return {
        **{name: value for name, value in invoice.items() if name != "of"},
        "authorization": subscription["authorization"],
        "subscription": inside,
        "customer": subscription["customer"],
        "transaction": paid,
    }


def new_refund(state: PaystackState, transaction: Obj, amount: int, notes: tuple[str, str]) -> Obj:
    """A refund that waits to be processed."""
    id_ = state.number()
    return state.add(
        "refund",
        id_,
        {
            "id": id_,
            "integration": state.integration,
            "domain": "test",
            "transaction": transaction["id"],
            "dispute": None,
            "amount": amount,
            "deducted_amount": 0,
            "currency": transaction["currency"],
            "channel": None,
            "fully_deducted": False,
            "refunded_by": "sandbox@example.com",
            "refunded_at": None,
            "expected_at": iso(state.now() + 10 * 86_400),
            "settlement": None,
            "customer_note": notes[0],
            "merchant_note": notes[1],
            "status": "pending",
            "createdAt": state.stamp(),
            "updatedAt": state.stamp(),
        },
    )


def told_refund(transaction: Obj, refund: Obj) -> Obj:
    """A refund as its events tell of it: with no number, and the amount as text."""
    email = transaction["customer"]["email"]
    done = refund["status"] == "processed"
    return {
        "status": refund["status"],
        "transaction_reference": transaction["reference"],
        "refund_reference": str(refund["id"])[::-1] if done else None,
        "amount": str(refund["amount"]),
        "currency": refund["currency"],
        "processor": "instant-transfer",
        "customer": {"first_name": None, "last_name": None, "email": email},
        "integration": refund["integration"],
        "domain": "test",
    }


def new_dispute(state: PaystackState, transaction: Obj) -> Obj:
    """A chargeback that waits for the seller's answer."""
    id_ = state.number()
    return state.add(
        "dispute",
        id_,
        {
            "id": id_,
            "refund_amount": transaction["amount"],
            "currency": transaction["currency"],
            "status": "awaiting-merchant-feedback",
            "resolution": None,
            "domain": "test",
            "transaction": listed(state, transaction),
            "transaction_reference": None,
            "category": "chargeback",
            "customer": transaction["customer"],
            "bin": "408408",
            "last4": "4081",
            "dueAt": iso(state.now() + 2 * 86_400),
            "resolvedAt": None,
            "evidence": None,
            "attachments": None,
            "note": None,
            "history": [{"status": "pending", "by": "sandbox@example.com", "createdAt": state.stamp()}],
            "messages": [],
            "createdAt": state.stamp(),
            "updatedAt": state.stamp(),
        },
    )


def told_dispute(dispute: Obj) -> Obj:
    """A dispute as its events tell of it."""
    told = {name: value for name, value in dispute.items() if name not in ("createdAt", "updatedAt")}
    return {**told, "created_at": dispute["createdAt"], "updated_at": dispute["updatedAt"]}
