"""Make an event happen by name, the way it really happens: with everything that leads to it.

A recipe drives the same state machine as the API and the pay page, so each event comes with its whole
chain and with objects that can be asked for afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from keywright.sandbox import stripe_agenda as agenda
from keywright.sandbox import stripe_catalog as catalog
from keywright.sandbox import stripe_checkout as checkout
from keywright.sandbox import stripe_disputes as disputes
from keywright.sandbox import stripe_invoices as invoices
from keywright.sandbox import stripe_payments as payments
from keywright.sandbox import stripe_pending_updates as pending_updates
from keywright.sandbox import stripe_sessions as sessions
from keywright.sandbox import stripe_subscriptions as subscriptions
from keywright.sandbox.cards import GENERIC_DECLINE, Card
from keywright.sandbox.stripe_errors import StripeRefusal
from keywright.sandbox.stripe_forms import Params
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState


class TriggerWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to trigger, and with what: a price already made (else a new one), quantity, buyer, metadata."""

    event: str
    price: str | None = None
    quantity: int = 1
    email: str = "buyer@example.com"
    metadata: dict[str, str] = {}


def trigger(state: StripeState, wish: TriggerWish, elsewhere: Iterable[str] = ()) -> None:
    """Live through the recipe of an event. Raises StripeRefusal for an event there is no recipe for.

    `elsewhere`: what the other providers have recipes for, to be named with ours.
    """
    recipe = RECIPES.get(wish.event)
    if recipe is None:
        names = ", ".join((*sorted(RECIPES), *sorted(elsewhere)))
        raise StripeRefusal(f"No recipe for {wish.event[:80]}; there is one for: {names}.")
    recipe(state, wish)


def _session(state: StripeState, wish: TriggerWish, *, mode: str, trial_days: int | None = None) -> Obj:
    price_id = wish.price
    if price_id is None:
        terms: Params = {
            "currency": "usd",
            "unit_amount": "2000",
            "product_data": {"name": "Triggered product"},
        }
        if mode == "subscription":
            terms["recurring"] = {"interval": "month"}
        price_id = catalog.create_price(state, terms)["id"]
    data: Params = {"metadata": wish.metadata}
    if trial_days:
        data["trial_period_days"] = str(trial_days)
    params: Params = {
        "mode": mode,
        "success_url": "https://example.com/thanks",
        "line_items": [{"price": price_id, "quantity": str(wish.quantity)}],
        "metadata": wish.metadata,
        "subscription_data" if mode == "subscription" else "payment_intent_data": data,
    }
    return sessions.create(state, params)


def _pay(state: StripeState, session: Obj, wish: TriggerWish, card: Card | None = None) -> Obj:
    paying = card or Card(payment_method=state.ids.new("pm"))
    checkout.pay(state, session["id"], paying, checkout.Buyer(wish.email, "Trigger Buyer"))
    return session


def _one_off(state: StripeState, wish: TriggerWish) -> Obj:
    return _pay(state, _session(state, wish, mode="payment"), wish)


def _subscribe(state: StripeState, wish: TriggerWish, *, trial_days: int | None = None) -> Obj:
    session = _pay(state, _session(state, wish, mode="subscription", trial_days=trial_days), wish)
    return state.get("subscription", session["subscription"])


def _declined(state: StripeState, wish: TriggerWish) -> Obj:
    card = Card(payment_method=state.ids.new("pm"), last4="0002", decline=GENERIC_DECLINE)
    return _pay(state, _session(state, wish, mode="payment"), wish, card)


def _debit(state: StripeState, wish: TriggerWish, *, succeeded: bool) -> Obj:
    session = _pay(state, _session(state, wish, mode="payment"), wish, checkout.bank_account(state))
    return checkout.settle(state, session["id"], succeeded=succeeded)


def _expired(state: StripeState, wish: TriggerWish) -> Obj:
    return checkout.expire(state, _session(state, wish, mode="payment"))


def _more_seats(state: StripeState, wish: TriggerWish, *, declines: bool = False) -> Obj:
    subscription = _subscribe(state, wish)
    if declines:
        state.set_card_behavior(subscription["customer"], GENERIC_DECLINE)
    item = subscription["items"]["data"][0]
    change = {"id": item["id"], "quantity": str(item["quantity"] + 1)}
    # Invoiced at once, for a failing card fails now and not at the next renewal.
    behavior = "always_invoice" if declines else "create_prorations"
    params: Params = {"items": [change], "proration_behavior": behavior}
    return subscriptions.update(state, subscription["id"], params)


def _end(state: StripeState, wish: TriggerWish) -> Obj:
    return subscriptions.cancel(state, _subscribe(state, wish))


def _pause(state: StripeState, wish: TriggerWish) -> Obj:
    return subscriptions.pause(state, _subscribe(state, wish)["id"])


def _resume(state: StripeState, wish: TriggerWish) -> Obj:
    return subscriptions.resume(state, _pause(state, wish)["id"], {})


def _refund(state: StripeState, wish: TriggerWish) -> Obj:
    session = _one_off(state, wish)
    return payments.create_refund(state, {"payment_intent": session["payment_intent"]})


def _failed_refund(state: StripeState, wish: TriggerWish) -> Obj:
    return payments.fail_refund(state, _refund(state, wish)["id"])


def _contested(state: StripeState, wish: TriggerWish, *, inquiry: bool = False) -> Obj:
    charge_id = disputes.charge_of(state, _one_off(state, wish)["payment_intent"])
    return disputes.open_dispute(state, charge_id, inquiry=inquiry)


