"""What is sold: products, plans and the provider prices that lead to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
"""The end of a license that never ends. It compares like any other instant and leaves the API as null."""


def later_by(moment: datetime, seconds: int) -> datetime:
    """The moment so many seconds later, at most FOREVER: the calendar ends there and sums must not raise."""
    left = FOREVER - moment
    return moment + timedelta(seconds=seconds) if seconds < left.total_seconds() else max(moment, FOREVER)


NoticeKind = Literal[
    "payment_failed", "grace_ending", "expired", "trial_ending", "renewed", "seats_changed", "refunded"
]
"""What a customer is written about, beside the mail that brings a key."""

NOTICE_KINDS: Final[tuple[NoticeKind, ...]] = (
    *("payment_failed", "grace_ending", "expired", "trial_ending"),
    *("renewed", "seats_changed", "refunded"),
)
# Providers write a receipt for every renewal themselves; a second mail each month only teaches people to
# ignore ours.
_USUAL_NOTICES: Final = tuple(kind for kind in NOTICE_KINDS if kind != "renewed")


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one purchase of a plan grants. Durations are in seconds, so a stored row reads the same for ever.

    `max_activations` None means "as many as seats", 0 means unlimited. `moves` None means unlimited.
    `rebinds`: how often in a period a license follows a machine whose fingerprint changed; 0: never.
    `floating`: a seat returns by itself when its lease ends. `checkout`: the longest time a machine may be
    checked out for, 0: not at all. `reclaim`: a machine that was silent for longer gives way, 0: never.
    `term` is `subscription`, `perpetual` or seconds. `key_scheme` is the product's: who makes the keys; None:
    we do. `notices` are the mails that customers get, and the reminders how long before the end of the grace
    period, or of the trial, one goes out; longest first.
    """

    quantity: Literal["seats", "keys"] = "seats"
    seats_per_unit: int = 1
    max_activations: int | None = None
    over_limit: Literal["refuse", "replace_oldest"] = "refuse"
    moves: int | None = None
    moves_period: int = 30 * 86400
    rebinds: int = 3
    rebinds_period: int = 30 * 86400
    floating: bool = False
    checkout: int = 0
    reclaim: int = 0
    entitlements: tuple[str, ...] = ()
    limits: dict[str, int] = {}
    term: Literal["subscription", "perpetual"] | int = "subscription"
    trial: int = 0
    grace: int = 14 * 86400
    slack: int = 3 * 3600
    offline: int = 7 * 86400
    offline_file: int = 30 * 86400
    portable_file: bool = False
    on_cancel: Literal["paid_through", "now"] = "paid_through"
    on_repurchase: Literal["new", "extend", "replace"] = "new"
    on_refund: Literal["revoke", "keep"] = "revoke"
    on_dispute: Literal["suspend", "keep"] = "suspend"
    seat_decrease: Literal["period_end", "now"] = "period_end"
    profile: Literal["signed", "hmac"] = "signed"
    key_scheme: str | None = None
    notices: tuple[NoticeKind, ...] = _USUAL_NOTICES
    grace_reminders: tuple[int, ...] = (3 * 86400,)
    trial_reminders: tuple[int, ...] = (3 * 86400,)

    def machines(self, seats: int) -> int | None:
        """How many machines a license with `seats` seats may run on at a time; None: no limit."""
        if self.max_activations is None:
            return seats
        return self.max_activations or None

    def term_end(self, start: datetime) -> datetime:
        """When a term bought at `start` ends."""
        return later_by(start, self.term) if isinstance(self.term, int) else FOREVER


class Plan(msgspec.Struct, frozen=True):
    """A plan as it stands now. `version` rises with every change of its terms."""

    id: str
    product_id: str
    slug: str
    name: str
    version: int
    terms: Terms


class Product(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    slug: str
    name: str
    key_prefix: str
    baseline: dict[str, object] = {}


class Price(msgspec.Struct, frozen=True):
    """A provider price that leads to a plan. `interval` None: a one-off purchase."""

    id: str
    plan_id: str
    provider: str
    key: str
    external_id: str | None
    amount: int
    currency: str
    interval: str | None
