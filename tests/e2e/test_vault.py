"""The master key is changed under load: servers answer every validate and every webhook of every tenant.

Short by default; `make vault` has a thousand tenants, and kills the command in the middle again and again.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keywright.domain import license_key
from keywright.flows import catalog, catalog_file, credentials, master_key, operate, shredding, tenants
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.flows.signing_keys import KeyAct
from keywright.key_ports import MasterKeys
from keywright.store import tenants as stored
from tests.e2e.conftest import database_of
from tests.e2e.server import Server, environment, opened, wait_until
from tests.life import stripe

TENANTS = int(os.environ.get("KEYWRIGHT_VAULT_TENANTS", "12"))
LONG = TENANTS >= 1000
SELLING = min(TENANTS, 200)  # tenants with licenses and a webhook secret
CHANGES = 5 if LONG else 2
KILLS = 10 if LONG else 0
THREADS = 3
CATALOG = """
[[product]]
slug = "{slug}"
name = "Saw"
key_prefix = "SAW"

[[product.plan]]
slug = "ever"
name = "Ever"
term = "perpetual"
prices = [{{ key = "once", provider = "stripe", id = "price_{slug}_once", amount = 90, currency = "EUR" }}]

[[product.plan]]
slug = "pro"
name = "Pro"
prices = [
  {{ key = "m", provider = "stripe", id = "price_{slug}", amount = 9, currency = "EUR", interval = "month" }},
]
"""


class Tenant:
    """Sells one license, and hears Stripe at an address of its own."""

    def __init__(self, context: Context, slug: str) -> None:
        made = tenants.create(context, slug, slug, by="test")
        self.id, self.slug = made.id, slug
        self.secret = f"whsec_of_{slug}_0123456789"
        now = context.clock.now()
        with context.database.write() as connection:
            account = stored.get_account(
                connection, made.id, "stripe", live=False, new_id=context.new_id("pac"), now=now
            )
        self.account = account.id
        self.keys: list[str] = []
        self._context = context

    def open_shop(self) -> None:
        context, now = self._context, self._context.clock.now()
        with context.database.write() as connection:
            account = stored.find_account(connection, self.id, "stripe", live=False)
            assert account is not None
            credentials.keep(
                connection,
                context.vault,
                account,
                {"stripe.secret_key": f"sk_test_of_{self.slug}", "stripe.webhook_secret": self.secret},
                now,
            )
            stored.changed(connection)
            tenant = stored.find_by_id(connection, self.id)
        catalog.apply(
            context,
            catalog_file.parse(CATALOG.format(slug=self.slug), source="test", environment={}),
            tenant=tenant,
        )
        order = Order(f"{self.slug}/ever", "ann@example.com", seats=1)
        self.keys = [operate.issue(context, self.id, order, Act("test"))[1] for _ in range(3)]


class Town:
    """One server on SQLite, two on PostgreSQL, and tenants."""

    def __init__(self, context: Context, env: dict[str, str], folder: Path, servers: list[Server]) -> None:
        self.context, self.env, self.folder = context, env, folder
        self.ports = [server.port for server in servers]
        self.tenants = [Tenant(context, f"firm-{number}") for number in range(TENANTS)]
        self.selling = self.tenants[:SELLING]
        for one in self.selling:
            one.open_shop()

    def url(self) -> str:
        return f"http://127.0.0.1:{random.choice(self.ports)}"

    def rotate(self) -> tuple[MasterKeys, float]:
        began = time.monotonic()
        done = master_key.rotate(self.context, KeyAct("test"))
        return done, time.monotonic() - began

    def command(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "keywright.cli.main", "key", "rotate-master"],
            env=self.env,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def town(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("vault")
    url = database_of(request.param, request, folder)
    with ExitStack() as stack:
        context = stack.enter_context(opened(url, folder))
        env = environment(url, folder)
        names = ["one"] if request.param == "sqlite" else ["one", "two"]
        servers = [stack.enter_context(Server(env, folder, name)) for name in names]
        yield Town(context, env, folder, servers)


class Customers(threading.Thread):
    """Validate licenses of any tenant, and deliver events to any tenant, until they are told to stop."""

    def __init__(self, town: Town, number: int) -> None:
        super().__init__(name=f"customers-{number}")
        self.town, self.number = town, number
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.trouble: list[BaseException] = []
        self.enough = threading.Event()
        self.rounds = 0

    def run(self) -> None:
        try:
            with httpx.Client(trust_env=False, timeout=30) as client:
                turn = self.number
                while not self.enough.is_set():
                    one = self.town.selling[turn % len(self.town.selling)]
                    self.validate(client, one, turn)
                    self.deliver(client, one, turn)
                    turn += THREADS
                    self.rounds += 1
        except BaseException as error:  # noqa: BLE001  # told to the test, which fails by it
            self.trouble.append(error)

    def validate(self, client: httpx.Client, one: Tenant, turn: int) -> None:
        body = {"key": one.keys[turn % 3], "fingerprint": "machine-number-1", "nonce": "n"}
        call = "activate" if turn % 5 == 0 else "validate"
        answer = client.post(f"{self.town.url()}/api/license/{call}", json=body)
        # A key may be asked for sixty times a minute: that is no failure of the vault.
        if answer.status_code != 429:
            assert answer.status_code == 200, answer.text
            self.statuses[call, answer.status_code] += 1

    def deliver(self, client: httpx.Client, one: Tenant, turn: int) -> None:
        status = tell(client, self.town.url(), one, f"sub_{self.number}_{turn}")
        assert status == 200
        self.statuses["webhook", status] += 1


def tell(client: httpx.Client, url: str, one: Tenant, sub: str) -> int:
    """Deliver a paid subscription, of which a license comes with a key that is sealed."""
    now = datetime.now(UTC)
    found = stripe.subscription(sub, now, now + timedelta(days=30), price=f"price_{one.slug}", customer=sub)
    event = stripe.event("customer.subscription.created", found, now)
    raw = json.dumps({**event, "id": f"evt_{sub}"}).encode()
    answer = client.post(
        f"{url}/api/webhooks/stripe/{one.account}", content=raw, headers=stripe.signed(raw, one.secret, now)
    )
    if answer.status_code == 200:
        assert answer.json()["outcome"] == "applied", answer.text
    return answer.status_code


def test_a_server_that_has_seen_no_tenant_yet_meets_the_new_key(town: Town) -> None:
    """It has read the file at its start, and opens its first tenant when the file holds another key."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        for _ in range(2):
            town.rotate()
        for port in town.ports:
            for one in town.selling:
                body = {"key": one.keys[0], "fingerprint": "machine-number-1"}
                answer = client.post(f"http://127.0.0.1:{port}/api/license/activate", json=body)
                assert answer.status_code == 200, answer.text


