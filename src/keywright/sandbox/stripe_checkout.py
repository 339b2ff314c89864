"""Checkout Sessions: made, paid on the hosted page, settled late, expired.

A session copies nothing: `metadata` stays on the session, `subscription_data[metadata]` goes to the
subscription and `payment_intent_data[metadata]` to the payment intent, each where the caller put it.

Bank debits complete a session `unpaid`. A subscription bought so is `active` while the debit is on its
way, as at Stripe, and `past_due` if it comes back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from keywright.sandbox import stripe_invoices as invoices
from keywright.sandbox import stripe_payments as payments
from keywright.sandbox import stripe_shapes as shapes
from keywright.sandbox import stripe_subscriptions as subscriptions
from keywright.sandbox.cards import AUTHENTICATION_FAILED, DEBIT_FAILED, Card, Decline
from keywright.sandbox.periods import shifted
from keywright.sandbox.stripe_catalog import new_customer
from keywright.sandbox.stripe_errors import StripeRefusal
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import RunningDiscount, StripeState, Waiting


class Buyer(msgspec.Struct, frozen=True):
    """What the buyer typed beside the card."""

    email: str
    name: str | None = None


class PayOutcome(msgspec.Struct, frozen=True):
    """What came of pressing "Pay": `complete`, `declined` (with why) or `authenticate` (3-D Secure)."""

    status: str
    decline: Decline | None = None


def expire(state: StripeState, session: Obj) -> Obj:
    """Close an open session unpaid (`checkout.session.expired`)."""
    if session["status"] != "open":
        raise StripeRefusal(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a '
            f"status of {session['status']}."
        )
    session |= {"status": "expired", "url": None}
    state.emit("checkout.session.expired", session)
    return session


def pay(state: StripeState, session_id: str, card: Card, buyer: Buyer) -> PayOutcome:
    """The buyer presses "Pay" with this card or bank account.

    Raises StripeRefusal when the session is not open any more.
    """
    session = state.get("checkout.session", session_id)
    if session["status"] != "open":
        raise StripeRefusal(f"This Checkout Session is {session['status']}.")
    if session["amount_total"] == 0:
        return _complete(state, session, card, buyer, "no_payment_required")
    intent = _intent(state, session)
    if card.kind == "us_bank_account":
        return _complete(state, session, card, buyer, "unpaid")
    if card.challenge:
        state.terms[session_id].waiting = Waiting(card, buyer.email, buyer.name)
        intent |= {
            "status": "requires_action",
            "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}},
        }
        return PayOutcome("authenticate")
    if card.decline is not None:
        payments.fail(state, intent, card, card.decline)
        return PayOutcome("declined", card.decline)
    return _complete(state, session, card, buyer, "paid")


def authenticate(state: StripeState, session_id: str, *, passed: bool) -> PayOutcome:
    """The buyer's bank answers the 3-D Secure question. Raises StripeRefusal when none was asked."""
    session = state.get("checkout.session", session_id)
    terms = state.terms[session_id]
    waiting = terms.waiting
    if waiting is None or session["status"] != "open":
        raise StripeRefusal("This Checkout Session waits for no authentication.")
    terms.waiting = None
    if not passed:
        payments.fail(state, _intent(state, session), waiting.card, AUTHENTICATION_FAILED)
        return PayOutcome("declined", AUTHENTICATION_FAILED)
    # An authenticated card is set up for later use: its renewals are not challenged again.
    card = msgspec.structs.replace(waiting.card, challenge=False)
    return _complete(state, session, card, Buyer(waiting.email, waiting.name), "paid")


def _intent(state: StripeState, session: Obj) -> Obj:
    """The intent every try of this session shares."""
    terms = state.terms[session["id"]]
    if terms.intent_id is None:
        intent = payments.new_intent(
            state, session["amount_total"], session["currency"], session["customer"], terms.intent_data
        )
        terms.intent_id = intent["id"]
        if session["mode"] == "payment":
            session["payment_intent"] = intent["id"]
    return state.get("payment_intent", terms.intent_id)


def _complete(state: StripeState, session: Obj, card: Card, buyer: Buyer, payment_status: str) -> PayOutcome:
    customer = _customer(state, session, buyer)
    session |= {
        "customer": customer["id"] if customer else None,
        "customer_details": shapes.customer_details(buyer.email, buyer.name),
        "payment_status": payment_status,
        "status": "complete",
        "url": None,
    }
    if customer is not None:
        state.attach(customer, card)
    if session["mode"] == "subscription" and customer is not None:
        _start_subscription(state, session, customer, card, payment_status)
    elif payment_status != "no_payment_required":
        _pay_once(state, session, customer, card, payment_status)
    if payment_status == "unpaid":
        state.terms[session["id"]].waiting = Waiting(card, buyer.email, buyer.name)
    state.emit("checkout.session.completed", session)
    return PayOutcome("complete")


