"""Fifty clients for five floating seats, against the running server: exactly five, and later all five again.

`KEYWRIGHT_SEAT_ROUNDS` sets how many licenses are raced for; `make seats` races for a hundred.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.sandbox.clock import CACHE_SECONDS, CLOCK_FILE_NAME, TurnableClock
from keywright.store import timeline
from tests.domain.test_machine import machine
from tests.e2e.conftest import Shop, database_of
from tests.e2e.test_races import CLIENTS, activating, at_once, bought, check_chain, check_race, license_of
from tests.e2e.test_races import machines as held_by
from tests.e2e.wire import Answer
from tests.life import stripe, world

ROUNDS = int(os.environ.get("KEYWRIGHT_SEAT_ROUNDS", "5"))
LEASE = 3600
# With the fifty before them, as many as one key may ask for in a minute.
LATER = 10


class Office(Shop):
    """A shop that sells floating seats, and whose clock can be turned."""

    def turn(self, seconds: float) -> None:
        TurnableClock(self.folder / "data" / CLOCK_FILE_NAME).advance(seconds)
        time.sleep(2 * CACHE_SECONDS)

    def sell(self, subs: Sequence[str], price: str) -> tuple[list[License], list[str]]:
        """Five seats each: the licenses and their keys."""
        with self.opened() as context:
            world.hand_in(context, *(bought(sub, price=price, quantity=5) for sub in subs))
            held = [license_of(context, sub) for sub in subs]
            return held, [world.key_of(context, one) for one in held]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    with ExitStack() as stack:
        made = Office(database_of(request.param, request, folder), folder, stack, KEYWRIGHT_MODE="sandbox")
        with made.opened() as context:
            world.add_plan(context, "floating", "price_floating", Terms(floating=True, offline=LEASE))
        yield made


def test_fifty_clients_for_five_floating_seats(office: Office) -> None:
    held, keys = office.sell([f"sub_float{n}" for n in range(ROUNDS)], "price_floating")
    for number, key in enumerate(keys):
        racers = [activating(key, f"first-{number}-{n}") for n in range(CLIENTS)]
        check_race(asyncio.run(at_once([office.port], racers)), 5)
    # Nobody gives a sign of life for as long as a lease lasts.
    office.turn(LEASE)
    for number, key in enumerate(keys):
        racers = [activating(key, f"second-{number}-{n}") for n in range(LATER)]
        answers = asyncio.run(at_once([office.port], racers))
        assert Counter(one.status for one in answers) == {200: 5, 409: LATER - 5}
    with office.opened() as context:
        for one in held:
            assert held_by(context, one) == 5
            check_chain(context, one.id)
            with context.database.read() as connection:
                entries = timeline.list_page(connection, one.tenant_id, one.id, after=0, limit=100)
            kinds = Counter(entry.kind for entry in entries)
            assert kinds == {"license.issued": 1, "activation.created": 10, "activation.lapsed": 1}


def validating(key: str, name: str, **more: Any) -> Any:
    body = stripe.encoded({"key": key, "fingerprint": name, **more})
    return lambda line: line.ask("/api/license/validate", body)


def ask_one(office: Office, question: Any) -> Answer:
    (answer,) = asyncio.run(at_once([office.port], [question]))
    return answer


def test_who_gives_signs_of_life_keeps_the_seat_while_others_come_for_it(office: Office) -> None:
    (held,), (key,) = office.sell(["sub_alive"], "price_floating")
    for n in range(5):
        assert ask_one(office, activating(key, f"machine-{n}")).status == 200
    for _ in range(3):
        office.turn(0.7 * LEASE)
        # All at once: the one who lives, and those who want his seat.
        racers = [validating(key, "machine-0"), *(activating(key, f"hungry-{n}") for n in range(9))]
        alive, *others = asyncio.run(at_once([office.port], racers))
        verdict = alive.json()
        assert (alive.status, verdict["code"]) == (200, "VALID")
        assert verdict["lease"]
        assert Counter(one.status for one in others)[200] <= 4
    with office.opened() as context:
        assert held_by(context, held) <= 5
        check_chain(context, held.id)


def test_a_machine_that_changed_is_recognized_over_http(office: Office) -> None:
    _, (key,) = office.sell(["sub_signals"], "price_pro")
    body = {"key": key, "fingerprint": "machine-old", "signals": machine("a")}
    first = ask_one(office, lambda line: line.ask("/api/license/activate", stripe.encoded(body))).json()
    assert first["activation"]["match"] == "exact"
    stranger = ask_one(office, validating(key, "machine-new", signals=machine("b", cpu="a", os="a"))).json()
    assert (stranger["code"], stranger["activation"], stranger["lease"]) == ("NOT_ACTIVATED", None, None)
    changed = ask_one(office, validating(key, "machine-new", signals=machine("a", disk="new"))).json()
    assert changed["activation"] == {**first["activation"], "match": "close"}
    assert changed["lease"] not in (None, first["lease"])
    hostile = ask_one(office, validating(key, "machine-new", signals={"board": "x" * 9000}))
    assert (hostile.status, hostile.code) == (422, "SIGNALS_INVALID")
    wrong = ask_one(office, validating(key, "machine-new", signals={"board": 7}))
    assert wrong.status == 422
