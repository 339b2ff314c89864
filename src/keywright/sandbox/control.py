"""`/_sandbox/`: the levers behind the stage, as JSON, for tests, scripts and the demo."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.exceptions import ClientException
from litestar.params import FromPath, JSONBody

from keywright.sandbox import stripe_agenda as agenda
from keywright.sandbox import stripe_checkout as checkout
from keywright.sandbox import stripe_invoices as invoices
from keywright.sandbox import stripe_payments as payments
from keywright.sandbox.cards import GENERIC_DECLINE, Decline, read_card
from keywright.sandbox.guards import json_only
from keywright.sandbox.paypal_triggers import RECIPES as PAYPAL_RECIPES
from keywright.sandbox.paypal_triggers import trigger as trigger_at_paypal
from keywright.sandbox.paystack_triggers import RECIPES as PAYSTACK_RECIPES
from keywright.sandbox.paystack_triggers import trigger as trigger_at_paystack
from keywright.sandbox.sandbox import Sandbox
from keywright.sandbox.stripe_errors import StripeRefusal
from keywright.sandbox.triggers import RECIPES as STRIPE_RECIPES
from keywright.sandbox.triggers import TriggerWish, trigger
from keywright.sandbox.webhooks import Switches

Box = NamedDependency[Sandbox]
Answer = dict[str, Any]


class WebhookWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where events go and what signs them; `events` None means all; `connect`: of connected accounts."""

    url: str
    secret: str
    events: list[str] | None = None
    connect: bool = False


class AdvanceWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By how many seconds the clock is turned."""

    seconds: float


class SwitchWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Switches to change; what is left out stays."""

    order: Literal["as_created", "shuffle"] | None = None
    duplicates: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    delay: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None = None
    loss: Annotated[int, msgspec.Meta(ge=0)] | None = None
    hold: bool | None = None
    dunning_end: Literal["cancel", "unpaid", "pause"] | None = None


class PayWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the pay page would get: a card number, or `method="bank_debit"`; how 3-D Secure ends."""

    session: str
    email: str
    card: str = "4242424242424242"
    name: str | None = "Sandbox Buyer"
    method: Literal["card", "bank_debit"] = "card"
    authenticate: bool = True


class CardWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the customer's card does from now on."""

    behavior: Literal["pays", "declines"]


class SettleWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a delayed payment ends."""

    outcome: Literal["succeeded", "failed"]


class RedeliverWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which event to send again; None means everything that was not delivered."""

    event: str | None = None