def test_the_master_key_is_changed_and_no_request_fails(town: Town) -> None:
    crowd = [Customers(town, number) for number in range(THREADS)]
    for customers in crowd:
        customers.start()
    seconds, ended = [], 0
    try:
        for _ in range(CHANGES):
            at = min(customers.rounds for customers in crowd)
            done, lasted = town.rotate()
            seconds.append(lasted)
            assert done.rewrapped == TENANTS + 7
            # Each of them has asked under the new key before the next one comes.
            wait_until(
                lambda: min(c.rounds for c in crowd) > at + 3 or any(c.trouble for c in crowd),  # noqa: B023  # called at once
                60,
                "requests under the new key",
            )
        ended = sum(end_in_the_middle(town) for _ in range(KILLS))
    finally:
        for customers in crowd:
            customers.enough.set()
        for customers in crowd:
            customers.join()
    for customers in crowd:
        assert customers.trouble == []
    told: Counter[tuple[str, int]] = sum((customers.statuses for customers in crowd), Counter())
    assert {status for _, status in told} == {200}
    assert {call for call, _ in told} == {"activate", "validate", "webhook"}
    (only,) = [one for one in master_key.show(town.context) if one.wraps]
    assert only.wraps == TENANTS + 7
    assert len((town.folder / "data" / "master.key").read_text().split()) == 1
    assert_everything_opens(town)
    if LONG:
        assert max(seconds) <= 10
    shown = ", ".join(f"{one:.2f}" for one in seconds)
    print(f"\n{TENANTS} tenants in {shown} s; {ended} kills; {dict(told)}")  # noqa: T201  # the figures of a long run


def end_in_the_middle(town: Town) -> bool:
    """Kill the command at some moment, and finish what it has begun. Returns whether it was still at work."""
    command = town.command()
    try:
        command.wait(random.uniform(0.5, 4.0))
    except subprocess.TimeoutExpired:
        command.kill()
        command.wait()
    if command.stderr is not None:
        command.stderr.close()
    was_at_work = command.returncode != 0
    if was_at_work:
        town.rotate()
    return was_at_work


def assert_everything_opens(town: Town) -> None:
    """In a process that has nothing in memory: every tenant signs, and its secrets open."""
    with opened(town.env["DATABASE_URL"], town.folder) as fresh:
        for one in town.tenants:
            assert fresh.signer.active_key(one.id, "lease+jwt")
        for one in town.selling:
            channel = fresh.find_channel(one.account)
            assert channel is not None
            assert channel.secrets == (one.secret,)


def test_servers_notice_that_a_tenant_was_shredded(town: Town) -> None:
    """They have served it, and are told nothing."""
    gone, stays = town.selling[:2]
    shredding.shred(town.context, gone.slug, confirmed=gone.slug, by="test")
    with httpx.Client(trust_env=False, timeout=30) as client:
        for port in town.ports:
            check_gone(client, port, gone, stays)


def check_gone(client: httpx.Client, port: int, gone: Tenant, stays: Tenant) -> None:
    made_up = license_key.make("SAW", os.urandom(15))
    url = f"http://127.0.0.1:{port}"
    told = [ask_for(client, port, key) for key in (gone.keys[0], made_up)]
    assert told[0] == told[1]  # at once: no row has that key
    assert ask_for(client, port, stays.keys[0])["valid"] is True
    # Another event each time: until it is noticed, the one before was taken.
    late = itertools.count()
    wait_until(lambda: tell(client, url, gone, f"late_{port}_{next(late)}") == 400, 30, "events are refused")
    wait_until(lambda: shop_of(client, port, gone) == 404, 30, "its pages are gone")
    assert tell(client, url, stays, f"sub_{port}") == 200
    assert shop_of(client, port, stays) == 200


def ask_for(client: httpx.Client, port: int, key: str) -> dict[str, Any]:
    body = {"key": key, "fingerprint": "machine-number-1"}
    answer = client.post(f"http://127.0.0.1:{port}/api/license/validate", json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return {name: value for name, value in told.items() if name in ("valid", "code", "detail")}


def shop_of(client: httpx.Client, port: int, one: Tenant) -> int:
    return client.get(f"http://127.0.0.1:{port}/t/{one.slug}/").status_code
