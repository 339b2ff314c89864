"""A license bound to one machine, and the rules that decide whether one more may be bound."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from keywright.domain.license import License, seats_at
from keywright.domain.plan import Plan


class Activation(msgspec.Struct, frozen=True):
    """`fingerprint_hash` is keyed: the fingerprint itself is never stored. Seats that end: see `seat.py`.

    `seat_until`: where seats float, the end of the longest lease that was given out. `out_until`: until when
    it is checked out.
    """

    id: str
    license_id: str
    tenant_id: str
    fingerprint_hash: str
    name: str | None
    activated_at: datetime
    lease: str | None = None
    lease_until: datetime | None = None
    lease_mark: str | None = None
    last_seen_at: datetime | None = None
    seat_until: datetime | None = None
    out_until: datetime | None = None


Admission = Literal["admit", "replace_oldest", "TOO_MANY_ACTIVATIONS", "MOVES_EXHAUSTED"]


def admit(held: License, plan: Plan, *, active: int, released: int, now: datetime, out: int = 0) -> Admission:
    """Whether one more machine fits at `now`.

    `active` machines hold the license now, `out` of them are checked out, `released` were freed within the
    plan's period. Must be called inside the transaction that writes the activation; counting outside it fails
    under a race.
    """
    limit = plan.terms.machines(seats_at(held, now))
    if limit is None or active < limit:
        return "admit"
    # Above the limit (seats were given back) one out and one in would keep the excess: nobody is cut off, but
    # nobody new comes in until the count fits.
    # And nobody takes the place of a machine that was promised it until it is back.
    if plan.terms.over_limit == "refuse" or active == out or active > limit:
        return "TOO_MANY_ACTIVATIONS"
    # Replacing is a move: without a budget two people could share one seat by taking turns.
    if plan.terms.moves is not None and released >= plan.terms.moves:
        return "MOVES_EXHAUSTED"
    return "replace_oldest"


def may_release(plan: Plan, *, released: int) -> bool:
    """Whether the customer may free a machine now; `released` counts those freed within the plan's period."""
    return plan.terms.moves is None or released < plan.terms.moves


def may_rebind(plan: Plan, *, rebound: int) -> bool:
    """Whether the license may follow a machine that changed. `rebound`: how often it did in the period."""
    return rebound < plan.terms.rebinds
