"""What the stand-in for Stripe knows: its objects, events, agenda and who has which card.

Everything is in memory, because a sandbox is started to be thrown away; only the clock's offset outlives
the process (see `clock.py`). Ids carry a random part, so a sandbox that was restarted never gives an id
that the seller's database has already seen.

Nothing here speaks HTTP. The caller passes a clock, a source of random bytes and a sink for events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import datetime
from typing import Protocol

import msgspec

from keywright.sandbox import stripe_shapes as shapes
from keywright.sandbox.cards import Card, Decline
from keywright.sandbox.stripe_errors import missing
from keywright.sandbox.stripe_shapes import Obj

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTHS = {"cs_test": 58, "cus": 14, "prod": 14, "si": 14}


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The time now: aware, in UTC."""


class Ids:
    """Makes Stripe-like ids out of a counter and random bytes: unique within and across runs."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._counter = 0

    def new(self, prefix: str) -> str:
        """A fresh id: `cus_…`, `cs_test_…`."""
        self._counter += 1
        return f"{prefix}_{self._body(_ID_LENGTHS.get(prefix, 24))}"

    def secret(self, prefix: str) -> str:
        """A fresh secret of 32 random characters behind a prefix."""
        return f"{prefix}_{self._random(32)}"

    def _body(self, length: int) -> str:
        number, digits = self._counter, ""
        while number:
            number, rest = divmod(number, len(_ALPHABET))
            digits = _ALPHABET[rest] + digits
        counter = digits.rjust(4, _ALPHABET[0])
        return counter + self._random(length - len(counter))

    def _random(self, length: int) -> str:
        return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in self._entropy(length))


class SessionTerms(msgspec.Struct):
    """What a Checkout Session was made with and does not show."""

    lines: list[Obj]
    subscription_data: Obj
    intent_data: Obj
    coupon: Obj | None = None
    intent_id: str | None = None
    waiting: Waiting | None = None


class Waiting(msgspec.Struct, frozen=True):
    """A payment between two pages: the buyer's bank asks for authentication, or a debit is on its way."""

    card: Card
    email: str
    name: str | None


class RunningDiscount(msgspec.Struct, frozen=True):
    """A coupon on a subscription: until when it applies (unix seconds; None: for as long as it runs)."""

    id: str
    coupon: Obj
    until: int | None
    used: bool = False


class PendingLine(msgspec.Struct, frozen=True):
    """A line an invoice is going to have; a proration may wait for the next one."""

    item: Obj
    amount: int
    quantity: int
    description: str
    period: tuple[int, int]
    proration: bool = False


class RequestMark(msgspec.Struct, frozen=True):
    """The API request that is being served: its events name it."""

    id: str | None = None
    idempotency_key: str | None = None


EventSink = Callable[[Obj], None]


