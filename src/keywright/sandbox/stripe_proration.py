"""Seats and plans in the middle of a period: what items become, what is owed or credited, and the preview."""

from __future__ import annotations

from copy import deepcopy

from keywright.sandbox import stripe_billing_shapes as shapes
from keywright.sandbox import stripe_invoices as invoices
from keywright.sandbox.periods import period_after
from keywright.sandbox.stripe_errors import StripeRefusal, needed
from keywright.sandbox.stripe_forms import Params, choice, flag, integer, listed, nested, required, text
from keywright.sandbox.stripe_shapes import Obj, plan
from keywright.sandbox.stripe_state import PendingLine, StripeState

PRORATION_BEHAVIORS = ("create_prorations", "always_invoice", "none")
PAYMENT_BEHAVIORS = ("allow_incomplete", "error_if_incomplete", "pending_if_incomplete")


def recurring_price(state: StripeState, price_id: str, param: str) -> Obj:
    """An active recurring price; raises StripeRefusal as Stripe does for anything else."""
    price = state.get("price", price_id, param)
    if not price["active"]:
        raise StripeRefusal(
            "The price specified is inactive. This field only accepts active prices.", param=param
        )
    if price["recurring"] is None:
        raise StripeRefusal(
            "The price specified is set to `type=one_time` but this field only accepts prices with "
            "`type=recurring`.",
            param=param,
        )
    return price


def wanted_items(state: StripeState, given: list[Params]) -> list[tuple[Obj, int]]:
    """The (price, quantity) pairs a new subscription is asked to have."""
    if not given:
        raise needed("items")
    found = []
    for position, item in enumerate(given):
        name = f"items[{position}][price]"
        price = recurring_price(state, required(item, "price", name), name)
        found.append((price, integer(item, "quantity", 1) or 0))
    return found


def change_items(state: StripeState, subscription: Obj, params: Params) -> list[PendingLine]:
    """Apply `items[…]` to the subscription. Returns the lines to be invoiced at once, if any.

    Prorations wait for the next invoice (`create_prorations`, the default), are billed now
    (`always_invoice`) or are not made (`none`). Another interval starts a new period and bills it now.
    """
    behavior = choice(params, "proration_behavior", PRORATION_BEHAVIORS, "create_prorations")
    new_items = _after(state, subscription, listed(params, "items"))
    _refuse_unpayable(state, subscription, params)
    old_items = subscription["items"]["data"]
    resets = _interval(old_items) != _interval(new_items)
    lines = [] if behavior == "none" else _prorations(state, old_items, new_items, resets=resets)
    subscription["items"]["data"] = new_items
    if resets:
        subscription["billing_cycle_anchor"] = state.now()
        _restart_period(state, subscription)
        return [*lines, *invoices.period_lines(subscription)]
    if behavior == "always_invoice":
        return lines
    if lines:
        state.pending_lines.setdefault(subscription["id"], []).extend(lines)
    return []


def _refuse_unpayable(state: StripeState, subscription: Obj, params: Params) -> None:
    behavior = choice(params, "payment_behavior", PAYMENT_BEHAVIORS, "allow_incomplete")
    card = state.cards.get(subscription["customer"])
    if behavior == "error_if_incomplete" and card is not None and card.decline is not None:
        raise StripeRefusal(
            card.decline.message,
            status=402,
            kind="card_error",
            code=card.decline.code,
            decline_code=card.decline.decline_code,
        )


def _after(state: StripeState, subscription: Obj, given: list[Params]) -> list[Obj]:
    """What the items will be. An element without `id` adds an item, as at Stripe."""
    items = {item["id"]: deepcopy(item) for item in subscription["items"]["data"]}
    period = next((i["current_period_start"], i["current_period_end"]) for i in items.values())
    for position, change in enumerate(given):
        item_id = text(change, "id")
        name = f"items[{position}][price]"
        if item_id is None:
            price = recurring_price(state, required(change, "price", name), name)
            new_id, quantity = state.ids.new("si"), integer(change, "quantity", 1) or 0
            items[new_id] = shapes.subscription_item(
                new_id, state.now(), subscription["id"], price, quantity, period
            )
        elif item_id not in items:
            raise StripeRefusal(
                f"No such subscription item: '{item_id}'",
                code="resource_missing",
                param=f"items[{position}][id]",
            )
        elif flag(change, "deleted"):
            del items[item_id]
        else:
            _change(state, items[item_id], change, name)
    kept = list(items.values())
    if not kept:
        raise StripeRefusal("A subscription must have at least one active plan.", param="items")
    if len({_interval([item]) for item in kept}) > 1:
        raise StripeRefusal("The sandbox bills all items of a subscription at one interval.", param="items")
    return kept