class ControlController(Controller):
    """The levers. Each answers with what there is to know about what it did."""

    path = "/_sandbox"
    guards = (json_only,)

    @get("/")
    async def overview(self, sandbox: Box) -> Answer:
        """Clock, switches and counts."""
        kinds = ("checkout.session", "customer", "subscription", "invoice", "event")
        return {
            "now": sandbox.state.now(),
            "offset_seconds": sandbox.clock.offset().total_seconds(),
            "switches": _switches(sandbox),
            "counts": {kind: len(sandbox.state.every(kind)) for kind in kinds},
        }

    @post("/webhook", status_code=200)
    async def set_webhook(self, data: JSONBody[WebhookWish], sandbox: Box) -> Answer:
        """Deliver events to this address with this secret."""
        made = sandbox.register_webhook(data.url, data.secret, data.events, connect=data.connect)
        return {"endpoint": made}

    @post("/clock/advance", status_code=200)
    async def advance(self, data: JSONBody[AdvanceWish], sandbox: Box) -> Answer:
        """Turn the clock; renewals, trial ends, scheduled ends and dunning happen in order of time."""
        before = sandbox.count_events()
        try:
            sandbox.advance(data.seconds)
        except ValueError as error:
            raise ClientException(str(error)) from error
        return {"now": sandbox.state.now(), "events": sandbox.count_events() - before}

    @post("/switches", status_code=200)
    async def switch(self, data: JSONBody[SwitchWish], sandbox: Box) -> Answer:
        """Change how deliveries and dunning behave, of all stand-ins."""
        given = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not None}
        sandbox.state.dunning_end = given.pop("dunning_end", sandbox.state.dunning_end)
        sandbox.switch(**given)
        return _switches(sandbox)

    @post("/hold", status_code=200)
    async def hold(self, sandbox: Box) -> Answer:
        """Keep all deliveries back."""
        sandbox.switch(hold=True)
        return _switches(sandbox)

    @post("/release", status_code=200)
    async def release(self, sandbox: Box) -> Answer:
        """Let go of what was kept back."""
        sandbox.switch(hold=False)
        return _switches(sandbox)

    @get("/deliveries")
    async def deliveries(self, sandbox: Box) -> Answer:
        """Every delivery with its attempts and their answers, and whether anything is still on its way."""
        senders = sandbox.dispatchers
        found = [msgspec.to_builtins(delivery) for sender in senders for delivery in sender.deliveries]
        return {"idle": all(sender.idle() for sender in senders), "deliveries": found}

    @post("/redeliver", status_code=200)
    async def redeliver(self, data: JSONBody[RedeliverWish], sandbox: Box) -> Answer:
        """Send an event again, or all that were not delivered."""
        return {"queued": sandbox.redeliver(data.event)}

    @post("/trigger", status_code=200)
    async def trigger(self, data: JSONBody[TriggerWish], sandbox: Box) -> Answer:
        """Make an event happen by name, with everything that leads to it."""
        at_paystack = data.event.removeprefix("paystack:")
        # Two names are Stripe's, too: there the prefix says whose is meant.
        if at_paystack in PAYSTACK_RECIPES and data.event not in STRIPE_RECIPES:
            wish = msgspec.structs.replace(data, event=at_paystack)
            made = trigger_at_paystack(sandbox.paystack.state, wish)
        elif data.event in PAYPAL_RECIPES:
            made = trigger_at_paypal(sandbox.paypal.state, data)
        else:
            before = len(sandbox.state.every("event"))
            elsewhere = (*PAYPAL_RECIPES, *(f"paystack:{name}" for name in PAYSTACK_RECIPES))
            trigger(sandbox.state, data, elsewhere)
            made = sandbox.state.every("event")[before:]
        return {"events": [{"id": event["id"], "type": event["type"]} for event in made]}

    @post("/stripe/pay", status_code=200)
    async def pay(self, data: JSONBody[PayWish], sandbox: Box) -> Answer:
        """Do what the pay page does."""
        state = sandbox.world_with("checkout.session", data.session)
        card = (
            checkout.bank_account(state)
            if data.method == "bank_debit"
            else read_card(data.card, state.ids.new("pm"))
        )
        if isinstance(card, Decline):
            return {"status": "declined", "code": card.code, "decline_code": card.decline_code}
        outcome = checkout.pay(state, data.session, card, checkout.Buyer(data.email, data.name))
        if outcome.status == "authenticate":
            outcome = checkout.authenticate(state, data.session, passed=data.authenticate)
        session = state.get("checkout.session", data.session)
        return {
            "status": outcome.status,
            "code": outcome.decline.code if outcome.decline else None,
            "decline_code": outcome.decline.decline_code if outcome.decline else None,
            "payment_status": session["payment_status"],
            "customer": session["customer"],
            "subscription": session["subscription"],
            "payment_intent": session["payment_intent"],
            "invoice": session["invoice"],
        }

    @post("/stripe/customers/{customer_id:str}/card", status_code=200)
    async def set_card(self, customer_id: FromPath[str], data: JSONBody[CardWish], sandbox: Box) -> Answer:
        """From now on the customer's card pays, or declines."""
        decline = GENERIC_DECLINE if data.behavior == "declines" else None
        sandbox.world_with("customer", customer_id).set_card_behavior(customer_id, decline)
        return {"customer": customer_id, "behavior": data.behavior}

    @post("/stripe/invoices/{invoice_id:str}/retry", status_code=200)
    async def retry(self, invoice_id: FromPath[str], sandbox: Box) -> Answer:
        """Try to collect an open invoice now."""
        state = sandbox.world_with("invoice", invoice_id)
        invoice = invoices.open_invoice(state, invoice_id)
        paid = agenda.settle(state, invoice)
        return {"invoice": invoice_id, "paid": paid, "status": invoice["status"]}

    @post("/stripe/sessions/{session_id:str}/settle", status_code=200)
    async def settle(self, session_id: FromPath[str], data: JSONBody[SettleWish], sandbox: Box) -> Answer:
        """The bank debit behind a session arrives, or comes back."""
        state = sandbox.world_with("checkout.session", session_id)
        session = checkout.settle(state, session_id, succeeded=data.outcome == "succeeded")
        return {"session": session_id, "payment_status": session["payment_status"]}

    @post("/stripe/refunds/{refund_id:str}/fail", status_code=200)
    async def fail_refund(self, refund_id: FromPath[str], sandbox: Box) -> Answer:
        """The buyer's bank sends a refund back."""
        failed = payments.fail_refund(sandbox.world_with("refund", refund_id), refund_id)
        return {"refund": refund_id, "status": failed["status"]}


def _switches(sandbox: Sandbox) -> Answer:
    switches: Switches = sandbox.dispatcher.switches
    return {**msgspec.structs.asdict(switches), "dunning_end": sandbox.state.dunning_end}


def refused(_: Request[Any, Any, Any], refusal: StripeRefusal) -> tuple[int, Answer]:
    """How a refusal of the state machine reads on the control interface."""
    status = refusal.status if refusal.status != 402 else 400
    return status, {"error": refusal.message, "code": refusal.code}
