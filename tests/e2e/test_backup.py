"""A backup taken while webhooks pour in, brought back into the other kind of database, served from there."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keywright.flows import license_views
from keywright.flows.context import Context
from keywright.store.tables import inbox, licenses, purchases
from tests.cli.test_cli import Shell
from tests.e2e.conftest import Shop, database_of
from tests.e2e.server import Server, environment, opened
from tests.e2e.wire import Line, ask, tell
from tests.life import stripe, world

MACHINE = "machine-of-the-first"
OTHER = {"sqlite": "postgresql", "postgresql": "sqlite"}


@dataclass
class Load:
    """What was sold while the backup ran. `sure`: acknowledged before it began."""

    acknowledged: set[str] = field(default_factory=set)
    sure: set[str] = field(default_factory=set)
    first: list[str] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)


def sale(number: int) -> list[stripe.Json]:
    start = datetime.now(UTC)
    end = start + timedelta(days=30)
    sub, customer = f"sub_b{number}", f"cus_b{number}"
    more: dict[str, Any] = {"customer": customer}
    session = stripe.session(f"cs_b{number}", mode="subscription", sub=sub, intent=None, **more)
    return [
        stripe.event("checkout.session.completed", session, start),
        stripe.event("customer.subscription.created", stripe.subscription(sub, start, end, **more), start),
        stripe.event("invoice.paid", stripe.invoice(f"in_b{number}", sub, start, end, **more), start),
    ]


async def sell(line: Line, number: int, load: Load) -> None:
    for event in sale(number):
        assert (await tell(line, stripe.encoded(event))).status == 200
        load.acknowledged.add(event["id"])


async def sell_on(port: int, first: int, load: Load, until: asyncio.Event) -> None:
    async with Line(port) as line:
        number = first
        while not until.is_set():
            await sell(line, number, load)
            number += 1


async def verdicts(port: int, keys: list[str]) -> list[dict[str, Any]]:
    """What is answered to keys, on the machine of the first one; without what is new each time."""
    found = []
    async with Line(port) as line:
        for key in keys:
            body = json.dumps({"key": key, "fingerprint": MACHINE}).encode()
            answer = (await line.ask("/api/license/validate", body)).json()
            for passing in ("server_time", "cache_until", "lease"):
                del answer[passing]
            del answer["license"]["offline_until"]
            found.append(answer)
    return found


async def run_backup(shop: Shop, file: Path) -> Load:
    load = Load()
    async with Line(shop.port) as line:
        for number in range(10):
            await sell(line, number, load)
    with shop.opened() as context:
        load.first = [world.key_of(context, one) for one in world.all_licenses(context)]
    body = json.dumps({"key": load.first[0], "fingerprint": MACHINE}).encode()
    assert (await ask(shop.port, "/api/license/activate", body)).status == 200
    until = asyncio.Event()
    sellers = [asyncio.create_task(sell_on(shop.port, 1000 * n, load, until)) for n in range(1, 4)]
    await asyncio.sleep(0.3)
    load.sure = set(load.acknowledged)
    shell = Shell(shop.folder, **shop.env)
    told = (await asyncio.to_thread(shell.run, "backup", str(file), apart=True)).stdout
    until.set()
    await asyncio.gather(*sellers)
    assert "master key is not in it" in told
    load.verdicts = await verdicts(shop.port, load.first)
    return load


def check_state(context: Context, load: Load) -> None:
    """Some moment between two commits, after the backup began."""
    with context.database.read() as connection:
        events = set(connection.execute(sa.select(inbox.c.dedupe_key)).scalars())
        sold = set(connection.execute(sa.select(licenses.c.purchase_id)).scalars())
        owed = connection.execute(sa.select(purchases.c.id, purchases.c.state)).all()
    assert load.sure <= events <= load.acknowledged
    # Each purchase that is paid has its license, and no license is without its purchase.
    assert {row.id for row in owed if '"in_b' in row.state} <= sold <= {row.id for row in owed}
    assert len(sold) >= len(load.first)
    cursor, more = None, True
    while more:
        page = license_views.check_integrity(context, context.master.id, cursor=cursor)
        assert page.damaged == []
        cursor, more = page.next_cursor, page.next_cursor is not None


def test_a_backup_under_load_is_served_elsewhere(
    shop: Shop, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    file = tmp_path / "night.backup"
    load = asyncio.run(run_backup(shop, file))
    assert len(load.sure) < len(load.acknowledged)
    jwks = asyncio.run(ask(shop.port, "/.well-known/jwks.json")).json()
    text = gzip.decompress(file.read_bytes())
    master = (shop.folder / "data" / "master.key").read_bytes().strip()
    assert not [secret for secret in (master, *(key.encode() for key in load.first)) if secret in text]

    kind = OTHER["sqlite" if shop.database_url.startswith("sqlite") else "postgresql"]
    url = database_of(kind, request, tmp_path)
    env = environment(url, tmp_path, KEYWRIGHT_MASTER_KEY=master.decode())
    shell = Shell(tmp_path, **env)
    other = Shell(tmp_path, **{**env, "KEYWRIGHT_MASTER_KEY": "A" * 43})
    assert "is not the one that sealed this" in other.refusal("restore", str(file))
    assert shell.json("restore", str(file))["tables"]["licenses"] >= 10
    with opened(url, tmp_path, keywright_master_key=master.decode()) as context:
        check_state(context, load)
    with Server(env, tmp_path) as server:
        assert asyncio.run(verdicts(server.port, load.first)) == load.verdicts
        assert load.verdicts[0]["code"] == "VALID"
        assert asyncio.run(ask(server.port, "/.well-known/jwks.json")).json() == jwks
        # What a server works on is not filled.
        for words in (("restore", str(file)), ("migrate", "--from", shop.database_url)):
            assert re.search("stop it first|already runs", shell.refusal(*words))
    # And on into a third one, of the first kind.
    (tmp_path / "third").mkdir()
    third = database_of(OTHER[kind], request, tmp_path / "third")
    shell.environment["DATABASE_URL"] = third
    assert "rows copied and compared" in shell.run("migrate", "--from", url).stdout
    assert shell.json("integrity")["damaged"] == []
    assert "not empty" in shell.refusal("migrate", "--from", url)
