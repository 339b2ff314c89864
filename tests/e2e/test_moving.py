"""From SQLite to PostgreSQL: nothing is lost, and the server there goes on where the old one ended."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.flows import activating, licensing
from keywright.flows.context import Context
from keywright.flows.licensing import Ask
from keywright.store import dump
from keywright.store.dump import Count, Tally
from keywright.store.tables import announcements, licenses, purchase_aliases
from tests.cli.test_cli import Shell
from tests.conftest import new_postgresql
from tests.e2e.server import Server, environment, opened, wait_until
from tests.e2e.wire import Line, tell
from tests.life import stripe, world

SOLD = 40
MACHINE = "machine-of-before"
MONTH = timedelta(days=30)
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)


def sale(number: int) -> list[stripe.Json]:
    sub, more = f"sub_{number}", dict[str, Any](customer=f"cus_{number}")
    address = f"buyer{number}@example.com"
    bill = stripe.invoice(f"in_{number}", sub, START, START + MONTH, email=address, **more)
    seen = stripe.subscription(sub, START, START + MONTH, **more)
    return [
        stripe.event("customer.subscription.created", seen, START),
        stripe.event("invoice.paid", bill, START),
    ]


def renewal(number: int) -> stripe.Json:
    sub, more = f"sub_{number}", dict[str, Any](customer=f"cus_{number}")
    bill = stripe.invoice(f"in_{number}_2", sub, START + MONTH, START + 2 * MONTH, **more)
    return stripe.event("invoice.paid", bill, START + MONTH)


def counted(context: Context) -> dict[str, Count]:
    """Rows and digest of each table, except what the engine and the processes tell one another."""
    tally = Tally()
    with context.database.engine.connect() as connection:
        for part in dump.read(connection, dump.names()):
            tally.add(part)
    return tally.counts


def unsent(context: Context) -> int:
    query = sa.select(sa.func.count()).where(announcements.c.status != "sent")
    with context.database.read() as connection:
        return int(connection.execute(query).scalar_one())


def first_license(context: Context) -> License:
    """The license of the first subscription."""
    alias = purchase_aliases.c
    query = sa.select(alias.purchase_id).where(alias.external_id == "sub_0")
    with context.database.read() as connection:
        purchase = connection.execute(query).scalar_one()
    return next(one for one in world.all_licenses(context) if one.purchase_id == purchase)


async def go_on(port: int, key: str, told: stripe.Json) -> None:
    """Old keys are valid on the machines they were on, and webhooks find the purchases of before."""
    async with Line(port) as line:
        asked = json.dumps({"key": key, "fingerprint": MACHINE}).encode()
        known = (await line.ask("/api/license/validate", asked)).json()
        assert known["code"] == "VALID"
        assert (await tell(line, stripe.encoded(told))).outcome == "duplicate"
        assert (await tell(line, stripe.encoded(renewal(0)))).outcome == "applied"
        renewed = (await line.ask("/api/license/validate", asked)).json()
        assert renewed["license"]["entitled_until"] > known["license"]["entitled_until"]


def test_nothing_is_lost_on_the_way_to_postgresql(postgresql: str, tmp_path: Path) -> None:
    old, new = f"sqlite:///{tmp_path / 'data' / 'keywright.sqlite'}", new_postgresql(postgresql)
    sold = [event for number in range(SOLD) for event in sale(number)]
    with opened(old, tmp_path) as context:
        world.stock(context, price_pro=Terms())
        world.hand_in(context, *sold)
        key = world.key_of(context, first_license(context))
        asked = licensing.check(context, Ask(key=key, fingerprint=MACHINE), fingerprint_needed=True)
        assert activating.activate(context, asked).code == "VALID"
        before = counted(context)
        assert unsent(context) == SOLD  # nobody was there to send them
    shell = Shell(tmp_path, **environment(new, tmp_path))
    assert "rows copied and compared" in shell.run("migrate", "--from", old).stdout
    with opened(new, tmp_path) as context:
        assert counted(context) == before
        assert sum(one.rows for one in before.values()) > 8 * SOLD
        with Server(environment(new, tmp_path), tmp_path) as server:
            asyncio.run(go_on(server.port, key, sold[1]))
            # By workflows of their own: what is left to the sweep is looked for after ten minutes.
            wait_until(lambda: not unsent(context), 60, "mails that were owed before are out")
        assert world.count(context, licenses) == SOLD
    assert len(list((tmp_path / "data" / "outbox").glob("*.eml"))) == SOLD
