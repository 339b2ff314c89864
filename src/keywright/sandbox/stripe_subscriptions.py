"""Subscriptions: started, changed, canceled, paused, resumed.

A subscription that Checkout makes appears as `active` (or `trialing`) at once, because Checkout takes the
money first: `customer.subscription.created` already says so. One made by API starts `incomplete` and is
updated to `active` in the same second when its first invoice is paid; that is the pair of events that
receivers see in the wrong order.

All items of one subscription share one interval here; mixed intervals are refused with a clear message.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from keywright.sandbox import stripe_billing_shapes as shapes
from keywright.sandbox import stripe_connect as connect
from keywright.sandbox import stripe_invoices as invoices
from keywright.sandbox import stripe_pending_updates as pending_updates
from keywright.sandbox.periods import period_after
from keywright.sandbox.stripe_errors import StripeRefusal
from keywright.sandbox.stripe_forms import (
    Params,
    choice,
    flag,
    integer,
    listed,
    merged_metadata,
    metadata,
    nested,
    required,
    text,
)
from keywright.sandbox.stripe_proration import change_items, wanted_items
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState

DAY = 86_400
TRIAL_NOTICE_SECONDS = 3 * DAY
INCOMPLETE_SECONDS = 23 * 3_600
ENDED = frozenset({"canceled", "incomplete_expired"})
_WITH_PENDING = frozenset({"items", "payment_behavior", "proration_behavior", "trial_end", "expand"})


def start(
    state: StripeState,
    customer: Obj,
    lines: list[tuple[Obj, int]],
    data: Obj,
    *,
    status: str,
    trial_end: int | None,
) -> Obj:
    """Keep a new subscription with its items and put its period on the agenda; the caller emits the event."""
    now = state.now()
    subscription_id = state.ids.new("sub")
    given: dict[str, Any] = {
        "application_fee_percent": data.get("fee_percent"),
        "metadata": dict(data.get("metadata", {})),
        "description": data.get("description"),
        "status": "trialing" if trial_end else status,
    }
    if trial_end:
        given |= {"trial_start": now, "trial_end": trial_end, "billing_cycle_anchor": trial_end}
    if data.get("billing_mode") == "classic":
        given["billing_mode"] = {"flexible": None, "type": "classic"}
    subscription = shapes.subscription(subscription_id, now, customer["id"], lines[0][0]["currency"], **given)
    terms = lines[0][0]["recurring"]
    for price, _ in lines:
        same_interval(price, terms)
    end = trial_end or period_after(now, terms["interval"], terms["interval_count"], now)
    subscription["items"]["data"] = [
        shapes.subscription_item(state.ids.new("si"), now, subscription_id, price, quantity, (now, end))
        for price, quantity in lines
    ]
    customer["currency"] = subscription["currency"]
    state.add(subscription)
    state.schedule(end, "period_end", subscription_id)
    return subscription


def same_interval(price: Obj, terms: Obj) -> None:
    """Refuse a price that is not recurring at the subscription's own interval."""
    own = price["recurring"]
    if own is None:
        raise StripeRefusal(
            "The price specified is set to `type=one_time` but this field only accepts prices with "
            "`type=recurring`."
        )
    if (own["interval"], own["interval_count"]) != (terms["interval"], terms["interval_count"]):
        raise StripeRefusal("The sandbox bills all items of a subscription at one interval.", param="items")


def announce_trial(state: StripeState, subscription: Obj) -> None:
    """`trial_will_end` three days before a trial ends, or at once when it is shorter than that."""
    notice = subscription["trial_end"] - TRIAL_NOTICE_SECONDS
    if notice <= state.now():
        state.emit("customer.subscription.trial_will_end", subscription)
    else:
        state.schedule(notice, "trial_notice", subscription["id"])


def create(state: StripeState, params: Params) -> Obj:
    """`POST /v1/subscriptions`: starts incomplete, and active in the same second if the card pays."""
    customer = state.get("customer", required(params, "customer"), "customer")
    lines = wanted_items(state, listed(params, "items"))
    data: Obj = {"metadata": metadata(params), "description": text(params, "description")}
    data["billing_mode"] = text(nested(params, "billing_mode"), "type", "flexible")
    data["fee_percent"] = connect.percent_of(params)
    connect.refuse_alone(state, "application_fee_percent", data["fee_percent"])
    trial_end = trial_end_of(state, params)
    subscription = start(state, customer, lines, data, status="incomplete", trial_end=trial_end)
    invoice = invoices.draft(
        state, subscription, invoices.period_lines(subscription, free=bool(trial_end)), "subscription_create"
    )
    state.emit("customer.subscription.created", subscription)
    invoices.finalize(state, invoice)
    refused = invoices.collect(state, invoice)
    if trial_end:
        announce_trial(state, subscription)
    elif refused is None:
        set_status(state, subscription, "active")
    else:
        state.schedule(state.now() + INCOMPLETE_SECONDS, "incomplete_expiry", subscription["id"])
    return subscription


