"""`/_sandbox/stripe/…`: what banks and buyers do to a payment after it was made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from keywright.sandbox import stripe_disputes as disputes
from keywright.sandbox.guards import json_only
from keywright.sandbox.sandbox import Sandbox
from keywright.sandbox.stripe_state import StripeState

Box = NamedDependency[Sandbox]
Answer = dict[str, Any]


class DisputeWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the bank asks first, and how much it contests; all of the charge without an amount."""

    inquiry: bool = False
    amount: Annotated[int, msgspec.Meta(gt=0)] | None = None


class MoveWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a dispute goes on, or ends."""

    status: Literal[
        "needs_response",
        "under_review",
        "warning_under_review",
        "appeal_needs_response",
        "appeal_under_review",
        "won",
        "lost",
        "warning_closed",
        "prevented",
    ]


class NoWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to choose."""


class StripeController(Controller):
    """Charges are named by their own id, or by the id of their payment intent."""

    path = "/_sandbox/stripe"
    guards = (json_only,)

    @post("/charges/{name:str}/dispute", status_code=200)
    async def dispute(self, name: FromPath[str], data: JSONBody[DisputeWish], sandbox: Box) -> Answer:
        """The buyer's bank contests a charge."""
        state, charge_id = _charge(sandbox, name)
        opened = disputes.open_dispute(state, charge_id, inquiry=data.inquiry, amount=data.amount)
        return {"dispute": opened["id"], "status": opened["status"]}

    @post("/charges/{name:str}/fraud-warning", status_code=200)
    async def warn(self, name: FromPath[str], data: JSONBody[NoWish], sandbox: Box) -> Answer:  # noqa: ARG002  # the body must be JSON
        """The card's network suspects fraud."""
        return {"warning": disputes.warn_of_fraud(*_charge(sandbox, name))["id"]}

    @post("/disputes/{dispute_id:str}", status_code=200)
    async def move(self, dispute_id: FromPath[str], data: JSONBody[MoveWish], sandbox: Box) -> Answer:
        """A dispute goes on, or ends."""
        change = disputes.close if data.status in disputes.OUTCOMES else disputes.move
        state = sandbox.world_with("dispute", dispute_id)
        return {"dispute": dispute_id, "status": change(state, dispute_id, data.status)["status"]}


def _charge(sandbox: Sandbox, name: str) -> tuple[StripeState, str]:
    by_intent = name.startswith("pi_")
    state = sandbox.world_with("payment_intent" if by_intent else "charge", name)
    return state, disputes.charge_of(state, name) if by_intent else name
