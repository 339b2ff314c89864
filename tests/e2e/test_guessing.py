"""Somebody guesses keys, from one address and from two hundred; and a firm whose clerk shares his.

The short form sends 5,000 guesses. `KEYWRIGHT_GUESSES=100000` is the long one, for each of the two.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from keywright.domain import license_key
from keywright.flows import operate
from tests.e2e.conftest import Shop, database_of
from tests.e2e.wire import Answer, Line

GUESSES = int(os.environ.get("KEYWRIGHT_GUESSES", "2500"))
CLIENTS, LINES = 40, 8
PER_ADDRESS = 30  # failed look-ups a minute
IS_LONG = "KEYWRIGHT_GUESSES" in os.environ
CALM = 10.0  # seconds of the long form without a guess, to compare with
# For the 99th of a hundred honest calls; where the machine has other work, twice what it is without guesses.
SLOWEST = 0.05 if IS_LONG else 0.25
OFFICE = "198.51.100.7"
PROXY = {"TRUSTED_PROXIES": "127.0.0.1, 10.9.0.0/16"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop behind a proxy: here, everybody on this machine."""
    folder = tmp_path_factory.mktemp("guessing")
    with ExitStack() as stack:
        yield Shop(database_of(request.param, request, folder), folder, stack, **PROXY)


@pytest.fixture(scope="module")
def keys(shop: Shop) -> list[str]:
    """The keys of honest clients."""
    with shop.opened() as context:
        order = operate.Order("dashcaddy/plan-0", "ann@example.com")
        tenant, act = context.master.id, operate.Act("tests")
        return [operate.issue(context, tenant, order, act)[1] for _ in range(CLIENTS)]


def guess() -> str:
    return license_key.make("DC", os.urandom(15))


async def ask(line: Line, key: str, forwarded: str, call: str = "validate") -> Answer:
    body = json.dumps({"key": key, "fingerprint": "machine-0001"}).encode()
    return await line.ask(f"/api/license/{call}", body, {"X-Forwarded-For": forwarded})


async def attack(port: int, addresses: list[str]) -> Counter[tuple[str, int, str]]:
    """Guesses from these addresses in turn: how often each answer came, by address."""
    told: Counter[tuple[str, int, str]] = Counter()
    left = iter(range(GUESSES))

    async def one() -> None:
        async with Line(port) as line:
            for number in left:
                address = addresses[number % len(addresses)]
                answer = await ask(line, guess(), address, ("validate", "activate")[number % 20 == 0])
                told[address, answer.status, answer.json()["code"]] += 1

    await asyncio.gather(*(one() for _ in range(LINES)))
    return told


async def honest(port: int, keys: list[str], until: asyncio.Event, address: str) -> list[float]:
    """Validations of right keys, some from the guesser's own address: how long each took."""
    took: list[float] = []
    order = random.Random(7)
    async with Line(port) as line:
        for key in keys:
            assert (await ask(line, key, OFFICE, "activate")).status == 200
        while not until.is_set() or len(took) < CLIENTS:
            key = keys[len(took) % CLIENTS]
            answer = await ask(line, key, address if len(took) % 2 else OFFICE)
            assert (answer.status, answer.json()["code"]) == (200, "VALID")
            took.append(answer.seconds)
            # Each key stays below its own limit.
            await asyncio.sleep(order.uniform(0.03, 0.05))
    return took


@pytest.mark.parametrize("several", [1, 200])
def test_guesses_find_nothing_and_hurt_nobody(shop: Shop, keys: list[str], several: int) -> None:
    addresses = [f"203.0.113.{number}" if several > 1 else "192.0.2.1" for number in range(several)]

    async def drive() -> tuple[Counter[tuple[str, int, str]], list[float]]:
        done = asyncio.Event()
        clients = asyncio.create_task(honest(shop.port, keys, done, addresses[0]))
        told = await attack(shop.port, addresses)
        done.set()
        return told, await clients

    async def wait() -> list[float]:
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(CALM, done.set)
        return await honest(shop.port, keys, done, addresses[0])

    calm = asyncio.run(wait()) if IS_LONG else []
    begun, minute = time.monotonic(), time.time() // 60
    told, took = asyncio.run(drive())
    seconds, minutes = time.monotonic() - begun, int(time.time() // 60 - minute) + 1
    assert {(status, code) for _, status, code in told} <= {
        (200, "NOT_FOUND"),
        (404, "NOT_FOUND"),
        (429, "TOO_MANY_REQUESTS"),
    }
    answered = {
        address: sum(count for (a, status, _), count in told.items() if a == address and status != 429)
        for address in addresses
    }
    # By the rule: so many a minute, no less where more were sent, and never more.
    assert max(answered.values()) <= PER_ADDRESS * minutes
    assert min(answered.values()) >= min(PER_ADDRESS, GUESSES // several)
    slow, usual = slowest(took), slowest(calm)
    sys.stdout.write(
        f"{several} addresses: {GUESSES} guesses in {seconds:.1f} s, {sum(answered.values())} looked up, "
        f"0 hits; {len(took)} honest calls, median {sorted(took)[len(took) // 2] * 1000:.1f} ms, "
        f"p99 {slow * 1000:.1f} ms; p99 without guesses {usual * 1000:.1f} ms\n"
    )
    assert slow < max(SLOWEST, 2 * usual)


def slowest(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)] if took else 0.0


def failures(port: int, forwarded: Sequence[str]) -> list[int]:
    """The statuses of guesses that came with these headers."""

    async def drive() -> list[int]:
        async with Line(port) as line:
            return [(await ask(line, guess(), one)).status for one in forwarded]

    return asyncio.run(drive())


def test_behind_a_proxy_the_address_is_the_last_that_is_no_proxy(shop: Shop) -> None:
    # What the guesser writes himself stands on the left, and does not count.
    spoofed = [f"10.0.0.{number}, 192.0.2.50" for number in range(70)]
    assert 429 in failures(shop.port, spoofed)
    assert failures(shop.port, ["192.0.2.51"]) == [200]
    # Behind two proxies of ours, too.
    assert 429 in failures(shop.port, [f"1.1.1.{number}, 192.0.2.52, 10.9.1.1" for number in range(70)])
    assert failures(shop.port, ["192.0.2.52, 192.0.2.53, 10.9.1.1"]) == [200]
    # One network of IPv6 is one party, and what is no address is one, too.
    assert 429 in failures(shop.port, [f"2001:db8:5:6::{number:x}" for number in range(70)])
    assert failures(shop.port, ["2001:db8:5:7::1"]) == [200]
    assert 429 in failures(shop.port, [f"nobody-{number}" for number in range(70)])
    assert set(failures(shop.port, ["x" * 4000, "", ",", "[::1", "\u00ff"])) <= {200, 429}


def test_without_proxies_the_header_counts_for_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        alone = Shop(f"sqlite:///{tmp_path / 'data' / 'keywright.sqlite'}", tmp_path, stack)
        statuses = failures(alone.port, [f"192.0.2.{number}" for number in range(70)])
    assert 429 in statuses
    assert statuses.count(200) <= 2 * PER_ADDRESS
