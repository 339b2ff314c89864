"""What an operator decided about a license, on top of what was paid.

Suspend and reinstate: the newest wins. Revoke: final until reinstated. Extend: a floor under paid time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from keywright.domain.grant import Grant


class Decision(msgspec.Struct, frozen=True):
    """Who decided what, and when."""

    kind: Literal["suspend", "reinstate", "revoke"]
    at: datetime
    by: str


class Overrides(msgspec.Struct, frozen=True, omit_defaults=True):
    """`floor`: the license runs at least until then. `seats`: added to what was bought."""

    decision: Decision | None = None
    floor: datetime | None = None
    seats: int = 0


NO_OVERRIDES = Overrides()


def decide(overrides: Overrides, decision: Decision) -> Overrides:
    """The overrides after a decision; an older decision changes nothing."""
    known = overrides.decision
    if known is not None and (known.at, known.kind) > (decision.at, decision.kind):
        return overrides
    if known is not None and known.kind == "revoke" and decision.kind == "suspend":
        return overrides
    return msgspec.structs.replace(overrides, decision=decision)


def extend(overrides: Overrides, until: datetime) -> Overrides:
    """Raise the floor. A floor is never lowered: a customer was told a date."""
    floor = until if overrides.floor is None else max(overrides.floor, until)
    return msgspec.structs.replace(overrides, floor=floor)


def apply(grant: Grant, overrides: Overrides) -> Grant:
    """The grant as the operator wants it. Operator over provider."""
    if overrides == NO_OVERRIDES:
        return grant
    changed: dict[str, object] = {"seats": grant.seats + overrides.seats}
    if overrides.floor is not None:
        for clock in ("entitled_until", "active_until", "grace_until"):
            known = getattr(grant, clock)
            changed[clock] = overrides.floor if known is None else max(known, overrides.floor)
    decision = overrides.decision
    if decision is not None and decision.kind != "reinstate":
        changed["standing"] = "suspended" if decision.kind == "suspend" else "revoked"
        changed["reason"] = f"{decision.kind} by staff"
    elif decision is not None:
        # Reinstating also lifts what the provider imposed: paused collection, time lost to a refund.
        changed["standing"] = "ok"
    return msgspec.structs.replace(grant, **changed)
