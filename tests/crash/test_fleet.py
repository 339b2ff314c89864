"""Two that answer and two workers on one PostgreSQL, one of them killed every few seconds, under load.

`KEYWRIGHT_FLEET_SECONDS` sets for how long (4 by default, with a death every two seconds and one worker;
`make fleet` says 60, with a death every five seconds).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from itertools import cycle
from pathlib import Path

import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.flows import webhooks
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.store import tables
from keywright.store.webhook_tables import webhook_deliveries
from tests.conftest import new_postgresql
from tests.crash.fleet import Fleet
from tests.crash.test_kill import (
    LINES,
    Provider,
    check_events,
    check_licenses,
    check_mails,
    check_timelines,
    kept_events,
    owed,
    rows,
)
from tests.e2e.server import environment, opened, wait_until
from tests.e2e.wire import Gone, Line
from tests.life import world
from tests.life.receiver import Receiver, receiving

SECONDS = float(os.environ.get("KEYWRIGHT_FLEET_SECONDS", "4"))
LONG = SECONDS >= 30
DEATH_EVERY = 5.0 if LONG else 2.0
A_SECOND = 200.0
WITHIN = 120.0


class Pour:
    """Events at a steady pace over several lines that are picked up again when somebody dies."""

    def __init__(self, provider: Provider, port: int) -> None:
        self._provider = provider
        self._port = port
        self._next_at = 0.0
        self.stopped = False
        self.broken = 0

    async def run(self) -> None:
        """Until `stopped`, then on until everything was acknowledged."""
        self._next_at = time.monotonic()
        await asyncio.gather(*(self._talk() for _ in range(2 * LINES)))

    async def _talk(self) -> None:
        while not self.stopped or self._provider.is_owed:
            async with Line(self._port) as line:
                try:
                    while not self.stopped or self._provider.is_owed:
                        await self._turn()
                        if self.stopped and not self._provider.is_owed:
                            return  # somebody else took the last one meanwhile
                        await self._provider.deliver(line, self._provider.next())
                except (Gone, ConnectionError):
                    self.broken += 1
                    await asyncio.sleep(0.1)

    async def _turn(self) -> None:
        now = time.monotonic()
        turn = max(now, self._next_at)
        self._next_at = turn + 1 / A_SECOND
        await asyncio.sleep(turn - now)


async def die_in_turn(fleet: Fleet, provider: Provider) -> Pour:
    pour = Pour(provider, fleet.port)
    pouring = asyncio.create_task(pour.run())
    end = time.monotonic() + SECONDS
    kinds = cycle(("child", "worker", "parent", "child", "worker"))
    while time.monotonic() < end:
        await asyncio.sleep(DEATH_EVERY)
        await asyncio.to_thread(fleet.kill_one, next(kinds), provider.chance)
    pour.stopped = True
    await pouring
    return pour


def waiting(context: Context) -> bool:
    """Two processes with an event and its partner do not see each other's at one moment; the sweep does."""
    query = sa.select(sa.func.count()).where(tables.inbox.c.status != "applied")
    return bool(rows(context, query)[0][0])


def unsent(context: Context) -> bool:
    status = webhook_deliveries.c.status
    return bool(rows(context, sa.select(sa.func.count()).where(status != "delivered"))[0][0])


def check_deliveries(context: Context, receiver: Receiver) -> int:
    """Each is owed once and arrived under its id, in the same words. Returns how many came twice."""
    table = webhook_deliveries.c
    told = {row.id: row.body for row in rows(context, sa.select(table.id, table.body))}
    assert {got.headers["webhook-id"] for got in receiver.got} == set(told)
    for got in receiver.got:
        assert got.body.decode() == told[got.headers["webhook-id"]]
    issued = [got for got in receiver.got if got.said["type"] == "license.issued"]
    assert len({got.headers["webhook-id"] for got in issued}) == world.count(context, tables.licenses)
    return len(receiver.got) - len(told)


def test_whoever_dies_what_was_acknowledged_happened_once(postgresql: str, tmp_path: Path) -> None:
    url = new_postgresql(postgresql)
    more = {"webhook_allow_private": "1", "keywright_master_key": secrets.token_urlsafe(32)}
    env = environment(url, tmp_path, **{name.upper(): value for name, value in more.items()})
    with receiving() as receiver:
        with opened(url, tmp_path, **more) as context:
            world.stock(context, price_pro=Terms())
            webhooks.create(context, context.master.id, receiver.url, act=Act("a test"))
        provider = Provider(6)
        fleet = Fleet(env, tmp_path, workers=2 if LONG else 1)
        began = time.monotonic()
        try:
            pour = asyncio.run(die_in_turn(fleet, provider))
            poured = time.monotonic() - began
            with opened(url, tmp_path, **more) as context:
                assert provider.acknowledged <= kept_events(context)
                wait_until(lambda: not waiting(context), WITHIN, "every event is applied")
                wait_until(lambda: not owed(context), WITHIN, "every mail is out")
                wait_until(lambda: not unsent(context), WITHIN, "every webhook has arrived")
            settled = time.monotonic() - began - poured
            fleet.stop()
        finally:
            fleet.close()
        with opened(url, tmp_path, **more) as context:
            check_events(context, provider)
            held = check_licenses(context, provider)
            check_timelines(context, held)
            check_mails(context, provider, held, tmp_path / "data" / "outbox")
            doubled = check_deliveries(context, receiver)
            check_nobody_left(context)
    assert doubled <= len(fleet.killed) * 64
    print(  # noqa: T201  # the figures of a long run are its result; pytest shows them with -s
        f"\n{len(fleet.killed)} deaths ({', '.join(fleet.killed)}), {len(provider.acknowledged)} events in "
        f"{provider.deliveries} deliveries in {poured:.0f} s, {pour.broken} connections broken, "
        f"{len(provider.lives)} licenses, {dict(provider.outcomes)}; {len(receiver.got)} webhooks out, "
        f"{doubled} of them twice; all quiet {settled:.0f} s after the load"
    )


def check_nobody_left(context: Context) -> None:
    """No workflow is under way, and nobody counts as alive any more."""
    with context.database.read() as connection:
        pending = sa.text("SELECT count(*) FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED')")
        assert connection.execute(pending).scalar_one() == 0
        at_work = sa.text("SELECT count(*) FROM executors WHERE lease_until > 0 AND taken_by IS NULL")
        assert connection.execute(at_work).scalar_one() == 0
