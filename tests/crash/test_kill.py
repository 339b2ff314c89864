"""kill -9 of the server under load, then redelivery: whatever was acknowledged happened exactly once.

`KEYWRIGHT_CRASH_ROUNDS` sets how many times it dies (2 by default; `make crash` says 200).
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import os
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain.license import License, is_intact
from keywright.domain.plan import Terms
from keywright.flows.context import Context
from keywright.store import tables
from keywright.store import timeline as history
from keywright.store.timeline import Entry
from tests.e2e.server import Server, environment, opened, wait_until
from tests.e2e.wire import Gone, Line, tell
from tests.life import stripe, world

ROUNDS = int(os.environ.get("KEYWRIGHT_CRASH_ROUNDS", "2"))
LINES = 12
DUPLICATES = 0.2
MONTH = timedelta(days=30)
MAILS_WITHIN = 60.0  # seconds, and a tenth of one for each mail


class Life(msgspec.Struct, frozen=True):
    """One subscription, what is told of it, and what its license must say in the end."""

    sub: str
    email: str
    seats: int
    entitled_until: datetime
    lost_until: datetime | None
    events: tuple[stripe.Json, ...]


def live(number: int, chance: random.Random) -> Life:
    """A subscription that is renewed with other seats, or one whose first payment is given back."""
    sub, customer = f"sub_{number}", f"cus_{number}"
    address = f"buyer{number}@example.com"
    # Long past, however many lives there are: old news is no reason for another mail.
    start = datetime(2024, 6, 1, tzinfo=UTC) + timedelta(hours=number)
    first, then = chance.randint(1, 9), chance.randint(1, 9)
    begun = stripe.subscription(sub, start, start + MONTH, quantity=first, customer=customer)
    bill = stripe.invoice(
        f"in_{number}_1", sub, start, start + MONTH, quantity=first, customer=customer, email=address
    )
    events = [
        stripe.event("customer.subscription.created", begun, start),
        stripe.event("invoice.paid", bill, start + timedelta(seconds=2)),
    ]
    if number % 4 == 0:
        link = stripe.invoice_payment(f"in_{number}_1", f"pi_{number}")
        back = stripe.refund(f"ch_{number}", f"pi_{number}")
        events += [
            stripe.event("invoice_payment.paid", link, start + timedelta(seconds=3)),
            stripe.event("charge.refunded", back, start + timedelta(days=3)),
        ]
        return Life(sub, address, first, start, start + MONTH, tuple(events))
    renewed = start + MONTH
    seen = stripe.subscription(sub, renewed, renewed + MONTH, quantity=then, customer=customer)
    paid = stripe.invoice(
        f"in_{number}_2", sub, renewed, renewed + MONTH, quantity=then, customer=customer, email=address
    )
    events += [
        stripe.event("customer.subscription.updated", seen, renewed),
        stripe.event("invoice.paid", paid, renewed + timedelta(hours=1)),
    ]
    return Life(sub, address, then, renewed + MONTH, None, tuple(events))


class Provider:
    """Tells lives in disorder, some events twice, until each is acknowledged."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lives: list[Life] = []
        self.acknowledged: set[str] = set()
        self.outcomes: Counter[str] = Counter()
        self.deliveries = 0
        self._open: deque[stripe.Json] = deque()
        self._on_the_way: dict[int, stripe.Json] = {}

    @property
    def is_owed(self) -> bool:
        """Whether something is still to be told."""
        return bool(self._open)

    def next(self) -> stripe.Json:
        if not self._open:
            self._write_lives()
        return self._open.popleft()

    def _write_lives(self) -> None:
        batch = [live(len(self.lives) + n, self.chance) for n in range(8)]
        self.lives += batch
        events = [event for one in batch for event in one.events]
        events += [event for event in events if self.chance.random() < DUPLICATES]
        self.chance.shuffle(events)
        self._open.extend(events)

    async def deliver(self, line: Line, event: stripe.Json) -> None:
        """One delivery. What is not acknowledged is told again."""
        self.deliveries += 1
        try:
            answer = await tell(line, stripe.encoded(event))
        except Gone:
            self._open.append(event)
            raise
        if answer.status != 200:
            self.outcomes[f"status {answer.status}"] += 1
            self._open.append(event)
            return
        self.outcomes[answer.outcome] += 1
        self.acknowledged.add(event["id"])

    async def load(self, port: int) -> None:
        """New events and old ones over several lines, until the server is gone."""

        async def talk() -> None:
            async with Line(port) as line:
                with suppress(Gone):
                    while True:
                        await self.deliver(line, self.next())

        await asyncio.gather(*(talk() for _ in range(LINES)))

    async def finish(self, port: int) -> None:
        """Everything that is still open, and a fifth of everything once more."""
        told = [event for one in self.lives for event in one.events]
        self._open.extend(event for event in told if event["id"] not in self.acknowledged)
        self._open.extend(event for event in told if self.chance.random() < DUPLICATES)

        async def talk() -> None:
            async with Line(port) as line:
                while self._open:
                    await self.deliver(line, self._open.popleft())

        await asyncio.gather(*(talk() for _ in range(LINES)))