def trial_end_of(state: StripeState, params: Params) -> int | None:
    """When the trial asked for ends (unix seconds), or None."""
    days = integer(params, "trial_period_days", least=1)
    if days is not None:
        return state.now() + days * DAY
    end = integer(params, "trial_end", least=1)
    if end is not None and end <= state.now():
        raise StripeRefusal("`trial_end` must be in the future.", param="trial_end")
    return end


def set_status(state: StripeState, subscription: Obj, status: str, **members: Any) -> None:
    """Change the status, and whatever goes with it, with one `customer.subscription.updated`."""
    before = deepcopy(subscription)
    subscription |= {"status": status, **members}
    state.update("customer.subscription.updated", subscription, before)


def living(state: StripeState, subscription_id: str) -> Obj:
    """The subscription; one that has ended is 404, as at Stripe."""
    subscription = state.get("subscription", subscription_id)
    if subscription["status"] in ENDED:
        raise StripeRefusal(
            f"No such subscription: '{subscription_id}'", status=404, code="resource_missing", param="id"
        )
    return subscription


def update(state: StripeState, subscription_id: str, params: Params) -> Obj:
    """`POST /v1/subscriptions/{id}`: items, scheduled end, metadata, pause of collection, end of a trial."""
    subscription = living(state, subscription_id)
    _refuse_contradictions(state, params)
    before = deepcopy(subscription)
    bill: list[Any] = []
    if listed(params, "items"):
        bill = change_items(state, subscription, params)
    subscription["metadata"] = merged_metadata(subscription["metadata"], params)
    _describe(subscription, params)
    _schedule_end(state, subscription, params)
    if "pause_collection" in params:
        paused = subscription["pause_collection"] = _pause_collection(params)
        if paused is not None and paused["resumes_at"] is not None:
            state.schedule(paused["resumes_at"], "collection_resumes", subscription_id)
    if text(params, "trial_end") == "now" and subscription["trial_end"]:
        subscription["trial_end"] = state.now()
        state.schedule(state.now(), "period_end", subscription_id)
        for item in subscription["items"]["data"]:
            item["current_period_end"] = state.now()
    if bill and text(params, "payment_behavior") == "pending_if_incomplete":
        return pending_updates.change_or_wait(state, subscription, before, bill)
    invoice = invoices.draft(state, subscription, bill, "subscription_update") if bill else None
    state.update("customer.subscription.updated", subscription, before)
    if invoice is not None:
        invoices.finalize(state, invoice)
        if invoices.collect(state, invoice) is not None:
            set_status(state, subscription, "past_due")
    return subscription


def _describe(subscription: Obj, params: Params) -> None:
    if "description" in params:
        subscription["description"] = text(params, "description")
    if "application_fee_percent" in params:
        subscription["application_fee_percent"] = connect.percent_of(params)


def _refuse_contradictions(state: StripeState, params: Params) -> None:
    """Everything that can be refused is refused before the first member changes."""
    metadata(params)
    connect.refuse_alone(state, "application_fee_percent", connect.percent_of(params))
    unsupported = sorted(params.keys() - _WITH_PENDING)
    if text(params, "payment_behavior") == "pending_if_incomplete" and unsupported:
        raise StripeRefusal(
            f"`payment_behavior=pending_if_incomplete` does not take: {', '.join(unsupported)}.",
            param=unsupported[0],
        )
    if text(params, "cancel_at") and text(params, "cancel_at_period_end") == "true":
        raise StripeRefusal("You may only specify one of these parameters: cancel_at, cancel_at_period_end.")
    flag(params, "cancel_at_period_end")
    at = text(params, "cancel_at")
    if at not in {None, "max_period_end", "min_period_end"}:
        moment = integer(params, "cancel_at", least=1) or 0
        if moment <= state.now():
            raise StripeRefusal("`cancel_at` must be in the future.", param="cancel_at")
    if text(params, "trial_end") not in {None, "now"}:
        raise StripeRefusal("The sandbox ends a trial `now`, or when it was due to end.", param="trial_end")
    if params.get("pause_collection"):
        _pause_collection(params)


def _schedule_end(state: StripeState, subscription: Obj, params: Params) -> None:
    period_end = max(item["current_period_end"] for item in subscription["items"]["data"])
    comment = nested(params, "cancellation_details")
    if comment:
        subscription["cancellation_details"] = subscription["cancellation_details"] | comment
    if "cancel_at_period_end" in params:
        wanted = flag(params, "cancel_at_period_end")
        subscription["cancel_at_period_end"] = wanted
        _set_end(state, subscription, period_end if wanted else None)
    elif "cancel_at" in params:
        at = text(params, "cancel_at")
        subscription["cancel_at_period_end"] = False
        named = {"max_period_end", "min_period_end"}
        _set_end(state, subscription, period_end if at in named else integer(params, "cancel_at"))


