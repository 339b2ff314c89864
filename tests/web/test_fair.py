"""Threads that tenants share: what one of them asks for again and again holds up no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from litestar.concurrency import get_asyncio_executor, sync_to_thread

from keywright import bootstrap
from keywright.cli import running
from keywright.domain.errors import Unavailable
from keywright.flows.context import Context
from keywright.store import wall
from keywright.web.console.gate import Gate
from keywright.web.fair import FairThreads
from tests.conftest import Prepared, test_settings


async def asked_by(tenant: str, gate: Gate, call: Callable[[], object]) -> object:
    """As a request does whose guard has let somebody in."""
    wall.enter(tenant)
    return await gate.run(call)


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_receiver_that_hangs_keeps_the_console_from_nobody_else(context: Context) -> None:
    gate, answered = Gate(context), threading.Event()

    async def walk() -> None:
        tries = [asyncio.create_task(asked_by("ten_a", gate, answered.wait)) for _ in range(64)]
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable):
            await asyncio.create_task(asked_by("ten_a", gate, answered.wait))
        try:
            async with asyncio.timeout(5):
                assert await asyncio.create_task(asked_by("ten_b", gate, lambda: "seen")) == "seen"
        finally:
            answered.set()
        assert await asyncio.gather(*tries) == [True] * 64

    asyncio.run(walk())


def test_each_has_his_share_and_all_is_done_in_turn() -> None:
    threads = FairThreads("test", threads=2, most_of_one=1)
    answered, order = threading.Event(), list[int]()

    def fail() -> None:
        raise KeyError

    with wall.within("ten_a"):
        held = threads.submit(answered.wait, 10)
        gone = threads.submit(order.append, 0)
        behind = [threads.submit(order.append, number) for number in (1, 2)]
        broken = threads.submit(fail)
    assert gone.cancel()
    with wall.within("ten_b"):
        assert threads.submit(int, "11", base=2).result(5) == 3
    assert not held.done()
    answered.set()
    assert held.result(5)
    for one in behind:
        one.result(5)
    assert order == [1, 2]
    assert isinstance(broken.exception(5), KeyError)
    threads.shutdown()
    assert not threads._behind
    assert not threads._running


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_server_has_threads_of_their_own_for_what_tokens_ask(prepared: Prepared) -> None:
    settings = test_settings(prepared.url, prepared.folder)
    with running._application(settings, bootstrap.open_database(settings), engine=False):
        shared = get_asyncio_executor()
    assert isinstance(shared, FairThreads)
    answered = threading.Event()

    async def call(tenant: str) -> bool:
        wall.enter(tenant)
        return await sync_to_thread(answered.wait if tenant == "ten_a" else answered.is_set)

    async def walk() -> None:
        tries = [asyncio.create_task(call("ten_a")) for _ in range(100)]
        await asyncio.sleep(0.1)
        try:
            async with asyncio.timeout(5):
                assert not await asyncio.create_task(call("ten_b"))
                # Where the sites of all tenants and the tokens themselves are looked for.
                assert not await asyncio.to_thread(answered.is_set)
        finally:
            answered.set()
        assert all(await asyncio.gather(*tries))

    asyncio.run(walk())