def rows(context: Context, query: sa.Select[Any]) -> list[Any]:
    with context.database.read() as connection:
        return list(connection.execute(query))


async def die_under_load(provider: Provider, server: Server) -> None:
    talking = asyncio.create_task(provider.load(server.port))
    await asyncio.sleep(provider.chance.uniform(0.05, 0.8))
    server.kill()
    await talking


def test_what_was_acknowledged_happened_exactly_once(database_url: str, tmp_path: Path) -> None:
    with opened(database_url, tmp_path) as context:
        world.stock(context, price_pro=Terms())
    provider, server = Provider(ROUNDS), Server(environment(database_url, tmp_path), tmp_path)
    began, ready = time.monotonic(), []
    try:
        for _ in range(ROUNDS):
            server.start()
            ready.append(server.ready_seconds)
            asyncio.run(die_under_load(provider, server))
            with opened(database_url, tmp_path) as context:
                missing = provider.acknowledged - kept_events(context)
                assert not missing, f"acknowledged and lost: {sorted(missing)[:5]}"
        server.start()
        asyncio.run(provider.finish(server.port))
        with opened(database_url, tmp_path) as context:
            limit = MAILS_WITHIN + len(provider.lives) / 10
            wait_until(lambda: not owed(context), limit, "every mail is out")
        server.stop()
    finally:
        server.kill()
    with opened(database_url, tmp_path) as context:
        check_events(context, provider)
        held = check_licenses(context, provider)
        check_timelines(context, held)
        resent = check_mails(context, provider, held, tmp_path / "data" / "outbox")
    report(provider, ready, time.monotonic() - began, resent)


def report(provider: Provider, ready: list[float], seconds: float, resent: int) -> None:
    print(  # noqa: T201  # the figures of a long run are its result; pytest shows them with -s
        f"\n{ROUNDS} kills, {len(provider.acknowledged)} events in {provider.deliveries} deliveries, "
        f"{len(provider.lives)} licenses, {dict(provider.outcomes)}; ready in at most {max(ready):.1f} s; "
        f"{resent} drafts of mails left behind; {seconds:.0f} s"
    )


def kept_events(context: Context) -> set[str]:
    return {key for (key,) in rows(context, sa.select(tables.inbox.c.dedupe_key))}


def owed(context: Context) -> bool:
    query = sa.select(sa.func.count()).where(tables.announcements.c.status != "sent")
    return bool(rows(context, query)[0][0])


def check_events(context: Context, provider: Provider) -> None:
    """Each event is kept once, and all were applied."""
    kept = rows(context, sa.select(tables.inbox.c.dedupe_key, tables.inbox.c.status))
    told = Counter(event["id"] for one in provider.lives for event in one.events)
    assert Counter(key for key, _ in kept) == told
    assert {status for _, status in kept} == {"applied"}
    assert world.count(context, tables.inbox_waits) == 0
    if context.database.is_sqlite:
        with context.database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def check_licenses(context: Context, provider: Provider) -> dict[str, License]:
    """One purchase and one license per subscription, worth what its events say. By subscription."""
    alias, held = tables.purchase_aliases.c, by_purchase(context)
    named = sa.select(alias.external_id, alias.purchase_id).where(alias.kind == "subscription")
    purchases = dict(tuple(row) for row in rows(context, named))
    assert world.count(context, tables.purchases) == len(purchases) == len(provider.lives)
    assert world.count(context, tables.licenses) == len(held) == len(provider.lives)
    found = {}
    for life in provider.lives:
        one = found[life.sub] = held[purchases[life.sub]]
        assert (one.seats, one.entitled_until, one.lost_until) == (
            life.seats,
            life.entitled_until,
            life.lost_until,
        ), life.sub
        assert is_intact(one, context.vault.row_key(one.tenant_id)), life.sub
    return found


