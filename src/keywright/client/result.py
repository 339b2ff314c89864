"""What the program is told: may it run, with what, and what to say to the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

STATES = ("valid", "grace", "unlicensed", "pending", "expired", "refused", "offline", "clock")
CONTACTS = ("none", "fine", "away", "throttled", "refused")


@dataclass(frozen=True)
class Baseline:
    """What the program may do without a license."""

    entitlements: frozenset[str] = frozenset()
    limits: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(given: Mapping[str, Any] | None) -> Baseline:
        """From `{"entitlements": [...], "limits": {...}}` as the catalog has it. What is not of that shape
        is left out."""
        members = given if isinstance(given, Mapping) else {}
        names, limits = members.get("entitlements"), members.get("limits")
        return Baseline(
            frozenset(one for one in names if isinstance(one, str))
            if isinstance(names, (list, tuple))
            else frozenset(),
            {
                str(name): value
                for name, value in (limits.items() if isinstance(limits, Mapping) else ())
                if type(value) is int and value >= 0
            },
        )


@dataclass(frozen=True)
class Result:
    """The answer to "may I run here?".

    Attributes:
        state: `valid`, `grace`, `unlicensed`, `pending`, `expired`, `refused`, `offline` (not asked for too
            long) or `clock` (this machine's clock cannot be right).
        reason: a stable word that says why; the words stand in the reference.
        message: a sentence for the user.
        code: the server's verdict code where the server decided, else None.
        next_action: `continue`, `activate`, `renew`, `contact`, `retry` or `connect`.
        contact: how the last question to the server went: `none` (not asked yet), `fine`, `away`,
            `throttled` (it asked us to wait, which is no error) or `refused`. Three different things, and
            only the last one ends a license.
        retry_at: when the server is asked again after `away` or `throttled`.
        stale: the answer rests on what was known before, because the server gave none.
        source: `lease`, `file` or `baseline`.
        license_id, plan, seats, firm: of the license; None without.
        entitlements, limits: what may be used now: the license's, or the baseline's. Ask `allows` and
            `limit`.
        entitled_until, grace_until: None when it never ends, or is not known.
        offline_until: how long the program may run without asking the server; None for a file without end.
        trial, canceling: what the server last said of it.
    """

    state: str
    reason: str
    message: str
    code: str | None = None
    next_action: str = "continue"
    contact: str = "none"
    retry_at: datetime | None = None
    stale: bool = False
    source: str = "baseline"
    license_id: str | None = None
    plan: str | None = None
    seats: int | None = None
    firm: str | None = None
    entitlements: frozenset[str] = frozenset()
    limits: Mapping[str, int] = field(default_factory=dict)
    entitled_until: datetime | None = None
    grace_until: datetime | None = None
    offline_until: datetime | None = None
    trial: bool = False
    canceling: bool = False

    @property
    def valid(self) -> bool:
        """Whether the program may run with all that the license allows."""
        return self.state in ("valid", "grace")

    def allows(self, entitlement: str) -> bool:
        """Whether a named feature may be used, by the license or by the baseline."""
        return entitlement in self.entitlements

    def limit(self, name: str) -> int | None:
        """A named quota. None is unlimited.

        With a license a quota that is not named is unlimited. Without one it is 0: a quota that was
        forgotten in the baseline must not be a gift.
        """
        return self.limits.get(name, None if self.valid else 0)

    def __bool__(self) -> bool:
        return self.valid


def moment(seconds: Any) -> datetime | None:
    """Unix seconds as a time in UTC; None for none."""
    return datetime.fromtimestamp(seconds, timezone.utc) if type(seconds) is int else None


def day(seconds: int) -> str:
    """A day as a user reads it: 3 May 2026."""
    found = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{found.day} {_MONTHS[found.month - 1]} {found.year}"


_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

# By verdict code: state, reason, next action, and what to tell the user.
REFUSALS = {
    "NOT_FOUND": (
        "refused", "not_found", "contact",
        "No license has this key. Please check how it is written, and whether you were sent a new one.",
    ),
    "TAMPERED": (
        "refused", "tampered", "contact",
        "The seller's record of this license is damaged. Please contact the seller.",
    ),
    "REVOKED": ("refused", "revoked", "contact", "This license was revoked by the seller."),
    "SUSPENDED": ("refused", "suspended", "contact", "This license is suspended. Please contact the seller."),
    "PENDING": ("pending", "pending", "retry", "The payment for this license has not arrived yet."),
    "EXPIRED": ("expired", "expired", "renew", "This license has expired. Renew it to go on."),
    "PRODUCT_MISMATCH": ("refused", "other_product", "contact", "This license is for another product."),
    "ENTITLEMENT_MISSING": (
        "refused", "entitlement_missing", "contact", "This license does not include this feature.",
    ),
    "NOT_ACTIVATED": (
        "unlicensed", "not_activated", "activate", "This license is not activated on this computer.",
    ),
    "TOO_MANY_ACTIVATIONS": (
        "refused", "too_many_machines", "contact",
        "This license is in use on as many computers as it allows. Free one of them first.",
    ),
    "MOVES_EXHAUSTED": (
        "refused", "moves_exhausted", "contact",
        "This license was moved between computers too often. Try again in some days.",
    ),
}  # fmt: skip
