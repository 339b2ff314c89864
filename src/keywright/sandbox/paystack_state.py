"""What the stand-in for Paystack knows: its objects, events, agenda, and who has which card.

In memory, because a sandbox is started to be thrown away. Numbers and codes carry a random part, so that a
sandbox that was restarted never gives one that the seller's database has already seen.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

Obj = dict[str, Any]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_CODE_LENGTH = 15
_FIRST_NUMBER = 1_000_000_000


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The time now: aware, in UTC."""


class PaystackRefusal(Exception):
    """A request that is answered with one of Paystack's error bodies."""

    def __init__(self, message: str, *, status: int = 400, code: str = "invalid_params") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code

    def body(self) -> Obj:
        """The JSON body Paystack sends for this refusal."""
        return {
            "status": False,
            "message": self.message,
            "meta": {"nextStep": "Check the request and try again"},
            "type": "api_error" if self.status in (401, 403) else "validation_error",
            "code": self.code,
        }


class Terms(msgspec.Struct):
    """What a transaction was initialized with and does not show."""

    access_code: str
    email: str
    callback_url: str | None
    cancel_url: str | None
    plan: str | None
    invoice_limit: int = 0


class Split(msgspec.Struct, frozen=True):
    """With whom a payment is split. `charge`: what the platform keeps, else the subaccount's percentage."""

    subaccount: str
    charge: int | None
    bearer: str


class PaystackState:
    """All objects by kind, in order of creation, and the agenda of what is due later."""

    def __init__(self, *, clock: Clock, entropy: Callable[[int], bytes], base_url: str) -> None:
        self.clock = clock
        self.base_url = base_url
        self.on_event: Callable[[Obj], None] = lambda _event: None
        self.endpoint_secrets: dict[str, str] = {}
        self.undelivered: set[str] = set()
        self.terms: dict[str, Terms] = {}  # by reference
        self.splits: dict[str, Split] = {}  # by reference, and by subscription for its renewals
        self.declining: set[str] = set()  # customers whose card does not pay
        self.email_tokens: dict[str, str] = {}  # by subscription
        self.resumes: dict[str, str] = {}  # by subscription: when it would have been paid for next
        # Paystack makes a subscription moments after its first payment. A test may make the moments long.
        self.subscription_delay = 0
        self.refund_outcome = "processed"  # processed | failed | none: it stays pending
        self._entropy = entropy
        self._number = _FIRST_NUMBER + int.from_bytes(entropy(4)) % (8 * _FIRST_NUMBER)
        self.integration = 100_000 + int.from_bytes(entropy(2))
        self._objects: dict[str, dict[str, Obj]] = {}
        self._agenda: list[tuple[int, int, str, str]] = []
        self._agenda_counter = 0
        self._pinned: int | None = None

    # Names

    def number(self) -> int:
        """The next object's number."""
        self._number += 1
        return self._number

    def code(self, prefix: str = "") -> str:
        """A fresh code: `SUB_…`; without a prefix an access code."""
        body = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in self._entropy(_CODE_LENGTH))
        return f"{prefix}_{body}" if prefix else body

    # Time

    def now(self) -> int:
        """Sandbox time in unix seconds; while the agenda runs, the moment that is being lived through."""
        return int(self.clock.now().timestamp()) if self._pinned is None else self._pinned

    def stamp(self) -> str:
        """The time now as Paystack writes it."""
        return iso(self.now())

    @contextmanager
    def at(self, moment: int) -> Iterator[None]:
        """Let everything inside happen at `moment` (unix seconds)."""
        before, self._pinned = self._pinned, moment
        try:
            yield
        finally:
            self._pinned = before

    def schedule(self, moment: int, kind: str, name: str) -> None:
        """Put something on the agenda for `moment` (unix seconds)."""
        self._agenda_counter += 1
        heapq.heappush(self._agenda, (moment, self._agenda_counter, kind, name))

    def due(self, until: int) -> tuple[int, str, str] | None:
        """Take the earliest thing that is due by `until` off the agenda: (moment, kind, name)."""
        if not self._agenda or self._agenda[0][0] > until:
            return None
        moment, _, kind, name = heapq.heappop(self._agenda)
        return moment, kind, name

    # Objects

    def add(self, kind: str, name: str | int, obj: Obj) -> Obj:
        """Keep a new object under its code, reference or number."""
        self._objects.setdefault(kind, {})[str(name)] = obj
        return obj

    def find(self, kind: str, object_id: str | None) -> Obj | None:
        """The object, or None."""
        return self._objects.get(kind, {}).get(object_id or "")

    def get(self, kind: str, object_id: str, param: str = "id") -> Obj:
        """The object. Raises PaystackRefusal with 404."""
        del param
        found = self.find(kind, object_id)
        if found is None:
            shown = kind.capitalize()
            raise PaystackRefusal(f"{shown} not found", status=404, code=f"{kind}_not_found")
        return found

    def every(self, kind: str) -> list[Obj]:
        """All objects of a kind, oldest first."""
        return list(self._objects.get(kind, {}).values())

    def by_number(self, kind: str, number: str) -> Obj:
        """The object of this number. Raises PaystackRefusal with 404."""
        found = next((one for one in self.every(kind) if str(one["id"]) == number), None)
        return found if found is not None else self.get(kind, "")

    # Events

    def emit(self, kind: str, data: Any) -> Obj:
        """Record an event about `data` as it is now and pass it on. Its id is ours: Paystack tells none."""
        id_ = f"psk_{self.number()}"
        told = {"event": kind, "data": deepcopy(data)}
        event = {"id": id_, "type": kind, "pending_webhooks": 0, "told": told}
        self.add("event", id_, event)
        self.on_event(event)
        return event

    def register_webhook(self, url: str, secret: str, kinds: list[str] | None) -> str:
        """Deliver events to `url`, signed with `secret`. One url at Paystack, any number here."""
        known = next((one for one in self.every("webhook_endpoint") if one["url"] == url), None)
        if known is None:
            id_ = f"whk_{self.number()}"
            known = self.add("webhook_endpoint", id_, {"id": id_, "url": url, "status": "enabled"})
        known["enabled_events"] = kinds or ["*"]
        self.endpoint_secrets[known["id"]] = secret
        named: str = known["id"]
        return named


def iso(seconds: int) -> str:
    """Unix seconds as Paystack writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def seconds(text: str) -> int:
    """A time as Paystack takes it, in unix seconds. Raises PaystackRefusal."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise PaystackRefusal("Invalid date") from None
    return int((read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp())
