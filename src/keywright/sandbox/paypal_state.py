"""What the stand-in for PayPal knows: its objects, events and agenda. In memory, as Stripe's.

Nothing here speaks HTTP. Amounts are `Decimal` inside and decimal strings on the wire, times ISO 8601.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from keywright.sandbox.stripe_state import Clock

Obj = dict[str, Any]

_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_DIGITS = "0123456789"
_WHOLE = frozenset({"HUF", "JPY", "TWD"})


class PayPalRefusal(Exception):
    """A request the stand-in answers with one of PayPal's error bodies."""

    def __init__(self, status: int, name: str, issue: str | None = None, message: str = "") -> None:
        super().__init__(message or issue or name)
        self.status = status
        self.name = name
        self.issue = issue
        self.message = message or "The request could not be performed."

    def body(self, debug_id: str) -> Obj:
        """PayPal's error body."""
        details = [{"issue": self.issue, "description": self.message}] if self.issue else []
        return {"name": self.name, "message": self.message, "debug_id": debug_id, "details": details}


def missing(what: str) -> PayPalRefusal:
    """No such object."""
    return PayPalRefusal(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID", f"There is no such {what}.")


def invalid(issue: str, message: str = "") -> PayPalRefusal:
    """Something in the request is wrong."""
    return PayPalRefusal(422, "UNPROCESSABLE_ENTITY", issue, message)


class Terms(msgspec.Struct):
    """What an approval page leads to, and how the buyer pays from then on."""

    return_url: str
    cancel_url: str
    funding: str = "pays"  # pays | declines | echeck
    anchor: int = 0
    cycles: int = 0
    revision: Obj | None = None


class PayPalState:
    """All objects by kind, in order of creation, and the agenda of what is due later."""

    def __init__(self, *, clock: Clock, base_url: str) -> None:
        self.clock = clock
        self.base_url = base_url
        self.terms: dict[str, Terms] = {}
        # Deliveries call it a secret; at PayPal it is the endpoint's own id, which every signature covers.
        self.endpoint_secrets: dict[str, str] = {}
        self.undelivered: set[str] = set()
        self.on_event: Callable[[Obj], None] = lambda _event: None
        self._objects: dict[str, dict[str, Obj]] = {}
        self._agenda: list[tuple[int, int, str, str]] = []
        self._counter = 0
        self._pinned: int | None = None

    # Time

    def now(self) -> int:
        """Sandbox time in unix seconds; while the agenda runs, the moment that is being lived through."""
        return int(self.clock.now().timestamp()) if self._pinned is None else self._pinned

    def stamp(self, at: int | None = None) -> str:
        """A moment, now by default, as PayPal writes it."""
        moment = datetime.fromtimestamp(self.now() if at is None else at, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    @contextmanager
    def at(self, moment: int) -> Iterator[None]:
        """Live through a moment of the past."""
        self._pinned = moment
        try:
            yield
        finally:
            self._pinned = None

    def schedule(self, at: int, kind: str, object_id: str) -> None:
        """Have something happen at a time."""
        self._counter += 1
        heapq.heappush(self._agenda, (at, self._counter, kind, object_id))

    def due(self, until: int) -> tuple[int, str, str] | None:
        """Take the next thing due by `until` from the agenda."""
        if not self._agenda or self._agenda[0][0] > until:
            return None
        moment, _, kind, object_id = heapq.heappop(self._agenda)
        return moment, kind, object_id

    # Objects

    def add(self, kind: str, obj: Obj) -> Obj:
        """Keep a new object."""
        self._objects.setdefault(kind, {})[obj["id"]] = obj
        return obj

    def find(self, kind: str, object_id: str | None) -> Obj | None:
        """The object, or None."""
        return self._objects.get(kind, {}).get(object_id or "")

    def get(self, kind: str, object_id: str, param: str = "id") -> Obj:  # noqa: ARG002  # as Stripe's state
        """The object; raises PayPalRefusal when there is none."""
        found = self.find(kind, object_id)
        if found is None:
            raise missing(kind)
        return found

    def every(self, kind: str) -> list[Obj]:
        """All objects of a kind, oldest first."""
        return list(self._objects.get(kind, {}).values())

    def drop(self, kind: str, object_id: str) -> None:
        """Forget an object."""
        self._objects.get(kind, {}).pop(object_id, None)

    # Ids and events

    def new_id(self, prefix: str = "", length: int = 17) -> str:
        """An id as PayPal's: never so many digits in a row that it could be a card number."""
        noise = os.urandom(length)
        body = "".join(
            (_LETTERS if place % 4 == 3 else _LETTERS + _DIGITS)[byte % (23 if place % 4 == 3 else 33)]
            for place, byte in enumerate(noise)
        )
        return prefix + body

    def emit(self, kind: str, resource_type: str, resource: Obj, *, version: str | None = "2.0") -> Obj:
        """Record an event about an object as it is now and pass it on."""
        id_ = f"WH-{self.new_id()}-{self.new_id()}"
        body: Obj = {
            "id": id_,
            "event_version": "1.0",
            "create_time": self.stamp(),
            "resource_type": resource_type,
            "event_type": kind,
            "summary": kind.replace(".", " ").capitalize(),
            "resource": visible(resource),
            "links": [self.link(f"/v1/notifications/webhooks-events/{id_}", "self")],
        }
        if version is not None:
            body["resource_version"] = version
        event: Obj = {
            "id": id_,
            "type": kind,
            "pending_webhooks": 0,
            "created": self.now(),
            "transmission": f"{self.new_id(length=8).lower()}-{self.new_id(length=12).lower()}",
            "body": body,
        }
        self.add("event", event)
        self.on_event(event)
        return event

    def link(self, path: str, rel: str, method: str = "GET") -> Obj:
        """A link of this stand-in."""
        return {"href": f"{self.base_url}{path}", "rel": rel, "method": method}


def visible(obj: Obj) -> Obj:
    """An object as it is shown: what the stand-in keeps for itself begins with an underscore."""

    def shown(value: object) -> object:
        if isinstance(value, dict):
            return {name: shown(one) for name, one in value.items() if not name.startswith("_")}
        return [shown(one) for one in value] if isinstance(value, list) else value

    made = shown(obj)
    return made if isinstance(made, dict) else {}


def decimal_in(money: object) -> Decimal:
    """The value of an amount in a request. Raises PayPalRefusal."""
    text = money.get("value", money.get("total")) if isinstance(money, dict) else None
    try:
        value = Decimal(str(text))
    except ArithmeticError:
        raise invalid("INVALID_CURRENCY_AMOUNT_FORMAT") from None
    if not value.is_finite() or value < 0:
        raise invalid("CANNOT_BE_NEGATIVE")
    return value


def money(value: Decimal, currency: str) -> Obj:
    """An amount of the second API."""
    return {"currency_code": currency, "value": text_of(value, currency)}


def old_money(value: Decimal, currency: str) -> Obj:
    """An amount of the first API."""
    return {"currency": currency, "total": text_of(value, currency)}


def text_of(value: Decimal, currency: str) -> str:
    """A decimal string, without decimals where the currency has none at PayPal."""
    return f"{value:.0f}" if currency in _WHOLE else f"{value:.2f}"
