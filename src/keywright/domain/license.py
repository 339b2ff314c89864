"""A license: what the customer holds, and what its clocks say at a moment."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from keywright.domain.grant import Grant, Standing
from keywright.domain.override import NO_OVERRIDES, Overrides
from keywright.domain.plan import FOREVER

Status = Literal["pending", "active", "grace", "expired", "suspended", "revoked"]
Origin = Literal["purchase", "staff", "comp", "trial", "import"]
"""Where a license comes from: bought; or from staff: issued, given away, to be tried, or brought along."""


class License(msgspec.Struct, frozen=True):
    """One license row, as the rules see it. Clocks and steps as in `grant.Grant`.

    `seats` count until `seats_after_at`, then `seats_after`: ask `seats_at`, which knows the moment.
    """

    id: str
    tenant_id: str
    purchase_id: str | None
    product_id: str
    plan_id: str
    unit: int
    customer_id: str | None
    key_hash: str
    key_last5: str
    key_sealed: str
    seats: int
    entitled_until: datetime | None
    active_until: datetime | None
    grace_until: datetime | None
    lost_until: datetime | None
    standing: Standing
    reason: str
    trial: bool
    canceling: bool
    past_due: bool
    created_at: datetime
    overrides: Overrides = NO_OVERRIDES
    firm: str | None = None
    head: str = ""
    events: int = 0
    mac: str = ""
    seats_after: int | None = None
    seats_after_at: datetime | None = None
    origin: Origin = "purchase"
    hmac_sealed: str | None = None


def granted(held: License, grant: Grant) -> License:
    """The license with the grant written into it. Returns the same object when nothing changed."""
    changed = msgspec.structs.replace(
        held,
        plan_id=grant.plan.id,
        seats=grant.seats,
        entitled_until=grant.entitled_until,
        active_until=grant.active_until,
        grace_until=grant.grace_until,
        lost_until=grant.lost_until,
        standing=grant.standing,
        reason=grant.reason,
        trial=grant.trial,
        canceling=grant.canceling,
        past_due=grant.past_due,
        seats_after=grant.seats_after,
        seats_after_at=grant.seats_after_at,
    )
    return held if changed == held else changed


def seats_at(held: License, now: datetime) -> int:
    """How many seats the license has at `now`: fewer ones begin when the time paid for more is over."""
    if held.seats_after is None or held.seats_after_at is None or now < held.seats_after_at:
        return held.seats
    return held.seats_after


_STANDING_CHANGES: Final[Mapping[Standing, str]] = {
    "ok": "license.reinstated",
    "paused": "license.paused",
    "suspended": "license.suspended",
    "revoked": "license.revoked",
}


def change_of(before: License, after: License) -> str:
    """The name of a change, for the timeline and for webhooks."""
    lost = after.lost_until is not None and after.lost_until != before.lost_until
    # A dispute that was lost ends its suspension too, and reinstates nothing.
    if after.standing != before.standing and not (lost and after.standing == "ok"):
        return _STANDING_CHANGES[after.standing]
    if lost:
        return "license.revoked" if after.reason == "dispute lost" else "license.refunded"
    if after.plan_id != before.plan_id:
        return "license.plan_changed"
    # A step that was told of before is no news when its moment comes: that is a renewal with fewer seats.
    if _bought(after) != _bought(before):
        return "license.seats_changed"
    if after.canceling and not before.canceling:
        return "license.canceling"
    # The end of a line that was removed may still be learned more exactly, which renews nothing.
    if after.reason != "removed" and _later(after.entitled_until, before.entitled_until):
        return "license.renewed"
    return "license.changed"


def _bought(held: License) -> int:
    return held.seats if held.seats_after is None else held.seats_after


def _later(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and (other is None or one > other)


def status(held: License, now: datetime) -> Status:
    """What the license is at `now`.

    revoked > suspended > active > grace > expired; pending when nothing was ever granted. Paid time beats a
    provider's pause, so a paused license is suspended only after its paid time.
    """
    if held.standing == "revoked":
        return "revoked"
    paid = held.active_until is not None and now < held.active_until
    if held.lost_until is not None and now < held.lost_until and not paid:
        return "revoked"
    if held.standing == "suspended" or (held.standing == "paused" and not paid):
        return "suspended"
    if held.active_until is None:
        return "pending"
    if paid:
        return "active"
    if held.grace_until is not None and now < held.grace_until:
        return "grace"
    return "expired"


def next_change(held: License, now: datetime) -> datetime | None:
    """The next moment at which the license may become something else by its clocks alone; None: none."""
    clocks = (
        held.entitled_until,
        held.active_until,
        held.grace_until,
        held.lost_until,
        held.seats_after_at,
    )
    return min((clock for clock in clocks if clock is not None and now < clock < FOREVER), default=None)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def row_mac(held: License, key: bytes) -> str:
    """The MAC over everything a verdict rests on. HMAC-SHA256 cut to 128 bits (RFC 2104 section 5), hex.

    Checked whenever the row is read for a verdict: a row altered by hand answers TAMPERED. The overrides are
    covered too, because the next payment works them into the clocks again.
    """
    return hmac.digest(key, _row_text(held), "sha256")[:16].hex()


def is_intact(held: License, key: bytes) -> bool:
    # As bytes: comparing text raises where an altered row holds a character beyond ASCII.
    return hmac.compare_digest(held.mac.encode(), row_mac(held, key).encode())


def _row_text(held: License) -> bytes:
    """A JSON array, so that no two rows share a text whatever characters their members hold."""
    clocks = (held.entitled_until, held.active_until, held.grace_until, held.lost_until)
    told: tuple[Any, ...] = (
        "license-row/1",
        held.id,
        held.tenant_id,
        held.purchase_id,
        held.product_id,
        held.plan_id,
        held.unit,
        held.key_hash,
        held.seats,
        [_stored(clock) for clock in clocks],
        held.standing,
        held.firm,
        held.overrides,
    )
    if held.seats_after is not None or held.seats_after_at is not None:
        # Only where there is a step: rows from before there were steps keep their MAC.
        told = (*told, held.seats_after, _stored(held.seats_after_at))
    if held.hmac_sealed is not None:
        # The same: only where there is an HMAC key. A list, so that it is never taken for a step.
        told = (*told, ["hmac", held.hmac_sealed])
    return _encode(told)


def _stored(clock: datetime | None) -> int | None:
    """Not the encoder's own form of a time: this one is what the databases store."""
    return None if clock is None else (clock - _EPOCH) // _MICROSECOND
