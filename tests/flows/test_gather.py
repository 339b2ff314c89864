"""Gathering: nobody waits for long, and what nobody waits for any more is not served."""

from __future__ import annotations

import asyncio
import threading
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
