"""Disputes in the stand-in: inquiries and chargebacks, opened, answered and closed, and warnings of fraud."""

from __future__ import annotations

from keywright.sandbox.stripe_errors import StripeRefusal
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState

DAY = 86_400
ANSWER_SECONDS = 14 * DAY
INQUIRIES = frozenset({"warning_needs_response", "warning_under_review"})
OPEN = INQUIRIES | {"needs_response", "under_review", "appeal_needs_response", "appeal_under_review"}
OUTCOMES = ("won", "lost", "warning_closed", "prevented")


def open_dispute(
    state: StripeState, charge_id: str, *, inquiry: bool = False, amount: int | None = None
) -> Obj:
    """The buyer's bank contests a charge. An inquiry asks first; otherwise the money is taken at once."""
    charge = state.get("charge", charge_id, "charge")
    if not charge["paid"] or charge["disputed"]:
        raise StripeRefusal(f"Charge {charge_id} cannot be disputed.")
    status = "warning_needs_response" if inquiry else "needs_response"
    dispute = _dispute(
        state.ids.new("dp"),
        state.now(),
        charge,
        charge["amount"] if amount is None else amount,
        status=status,
        due_by=state.now() + ANSWER_SECONDS,
    )
    state.add(dispute)
    charge["disputed"] = True
    state.emit("charge.dispute.created", dispute)
    if not inquiry:
        state.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def move(state: StripeState, dispute_id: str, status: str) -> Obj:
    """Go on to another open status: inquiry to chargeback, evidence under review, an appeal.

    Raises StripeRefusal for a status in which a dispute is over.
    """
    dispute = state.get("dispute", dispute_id)
    if status not in OPEN:
        raise StripeRefusal(f"A dispute goes on as one of: {', '.join(sorted(OPEN))}.", param="status")
    before = dict(dispute)
    dispute["status"] = status
    state.update("charge.dispute.updated", dispute, before)
    if before["status"] in INQUIRIES and status not in INQUIRIES:
        state.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def close(state: StripeState, dispute_id: str, outcome: str) -> Obj:
    """End it: `won`, `lost`, `warning_closed` (of an inquiry) or `prevented`."""
    dispute = state.get("dispute", dispute_id)
    if dispute["status"] not in OPEN:
        raise StripeRefusal(f"This dispute is {dispute['status']}.")
    if outcome not in OUTCOMES or (outcome == "warning_closed") != (dispute["status"] in INQUIRIES):
        raise StripeRefusal(f"A dispute that is {dispute['status']} does not end as {outcome[:40]}.")
    dispute |= {"status": outcome, "is_charge_refundable": outcome != "lost"}
    state.emit("charge.dispute.closed", dispute)
    if outcome in {"won", "prevented"}:
        state.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


def warn_of_fraud(state: StripeState, charge_id: str) -> Obj:
    """The card's network suspects fraud: `radar.early_fraud_warning.created`. No money moves."""
    charge = state.get("charge", charge_id, "charge")
    warning = state.add(_fraud_warning(state.ids.new("issfr"), state.now(), charge))
    state.emit("radar.early_fraud_warning.created", warning)
    return warning


def charge_of(state: StripeState, intent_id: str) -> str:
    """The charge behind a payment intent. Raises StripeRefusal when it was never paid."""
    charge_id: str | None = state.get("payment_intent", intent_id)["latest_charge"]
    if charge_id is None:
        raise StripeRefusal(f"The payment {intent_id} has no charge.")
    return charge_id


def _dispute(object_id: str, created: int, of_charge: Obj, amount: int, *, status: str, due_by: int) -> Obj:
    """A dispute about a charge, without the evidence that nobody gives here."""
    return {
        "id": object_id,
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": of_charge["id"],
        "created": created,
        "currency": of_charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": due_by,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": status.startswith("warning"),
        "livemode": False,
        "metadata": {},
        "payment_intent": of_charge["payment_intent"],
        "payment_method_details": {"card": {"brand": "visa", "case_type": "chargeback"}, "type": "card"},
        "reason": "general",
        "status": status,
    }


def _fraud_warning(object_id: str, created: int, of_charge: Obj) -> Obj:
    """A warning of the card's network about a charge."""
    return {
        "id": object_id,
        "object": "radar.early_fraud_warning",
        "actionable": True,
        "charge": of_charge["id"],
        "created": created,
        "fraud_type": "made_with_stolen_card",
        "livemode": False,
        "payment_intent": of_charge["payment_intent"],
    }
