"""Money in the stand-in: payment intents, charges, refunds."""

from __future__ import annotations

from keywright.sandbox import stripe_billing_shapes as shapes
from keywright.sandbox import stripe_connect as connect
from keywright.sandbox.cards import Card, Decline
from keywright.sandbox.stripe_errors import StripeRefusal, needed
from keywright.sandbox.stripe_forms import Params, choice, flag, integer, metadata, text
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState

REFUND_REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def new_intent(state: StripeState, amount: int, currency: str, customer_id: str | None, data: Obj) -> Obj:
    """A payment intent; `data` is what the caller put in `payment_intent_data`, and nothing else."""
    intent_id = state.ids.new("pi")
    intent = shapes.payment_intent(
        intent_id,
        state.now(),
        amount,
        currency,
        customer=customer_id,
        client_secret=state.ids.secret(f"{intent_id}_secret"),
        application_fee_amount=data.get("fee"),
        metadata=dict(data.get("metadata", {})),
        description=data.get("description"),
        receipt_email=data.get("receipt_email"),
    )
    state.add(intent)
    state.emit("payment_intent.created", intent)
    return intent


def succeed(state: StripeState, intent: Obj, card: Card) -> Obj:
    """The payment goes through: `charge.succeeded`, `payment_intent.succeeded`. Returns the charge."""
    charge = state.add(shapes.charge(state.ids.new("ch"), state.now(), intent, card))
    charge["application_fee_amount"] = intent["application_fee_amount"]
    connect.take(state, charge)
    intent |= {
        "amount_received": intent["amount"],
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "next_action": None,
        "payment_method": card.payment_method,
        "processing": None,
        "status": "succeeded",
    }
    state.emit("charge.succeeded", charge)
    state.emit("payment_intent.succeeded", intent)
    return charge


def fail(state: StripeState, intent: Obj, card: Card, decline: Decline) -> None:
    """The payment is refused: a failed charge, unless the buyer never got past authentication."""
    charge_id = None
    if decline.code != "payment_intent_authentication_failure":
        charge = _failed_charge(state, intent, card, decline)
        charge_id = charge["id"]
        state.emit("charge.failed", charge)
    intent |= {
        "last_payment_error": shapes.payment_error(decline, charge_id),
        "latest_charge": charge_id or intent["latest_charge"],
        "next_action": None,
        "payment_method": None,
        "processing": None,
        "status": "requires_payment_method",
    }
    state.emit("payment_intent.payment_failed", intent)


def _failed_charge(state: StripeState, intent: Obj, card: Card, decline: Decline) -> Obj:
    charge = shapes.charge(
        state.ids.new("ch"),
        state.now(),
        intent,
        card,
        amount_captured=0,
        captured=False,
        failure_code=decline.code,
        failure_message=decline.message,
        paid=False,
        status="failed",
    )
    charge["outcome"] |= {
        "network_status": "declined_by_network",
        "reason": decline.decline_code,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }
    return state.add(charge)


def begin_debit(state: StripeState, intent: Obj, card: Card) -> None:
    """A bank debit was promised; the money comes, or does not come, days later."""
    intent |= {"status": "processing", "payment_method": card.payment_method}
    state.emit("payment_intent.processing", intent)


def create_refund(state: StripeState, params: Params) -> Obj:
    """`POST /v1/refunds`. Refunding does not cancel a subscription, as at Stripe."""
    charge = _charge_to_refund(state, params)
    left = charge["amount"] - charge["amount_refunded"]
    if charge["refunded"]:
        raise StripeRefusal(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    amount = integer(params, "amount", left, least=1) or left
    if amount > left:
        raise StripeRefusal(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount"
        )
    reason = choice(params, "reason", REFUND_REASONS)
    refund = shapes.refund(
        state.ids.new("re"), state.now(), charge, amount, reason=reason, metadata=metadata(params)
    )
    gives_fee = flag(params, "refund_application_fee")
    if gives_fee and charge["application_fee"] is None:
        raise StripeRefusal(
            "This charge has no application fee that could be refunded.", param="refund_application_fee"
        )
    state.add(refund)
    before = _count_refunds(state, charge)
    if gives_fee:
        connect.give_back(state, charge, amount)
    state.emit("refund.created", refund)
    state.emit("charge.refunded", charge, before=before)
    settled = {**refund, "destination_details": dict(refund["destination_details"])}
    kind = refund["destination_details"]["type"]
    if kind == "card":
        refund["destination_details"]["card"] = {
            "reference_status": "available",
            "reference_type": "acquirer_reference_number",
            "type": "refund",
        }
        state.update("refund.updated", refund, settled)
    return refund


def _charge_to_refund(state: StripeState, params: Params) -> Obj:
    intent_id, charge_id = text(params, "payment_intent"), text(params, "charge")
    if charge_id is None:
        if intent_id is None:
            raise needed("payment_intent")
        intent = state.get("payment_intent", intent_id, "payment_intent")
        charge_id = intent["latest_charge"]
    charge = state.find("charge", charge_id) if intent_id else state.get("charge", charge_id or "", "charge")
    if charge is None or not charge["paid"]:
        named = intent_id or charge_id
        raise StripeRefusal(f"This payment ({named}) does not have a successful charge to refund.")
    return charge


def _count_refunds(state: StripeState, charge: Obj) -> Obj:
    """Write the sum of the refunds that hold on the charge; returns what the charge was before."""
    before = dict(charge)
    counted = [
        refund["amount"]
        for refund in state.every("refund")
        if refund["charge"] == charge["id"] and refund["status"] not in {"failed", "canceled"}
    ]
    charge["amount_refunded"] = sum(counted)
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    return before


def fail_refund(state: StripeState, refund_id: str) -> Obj:
    """The bank sends a refund back: the money is the seller's again (`refund.failed`)."""
    refund = state.get("refund", refund_id)
    if refund["status"] != "succeeded":
        raise StripeRefusal(f"Refund {refund_id} is {refund['status']}.")
    before = dict(refund)
    refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    state.emit("refund.failed", refund)
    state.update("refund.updated", refund, before)
    charge = state.get("charge", refund["charge"])
    _count_refunds(state, charge)
    return refund
