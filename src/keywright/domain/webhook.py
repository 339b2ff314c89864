"""What receivers are told: names of events, what is in them, and when a delivery is tried again.

The one place where kinds of the timeline become types of events.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from keywright.domain.license import License, Status, status

SECRET_BYTES: Final = 32
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # what every secret begins with, by Standard Webhooks
EVERYTHING: Final = "*"
TEST: Final = "webhook.test"
GRACE_STARTED: Final = "license.grace_started"
EXPIRED: Final = "license.expired"
DISABLE_AFTER: Final = timedelta(days=5)
FORGIVEN_AFTER: Final = timedelta(days=2)  # without an attempt: nobody knows whether it still fails
LONGEST_WAIT: Final = timedelta(hours=24)
KEPT_FOR: Final = timedelta(days=30)

_TYPE_OF_KIND: Final[Mapping[str, str]] = {
    "license.issued": "license.issued",
    "license.imported": "license.issued",
    "license.renewed": "license.renewed",
    "license.extended": "license.renewed",
    "license.renewal_undone": "license.changed",
    "license.replaced": "license.replaced",
    "license.seats_changed": "license.seats_changed",
    "license.plan_changed": "license.plan_changed",
    "license.canceling": "license.canceling",
    "license.refunded": "license.refunded",
    "license.revoked": "license.revoked",
    "license.suspended": "license.suspended",
    "license.paused": "license.paused",
    "license.reinstated": "license.reinstated",
    "license.transferred": "license.transferred",
    "license.key_rotated": "license.key_rotated",
    "license.changed": "license.changed",
    "activation.created": "activation.created",
    "activation.rebound": "activation.rebound",
    "activation.released": "activation.released",
    "activation.lapsed": "activation.released",
    "activation.reclaimed": "activation.released",
}
TYPES: Final = tuple(sorted({*_TYPE_OF_KIND.values(), GRACE_STARTED, EXPIRED}))

# Pauses between attempts, as senders of Standard Webhooks make them: the first attempt is at once.
_PAUSES: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
ATTEMPTS: Final = len(_PAUSES) + 1
_JITTER: Final = 0.1

_encode = msgspec.json.Encoder().encode


class Outgoing(msgspec.Struct, frozen=True):
    """A webhook of ours. `id` stays the same over all attempts; `secrets`: the newest first."""

    id: str
    url: str
    body: str
    secrets: tuple[str, ...]

    def __repr__(self) -> str:  # neither address nor secret reaches a log
        return f"Outgoing({self.id!r})"


class Received(msgspec.Struct, frozen=True):
    """What the receiver answered, or in a few words why there is no answer. `retry_after` in seconds."""

    status: int | None
    error: str | None = None
    retry_after: int | None = None

    @property
    def taken(self) -> bool:
        """Whether it was taken: nothing but 2xx means that it was."""
        return self.status is not None and 200 <= self.status < 300


def is_told(kind: str) -> bool:
    """Whether receivers are told of entries of this kind."""
    return kind in _TYPE_OF_KIND


def type_of(kind: str, now: Status) -> str | None:
    """The event that an entry of the timeline is, when its license is `now` what it is; None: none.

    Money that was given back takes a license away or only shortens it: whoever listens for licenses that
    were revoked alone must hear of the first.
    """
    if kind == "license.refunded" and now == "revoked":
        return "license.revoked"
    return _TYPE_OF_KIND.get(kind)


def wants(types: Sequence[str], event: str) -> bool:
    """Whether an endpoint that asked for these types is told of such an event."""
    return EVERYTHING in types or event in types


def body_of(
    event: str, at: datetime, held: License, product: str, plan: str, *, activation: str | None = None
) -> str:
    """The body of an event: what the license is at that moment. No key, no address, nothing anybody typed.

    Args:
        event: the event's type.
        at: when it happened, aware, UTC.
        held: the license, after what happened.
        product: the product's slug.
        plan: the plan's slug.
        activation: the machine that it is about.
    """
    told: dict[str, Any] = {
        "license": {
            "id": held.id,
            "product": product,
            "plan": plan,
            "status": status(held, at),
            "seats": held.seats,
            "seats_after": held.seats_after,
            "seats_after_at": held.seats_after_at,
            "entitled_until": held.entitled_until,
            "grace_until": held.grace_until,
            "trial": held.trial,
            "canceling": held.canceling,
            "customer": held.customer_id,
        }
    }
    if activation is not None:
        told["activation"] = {"id": activation}
    return _encode({"type": event, "timestamp": at, "data": told}).decode()


def test_body(at: datetime) -> str:
    """The body of an event that only tries whether an endpoint hears us."""
    return _encode({"type": TEST, "timestamp": at, "data": {}}).decode()


def next_pause(attempts: int, spread: float, retry_after: timedelta | None) -> timedelta | None:
    """How long to wait after so many attempts; None when there is no other one.

    Args:
        attempts: how many were made, 1 or more.
        spread: a random number from -1 to 1: receivers that come back are not met by all at once.
        retry_after: what the receiver asked for; waited for at least, up to 24 hours.
    """
    if attempts > len(_PAUSES):
        return None
    pause = _PAUSES[attempts - 1] * (1 + _JITTER * spread)
    return pause if retry_after is None else max(pause, min(retry_after, LONGEST_WAIT))


def make_secret(random: bytes) -> str:
    """An endpoint's secret from 32 random bytes, as Standard Webhooks writes it."""
    return SECRET_PREFIX + b64encode(random).decode()
