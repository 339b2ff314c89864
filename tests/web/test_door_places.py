"""The few places for those whose password is worked on: who waits for one, and who is refused."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from keywright.domain.errors import TooMany
from keywright.flows.context import Context
from keywright.web.console import gate
from keywright.web.console.gate import HASHES_AT_ONCE, HASHES_WAITING, Gate

pytestmark = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def door(context: Context) -> Gate:
    return Gate(context)


async def _fill(door: Gate, stack: AsyncExitStack) -> None:
    for _ in range(HASHES_AT_ONCE + HASHES_WAITING):
        await stack.enter_async_context(door.place())


async def _hashed(door: Gate) -> str:
    async with door.place() as hashing:
        return await hashing(lambda: "hashed")


def test_who_finds_all_places_taken_gets_the_next_that_is_free(door: Gate) -> None:
    async def walk() -> str:
        async with AsyncExitStack() as stack:
            await _fill(door, stack)
            waiting = asyncio.create_task(_hashed(door))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await stack.aclose()
            return await waiting

    assert asyncio.run(walk()) == "hashed"


def test_who_waits_too_long_is_refused_and_takes_no_place(
    door: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_PATIENCE", 0.05)

    async def walk() -> str:
        async with AsyncExitStack() as stack:
            await _fill(door, stack)
            with pytest.raises(TooMany):
                await _hashed(door)
        async with AsyncExitStack() as stack:
            await _fill(door, stack)
        return await _hashed(door)

    assert asyncio.run(walk()) == "hashed"


def test_who_is_one_too_many_to_wait_is_refused_at_once(door: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_PATIENCE", 30.0)
    monkeypatch.setattr(gate, "_MOST_OUTSIDE", 1)

    async def walk() -> None:
        async with AsyncExitStack() as stack:
            await _fill(door, stack)
            waiting = asyncio.create_task(_hashed(door))
            await asyncio.sleep(0.05)
            async with asyncio.timeout(10.0):
                with pytest.raises(TooMany):
                    await _hashed(door)
            await stack.aclose()
            assert await waiting == "hashed"

    asyncio.run(walk())
