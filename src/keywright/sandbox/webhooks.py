"""Signed webhook deliveries, with switches for everything that goes wrong on the way.

By default events go out one after the other in the order they happened. `order="shuffle"` mixes what
waits and sends it side by side, `duplicates` repeats each delivery, `delay` holds each one back, `loss`
drops every n-th for good (it stays in `GET /v1/events?delivery_success=false`), and `hold` keeps
everything until `release`. An answer that is not 2xx is retried on a short schedule with a fresh
timestamp and signature, as Stripe does on a long one.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections.abc import Callable, Coroutine
from typing import Any, Literal, Protocol

import httpx
import msgspec

from keywright.sandbox.clock import CACHE_SECONDS
from keywright.sandbox.stripe_shapes import Obj

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
ANSWER_SECONDS = 10.0
KEPT_BODY_CHARACTERS = 2_000
KEPT_DELIVERIES = 10_000
SHUFFLE_GATHER_SECONDS = 0.05


class Switches(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How deliveries misbehave; the defaults are a quiet day."""

    order: Literal["as_created", "shuffle"] = "as_created"
    duplicates: int = 0
    delay: float = 0.0
    loss: int = 0
    hold: bool = False


class Attempt(msgspec.Struct, frozen=True):
    """One try: when (unix seconds, sandbox time), the answer's status and beginning, or what went wrong."""

    at: int
    status_code: int | None
    body: str | None
    error: str | None


class Delivery(msgspec.Struct):
    """One event on its way to one endpoint."""

    id: int
    event: str
    type: str
    endpoint: str
    url: str
    status: Literal["pending", "delivered", "failed", "dropped"] = "pending"
    attempts: list[Attempt] = []


class Source(Protocol):
    """Where events come from: a stand-in's state, with its webhook endpoints and their secrets.

    An event has `id`, `type` and `pending_webhooks`, an endpoint `id`, `url`, `status` and `enabled_events`.
    """

    endpoint_secrets: dict[str, str]
    undelivered: set[str]
    on_event: Callable[[Obj], None]

    def now(self) -> int: ...
    def every(self, kind: str) -> list[Obj]: ...
    def find(self, kind: str, object_id: str | None) -> Obj | None: ...
    def get(self, kind: str, object_id: str, param: str = "id") -> Obj: ...


Fits = Callable[[Obj, Obj], bool]
"""Whether an endpoint is one that an event goes to, besides its type."""

Signed = Callable[[Obj, str, int], tuple[bytes, dict[str, str]]]
"""Body and headers of an event, signed with an endpoint's secret at a moment (unix seconds)."""