def _set_end(state: StripeState, subscription: Obj, moment: int | None) -> None:
    subscription["cancel_at"] = moment
    subscription["canceled_at"] = state.now() if moment else None
    reason = "cancellation_requested" if moment else None
    subscription["cancellation_details"] = subscription["cancellation_details"] | {"reason": reason}
    if moment:
        state.schedule(moment, "cancel_at", subscription["id"])


def _pause_collection(params: Params) -> Obj | None:
    if params.get("pause_collection") in (None, ""):
        return None
    given = nested(params, "pause_collection")
    required(given, "behavior", "pause_collection[behavior]")
    behavior = choice(given, "behavior", ("keep_as_draft", "mark_uncollectible", "void"))
    return {"behavior": behavior, "resumes_at": integer(given, "resumes_at")}


def cancel(
    state: StripeState,
    subscription: Obj,
    *,
    reason: str = "cancellation_requested",
    comment: str | None = None,
) -> Obj:
    """End it now: `customer.subscription.deleted`."""
    subscription |= {
        "cancel_at_period_end": False,
        "canceled_at": subscription["canceled_at"] or state.now(),
        "cancellation_details": subscription["cancellation_details"] | {"reason": reason},
        "ended_at": state.now(),
        "status": "canceled",
    }
    if comment:
        subscription["cancellation_details"]["comment"] = comment
    invoices.close_unpaid(state, subscription["id"])
    state.pending_lines.pop(subscription["id"], None)
    state.emit("customer.subscription.deleted", subscription)
    return subscription


def delete(state: StripeState, subscription_id: str, params: Params) -> Obj:
    """`DELETE /v1/subscriptions/{id}`. Nothing is refunded; `invoice_now` and `prorate` are not offered."""
    subscription = living(state, subscription_id)
    if flag(params, "invoice_now") or flag(params, "prorate"):
        raise StripeRefusal("The sandbox cancels without a final invoice.", param="invoice_now")
    return cancel(state, subscription, comment=text(nested(params, "cancellation_details"), "comment"))


def pause(state: StripeState, subscription_id: str, *, why: str = "pause_requested") -> Obj:
    """Stop service and billing (flexible billing mode alone): status `paused`."""
    subscription = living(state, subscription_id)
    if subscription["billing_mode"]["type"] != "flexible":
        raise StripeRefusal("Only subscriptions in flexible billing mode can be paused.")
    if subscription["status"] == "paused":
        raise StripeRefusal("This subscription is already paused.")
    details = {
        "paused": {"subscription": {"type": why}, "transitioned_at": state.now(), "type": "subscription"}
    }
    before = deepcopy(subscription)
    subscription |= {"status": "paused", "status_details": details}
    state.emit("customer.subscription.paused", subscription)
    state.update("customer.subscription.updated", subscription, before)
    return subscription


def resume(state: StripeState, subscription_id: str, params: Params) -> Obj:
    """Start it again. `billing_cycle_anchor[type]=now` (the default) begins and bills a new period."""
    subscription = living(state, subscription_id)
    if subscription["status"] != "paused":
        raise StripeRefusal("Only paused subscriptions can be resumed.")
    anchor = choice(nested(params, "billing_cycle_anchor"), "type", ("now", "unchanged"), "now")
    items = subscription["items"]["data"]
    still_paid = anchor == "unchanged" and items[0]["current_period_end"] > state.now()
    before = deepcopy(subscription)
    subscription |= {"status": "active", "status_details": None}
    if not still_paid:
        if anchor == "now":
            subscription["billing_cycle_anchor"] = state.now()
        begin_period(state, subscription, state.now())
        invoice = invoices.draft(
            state, subscription, invoices.period_lines(subscription), "subscription_cycle"
        )
        invoices.finalize(state, invoice)
        if invoices.collect(state, invoice) is not None:
            subscription["status"] = "past_due"
    state.emit("customer.subscription.resumed", subscription)
    state.update("customer.subscription.updated", subscription, before)
    return subscription


def begin_period(state: StripeState, subscription: Obj, start_at: int) -> int:
    """Move every item to the period that begins at `start_at`; returns its end and puts it on the agenda."""
    items = subscription["items"]["data"]
    terms = items[0]["price"]["recurring"]
    end = period_after(
        subscription["billing_cycle_anchor"], terms["interval"], terms["interval_count"], start_at
    )
    for item in items:
        item |= {"current_period_start": start_at, "current_period_end": end}
    state.schedule(end, "period_end", subscription["id"])
    if subscription["cancel_at_period_end"]:
        subscription["cancel_at"] = end
    return end


def delete_customer(state: StripeState, customer_id: str) -> Obj:
    """`DELETE /v1/customers/{id}`: its subscriptions end with it, each with an event of its own."""
    customer = state.get("customer", customer_id)
    for subscription in state.every("subscription"):
        if subscription["customer"] == customer_id and subscription["status"] not in ENDED:
            cancel(state, subscription)
    state.emit("customer.deleted", deepcopy(customer))
    state.drop("customer", customer_id)
    return {"id": customer_id, "object": "customer", "deleted": True}