def _decided(state: StripeState, wish: TriggerWish, outcome: str) -> Obj:
    opened = _contested(state, wish, inquiry=outcome == "warning_closed")
    return disputes.close(state, opened["id"], outcome)


def _suspected(state: StripeState, wish: TriggerWish) -> Obj:
    return disputes.warn_of_fraud(state, disputes.charge_of(state, _one_off(state, wish)["payment_intent"]))


def _partly_refunded(state: StripeState, wish: TriggerWish) -> Obj:
    intent = _one_off(state, wish)["payment_intent"]
    half = state.get("payment_intent", intent)["amount"] // 2
    return payments.create_refund(state, {"payment_intent": intent, "amount": str(half)})


def _pending_update(state: StripeState, wish: TriggerWish, *, paid: bool) -> Obj:
    subscription = _subscribe(state, wish)
    state.set_card_behavior(subscription["customer"], GENERIC_DECLINE)
    item = subscription["items"]["data"][0]
    params: Params = {
        "items": [{"id": item["id"], "quantity": str(item["quantity"] + 1)}],
        "proration_behavior": "always_invoice",
        "payment_behavior": "pending_if_incomplete",
    }
    subscriptions.update(state, subscription["id"], params)
    if paid:
        state.set_card_behavior(subscription["customer"], None)
        agenda.settle(state, invoices.open_invoice(state, subscription["latest_invoice"]))
    else:
        with state.at(subscription["pending_update"]["expires_at"]):
            pending_updates.expire(state, subscription["id"])
    return subscription


def _not_collected(state: StripeState, wish: TriggerWish, how: str) -> Obj:
    subscription = _more_seats(state, wish, declines=True)
    return invoices.give_up(state, invoices.open_invoice(state, subscription["latest_invoice"]), how)


def _collection_paused(state: StripeState, wish: TriggerWish) -> Obj:
    subscription = _subscribe(state, wish)
    params: Params = {"pause_collection": {"behavior": "void"}}
    return subscriptions.update(state, subscription["id"], params)


def _customer_deleted(state: StripeState, wish: TriggerWish) -> Obj:
    return subscriptions.delete_customer(state, _subscribe(state, wish)["customer"])


def _customer_updated(state: StripeState, wish: TriggerWish) -> Obj:
    customer = _customer(state, wish)
    return catalog.update_customer(state, customer["id"], {"email": f"new.{wish.email}"})


def _customer(state: StripeState, wish: TriggerWish) -> Obj:
    return catalog.new_customer(state, email=wish.email, metadata=dict(wish.metadata))


Recipe = Callable[[StripeState, TriggerWish], Obj]

RECIPES: dict[str, Recipe] = {
    "charge.dispute.closed": lambda state, wish: _decided(state, wish, "lost"),
    "charge.dispute.closed.inquiry": lambda state, wish: _decided(state, wish, "warning_closed"),
    "charge.dispute.closed.won": lambda state, wish: _decided(state, wish, "won"),
    "charge.dispute.created": _contested,
    "charge.dispute.created.inquiry": lambda state, wish: _contested(state, wish, inquiry=True),
    "charge.dispute.funds_reinstated": lambda state, wish: _decided(state, wish, "won"),
    "charge.dispute.funds_withdrawn": _contested,
    "charge.dispute.updated": lambda state, wish: disputes.move(
        state, _contested(state, wish)["id"], "under_review"
    ),
    "charge.refunded": _refund,
    "charge.refunded.partial": _partly_refunded,
    "charge.succeeded": _one_off,
    "checkout.session.async_payment_failed": lambda state, wish: _debit(state, wish, succeeded=False),
    "checkout.session.async_payment_succeeded": lambda state, wish: _debit(state, wish, succeeded=True),
    "checkout.session.completed": _one_off,
    "checkout.session.expired": _expired,
    "customer.created": _customer,
    "customer.deleted": _customer_deleted,
    "customer.subscription.created": _subscribe,
    "customer.subscription.deleted": _end,
    "customer.subscription.paused": _pause,
    "customer.subscription.pending_update_applied": lambda state, wish: _pending_update(
        state, wish, paid=True
    ),
    "customer.subscription.pending_update_expired": lambda state, wish: _pending_update(
        state, wish, paid=False
    ),
    "customer.subscription.resumed": _resume,
    "customer.subscription.trial_will_end": lambda state, wish: _subscribe(state, wish, trial_days=2),
    "customer.subscription.updated": _more_seats,
    "customer.subscription.updated.pause_collection": _collection_paused,
    "customer.updated": _customer_updated,
    "invoice.created": _subscribe,
    "invoice.finalized": _subscribe,
    "invoice.marked_uncollectible": lambda state, wish: _not_collected(state, wish, "uncollectible"),
    "invoice.paid": _subscribe,
    "invoice.payment_failed": lambda state, wish: _more_seats(state, wish, declines=True),
    "invoice.payment_succeeded": _subscribe,
    "invoice.voided": lambda state, wish: _not_collected(state, wish, "void"),
    "invoice_payment.paid": _subscribe,
    "payment_intent.payment_failed": _declined,
    "payment_intent.processing": lambda state, wish: _debit(state, wish, succeeded=True),
    "payment_intent.succeeded": _one_off,
    "radar.early_fraud_warning.created": _suspected,
    "refund.created": _refund,
    "refund.failed": _failed_refund,
    "refund.updated": _refund,
}