def _change(state: StripeState, item: Obj, change: Params, name: str) -> None:
    price_id = text(change, "price")
    if price_id is not None:
        item["price"] = recurring_price(state, price_id, name)
        item["plan"] = plan(item["price"])
    item["quantity"] = integer(change, "quantity", item["quantity"])


def _interval(items: list[Obj]) -> tuple[str, int]:
    terms = items[0]["price"]["recurring"]
    return terms["interval"], terms["interval_count"]


def _prorations(state: StripeState, old: list[Obj], new: list[Obj], *, resets: bool) -> list[PendingLine]:
    before, after = {i["id"]: i for i in old}, {i["id"]: i for i in new}
    lines: list[PendingLine] = []
    for item_id in [*before, *(each for each in after if each not in before)]:
        was, is_now = before.get(item_id), after.get(item_id)
        if was and is_now and _worth(was) == _worth(is_now) and not resets:
            continue
        if was:
            lines.append(_proration(state, was, -1))
        if is_now and not resets:
            lines.append(_proration(state, is_now, 1))
    return [line for line in lines if line.amount]


def _worth(item: Obj) -> tuple[str, int]:
    return item["price"]["id"], item["quantity"]


def _proration(state: StripeState, item: Obj, sign: int) -> PendingLine:
    start, end = item["current_period_start"], item["current_period_end"]
    left = max(end - state.now(), 0)
    full = item["price"]["unit_amount"] * item["quantity"]
    amount = sign * round(full * left / max(end - start, 1))
    word = "Unused" if sign < 0 else "Remaining"
    described = f"{word} time on {item['quantity']} x {item['price']['id']}"
    return PendingLine(item, amount, item["quantity"], described, (state.now(), end), proration=True)


def _restart_period(state: StripeState, subscription: Obj) -> None:
    items = subscription["items"]["data"]
    interval, count = _interval(items)
    end = period_after(state.now(), interval, count, state.now())
    for item in items:
        item |= {"current_period_start": state.now(), "current_period_end": end}
    state.schedule(end, "period_end", subscription["id"])


def preview(state: StripeState, params: Params) -> Obj:
    """`POST /v1/invoices/create_preview`: the next invoice, as it would be; nothing is kept."""
    subscription = deepcopy(state.get("subscription", required(params, "subscription"), "subscription"))
    details = nested(params, "subscription_details")
    waiting = list(state.pending_lines.get(subscription["id"], []))
    if listed(details, "items"):
        old = subscription["items"]["data"]
        subscription["items"]["data"] = _after(state, subscription, listed(details, "items"))
        behavior = choice(details, "proration_behavior", PRORATION_BEHAVIORS, "create_prorations")
        if behavior != "none":
            with state.at(integer(details, "proration_date", state.now()) or state.now()):
                waiting += _prorations(state, old, subscription["items"]["data"], resets=False)
        if behavior == "always_invoice":
            return _upcoming(state, subscription, waiting, "subscription_update")
    if subscription["cancel_at"] or subscription["status"] == "canceled":
        raise StripeRefusal("No upcoming invoices for customer", status=404, code="invoice_upcoming_none")
    interval, count = _interval(subscription["items"]["data"])
    for item in subscription["items"]["data"]:
        start = item["current_period_end"]
        end = period_after(subscription["billing_cycle_anchor"], interval, count, start)
        item |= {"current_period_start": start, "current_period_end": end}
    lines = [*waiting, *invoices.period_lines(subscription)]
    return _upcoming(state, subscription, lines, "upcoming")


def _upcoming(state: StripeState, subscription: Obj, lines: list[PendingLine], reason: str) -> Obj:
    invoice_id = state.ids.new("upcoming_in")
    return invoices.built(state, subscription, lines, reason, invoice_id=invoice_id)
