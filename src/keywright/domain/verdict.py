"""The answer to "may I run here?": a pure function of license, question and now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

from keywright.domain.activation import Activation
from keywright.domain.license import License, Status, status
from keywright.domain.plan import Plan, later_by

Code = Literal[
    "NOT_FOUND",
    "TAMPERED",
    "REVOKED",
    "SUSPENDED",
    "PENDING",
    "EXPIRED",
    "PRODUCT_MISMATCH",
    "ENTITLEMENT_MISSING",
    "NOT_ACTIVATED",
    "TOO_MANY_ACTIVATIONS",
    "MOVES_EXHAUSTED",
    "GRACE",
    "VALID",
]
NextAction = Literal["continue", "activate", "renew", "contact", "retry"]

DETAIL: dict[Code, tuple[NextAction, str]] = {
    "NOT_FOUND": ("contact", "No license has this key."),
    "TAMPERED": ("contact", "The stored license was altered. Please contact the seller."),
    "REVOKED": ("contact", "This license was revoked."),
    "SUSPENDED": ("contact", "This license is suspended."),
    "PENDING": ("retry", "The payment for this license has not settled yet."),
    "EXPIRED": ("renew", "This license has expired."),
    "PRODUCT_MISMATCH": ("contact", "This license is for another product."),
    "ENTITLEMENT_MISSING": ("contact", "This license does not include what was asked for."),
    "NOT_ACTIVATED": ("activate", "This license is not activated on this machine."),
    "TOO_MANY_ACTIVATIONS": ("contact", "This license is already used on as many machines as it allows."),
    "MOVES_EXHAUSTED": ("contact", "This license was moved between machines too often. Try again later."),
    "GRACE": ("renew", "This license runs in its grace period. Please renew it."),
    "VALID": ("continue", "This license is valid."),
}


class Question(msgspec.Struct, frozen=True):
    """What the program asks. `fingerprinted` is True when it named its machine, `over` when the key it showed
    has come to an end of its own, as HMAC keys do."""

    fingerprinted: bool = False
    product: str | None = None
    entitlements: tuple[str, ...] = ()
    over: bool = False


class Situation(msgspec.Struct, frozen=True):
    """All that a rule may look at."""

    held: License
    plan: Plan
    product: str
    activation: Activation | None
    question: Question
    status: Status


Rule = tuple[Code, Callable[[Situation], bool]]

# First match wins: the order is public API (contract, "Codes in precedence").
_RULES: tuple[Rule, ...] = (
    ("REVOKED", lambda s: s.status == "revoked"),
    ("SUSPENDED", lambda s: s.status == "suspended"),
    ("PENDING", lambda s: s.status == "pending"),
    ("EXPIRED", lambda s: s.status == "expired" or s.question.over),
    ("PRODUCT_MISMATCH", lambda s: s.question.product is not None and s.question.product != s.product),
    ("ENTITLEMENT_MISSING", lambda s: not set(s.question.entitlements) <= set(s.plan.terms.entitlements)),
    ("NOT_ACTIVATED", lambda s: s.question.fingerprinted and s.activation is None),
    ("GRACE", lambda s: s.status == "grace"),
)


def judge(
    held: License,
    plan: Plan,
    product: str,
    activation: Activation | None,
    question: Question,
    now: datetime,
    *,
    intact: bool,
) -> tuple[Code, Status]:
    """The verdict code and the status of a license that was found.

    `product` is the slug of the license's product, `intact` whether the row's MAC holds.
    """
    if not intact:
        return "TAMPERED", "suspended"
    at = status(held, now)
    situation = Situation(held, plan, product, activation, question, at)
    for code, applies in _RULES:
        if applies(situation):
            return code, at
    return "VALID", at


def is_valid(code: Code) -> bool:
    return code in ("VALID", "GRACE")


def refusal_of_activation(code: Code) -> int:
    """The HTTP status of an `activate` that was not granted (contract: 404, 409, "403 otherwise")."""
    return {"NOT_FOUND": 404, "TOO_MANY_ACTIVATIONS": 409}.get(code, 403)


def offline_until(held: License, plan: Plan, now: datetime) -> datetime | None:
    """How long a program may run without asking again: the lease, but never beyond the last valid moment.

    None when it may not run now. The license is valid at every moment from `now` until then.
    """
    last = last_valid(held, now)
    return min(later_by(now, plan.terms.offline), last) if last > now else None


def last_valid(held: License, now: datetime) -> datetime:
    """The last moment of the validity that holds at `now`; `now` itself where it is not valid."""
    last = now
    for clock in (held.active_until, held.grace_until):
        # Grace does not follow paid time that was paused or refunded: ask the status where the clock stops.
        if clock is not None and clock > last and status(held, last) in ("active", "grace"):
            last = clock
    return last
