"""kill -9 of the server while it tells others: nothing is lost, and what comes twice is the same.

`KEYWRIGHT_WEBHOOK_KILLS` sets how many times it dies (once by default; `make crash` says 50).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import msgspec
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.flows import operate, webhooks
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.store.webhook_tables import webhook_deliveries as table
from tests.e2e.server import Server, environment, opened, wait_until
from tests.life import world
from tests.life.receiver import Receiver, Reply, receiving

ROUNDS = int(os.environ.get("KEYWRIGHT_WEBHOOK_KILLS", "1"))
A_ROUND = 30
WITHIN = 60.0  # seconds
MORE = {"webhook_allow_private": "1"}


class Slow(msgspec.Struct, frozen=True):
    """Answers as one across the internet does, one after another in each connection."""

    chance: random.Random

    def __call__(self) -> Reply:
        time.sleep(self.chance.uniform(0.0, 0.03))
        return 204, {}, b""


def statuses(context: Context) -> Counter[str]:
    with context.database.read() as connection:
        found = connection.execute(
            sa.select(table.c.status, sa.func.count().label("number")).group_by(table.c.status)
        )
        return Counter({row.status: row.number for row in found})


def owed(context: Context) -> dict[str, str]:
    """What stands in the database: id and body."""
    with context.database.read() as connection:
        return {row.id: row.body for row in connection.execute(sa.select(table.c.id, table.c.body))}


def sell(context: Context, number: int) -> None:
    for one in range(number):
        order = Order("dashcaddy/plan-0", f"buyer{one}@example.com")
        operate.issue(context, context.master.id, order, Act("a test"))


def die_while_it_tells(server: Server, receiver: Receiver, chance: random.Random) -> None:
    """When some more have arrived, each time another number of them."""
    enough = len(receiver.got) + chance.randint(1, A_ROUND // 2)
    wait_until(lambda: len(receiver.got) >= enough, WITHIN, "deliveries arrive")
    server.kill()


def test_what_is_owed_arrives_under_its_id_however_often_the_server_dies(
    database_url: str, tmp_path: Path
) -> None:
    chance = random.Random(6)
    env = environment(database_url, tmp_path, **{name.upper(): value for name, value in MORE.items()})
    server = Server(env, tmp_path)
    with receiving() as receiver:
        receiver.otherwise = Slow(chance)
        with opened(database_url, tmp_path, **MORE) as context:
            world.stock(context, price_pro=Terms(term=365 * 86400))
            webhooks.create(context, context.master.id, receiver.url, act=Act("a test"))
        try:
            for _ in range(ROUNDS):
                with opened(database_url, tmp_path, **MORE) as context:
                    sell(context, A_ROUND)
                server.start()
                die_while_it_tells(server, receiver, chance)
            server.start()
            with opened(database_url, tmp_path, **MORE) as context:
                wait_until(lambda: not statuses(context)["pending"], WITHIN, "all of it arrives")
            server.stop()
        finally:
            server.kill()
        with opened(database_url, tmp_path, **MORE) as context:
            told, became = owed(context), statuses(context)
        check(receiver, told, became)


def check(receiver: Receiver, told: dict[str, str], became: Counter[str]) -> None:
    assert became == {"delivered": ROUNDS * A_ROUND}
    times = Counter(got.headers["webhook-id"] for got in receiver.got)
    assert set(times) == set(told)
    for got in receiver.got:
        assert got.body.decode() == told[got.headers["webhook-id"]]
    doubled = sum(times.values()) - len(times)
    print(f"\n{ROUNDS} kills, {len(told)} deliveries, {doubled} of them twice")  # noqa: T201  # a long run's result
    assert doubled <= ROUNDS
