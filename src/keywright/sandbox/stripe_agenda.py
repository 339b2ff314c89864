"""What happens at Stripe by itself when time passes: renewals, trial ends, scheduled ends, dunning, expiries.

Everything due is lived through in order of time, each thing at its own moment, so that a clock turned by
a year gives the events a year would have given. An entry that no longer fits its object is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from keywright.sandbox import stripe_checkout as checkout
from keywright.sandbox import stripe_invoices as invoices
from keywright.sandbox import stripe_pending_updates as pending_updates
from keywright.sandbox import stripe_subscriptions as subscriptions
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState


def run_until(state: StripeState, until: int) -> int:
    """Let everything happen that is due by `until` (unix seconds); returns how many things did."""
    happened = 0
    while (entry := state.due(until)) is not None:
        moment, kind, object_id = entry
        with state.at(moment):
            _HANDLERS[kind](state, object_id)
        happened += 1
    return happened


def _session_expiry(state: StripeState, session_id: str) -> None:
    session = state.get("checkout.session", session_id)
    if session["status"] == "open" and session["expires_at"] <= state.now():
        checkout.expire(state, session)


def _trial_notice(state: StripeState, subscription_id: str) -> None:
    subscription = state.get("subscription", subscription_id)
    if subscription["status"] == "trialing":
        state.emit("customer.subscription.trial_will_end", subscription)


def _cancel_at(state: StripeState, subscription_id: str) -> None:
    subscription = state.get("subscription", subscription_id)
    if subscription["status"] not in subscriptions.ENDED and subscription["cancel_at"] == state.now():
        subscriptions.cancel(state, subscription)


def _incomplete_expiry(state: StripeState, subscription_id: str) -> None:
    subscription = state.get("subscription", subscription_id)
    if subscription["status"] == "incomplete":
        invoices.close_unpaid(state, subscription_id)
        subscriptions.set_status(state, subscription, "incomplete_expired", ended_at=state.now())


def _period_end(state: StripeState, subscription_id: str) -> None:
    subscription = state.get("subscription", subscription_id)
    now = state.now()
    if subscription["items"]["data"][0]["current_period_end"] != now:
        return
    if subscription["status"] not in {"active", "trialing", "past_due", "unpaid"}:
        return
    if subscription["cancel_at"] is not None and subscription["cancel_at"] <= now:
        subscriptions.cancel(state, subscription)
        return
    before = deepcopy(subscription)
    if subscription["status"] == "trialing":
        subscription |= {"status": "active", "billing_cycle_anchor": now}
    subscriptions.begin_period(state, subscription, now)
    _draft_renewal(state, subscription, before)


def _draft_renewal(state: StripeState, subscription: Obj, before: Obj) -> None:
    lines = invoices.period_lines(subscription)
    ended = before["items"]["data"][0]
    # The invoicing window is the period that just ended, not the one that is paid for.
    window = (ended["current_period_start"], ended["current_period_end"])
    invoice = invoices.draft(state, subscription, lines, "subscription_cycle", window=window)
    state.update("customer.subscription.updated", subscription, before)
    paused = subscription["pause_collection"]
    if paused is not None and paused["behavior"] != "keep_as_draft":
        invoices.give_up(state, invoice, "void" if paused["behavior"] == "void" else "uncollectible")
        return
    if subscription["status"] == "unpaid" or paused is not None:
        invoice["auto_advance"] = False
        return
    invoice["automatically_finalizes_at"] = state.now() + invoices.DRAFT_SECONDS
    state.schedule(state.now() + invoices.DRAFT_SECONDS, "invoice_finalize", invoice["id"])


def _collection_resumes(state: StripeState, subscription_id: str) -> None:
    subscription = state.get("subscription", subscription_id)
    paused = subscription["pause_collection"]
    if paused is None or paused["resumes_at"] != state.now():
        return
    before = deepcopy(subscription)
    subscription["pause_collection"] = None
    state.update("customer.subscription.updated", subscription, before)


def _invoice_finalize(state: StripeState, invoice_id: str) -> None:
    invoice = state.get("invoice", invoice_id)
    if invoice["status"] == "draft" and invoice["auto_advance"]:
        invoices.finalize(state, invoice)
        settle(state, invoice)


def _invoice_retry(state: StripeState, invoice_id: str) -> None:
    invoice = state.get("invoice", invoice_id)
    if invoice["status"] == "open" and invoice["next_payment_attempt"] == state.now():
        settle(state, invoice)


def settle(state: StripeState, invoice: Obj) -> bool:
    """Try to collect an invoice and let its subscription follow: active again, past due, or ended.

    Returns whether it was paid.
    """
    subscription = state.get("subscription", invoice["parent"]["subscription_details"]["subscription"])
    if invoices.collect(state, invoice) is None:
        if pending_updates.apply_if_paid(state, subscription, invoice):
            return True
        first = subscription["status"] == "incomplete"
        if first or (subscription["status"] in {"past_due", "unpaid"} and not _owes(state, subscription)):
            subscriptions.set_status(state, subscription, "active")
        return True
    if subscription["pending_update"] is not None and subscription["latest_invoice"] == invoice["id"]:
        return False  # what is not paid here was not given either
    if subscription["status"] == "active":
        subscriptions.set_status(state, subscription, "past_due")
    if invoice["next_payment_attempt"] is None and subscription["status"] == "past_due":
        _end_dunning(state, subscription)
    return False


def _owes(state: StripeState, subscription: Obj) -> bool:
    return any(
        invoice["status"] == "open"
        and invoice["parent"]["subscription_details"]["subscription"] == subscription["id"]
        for invoice in state.every("invoice")
    )


def _end_dunning(state: StripeState, subscription: Obj) -> None:
    """The last try failed: cancel (the default), leave unpaid, or pause, as the account is set."""
    if state.dunning_end == "unpaid":
        subscriptions.set_status(state, subscription, "unpaid")
    elif state.dunning_end == "pause" and subscription["billing_mode"]["type"] == "flexible":
        subscriptions.pause(state, subscription["id"], why="final_payment_failure")
    else:
        subscriptions.cancel(state, subscription, reason="payment_failed")


_HANDLERS: dict[str, Callable[[StripeState, str], None]] = {
    "session_expiry": _session_expiry,
    "trial_notice": _trial_notice,
    "cancel_at": _cancel_at,
    "incomplete_expiry": _incomplete_expiry,
    "period_end": _period_end,
    "collection_resumes": _collection_resumes,
    "pending_update_expiry": pending_updates.expire,
    "invoice_finalize": _invoice_finalize,
    "invoice_retry": _invoice_retry,
}
