"""Invoices of subscriptions: drafted, finalized, paid, or failed and tried again."""

from __future__ import annotations

from copy import deepcopy

import msgspec

from keywright.sandbox import stripe_billing_shapes as shapes
from keywright.sandbox import stripe_connect as connect
from keywright.sandbox import stripe_payments as payments
from keywright.sandbox.cards import GENERIC_DECLINE, Card, Decline
from keywright.sandbox.stripe_errors import StripeRefusal
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import PendingLine, StripeState

DAY = 86_400
# Stripe leaves a renewal invoice in draft for about an hour before it collects.
DRAFT_SECONDS = 3_600
# Waits between tries; after the last one the dunning ends as the account is set (state.dunning_end).
RETRY_WAITS = (3 * DAY, 5 * DAY, 7 * DAY)


def period_lines(subscription: Obj, *, free: bool = False) -> list[PendingLine]:
    """The lines for the items' current periods; free ones for a trial."""
    return [
        PendingLine(
            item=item,
            amount=0 if free else item["price"]["unit_amount"] * item["quantity"],
            quantity=item["quantity"],
            description="Trial period" if free else f"{item['quantity']} x {item['price']['id']}",
            period=(item["current_period_start"], item["current_period_end"]),
        )
        for item in subscription["items"]["data"]
    ]


def built(
    state: StripeState, subscription: Obj, lines: list[PendingLine], reason: str, *, invoice_id: str
) -> Obj:
    """An invoice object with its discount worked out; it is kept nowhere yet."""
    customer = state.get("customer", subscription["customer"])
    made = [
        shapes.line_item(
            state.ids.new("il"),
            invoice_id,
            line.item,
            amount=line.amount,
            quantity=line.quantity,
            description=line.description,
            period=line.period,
            proration=line.proration,
        )
        for line in lines
    ]
    invoice = shapes.invoice(invoice_id, state.now(), customer, made, subscription, billing_reason=reason)
    _discount(state, subscription, invoice)
    return invoice


def _discount(state: StripeState, subscription: Obj, invoice: Obj) -> None:
    running = state.discounts.get(subscription["id"])
    if running is None or (running.until is not None and running.until <= state.now()):
        return
    if running.coupon["duration"] == "once" and running.used:
        return
    off = coupon_amount(running.coupon, max(invoice["subtotal"], 0))
    total = invoice["subtotal"] - off
    invoice |= {
        "amount_due": max(total, 0),
        "amount_remaining": max(total, 0),
        "discounts": [running.id],
        "total": total,
        "total_discount_amounts": [{"amount": off, "discount": running.id}],
        "total_excluding_tax": total,
    }
    _spread_discount(invoice, running.id, off)


def _spread_discount(invoice: Obj, discount_id: str, off: int) -> None:
    for line in invoice["lines"]["data"]:
        share = min(off, max(line["amount"], 0))
        line["discounts"] = [discount_id]
        line["discount_amounts"] = [{"amount": share, "discount": discount_id}]
        off -= share


def coupon_amount(coupon: Obj, subtotal: int) -> int:
    """What a coupon takes off a subtotal, in minor units, never more than all of it."""
    if coupon["percent_off"] is not None:
        return min(subtotal, round(subtotal * float(coupon["percent_off"]) / 100))
    return int(min(subtotal, coupon["amount_off"] or 0))


def draft(
    state: StripeState,
    subscription: Obj,
    lines: list[PendingLine],
    reason: str,
    *,
    window: tuple[int, int] | None = None,
) -> Obj:
    """Make an invoice in draft (`invoice.created`); prorations that waited for it go on top.

    `window` is the invoicing window (unix seconds); without one it is this moment.
    """
    waiting = state.pending_lines.pop(subscription["id"], [])
    invoice = built(state, subscription, [*waiting, *lines], reason, invoice_id=state.ids.new("in"))
    if window is not None:
        invoice |= {"period_start": window[0], "period_end": window[1]}
    if invoice["discounts"]:
        running = state.discounts[subscription["id"]]
        state.discounts[subscription["id"]] = msgspec.structs.replace(running, used=True)
    state.add(invoice)
    subscription["latest_invoice"] = invoice["id"]
    state.emit("invoice.created", invoice)
    return invoice


def finalize(state: StripeState, invoice: Obj) -> None:
    """Draft to open (`invoice.finalized`), with a number and, when something is due, a payment intent."""
    customer = state.get("customer", invoice["customer"])
    sequence = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] = sequence + 1
    invoice |= {
        "effective_at": state.now(),
        "hosted_invoice_url": f"{state.base_url}/i/{invoice['id']}",
        "number": f"{customer['invoice_prefix']}-{sequence:04d}",
        "status": "open",
        "automatically_finalizes_at": None,
    }
    invoice["status_transitions"]["finalized_at"] = state.now()
    state.emit("invoice.finalized", invoice)


