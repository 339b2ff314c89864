"""Findings: how what is here differs from what the provider says, and what to do about it, in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from keywright.domain.license import License, status
from keywright.flows.issuing import Changed
from keywright.flows.license_writes import clocks_of

Kind = Literal[
    "paid-without-license",
    "license-without-payment",
    "refunded-but-valid",
    "wrong-seats",
    "wrong-dates",
    "wrong-plan",
    "missed-event",
    "amount-mismatch",
    "price-unmapped",
    "order-unknown",
    "claimed-elsewhere",
    "failed-event",
    "unreadable",
]

# What an event is parked for when a person has to decide, and what to tell that person.
PARKED: Final[Mapping[str, Kind]] = {
    "AMOUNT_MISMATCH": "amount-mismatch",
    "PRICE_UNMAPPED": "price-unmapped",
    "ORDER_UNKNOWN": "order-unknown",
    "CLAIMED_ELSEWHERE": "claimed-elsewhere",
}
_BY_HAND: Final[Mapping[Kind, str]] = {
    "amount-mismatch": (
        "The amount paid is not the amount ordered: refund it at the provider, or run keywright license issue"
    ),
    "price-unmapped": "No plan sells this price: add it to the catalog and run keywright catalog apply",
    "order-unknown": (
        "No checkout of ours sold this: leave it if it is no software, or run keywright license issue"
    ),
    "claimed-elsewhere": (
        "Another tenant with the same account at the provider sold it or took it in: leave it there, or run"
        " keywright license issue"
    ),
    "failed-event": "It could not be taken in: see keywright event show, then keywright event replay",
    "unreadable": "The provider's word cannot be read: update Keywright, or report it as a bug",
}
_RUNNING: Final = ("active", "grace")
_CLOCKS: Final = ("entitled_until", "active_until", "grace_until", "lost_until")


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One difference. `object`: the provider's name of what it is about; `fix`: what repairs it, in words.

    `fixed`: it was repaired. `manual`: `--fix` does not repair it, a person has to. `before` and `after` are
    what the timeline shows of a license; `before` None: there was none.
    """

    kind: Kind
    object: str
    fix: str
    fixed: bool = False
    manual: bool = False
    license: str | None = None
    purchase: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reason: str | None = None


def of_license(change: Changed, name: str, now: datetime, *, fixed: bool) -> Finding:
    """A license that is not what the provider's word makes it."""
    kind = kind_of(change, now)
    before, after = _shown(change.before), _shown(change.after)
    return Finding(
        kind=kind,
        object=name,
        fix=_words(kind, before or {}, after or {}),
        fixed=fixed,
        # A dry run makes its own ids, which nobody can look up afterwards.
        license=change.after.id if fixed or change.before is not None else None,
        purchase=change.after.purchase_id if fixed or change.before is not None else None,
        before=before,
        after=after,
    )


def of_event(key: str, reason: str | None, *, fixed: bool) -> Finding:
    """An event that never came, and changes no license."""
    return Finding("missed-event", key, "Take the event in; no license changes by it", fixed, reason=reason)


def of_parked(key: str, reason: str | None) -> Finding:
    """An event that is kept for a reason of `PARKED`, and that only a person can bring on."""
    kind = PARKED[reason or ""]
    return Finding(kind, key, _BY_HAND[kind], manual=True, reason=reason)


def of_gone(subscription: str, license_: str, purchase: str) -> Finding:
    """A license that runs on a subscription which the provider does not know."""
    return Finding(
        "license-without-payment",
        subscription,
        "The provider knows no such subscription: run keywright license revoke, or leave it until it ends",
        manual=True,
        license=license_,
        purchase=purchase,
    )


def of_trouble(kind: Literal["failed-event", "unreadable"], key: str, reason: str | None) -> Finding:
    """An event that cannot be taken in."""
    return Finding(kind, key, _BY_HAND[kind], manual=True, reason=reason)


def kind_of(change: Changed, now: datetime) -> Kind:
    """What a change of a license repairs. Of several, what costs the buyer or the seller most."""
    before, after = change.before, change.after
    if before is None:
        return "paid-without-license"
    taken_back = after.lost_until is not None and after.lost_until != before.lost_until
    if taken_back or (after.standing == "revoked" and before.standing != "revoked"):
        return "wrong-seats" if after.reason == "fewer keys" else "refunded-but-valid"
    if _runs(before, now) and not _runs(after, now):
        return "license-without-payment"
    if not _runs(before, now) and _runs(after, now) and before.standing != after.standing:
        return "paid-without-license"
    if after.plan_id != before.plan_id:
        return "wrong-plan"
    if (after.seats, after.seats_after) != (before.seats, before.seats_after):
        return "wrong-seats"
    if any(getattr(after, clock) != getattr(before, clock) for clock in _CLOCKS):
        return "wrong-dates"
    return "missed-event"


def folded(changes: list[Changed]) -> list[Changed]:
    """One change of each license, from what it was first to what it is last."""
    by_license: dict[str, Changed] = {}
    for change in changes:
        known = by_license.get(change.after.id)
        before = known.before if known is not None else change.before
        by_license[change.after.id] = Changed(before, change.after, change.kind)
    return list(by_license.values())


def _runs(held: License, now: datetime) -> bool:
    return status(held, now) in _RUNNING


def _shown(held: License | None) -> dict[str, Any] | None:
    return None if held is None else clocks_of(held)


def _words(kind: Kind, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    match kind:
        case "paid-without-license":
            return f"Give the license that was paid for: {after['seats']} seat(s), to {_end(after)}"
        case "license-without-payment":
            return f"Stop the license: no payment covers it ({after.get('reason') or 'to ' + _end(after)})"
        case "refunded-but-valid":
            return f"Revoke the license: {after.get('reason') or 'its payment was given back'}"
        case "wrong-seats":
            return f"Set the seats from {_seats(before)} to {_seats(after)}"
        case "wrong-plan":
            return f"Change the plan from {before.get('plan')} to {after.get('plan')}"
        case "wrong-dates":
            return f"Move the end from {_end(before)} to {_end(after)}"
    return "Write down what the provider told; the license runs as before"


def _seats(clocks: Mapping[str, Any]) -> str:
    step = f", {clocks['seats_after']} from {clocks['seats_after_at']}" if "seats_after" in clocks else ""
    return f"{clocks['seats']}{step}"


def _end(clocks: Mapping[str, Any]) -> str:
    end, grace = clocks.get("entitled_until"), clocks.get("grace_until")
    if end == "never":
        return "no end"
    return f"{end or 'nothing'}" + (f" (grace to {grace})" if grace not in (None, end) else "")
