"""Where to look for what we missed at Stripe: events as long as it keeps them, and the objects themselves.

Stripe keeps events for 30 days (https://docs.stripe.com/api/events/list). A subscription has no member that
tells when it changed, so whoever looks further back than that gets all of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from keywright.domain.errors import Invalid
from keywright.ports import Change
from keywright.providers.stripe import shapes
from keywright.providers.stripe.client import address

__all__ = ["Change", "Phase", "next_place", "phases", "place_of"]

EVENTS_KEPT: Final = timedelta(days=29)
"""How far back events are relied on: a day less than Stripe keeps them, because a look takes its time."""

_TYPES: Final = tuple(sorted(shapes.READ))
_AT_ONCE: Final = 20  # Stripe takes as many event types in one question


class Phase(msgspec.Struct, frozen=True):
    """One list to go through. `kind` as in `Refetch`; None for events, which are told as they were sent."""

    path: str
    params: dict[str, Any]
    kind: str | None = None


def phases(since: datetime, now: datetime) -> tuple[Phase, ...]:
    """The lists that tell what happened since then, in order."""
    created = {"gte": int(since.timestamp())}
    told = [
        Phase(address("events"), {"types": list(_TYPES[first : first + _AT_ONCE]), "created": created})
        for first in range(0, len(_TYPES), _AT_ONCE)
    ]
    subscriptions = Phase(address("subscriptions"), {"status": "all"}, "subscription")
    if since >= now - EVENTS_KEPT:
        subscriptions.params["created"] = created
        return (*told, subscriptions)
    expand = ["data.payment_intent", "data.subscription", "data.line_items"]
    paid = {"status": "complete", "created": created, "expand": expand}
    return (
        *told,
        subscriptions,
        Phase(address("checkout", "sessions"), paid, "checkout"),
        Phase(address("refunds"), {"created": created}, "refund"),
        Phase(address("disputes"), {"created": created}, "dispute"),
    )


def place_of(cursor: str | None, count: int) -> tuple[int, str | None]:
    """The phase, and the object behind which to go on, that a cursor stands for. Raises Invalid."""
    if cursor is None:
        return 0, None
    number, _, after = cursor.partition(":")
    if not number.isascii() or not number.isdigit() or int(number) >= count:
        raise Invalid("this is no place in a list of Stripe's changes")
    return int(number), after or None


def next_place(number: int, last: str | None, count: int) -> str | None:
    """The cursor behind the object `last` of a phase; behind the phase, when there is no more of it."""
    if last is not None:
        return f"{number}:{last}"
    return f"{number + 1}:" if number + 1 < count else None
