"""`payment_behavior=pending_if_incomplete`: a change that waits for its money, and is dropped without it."""

from __future__ import annotations

from copy import deepcopy

from keywright.sandbox import stripe_invoices as invoices
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import PendingLine, StripeState

WAITING_SECONDS = 23 * 3_600


def change_or_wait(state: StripeState, subscription: Obj, before: Obj, lines: list[PendingLine]) -> Obj:
    """Bill a change of items at once; when the card does not pay, keep the old items until it does."""
    invoice = invoices.draft(state, subscription, lines, "subscription_update")
    invoices.finalize(state, invoice)
    if invoices.collect(state, invoice) is None:
        state.update("customer.subscription.updated", subscription, before)
        return subscription
    wanted = subscription["items"]["data"]
    subscription["items"]["data"] = deepcopy(before["items"]["data"])
    subscription["pending_update"] = {
        "billing_cycle_anchor": None,
        "expires_at": state.now() + WAITING_SECONDS,
        "subscription_items": deepcopy(wanted),
        "trial_end": None,
        "trial_from_plan": None,
    }
    invoice |= {"auto_advance": False, "next_payment_attempt": None}
    state.schedule(state.now() + WAITING_SECONDS, "pending_update_expiry", subscription["id"])
    state.update("customer.subscription.updated", subscription, before)
    return subscription


def apply_if_paid(state: StripeState, subscription: Obj, invoice: Obj) -> bool:
    """Let the change that waited for this invoice happen, now that it is paid. Returns whether one did."""
    waiting = subscription["pending_update"]
    if waiting is None or subscription["latest_invoice"] != invoice["id"]:
        return False
    before = deepcopy(subscription)
    subscription["items"]["data"] = waiting["subscription_items"]
    subscription["pending_update"] = None
    state.emit("customer.subscription.pending_update_applied", subscription)
    state.update("customer.subscription.updated", subscription, before)
    return True


def expire(state: StripeState, subscription_id: str) -> None:
    """Nobody paid in time: the change is dropped and its invoice voided."""
    subscription = state.get("subscription", subscription_id)
    waiting = subscription["pending_update"]
    if waiting is None or waiting["expires_at"] > state.now():
        return
    before = deepcopy(subscription)
    subscription["pending_update"] = None
    invoice = state.get("invoice", subscription["latest_invoice"])
    if invoice["status"] == "open":
        invoices.give_up(state, invoice, "void")
    state.emit("customer.subscription.pending_update_expired", subscription)
    state.update("customer.subscription.updated", subscription, before)
