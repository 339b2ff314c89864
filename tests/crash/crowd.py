"""A shop that sells through three providers, and the crowd of deliveries that arrives at it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.flows.context import Context
from keywright.sandbox.paypal_signing import Authority
from keywright.store.tables import prices
from tests.crash.desk import CLIENT, Book, Desk
from tests.crash.lives import PAYSTACK_KEY, PRICES, PROVIDERS, WEBHOOK_ID, Event, events_of, live
from tests.e2e.server import Server, environment, opened
from tests.e2e.wire import Answer, Gone, Line, tell
from tests.life import world

LINES = 12
DUPLICATES = 0.2
A_SECOND = 100.0


class Shop:
    """A server in sandbox mode that knows three providers, each of them a desk of the test's own."""

    def __init__(self, database_url: str, folder: Path, stack: ExitStack) -> None:
        self._url, self._folder = database_url, folder
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(folder)
        self.book = Book()
        self.desks = {name: stack.enter_context(Desk(name, self.book, self.authority)) for name in PROVIDERS}
        self._more: dict[str, Any] = {
            "keywright_mode": "sandbox",
            "stripe_api_base": self.desks["stripe"].url,
            "paystack_secret_key": PAYSTACK_KEY,
            "paystack_api_base": self.desks["paystack"].url,
            "paypal_client_id": CLIENT[0],
            "paypal_client_secret": CLIENT[1],
            "paypal_webhook_id": WEBHOOK_ID,
            "paypal_api_base": self.desks["paypal"].url,
            "paypal_ca_file": str(self.authority.ca_file),
        }
        env = {name.upper(): value for name, value in self._more.items()}
        self.outbox = data / "outbox"
        with self.opened() as context:
            _stock(context)
        self.server = Server(environment(database_url, folder, **env), folder)
        stack.callback(self.server.kill)
        self._certificate = (
            f"{self.desks['paypal'].url}/v1/notifications/certs/{self.authority.certificate_id}"
        )

    def opened(self) -> AbstractContextManager[Context]:
        return opened(self._url, self._folder, **self._more)

    async def deliver(self, line: Line, event: Event) -> Answer:
        """One delivery, as this provider makes it. Its API has been as far before."""
        self.book.reach(event.life, event.stage)
        if event.provider == "stripe":
            return await tell(line, event.raw)
        headers = event.headers
        if event.provider == "paypal":
            headers = headers | {"paypal-cert-url": self._certificate}
        return await line.ask(f"/api/webhooks/{event.provider}", event.raw, headers)


def _stock(context: Context) -> None:
    """One plan, and a price for it at each provider."""
    world.stock(context)
    for name, price in PRICES.items():
        world.add_plan(context, name, price, Terms())
        with context.database.write() as connection:
            connection.execute(sa.update(prices).where(prices.c.id == f"pri_{name}").values(provider=name))


class Slow(msgspec.Struct, frozen=True):
    """One answer: which provider's event, when it was sent, what it was, and how long it took."""

    provider: str
    at: float
    status: int
    seconds: float


class Crowd:
    """Tells lives in disorder, some events twice, at a steady pace, until each is acknowledged."""

    def __init__(self, shop: Shop, seed: int, lines: int = LINES) -> None:
        self.chance = random.Random(seed)
        self.acknowledged: set[str] = set()
        self.told: list[Event] = []
        self.outcomes: Counter[str] = Counter()
        self.answers: list[Slow] = []
        self.stopped = False
        self._lines = lines
        self._shop = shop
        self._open: deque[Event] = deque()
        self._next_at = 0.0

    def _write_lives(self) -> None:
        batch = [
            live(len(self._shop.book.lives) + n, self.chance.randint(1, 9), self.chance.randint(1, 9))
            for n in range(12)
        ]
        events = []
        for one in batch:
            self._shop.book.add(one)
            events += events_of(one, self._shop.authority)
        self.told += events
        events += [event for event in events if self.chance.random() < DUPLICATES]
        self.chance.shuffle(events)
        self._open.extend(events)

    async def _turn(self) -> None:
        """Wait for a place in the steady stream."""
        now = time.monotonic()
        turn = max(now, self._next_at)
        self._next_at = turn + 1 / A_SECOND
        await asyncio.sleep(turn - now)

    async def _deliver(self, line: Line, event: Event) -> None:
        """One delivery. What is not acknowledged is told again."""
        began = time.monotonic()
        try:
            answer = await self._shop.deliver(line, event)
        except Gone:
            self._open.append(event)
            raise
        self.answers.append(Slow(event.provider, began, answer.status, time.monotonic() - began))
        if answer.status == 200:
            self.outcomes[answer.outcome] += 1
            self.acknowledged.add(event.key)
        else:
            self.outcomes[f"status {answer.status}"] += 1
            self._open.append(event)

    async def load(self) -> None:
        """New events and old ones over several lines, until the server is gone or `stopped` is set."""

        async def talk() -> None:
            async with Line(self._shop.server.port) as line:
                with suppress(Gone, ConnectionError):
                    while not self.stopped:
                        await self._turn()
                        if not self._open:
                            self._write_lives()
                        await self._deliver(line, self._open.popleft())

        await asyncio.gather(*(talk() for _ in range(self._lines)))

    async def finish(self) -> None:
        """Everything that is still open, and a fifth of everything once more."""
        missing = [event for event in self.told if event.key not in self.acknowledged]
        self._open = deque(missing + [e for e in self.told if self.chance.random() < DUPLICATES])

        async def talk() -> None:
            async with Line(self._shop.server.port) as line:
                while self._open:
                    await self._deliver(line, self._open.popleft())

        await asyncio.gather(*(talk() for _ in range(LINES)))

    def slowest(self, share: float, answers: Iterable[Slow]) -> float:
        """How long the answer took that this share of all was not slower than. In seconds."""
        times = sorted(one.seconds for one in answers)
        return times[min(len(times) - 1, int(share * len(times)))]