def by_purchase(context: Context) -> dict[str, License]:
    found: dict[str, License] = {}
    for one in every_license(context):
        assert one.purchase_id is not None
        assert one.purchase_id not in found, "two licenses of one purchase"
        found[one.purchase_id] = one
    return found


def every_license(context: Context) -> Iterator[License]:
    from keywright.store import licenses

    after: str | None = None
    while True:
        with context.database.read() as connection:
            page = licenses.list_page(connection, context.master.id, filters={}, after=after, limit=5000)
        if not page:
            return
        yield from page
        after = page[-1].id


def check_timelines(context: Context, held: dict[str, License]) -> None:
    """Each chain holds, each entry goes on from where the one before ended, and nothing happened twice."""
    told: dict[str, list[Entry]] = {}
    query = sa.select(tables.timeline).order_by(tables.timeline.c.license_id, tables.timeline.c.seq)
    with context.database.read() as connection:
        for r in connection.execute(query).mappings():
            entry = Entry(
                r["license_id"], r["seq"], r["tenant_id"], r["at"], r["kind"], r["detail"], r["hash"]
            )
            told.setdefault(entry.license_id, []).append(entry)
    assert set(told) == {one.id for one in held.values()}
    for one in held.values():
        entries = told[one.id]
        assert history.first_break(entries, one.head) is None, one.id
        assert one.events == len(entries)
        kinds = Counter(entry.kind for entry in entries)
        assert kinds["license.issued"] == kinds["mail.sent"] == 1, kinds
        state = None
        for detail in (json.loads(entry.detail) for entry in entries):
            if "after" in detail:
                assert detail.get("before") == state
                assert detail["after"] != state
                state = detail["after"]


def check_mails(context: Context, provider: Provider, held: dict[str, License], outbox: Path) -> int:
    """One mail owed and delivered per license, to its buyer, with its key. Returns the drafts left over."""
    owed = tables.announcements.c
    announced = rows(context, sa.select(owed.id, owed.license_id, owed.kind, owed.status))
    assert Counter(row.license_id for row in announced) == Counter(one.id for one in held.values())
    assert {(row.kind, row.status) for row in announced} == {("license.issued", "sent")}
    mail_of = {row.license_id: row.id for row in announced}
    files = sorted(outbox.glob("*.eml"))
    assert len(files) == len(held)
    for life in provider.lives:
        one = held[life.sub]
        name = f"{mail_of[one.id]}@127.0.0.1"
        with (outbox / f"{name}.eml").open("rb") as file:
            mail = email.message_from_binary_file(file, policy=email.policy.default)
        assert (mail["Message-ID"], mail["To"]) == (f"<{name}>", life.email)
        text = mail.get_body(("plain",))
        assert text is not None
        assert world.key_of(context, one) in text.get_content()
    return len(list(outbox.iterdir())) - len(files)


def test_the_check_would_notice(context: Context) -> None:
    """The proof is worth as much as its checks: a lost entry and a doubled license are both seen."""
    world.stock(context, price_pro=Terms())
    provider = Provider(1)
    provider.lives = [live(1, provider.chance), live(2, provider.chance)]
    world.hand_in(context, *(event for one in provider.lives for event in one.events))
    check_events(context, provider)
    held = check_licenses(context, provider)
    world.alter(context, held["sub_1"], seats=99)
    with pytest.raises(AssertionError):
        check_licenses(context, provider)
    with context.database.write() as connection:
        connection.execute(sa.delete(tables.timeline).where(tables.timeline.c.seq == 1))
    with pytest.raises(AssertionError):
        check_timelines(context, held)
    provider.lives.append(live(3, provider.chance))
    with pytest.raises(AssertionError):
        check_events(context, provider)
