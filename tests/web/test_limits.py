"""Limits: on a key, on an address that guesses, and on what guessing may cost or tell."""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from keywright.domain import license_key
from keywright.domain.errors import TooMany
from keywright.domain.plan import Terms
from keywright.flows import operate
from keywright.flows.context import Context
from keywright.store import licenses
from keywright.web.limits import Limit, party_of
from tests.life import world
from tests.web.conftest import Client, Serve

UNKNOWN = license_key.make("DC", bytes(15))
MISTYPED = UNKNOWN[:-1] + ("1" if UNKNOWN[-1] != "1" else "2")
CALLS = ("validate", "activate", "deactivate", "file")
# `KEYWRIGHT_TIMING_SAMPLES=200000` is the long form; it takes a minute.
SAMPLES = int(os.environ.get("KEYWRIGHT_TIMING_SAMPLES", "4000"))


class Minute:
    """A clock of the process that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 60.0 * 29_920_000 + 20

    def time(self) -> float:
        return self.now


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> Minute:
    made = Minute()
    monkeypatch.setattr("keywright.web.limits.time", made)
    return made


def counted(limit: Limit, name: str, calls: int) -> int:
    """How many of these calls are let through."""
    passed = 0
    for _ in range(calls):
        try:
            limit.count(name)
        except TooMany:
            continue
        passed += 1
    return passed


# -- counting -----------------------------------------------------------------------------------------


def test_so_many_a_minute_and_no_more(minute: Minute) -> None:
    limit = Limit(3)
    assert [limit.is_reached("a") for _ in range(2)] == [False, False]
    assert counted(limit, "a", 10) == 3
    assert limit.is_reached("a")
    assert counted(limit, "b", 2) == 2
    with pytest.raises(TooMany) as refused:
        limit.count("a")
    assert (refused.value.status, refused.value.retry_after) == (429, 40)
    minute.now += 40
    assert not limit.is_reached("a")
    assert counted(limit, "a", 10) == 3


def test_a_million_names_are_not_kept_and_wipe_out_nobody(minute: Minute) -> None:
    """Whoever goes on beyond his limit stays beyond it, whatever names are invented meanwhile."""
    limit = Limit(3, names=1000)
    assert counted(limit, "known", 5) == 3
    largest = 0
    for number in range(1_000_000):
        limit.count(f"invented {number}")
        if number % 500 == 0:
            assert counted(limit, "known", 1) == 0
            largest = max(largest, len(limit._counts) + len(limit._earlier))
    assert largest <= 2000
    minute.now += 60
    limit.count("another")
    assert len(limit._counts) + len(limit._earlier) == 1


def test_memory_stays_small(minute: Minute) -> None:
    limit = Limit(30)
    for number in range(101_000):
        limit.count(party_of(f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"))
    kept = (limit._counts, limit._earlier)
    assert sum(sys.getsizeof(one) + sum(map(sys.getsizeof, one)) for one in kept) < 20 * 2**20
    assert party_of("x" * 10_000_000) == "unknown"


@pytest.mark.parametrize(
    ("address", "party"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::3", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", "unknown"),
        ("_hidden", "unknown"),
        ("203.0.113.9:80", "unknown"),
    ],
)
def test_an_address_is_counted_as_its_party(address: str, party: str) -> None:
    assert party_of(address) == party


# -- over HTTP ----------------------------------------------------------------------------------------


def issued(shop: Context) -> str:
    order = operate.Order("dashcaddy/plan-0", "ann@example.com")
    _, key = operate.issue(shop, shop.master.id, order, operate.Act("tests"))
    return key


def ask(client: Client, call: str, key: str, **more: Any) -> Any:
    body = {"key": key, "fingerprint": "machine-0001", **more}
    return client.post(f"/api/license/{call}", json=body)


def test_a_key_has_its_limit_and_no_other_key_feels_it(shop: Context, serve: Serve, minute: Minute) -> None:
    client = serve(per_key_a_minute=4)
    busy, quiet = issued(shop), issued(shop)
    assert ask(client, "activate", quiet).status_code == 200
    assert 429 not in [ask(client, call, busy).status_code for call in CALLS]
    # Of the key, and not of the way in which it is asked for.
    for call in CALLS:
        refused = ask(client, call, busy.lower().replace("-", " "))
        assert (refused.status_code, refused.json()["code"]) == (429, "TOO_MANY_REQUESTS")
        assert refused.headers["retry-after"] == "40"
    assert ask(client, "validate", quiet).json()["code"] == "VALID"
    minute.now += 40
    assert ask(client, "validate", busy).status_code == 200


def test_guesses_are_counted_together_whichever_way_they_take(
    shop: Context, serve: Serve, minute: Minute
) -> None:
    client = serve(failures_a_minute=6)
    right, wrong = issued(shop), UNKNOWN
    for call, key in zip(CALLS, (UNKNOWN, MISTYPED, UNKNOWN, MISTYPED), strict=True):
        assert ask(client, call, key).status_code in (200, 404)
    for credential in (f"License {wrong}", "Claim nothing"):
        assert read_stream(client, credential) in (401, 404)
    for call in CALLS:
        for key in (UNKNOWN, MISTYPED):
            refused = ask(client, call, key)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "40")
    assert read_stream(client, f"License {wrong}") == 429
    assert read_stream(client, "Claim nothing") == 429
    # A firm's programs with a right key, behind the same address, notice nothing.
    assert ask(client, "activate", right).json()["code"] == "VALID"
    assert ask(client, "validate", right).json()["code"] == "VALID"
    assert ask(client, "deactivate", right).status_code == 200


def read_stream(client: Client, credential: str) -> int:
    status: int = client.get("/api/license/stream", headers={"authorization": credential}).status_code
    return status


# -- what guessing costs, and tells -------------------------------------------------------------------


@pytest.fixture
def statements(shop: Context) -> Iterator[list[str]]:
    """Every statement about licenses that is sent to the database."""
    sent: list[str] = []
    database = shop.database
    engines = (database.engine, database._reader)

    def told(text: str) -> None:
        if "licenses" in text:
            sent.append(text)

    def connected(connection: Any, _record: object) -> None:
        connection.set_trace_callback(told)

    def executing(_c: object, _cursor: object, text: str, *_: object) -> None:
        told(text)

    database.dispose()  # SQLite's connections are watched from their first statement on
    for engine in engines:
        if database.is_sqlite:
            event.listen(engine, "connect", connected)
        else:
            event.listen(engine, "before_cursor_execute", executing)
    yield sent
    for engine in engines:
        if database.is_sqlite:
            event.remove(engine, "connect", connected)
        else:
            event.remove(engine, "before_cursor_execute", executing)


def test_a_wrong_check_character_never_reaches_the_database(
    shop: Context, statements: list[str], serve: Serve
) -> None:
    client = serve(failures_a_minute=1000)
    del statements[:]
    for call in CALLS:
        assert ask(client, call, MISTYPED).json()["code"] == "NOT_FOUND"
    assert read_stream(client, f"License {MISTYPED}") == 404
    assert statements == []
    for call in CALLS:
        before = len(statements)
        assert ask(client, call, UNKNOWN).json()["code"] == "NOT_FOUND"
        assert len(statements) > before


def test_every_key_that_is_none_gets_the_same_answer(shop: Context, serve: Serve) -> None:
    """Mistyped, unknown, of a product that we do not know, and taken from its owner by a new key."""
    client = serve(failures_a_minute=1000)
    replaced = issued(shop)
    with shop.database.read() as connection:
        (lic,) = connection.execute(sa.text("SELECT id FROM licenses")).scalars()
    operate.rotate_key(shop, shop.master.id, lic, operate.Act("tests"))
    keys = [MISTYPED, UNKNOWN, license_key.make("OTHER", os.urandom(15)), replaced, "", "x" * 5000]
    for call in CALLS:
        answers = [ask(client, call, key, product="dashcaddy", nonce="n") for key in keys]
        told = [{**one.json(), "server_time": None} for one in answers]
        assert all(one == told[0] for one in told)
        assert told[0]["code"] == "NOT_FOUND"
        assert len({one.status_code for one in answers}) == 1
        assert len({tuple(sorted(one.headers)) for one in answers}) == 1


# -- time ---------------------------------------------------------------------------------------------


def welch(call: Callable[[str], object], make: Callable[[int], str]) -> float:
    """Welch's t of the times of a call with keys that have 20 characters of the right one, and with 1.

    In random order, each key once and made in the order of its use: neither kind must lie better in memory;
    without the slowest fifth, when the machine did something else.
    """
    kinds = [20, 1] * SAMPLES
    random.Random(7).shuffle(kinds)
    keys = [make(kind) for kind in kinds]
    took = []
    for key in keys:
        begun = time.perf_counter_ns()
        call(key)
        took.append(time.perf_counter_ns() - begun)
    edge = sorted(took)[len(took) * 4 // 5]
    near, far = (
        [one for kind, one in zip(kinds, took, strict=True) if kind == wanted and one <= edge]
        for wanted in (20, 1)
    )
    spread = statistics.variance(near) / len(near) + statistics.variance(far) / len(far)
    return float((statistics.fmean(near) - statistics.fmean(far)) / spread**0.5)


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_time_does_not_tell_how_much_of_a_key_is_right(context: Context) -> None:
    world.stock(context, price_once=Terms(term="perpetual"))
    right = license_key.canonical(issued(context)) or ""

    def make(kept: int) -> str:
        made = license_key.canonical(license_key.make("", os.urandom(15))) or ""
        end = right[:kept] + made[kept:-1]
        return end + license_key._check_character(end)

    def look_up(key: str) -> object:
        """From the canonical form on: how long it takes to read what was typed depends on that alone."""
        key_hash = context.vault.blind("license-key-lookup", key)
        return licenses.look_up(context.database, key_hash, None)

    def compare(key: str) -> object:
        """What must not be done: character by character, until one differs."""
        return all(a == b for a, b in zip(key, right, strict=True))

    assert abs(welch(compare, make)) > 4.5
    found: list[float] = []
    while len(found) < 3 and not any(abs(t) < 4.5 for t in found):  # a leak shows each time, a hiccup once
        found.append(welch(look_up, make))
    sys.stdout.write(f"Welch t of {SAMPLES} look-ups each: {found}\n")
    assert abs(found[-1]) < 4.5