def signature_header(secret: str, body: bytes, timestamp: int) -> str:
    """`Stripe-Signature` over `timestamp.body`, keyed with the secret as given, prefix included."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def stripe_signed(event: Obj, secret: str, now: int) -> tuple[bytes, dict[str, str]]:
    """An event as Stripe delivers it."""
    body = msgspec.json.encode(event)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": signature_header(secret, body, now),
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    }
    return body, headers


class Dispatcher:
    """Delivers a state's events. Lives on one event loop: `start` and `stop` it there."""

    def __init__(
        self,
        state: Source,
        *,
        chance: random.Random,
        signed: Signed = stripe_signed,
        taken: range = range(200, 300),
        retry_seconds: tuple[float, ...] = RETRY_SECONDS,
        fits: Fits = lambda _endpoint, _event: True,
    ) -> None:
        self._signed = signed
        self._fits = fits
        self._taken = taken  # the answers after which an event is not sent again
        self.switches = Switches()
        self.deliveries: list[Delivery] = []
        self._state = state
        self._chance = chance
        self._retry_seconds = retry_seconds
        self._queue: list[Delivery] = []
        self._owed: dict[str, set[str]] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None
        self._counter = 0
        self._not_before = 0.0
        state.on_event = self.enqueue

    # Life

    async def start(self) -> None:
        """Begin delivering."""
        # Redirects count as failures at Stripe; a proxy of the machine has no business here.
        self._client = httpx.AsyncClient(timeout=ANSWER_SECONDS, follow_redirects=False, trust_env=False)
        self._spawn(self._run())

    async def stop(self) -> None:
        """Stop delivering; what waits is forgotten."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What is to be delivered

    def enqueue(self, event: Obj) -> None:
        """Queue an event for every enabled endpoint that wants its type."""
        for endpoint in self._state.every("webhook_endpoint"):
            wanted = endpoint["enabled_events"]
            asked_for = "*" in wanted or event["type"] in wanted
            if endpoint["status"] == "enabled" and asked_for and self._fits(endpoint, event):
                self._owed.setdefault(event["id"], set()).add(endpoint["id"])
                event["pending_webhooks"] = len(self._owed[event["id"]])
                self._state.undelivered.add(event["id"])
                self._add(event, endpoint)

    def _add(self, event: Obj, endpoint: Obj) -> None:
        for _ in range(self.switches.duplicates + 1):
            self._counter += 1
            delivery = Delivery(
                self._counter, event["id"], event["type"], endpoint["id"], endpoint["url"], attempts=[]
            )
            self.deliveries.append(delivery)
            self._queue.append(delivery)
        del self.deliveries[:-KEPT_DELIVERIES]
        self._wake.set()

    def redeliver(self, event_id: str | None) -> int:
        """Send one event, or everything that was not delivered, once more; returns how many are queued."""
        wanted = [event_id] if event_id else sorted(self._state.undelivered)
        queued = 0
        for each in wanted:
            event = self._state.get("event", each)
            for endpoint in self._state.every("webhook_endpoint"):
                if self._fits(endpoint, event):
                    self._add(event, endpoint)
                    queued += 1
        return queued

    def set_switches(self, switches: Switches) -> None:
        """Turn the switches; taking `hold` off releases what waits."""
        self.switches = switches
        self._wake.set()

    def clock_turned(self) -> None:
        """Wait until every process has seen the new time: a signature from the future would be refused."""
        self._not_before = asyncio.get_running_loop().time() + CACHE_SECONDS * 1.5

    def idle(self) -> bool:
        """Whether nothing waits, is on its way or will be retried."""
        return not any(delivery.status == "pending" for delivery in self.deliveries)

    # Delivering

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.switches.order == "shuffle" and not self.switches.hold:
                await asyncio.sleep(SHUFFLE_GATHER_SECONDS)
            while self._queue and not self.switches.hold:
                await self._send_waiting()

    async def _send_waiting(self) -> None:
        batch, self._queue = self._queue, []
        shuffled = self.switches.order == "shuffle"
        if shuffled:
            self._chance.shuffle(batch)
        for position, delivery in enumerate(batch):
            if self.switches.hold:
                self._queue = batch[position:] + self._queue
                return
            if self.switches.loss and delivery.id % self.switches.loss == 0:
                delivery.status = "dropped"
            elif shuffled or self.switches.delay:
                self._spawn(self._deliver(delivery, wait=self.switches.delay))
            else:
                await self._deliver(delivery, wait=0.0)

    async def _deliver(self, delivery: Delivery, *, wait: float) -> None:
        """One try; a refused one spawns the next, so that a retry never holds up what comes after."""
        await asyncio.sleep(max(wait, self._not_before - asyncio.get_running_loop().time()))
        if await self._attempt(delivery):
            delivery.status = "delivered"
            self._delivered(delivery)
        elif len(delivery.attempts) > len(self._retry_seconds) or self._endpoint_gone(delivery):
            delivery.status = "failed"
        else:
            self._spawn(self._deliver(delivery, wait=self._retry_seconds[len(delivery.attempts) - 1]))

    def _endpoint_gone(self, delivery: Delivery) -> bool:
        return self._state.find("webhook_endpoint", delivery.endpoint) is None

    def _delivered(self, delivery: Delivery) -> None:
        owed = self._owed.get(delivery.event, set())
        owed.discard(delivery.endpoint)
        self._state.get("event", delivery.event)["pending_webhooks"] = len(owed)
        if not owed:
            self._owed.pop(delivery.event, None)
            self._state.undelivered.discard(delivery.event)

    async def _attempt(self, delivery: Delivery) -> bool:
        secret = self._state.endpoint_secrets.get(delivery.endpoint)
        if secret is None or self._client is None:
            delivery.attempts.append(Attempt(self._state.now(), None, None, "the endpoint was deleted"))
            return False
        now = self._state.now()
        body, headers = self._signed(self._state.get("event", delivery.event), secret, now)
        try:
            answer = await self._client.post(delivery.url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            delivery.attempts.append(Attempt(now, None, None, f"{type(error).__name__}: {error}"[:200]))
            return False
        delivery.attempts.append(Attempt(now, answer.status_code, answer.text[:KEPT_BODY_CHARACTERS], None))
        return answer.status_code in self._taken