class StripeState:
    """All objects by kind, in order of creation, and the agenda of what is due later."""

    def __init__(
        self,
        *,
        clock: Clock,
        ids: Ids,
        base_url: str = "",
        platform: StripeState | None = None,
        account_id: str = shapes.ACCOUNT_ID,
    ) -> None:
        self.clock = clock
        self.ids = ids
        self.base_url = base_url
        self.account_id = account_id
        self.platform = platform  # whose connected account this is the world of
        self.connected: dict[str, StripeState] = {}
        self.left: dict[str, StripeState] = {}  # accounts that took their permission back
        self.links: dict[str, Obj] = {}
        self.connect_endpoints: set[str] = set()
        self.request = RequestMark()
        self.on_event: EventSink = lambda _event: None
        self.dunning_end = "cancel"
        self.cards: dict[str, Card] = {}
        self.terms: dict[str, SessionTerms] = {}
        self.pending_lines: dict[str, list[PendingLine]] = {}
        self.discounts: dict[str, RunningDiscount] = {}
        self.endpoint_secrets: dict[str, str] = {}
        self.undelivered: set[str] = set() if platform is None else platform.undelivered
        self.silent = False  # what was there before is no news
        self._objects: dict[str, dict[str, Obj]] = {}
        self._owned: dict[tuple[str, str], list[Obj]] = {}
        self._agenda: list[tuple[int, int, str, str]] = []
        self._agenda_counter = 0
        self._pinned: int | None = None

    def world_for(self, account_id: str) -> StripeState:
        """An empty world for a connected account, on the same clock."""
        return StripeState(
            clock=self.clock, ids=self.ids, base_url=self.base_url, platform=self, account_id=account_id
        )

    def worlds(self) -> list[StripeState]:
        """This world and those of the connected accounts, also of those that left."""
        return [self, *self.connected.values(), *self.left.values()]

    # Time

    def now(self) -> int:
        """Sandbox time in unix seconds; while the agenda runs, the moment that is being lived through."""
        return int(self.clock.now().timestamp()) if self._pinned is None else self._pinned

    @contextmanager
    def at(self, moment: int) -> Iterator[None]:
        """Let everything inside happen at `moment` (unix seconds)."""
        before, self._pinned = self._pinned, moment
        try:
            yield
        finally:
            self._pinned = before

    def schedule(self, moment: int, kind: str, object_id: str) -> None:
        """Put something on the agenda for `moment` (unix seconds)."""
        self._agenda_counter += 1
        heapq.heappush(self._agenda, (moment, self._agenda_counter, kind, object_id))

    def due(self, until: int) -> tuple[int, str, str] | None:
        """Take the earliest thing that is due by `until` off the agenda: (moment, kind, object id)."""
        if not self._agenda or self._agenda[0][0] > until:
            return None
        moment, _, kind, object_id = heapq.heappop(self._agenda)
        return moment, kind, object_id

    # Objects

    def add(self, obj: Obj) -> Obj:
        """Keep a new object."""
        self._objects.setdefault(obj["object"], {})[obj["id"]] = obj
        owner = _owner_of(obj)
        if owner is not None:
            self._owned.setdefault((obj["object"], owner), []).append(obj)
        return obj

    def owned(self, kind: str, owner: str) -> list[Obj]:
        """A subscription's invoices, or an invoice's payments, oldest first, without a long look."""
        return [obj for obj in self._owned.get((kind, owner), ()) if self.find(kind, obj["id"]) is obj]

    def find(self, kind: str, object_id: str | None) -> Obj | None:
        """The object, or None. Events of connected accounts are found here, too: they are sent from here."""
        found = self._objects.get(kind, {}).get(object_id or "")
        if found is None and kind == "event":
            others = (*self.connected.values(), *self.left.values())
            return next((seen for world in others if (seen := world.find(kind, object_id))), None)
        return found

    def get(self, kind: str, object_id: str, param: str = "id") -> Obj:
        """The object; raises StripeRefusal `resource_missing` naming `param`."""
        found = self.find(kind, object_id)
        if found is None:
            raise missing(kind, object_id, param)
        return found

    def every(self, kind: str) -> list[Obj]:
        """All objects of a kind, oldest first."""
        return list(self._objects.get(kind, {}).values())

    def drop(self, kind: str, object_id: str) -> None:
        """Forget an object."""
        self._objects.get(kind, {}).pop(object_id, None)

    # Events

    def emit(self, kind: str, obj: Obj, *, before: Obj | None = None) -> Obj:
        """Record an event about `obj` as it is now and pass it on; `before` gives `previous_attributes`."""
        if self.silent:
            return {"type": kind}
        data: Obj = {"object": deepcopy(obj)}
        if before is not None:
            data["previous_attributes"] = changed(before, obj)
        request = {"id": self.request.id, "idempotency_key": self.request.idempotency_key}
        event = shapes.event(self.ids.new("evt"), self.now(), kind, data, request)
        if self.platform is not None:
            event["account"] = self.account_id
        self.add(event)
        (self.platform or self).on_event(event)
        return event

    def update(self, kind: str, obj: Obj, before: Obj) -> None:
        """Emit an `.updated` event, unless nothing changed."""
        if changed(before, obj):
            self.emit(kind, obj, before=before)

    # Cards

    def attach(self, customer: Obj, card: Card) -> None:
        """Make this the customer's card for what comes."""
        self.cards[customer["id"]] = card
        customer["invoice_settings"]["default_payment_method"] = card.payment_method

    def set_card_behavior(self, customer_id: str, decline: Decline | None) -> None:
        """From now on the customer's card pays (None) or is refused for this reason."""
        customer = self.get("customer", customer_id)
        card = self.cards.get(customer_id) or Card(payment_method=self.ids.new("pm"))
        self.attach(customer, msgspec.structs.replace(card, decline=decline, challenge=False))


def _owner_of(obj: Obj) -> str | None:
    if obj["object"] == "invoice_payment":
        return str(obj["invoice"])
    if obj["object"] == "invoice":
        details = (obj.get("parent") or {}).get("subscription_details") or {}
        return details.get("subscription")
    return None


def changed(before: Obj, after: Obj) -> Obj:
    """The old values of what changed, as `previous_attributes` shows them: objects member by member."""
    old: Obj = {}
    for name in before.keys() | after.keys():
        was, is_now = before.get(name), after.get(name)
        if was == is_now:
            continue
        if isinstance(was, dict) and isinstance(is_now, dict):
            old[name] = changed(was, is_now)
        else:
            old[name] = deepcopy(was)
    return dict(sorted(old.items()))
