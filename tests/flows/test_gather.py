"""Gathering: nobody waits for long, and what nobody waits for any more is not served."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from keywright.domain.errors import Unavailable
from keywright.flows.gather import Gatherer, Traffic


class Hanging:
    """Serves nothing until it is released, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.released = threading.Event()
        self.gatherer: Gatherer[int, int] = Gatherer(
            "test", self._serve, traffic=Traffic(), limit=8, backlog=8, patience=0.2
        )

    def _serve(self, several: Sequence[int]) -> Sequence[int]:
        self.asked += several
        assert self.released.wait(10)
        return [one * 2 for one in several]


def test_whoever_waits_too_long_is_told_and_not_served_later() -> None:
    hanging = Hanging()

    async def ask() -> int:
        loop = asyncio.get_running_loop()
        hanging.gatherer.start(loop)
        first = asyncio.create_task(hanging.gatherer.ask(1))
        await asyncio.sleep(0.05)  # it is being served; the next one has to wait for it
        for late in (asyncio.create_task(hanging.gatherer.ask(2)), first):
            with pytest.raises(Unavailable) as refused:
                await late
            assert refused.value.retry_after == 5
        hanging.released.set()
        answer = await hanging.gatherer.ask(3)
        await loop.run_in_executor(None, hanging.gatherer.stop)
        return answer

    assert asyncio.run(ask()) == 6
    assert hanging.asked == [1, 3]


def test_batches_are_small_while_somebody_is_in_a_hurry() -> None:
    sizes: list[int] = []
    may_go = threading.Event()

    def serve(several: Sequence[int]) -> Sequence[int]:
        assert may_go.wait(10)
        sizes.append(len(several))
        return several

    async def ask() -> None:
        loop, traffic = asyncio.get_running_loop(), Traffic()
        many: Gatherer[int, int] = Gatherer(
            "many", serve, traffic=traffic, limit=16, backlog=99, patience=9, manner="yielding"
        )
        one: Gatherer[int, int] = Gatherer(
            "one",
            lambda several: several,
            traffic=traffic,
            limit=16,
            backlog=99,
            patience=9,
            manner="urgent",
        )
        many.start(loop)
        one.start(loop)
        for some_hurry in (False, True):
            may_go.clear()
            first = asyncio.create_task(many.ask(0))
            await asyncio.sleep(0.05)  # it is being served; what comes now is gathered
            waiting = [asyncio.create_task(many.ask(number)) for number in range(16)]
            await asyncio.sleep(0.05)
            if some_hurry:
                assert await one.ask(7) == 7
            may_go.set()
            assert await asyncio.gather(first, *waiting) == [0, *range(16)]
        for gatherer in (many, one):
            await loop.run_in_executor(None, gatherer.stop)

    asyncio.run(ask())
    assert sizes == [1, 16, 1] + [2] * 8


def test_who_is_in_a_hurry_is_let_pass_and_does_not_hold_up_others_for_long() -> None:
    served: list[str] = []
    may_go = threading.Event()

    def serve_one(several: Sequence[int]) -> Sequence[int]:
        assert may_go.wait(10)
        served.append("urgent")
        return several

    def serve_many(several: Sequence[int]) -> Sequence[int]:
        served.append("yielding")
        return several

    async def ask() -> None:
        loop, traffic = asyncio.get_running_loop(), Traffic()
        one: Gatherer[int, int] = Gatherer(
            "one", serve_one, traffic=traffic, limit=16, backlog=99, patience=9, manner="urgent"
        )
        many: Gatherer[int, int] = Gatherer(
            "many", serve_many, traffic=traffic, limit=16, backlog=99, patience=9, manner="yielding"
        )
        one.start(loop)
        many.start(loop)
        hurried = asyncio.create_task(one.ask(1))
        await asyncio.sleep(0)
        assert await many.ask(2) == 2  # though the other one is not served yet
        may_go.set()
        assert await hurried == 1
        for gatherer in (many, one):
            await loop.run_in_executor(None, gatherer.stop)

    asyncio.run(ask())
    assert served == ["yielding", "urgent"]


def test_what_can_wait_waits_while_several_are_in_a_hurry() -> None:
    traffic = Traffic()
    with traffic.hurrying():
        with traffic.hurrying():
            pass
        began = time.monotonic()
        traffic.let_pass()
        assert time.monotonic() - began >= 0.019
