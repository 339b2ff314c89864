"""Make an event of Paystack's happen by name, with everything that leads to it."""

from __future__ import annotations

from collections.abc import Callable

from keywright.sandbox import paystack_flow as flow
from keywright.sandbox import paystack_shapes as shapes
from keywright.sandbox.paystack_state import Obj, PaystackState, seconds
from keywright.sandbox.triggers import TriggerWish

_AMOUNT = 500_000


def trigger(state: PaystackState, wish: TriggerWish) -> list[Obj]:
    """Live through the recipe of an event; gives the events that came of it."""
    before = len(state.every("event"))
    RECIPES[wish.event](state, wish)
    return state.every("event")[before:]


def _pay(state: PaystackState, wish: TriggerWish, plan: str | None = None) -> Obj:
    start = flow.Start(email=wish.email, amount=_AMOUNT, plan=plan, metadata=dict(wish.metadata))
    terms = flow.initialize(state, start)
    return flow.pay(state, flow.by_access_code(state, terms.access_code))


def _subscribe(state: PaystackState, wish: TriggerWish) -> Obj:
    plan = wish.price
    if plan is None:
        plan = shapes.new_plan(state, "Triggered plan", _AMOUNT, "NGN", "monthly")["plan_code"]
    _pay(state, wish, plan)
    flow.run_until(state, state.now() + state.subscription_delay)
    return state.every("subscription")[-1]


def _renew(state: PaystackState, wish: TriggerWish) -> None:
    """A month of a subscription, lived through at once: the clock of the sandbox stays."""
    subscription = _subscribe(state, wish)
    flow.run_until(state, seconds(subscription["next_payment_date"]))


def _fail(state: PaystackState, wish: TriggerWish) -> None:
    subscription = _subscribe(state, wish)
    state.declining.add(subscription["customer"]["customer_code"])
    flow.run_until(state, seconds(subscription["next_payment_date"]))


def _notice(state: PaystackState, wish: TriggerWish) -> None:
    subscription = _subscribe(state, wish)
    flow.run_until(state, seconds(subscription["next_payment_date"]) - flow.NOTICE_SECONDS)


def _not_renew(state: PaystackState, wish: TriggerWish) -> Obj:
    code = _subscribe(state, wish)["subscription_code"]
    return flow.disable(state, code, state.email_tokens[code])


def _end(state: PaystackState, wish: TriggerWish) -> None:
    subscription = _not_renew(state, wish)
    flow.run_until(state, seconds(state.resumes[subscription["subscription_code"]]))


def _refund(outcome: str) -> Callable[[PaystackState, TriggerWish], None]:
    def give_back(state: PaystackState, wish: TriggerWish) -> None:
        before, state.refund_outcome = state.refund_outcome, outcome
        try:
            flow.refund(state, _pay(state, wish), None, ("", "triggered"))
        finally:
            state.refund_outcome = before

    return give_back


def _resolve(state: PaystackState, wish: TriggerWish) -> None:
    made = flow.dispute(state, _pay(state, wish))
    flow.resolve(state, str(made["id"]), "merchant-accepted")


RECIPES: dict[str, Callable[[PaystackState, TriggerWish], object]] = {
    "charge.success": _pay,
    "subscription.create": _subscribe,
    "subscription.not_renew": _not_renew,
    "subscription.disable": _end,
    "invoice.create": _notice,
    "invoice.update": _renew,
    "invoice.payment_failed": _fail,
    "refund.pending": _refund("none"),
    "refund.processed": _refund("processed"),
    "refund.failed": _refund("failed"),
    "charge.dispute.create": lambda state, wish: flow.dispute(state, _pay(state, wish)),
    "charge.dispute.resolve": _resolve,
}
