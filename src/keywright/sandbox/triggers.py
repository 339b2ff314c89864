"""Make an event happen by name, the way it really happens: with everything that leads to it.

A recipe drives the same state machine as the API and the pay page, so each event comes with its whole
chain and with objects that can be asked for afterwards.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from keywright.sandbox import stripe_catalog as catalog
from keywright.sandbox import stripe_checkout as checkout
from keywright.sandbox import stripe_payments as payments
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


def trigger(state: StripeState, wish: TriggerWish) -> None:
    """Live through the recipe of an event. Raises StripeRefusal for an event there is no recipe for."""
    recipe = RECIPES.get(wish.event)
    if recipe is None:
        raise StripeRefusal(
            f"No recipe for {wish.event[:80]}; there is one for: {', '.join(sorted(RECIPES))}."
        )
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


def _customer(state: StripeState, wish: TriggerWish) -> Obj:
    return catalog.new_customer(state, email=wish.email, metadata=dict(wish.metadata))


Recipe = Callable[[StripeState, TriggerWish], Obj]

RECIPES: dict[str, Recipe] = {
    "charge.refunded": _refund,
    "charge.succeeded": _one_off,
    "checkout.session.async_payment_failed": lambda state, wish: _debit(state, wish, succeeded=False),
    "checkout.session.async_payment_succeeded": lambda state, wish: _debit(state, wish, succeeded=True),
    "checkout.session.completed": _one_off,
    "checkout.session.expired": _expired,
    "customer.created": _customer,
    "customer.subscription.created": _subscribe,
    "customer.subscription.deleted": _end,
    "customer.subscription.paused": _pause,
    "customer.subscription.resumed": _resume,
    "customer.subscription.trial_will_end": lambda state, wish: _subscribe(state, wish, trial_days=2),
    "customer.subscription.updated": _more_seats,
    "invoice.created": _subscribe,
    "invoice.finalized": _subscribe,
    "invoice.paid": _subscribe,
    "invoice.payment_failed": lambda state, wish: _more_seats(state, wish, declines=True),
    "invoice.payment_succeeded": _subscribe,
    "invoice_payment.paid": _subscribe,
    "payment_intent.payment_failed": _declined,
    "payment_intent.succeeded": _one_off,
    "refund.created": _refund,
    "refund.failed": _failed_refund,
    "refund.updated": _refund,
}