def intent_for(state: StripeState, invoice: Obj, known: Obj | None = None) -> Obj:
    """The invoice's payment intent, made on first use; `known` is one a Checkout Session already tried."""
    for payment in payments_of(state, invoice["id"]):
        return state.get("payment_intent", payment["payment"]["payment_intent"])
    intent = known or payments.new_intent(
        state, invoice["amount_due"], invoice["currency"], invoice["customer"], {}
    )
    intent["customer"] = invoice["customer"]
    owner = state.find("subscription", invoice["parent"]["subscription_details"]["subscription"])
    if owner is not None:
        fee = connect.part_of(intent["amount"], owner["application_fee_percent"])
        intent["application_fee_amount"] = fee
    state.add(shapes.invoice_payment(state.ids.new("inpay"), state.now(), invoice, intent["id"]))
    return intent


def payments_of(state: StripeState, invoice_id: str) -> list[Obj]:
    """The invoice's payments, oldest first."""
    return state.owned("invoice_payment", invoice_id)


def collect(state: StripeState, invoice: Obj, *, known: Obj | None = None) -> Decline | None:
    """Try to collect an open invoice from the customer's card. Returns why it was refused, if it was."""
    if invoice["amount_due"] == 0:
        mark_paid(state, invoice)
        return None
    card = state.cards.get(invoice["customer"])
    intent = intent_for(state, invoice, known)
    if card is not None and card.decline is None:
        payments.succeed(state, intent, card)
        mark_paid(state, invoice)
        return None
    decline = (card.decline if card else None) or GENERIC_DECLINE
    payments.fail(state, intent, card or Card(payment_method="pm_none"), decline)
    _record_failure(state, invoice)
    return decline


def mark_paid(state: StripeState, invoice: Obj) -> None:
    """`invoice_payment.paid` when money moved, then `invoice.paid` and `invoice.payment_succeeded`."""
    for payment in payments_of(state, invoice["id"]):
        payment |= {"amount_paid": payment["amount_requested"], "status": "paid"}
        payment["status_transitions"]["paid_at"] = state.now()
        state.emit("invoice_payment.paid", payment)
    invoice |= {
        "amount_paid": invoice["amount_due"],
        "amount_remaining": 0,
        "attempted": True,
        "attempt_count": invoice["attempt_count"] + (1 if invoice["amount_due"] else 0),
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
    }
    invoice["status_transitions"]["paid_at"] = state.now()
    _set_delinquent(state, invoice["customer"], delinquent=False)
    state.emit("invoice.paid", invoice)
    state.emit("invoice.payment_succeeded", invoice)


def _record_failure(state: StripeState, invoice: Obj) -> None:
    tries = invoice["attempt_count"] + 1
    # The first payment of a subscription made by API is not retried: the buyer has to act.
    retried = invoice["billing_reason"] != "subscription_create" and tries <= len(RETRY_WAITS)
    next_at = state.now() + RETRY_WAITS[tries - 1] if retried else None
    invoice |= {"attempt_count": tries, "attempted": True, "next_payment_attempt": next_at}
    if next_at is not None:
        state.schedule(next_at, "invoice_retry", invoice["id"])
    _set_delinquent(state, invoice["customer"], delinquent=True)
    state.emit("invoice.payment_failed", invoice)


def _set_delinquent(state: StripeState, customer_id: str, *, delinquent: bool) -> None:
    customer = state.get("customer", customer_id)
    before = deepcopy(customer)
    customer["delinquent"] = delinquent
    state.update("customer.updated", customer, before)


def close_unpaid(state: StripeState, subscription_id: str) -> None:
    """A subscription ended: its open invoices are not tried again, its drafts stay drafts."""
    for invoice in state.every("invoice"):
        owner = invoice["parent"]["subscription_details"]["subscription"]
        if owner == subscription_id and invoice["status"] in {"open", "draft"}:
            invoice |= {"auto_advance": False, "next_payment_attempt": None}


def give_up(state: StripeState, invoice: Obj, how: str) -> Obj:
    """`void` an open invoice, or mark it `uncollectible`. Raises StripeRefusal when it is not open."""
    if invoice["status"] == "draft":
        finalize(state, invoice)
    if invoice["status"] not in {"open", "uncollectible"}:
        raise StripeRefusal(f"This invoice is {invoice['status']}.")
    status, moment, kind = {
        "void": ("void", "voided_at", "invoice.voided"),
        "uncollectible": ("uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible"),
    }[how]
    invoice |= {"status": status, "auto_advance": False, "next_payment_attempt": None}
    invoice["status_transitions"][moment] = state.now()
    state.emit(kind, invoice)
    return invoice


def open_invoice(state: StripeState, invoice_id: str) -> Obj:
    """The invoice, if it can be paid; raises StripeRefusal when it is a draft or already settled."""
    invoice = state.get("invoice", invoice_id)
    if invoice["status"] == "draft":
        finalize(state, invoice)
    if invoice["status"] != "open":
        raise StripeRefusal("Invoice is already paid" if invoice["status"] == "paid" else "Invoice is closed")
    return invoice