def _customer(state: StripeState, session: Obj, buyer: Buyer) -> Obj | None:
    """The session's customer, a new one where the mode needs one, or None for a guest."""
    if session["customer"]:
        return state.get("customer", session["customer"])
    if session["mode"] == "payment" and session["customer_creation"] != "always":
        return None
    return new_customer(state, email=buyer.email, name=buyer.name)


def _pay_once(
    state: StripeState, session: Obj, customer: Obj | None, card: Card, payment_status: str
) -> None:
    intent = _intent(state, session)
    intent["customer"] = customer["id"] if customer else None
    if payment_status == "unpaid":
        payments.begin_debit(state, intent, card)
        return
    charge = payments.succeed(state, intent, card)
    charge["billing_details"] |= {
        "email": session["customer_details"]["email"],
        "name": session["customer_details"]["name"],
    }


def _start_subscription(
    state: StripeState, session: Obj, customer: Obj, card: Card, payment_status: str
) -> None:
    terms = state.terms[session["id"]]
    trial_days = terms.subscription_data.get("trial_days")
    trial_end = state.now() + trial_days * subscriptions.DAY if trial_days else None
    renewing = [(line["price"], line["quantity"]) for line in terms.lines if line["price"]["recurring"]]
    subscription = subscriptions.start(
        state, customer, renewing, terms.subscription_data, status="active", trial_end=trial_end
    )
    if terms.coupon is not None:
        _run_coupon(state, subscription, terms.coupon)
    lines = invoices.period_lines(subscription, free=bool(trial_end)) + _one_off_lines(
        state, subscription, terms.lines
    )
    invoice = invoices.draft(state, subscription, lines, "subscription_create")
    state.emit("customer.subscription.created", subscription)
    invoices.finalize(state, invoice)
    if payment_status == "unpaid":
        payments.begin_debit(state, invoices.intent_for(state, invoice, _intent(state, session)), card)
    else:
        known = _intent(state, session) if payment_status == "paid" else None
        invoices.collect(state, invoice, known=known)
    session |= {"subscription": subscription["id"], "invoice": invoice["id"]}
    if trial_end:
        subscriptions.announce_trial(state, subscription)


def _one_off_lines(state: StripeState, subscription: Obj, lines: list[Obj]) -> list[Any]:
    """A one-off price beside a subscription is billed once, on the first invoice."""
    first = invoices.period_lines(subscription)[0]
    made = []
    for line in lines:
        price = line["price"]
        if price["recurring"] is None:
            item = first.item | {"id": None, "price": price}
            amount = price["unit_amount"] * line["quantity"]
            made.append(
                msgspec.structs.replace(
                    first,
                    item=item,
                    amount=amount,
                    quantity=line["quantity"],
                    description=line["description"],
                    period=(state.now(), state.now()),
                )
            )
    return made


def _run_coupon(state: StripeState, subscription: Obj, coupon: Obj) -> None:
    months = coupon["duration_in_months"] if coupon["duration"] == "repeating" else None
    until = shifted(state.now(), "month", months) if months else None
    running = RunningDiscount(state.ids.new("di"), coupon, until)
    state.discounts[subscription["id"]] = running
    subscription["discounts"] = [running.id]


def settle(state: StripeState, session_id: str, *, succeeded: bool) -> Obj:
    """The bank debit behind a completed session arrives, or comes back.

    Raises StripeRefusal when no debit is on its way.
    """
    session = state.get("checkout.session", session_id)
    terms = state.terms[session_id]
    if terms.waiting is None or session["status"] != "complete" or terms.intent_id is None:
        raise StripeRefusal("No delayed payment is on its way for this Checkout Session.")
    card, terms.waiting = terms.waiting.card, None
    intent = state.get("payment_intent", terms.intent_id)
    invoice = state.find("invoice", session["invoice"])
    if succeeded:
        payments.succeed(state, intent, card)
        if invoice is not None:
            invoices.mark_paid(state, invoice)
        session["payment_status"] = "paid"
        state.emit("checkout.session.async_payment_succeeded", session)
        return session
    payments.fail(state, intent, card, DEBIT_FAILED)
    if invoice is not None:
        _debit_returned(state, session, invoice)
    state.emit("checkout.session.async_payment_failed", session)
    return session


def _debit_returned(state: StripeState, session: Obj, invoice: Obj) -> None:
    invoice |= {"attempt_count": invoice["attempt_count"] + 1, "attempted": True}
    state.emit("invoice.payment_failed", invoice)
    subscription = state.get("subscription", session["subscription"])
    if subscription["status"] == "active":
        subscriptions.set_status(state, subscription, "past_due")


def bank_account(state: StripeState) -> Card:
    """The one bank account the sandbox knows."""
    return Card(payment_method=state.ids.new("pm"), kind="us_bank_account", brand="bank", last4="6789")
