"""The streams of one process: how many there may be, what keeps them alive, and readers that do not read."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from keywright.domain.errors import TooMany, Unavailable
from keywright.flows import licensing, operate, streams
from keywright.flows.context import Context
from keywright.flows.licensing import Ask, Bookkeeping
from keywright.web import streams as web_streams
from keywright.web.streams import Stream, Streams

BY = operate.Act(by="tests")


def limited(context: Context, **limits: Any) -> Streams:
    return Streams(replace(context, policy=replace(context.policy, **limits)), Bookkeeping())


def test_one_key_has_so_many_streams_and_no_more(shop: Context) -> None:
    found = limited(shop, streams_of_key=2)
    with found.place("key", "192.0.2.1"), found.place("key", "192.0.2.2"):
        with pytest.raises(TooMany), found.place("key", "192.0.2.3"):
            pass
        with found.place("another key", "192.0.2.3"):
            pass
    with found.place("key", "192.0.2.1"):
        pass


def test_one_address_has_so_many_streams_and_no_more(shop: Context) -> None:
    found = limited(shop, streams_of_address=2)
    with found.place("a", "2001:db8::1"), found.place("b", "2001:db8::2"):
        # A network of IPv6 is one household.
        with pytest.raises(TooMany), found.place("c", "2001:db8::3"):
            pass
        with found.place("c", "192.0.2.3"):
            pass


def test_all_together_are_so_many_and_no_more(shop: Context) -> None:
    found = limited(shop, streams=3)
    with ExitStack() as held:
        for number in range(3):
            held.enter_context(found.place(str(number), f"192.0.2.{number}"))
        with pytest.raises(Unavailable) as caught, found.place("4", "192.0.2.4"):
            pass
        assert caught.value.retry_after == 30
    with found.place("4", "192.0.2.4"):
        pass


def test_a_server_that_stops_takes_no_more(shop: Context) -> None:
    found = limited(shop)
    found.end_all()
    with pytest.raises(Unavailable), found.place("key", "192.0.2.1"):
        pass


class Reader:
    """The far end of a stream: keeps what it is sent, and takes nothing while it is `shut`."""

    def __init__(self) -> None:
        self.took: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.left: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def send(self, message: Any) -> None:
        await self.open.wait()
        self.took.append(message.get("body", b""))

    async def receive(self) -> Any:
        await self.left
        return {"type": "http.disconnect"}

    @property
    def text(self) -> str:
        return b"".join(self.took).decode()

    async def until(self, wanted: str, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.text.count(wanted) < count:
                await asyncio.sleep(0.02)


def license_of(context: Context) -> tuple[str, str]:
    order = operate.Order("dashcaddy/plan-0", "ann@example.com")
    row, key = operate.issue(context, context.master.id, order, BY)
    return row.id, key


async def listen(found: Streams, context: Context, key: str, reader: Reader) -> asyncio.Task[None]:
    subject = streams.by_key(context, Ask(key))
    glimpse, heard = await found.look(subject)
    stream = Stream(subject, reader.send, "")
    running = asyncio.create_task(found.run(stream, glimpse, heard, reader.receive, lambda _: None))
    await reader.until("event: verdict")
    return running


async def end(found: Streams) -> None:
    found.end_all()
    await asyncio.get_running_loop().run_in_executor(None, found.stop)


def test_a_silent_stream_is_kept_alive_and_one_that_was_left_is_forgotten(
    shop: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_streams, "HEARTBEAT", 0.05)
    monkeypatch.setattr(web_streams, "_TICK", 0.05)
    _, key = license_of(shop)

    async def go() -> None:
        found = Streams(shop, Bookkeeping())
        found.start(asyncio.get_running_loop())
        reader = Reader()
        running = await listen(found, shop, key, reader)
        assert len(found) == 1
        await reader.until("\n\n:\n\n:\n\n")
        reader.left.set_result(None)
        await running
        assert len(found) == 0
        assert found._by_topic == {}
        assert "event: end" not in reader.text
        await end(found)

    asyncio.run(go())


def test_a_slow_reader_is_told_the_newest_and_not_everything(shop: Context) -> None:
    id_, key = license_of(shop)

    async def go() -> None:
        found = Streams(shop, Bookkeeping())
        found.start(asyncio.get_running_loop())
        reader = Reader()
        running = await listen(found, shop, key, reader)
        reader.open.clear()
        loop = asyncio.get_running_loop()
        kinds: Any = ["suspend", "reinstate"] * 4 + ["revoke"]
        for kind in kinds:
            await loop.run_in_executor(None, operate.decide, shop, shop.master.id, id_, BY, kind)
            await asyncio.sleep(0.03)
        reader.open.set()
        await reader.until('"code":"REVOKED"')
        assert reader.text.count("event: verdict") <= 4
        await end(found)
        await running
        assert reader.text.endswith('event: end\ndata: {"reason":"server"}\n\n')

    asyncio.run(go())


def test_a_reader_that_takes_nothing_for_long_is_let_go(
    shop: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_STUCK", 0.2), ("_TICK", 0.05), ("_LAST_WORD", 0.1)):
        monkeypatch.setattr(web_streams, name, value)
    id_, key = license_of(shop)

    async def go() -> None:
        found = Streams(shop, Bookkeeping())
        found.start(asyncio.get_running_loop())
        reader = Reader()
        running = await listen(found, shop, key, reader)
        reader.open.clear()
        await asyncio.to_thread(operate.decide, shop, shop.master.id, id_, BY, "suspend")
        async with asyncio.timeout(10):
            await running
        assert len(found) == 0
        await end(found)

    asyncio.run(go())


def test_a_change_between_the_first_look_and_the_stream_is_told(shop: Context) -> None:
    id_, key = license_of(shop)

    async def go() -> None:
        found = Streams(shop, Bookkeeping())
        found.start(asyncio.get_running_loop())
        reader = Reader()
        subject = streams.by_key(shop, licensing.Ask(key))
        glimpse, heard = await found.look(subject)
        await asyncio.to_thread(operate.decide, shop, shop.master.id, id_, BY, "suspend")
        await asyncio.sleep(0.5)  # it is heard while nobody listens yet
        stream = Stream(subject, reader.send, "")
        running = asyncio.create_task(found.run(stream, glimpse, heard, reader.receive, lambda _: None))
        await reader.until('"code":"SUSPENDED"')
        await end(found)
        await running

    asyncio.run(go())
