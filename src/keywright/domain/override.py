"""What an operator decided about a license, on top of what was paid.

Suspend and reinstate: the newest wins. Revoke: final until reinstated. Extend: a floor under paid time. Like
facts, decisions may arrive in any order and more than once: the outcome is the same.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from keywright.domain.grant import Grant
from keywright.domain.repurchase import Renewal, Under, fold, is_replaced, put


class Decision(msgspec.Struct, frozen=True):
    """Who decided what, and when."""

    kind: Literal["suspend", "reinstate", "revoke"]
    at: datetime
    by: str


class Overrides(msgspec.Struct, frozen=True, omit_defaults=True):
    """`decision`: the one in force. `floor`: the license runs at least until then. `seats`: added to those
    bought. `behind`: the newest decision of every other kind, which an older one that arrives late may need.
    `renewals`: the later purchases that extend the license or end it, `ground`: the floor that there was when
    the first of them came, `under`: what the license's own purchase is worth.
    """

    decision: Decision | None = None
    floor: datetime | None = None
    seats: int = 0
    behind: tuple[Decision, ...] = ()
    renewals: tuple[Renewal, ...] = ()
    ground: datetime | None = None
    under: Under | None = None


NO_OVERRIDES = Overrides()
_STRICTNESS = ("revoke", "suspend", "reinstate")


def decide(overrides: Overrides, decision: Decision) -> Overrides:
    """The overrides after a decision, whatever the order in which decisions arrive."""
    newest: dict[str, Decision] = {}
    known = () if overrides.decision is None else (overrides.decision, *overrides.behind)
    for one in (*known, decision):
        rival = newest.get(one.kind)
        if rival is None or (one.at, one.by) > (rival.at, rival.by):
            newest[one.kind] = one
    chosen = _in_force(newest)
    behind = tuple(one for _, one in sorted(newest.items()) if one is not chosen)
    return msgspec.structs.replace(overrides, decision=chosen, behind=behind)


def _in_force(newest: dict[str, Decision]) -> Decision:
    """A revocation, unless it was reinstated since; else the newest. At one moment the stricter one."""
    reinstated = newest.get("reinstate")
    standing = [one for one in newest.values() if reinstated is None or one.at >= reinstated.at]
    return min(standing, key=lambda one: _STRICTNESS.index(one.kind))


def extend(overrides: Overrides, until: datetime) -> Overrides:
    """Raise the floor. A floor is never lowered: a customer was told a date."""
    floor = until if overrides.floor is None else max(overrides.floor, until)
    return msgspec.structs.replace(overrides, floor=floor)


def renew(overrides: Overrides, renewal: Renewal) -> Overrides:
    """The overrides with the newest word on a purchase that renews the license. Repeating changes nothing."""
    ground = overrides.ground if overrides.renewals else overrides.floor
    return msgspec.structs.replace(overrides, renewals=put(overrides.renewals, renewal), ground=ground)


def over(overrides: Overrides, grant: Grant) -> Overrides:
    """The overrides as they lie over this grant of the license's own purchase. The same object as a rule."""
    if not overrides.renewals:
        return overrides
    under = Under(grant.entitled_until, grant.seats)
    return overrides if overrides.under == under else msgspec.structs.replace(overrides, under=under)


def apply(grant: Grant, overrides: Overrides) -> Grant:
    """The grant as the operator wants it. Operator over provider.

    A reinstatement lifts staff decisions, a provider's pause, and a dispute that staff could know of; one
    that was opened later suspends. Time that a refund took comes back with a payment, or with `extend`: a
    decision must not give away what comes after it.
    """
    if overrides == NO_OVERRIDES:
        return grant
    grant = fold(grant, overrides.renewals, overrides.ground, given=overrides.seats)
    changed: dict[str, object] = {"seats": grant.seats + overrides.seats}
    if grant.seats_after is not None:
        changed["seats_after"] = grant.seats_after + overrides.seats
    if overrides.floor is not None:
        for clock in ("entitled_until", "active_until", "grace_until"):
            known = getattr(grant, clock)
            changed[clock] = overrides.floor if known is None else max(known, overrides.floor)
    decision = overrides.decision
    # A unit that is no longer bought is revoked before it comes here; no decision brings it back.
    if decision is not None and grant.standing != "revoked":
        if decision.kind != "reinstate":
            changed["standing"] = "suspended" if decision.kind == "suspend" else "revoked"
            changed["reason"] = f"{decision.kind} by staff"
        elif grant.standing != "ok" and (grant.standing_since is None or grant.standing_since <= decision.at):
            changed["standing"], changed["reason"] = "ok", ""
    reinstated = decision.at if decision is not None and decision.kind == "reinstate" else None
    if is_replaced(overrides.renewals, reinstated):
        changed["standing"], changed["reason"] = "revoked", "replaced"
    return msgspec.structs.replace(grant, **changed)
