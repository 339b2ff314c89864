"""kill -9 under load from three providers: whatever was acknowledged happened exactly once.

`KEYWRIGHT_CRASH_ROUNDS` sets how many times it dies (3 by default; `make crash` says 200).
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # the library carries no types

from tests.crash.audit import check_all, kept_events, wait_quiet
from tests.crash.crowd import Crowd, Shop

ROUNDS = int(os.environ.get("KEYWRIGHT_CRASH_ROUNDS", "3"))
LONG = 50  # rounds from which on the figures are asserted: a few starts beside other tests prove nothing
READY_WITHIN = 3.0
_LOOK_EVERY = 10


async def die_under_load(shop: Shop, crowd: Crowd) -> None:
    talking = asyncio.create_task(crowd.load())
    await asyncio.sleep(crowd.chance.uniform(0.05, 2.5))
    shop.server.kill()
    await talking


def check_kept(shop: Shop, crowd: Crowd) -> None:
    with shop.opened() as context:
        missing = crowd.acknowledged - kept_events(context)
        assert not missing, f"acknowledged and lost: {sorted(missing)[:5]}"


def test_three_providers_and_kill_nine(database_url: str, tmp_path: Path) -> None:
    began, ready, busy = time.monotonic(), [], []
    with ExitStack() as stack:
        shop = Shop(database_url, tmp_path, stack)
        crowd = Crowd(shop, seed=ROUNDS)
        for number in range(1, ROUNDS + 1):
            shop.server.start()
            ready.append(shop.server.ready_seconds)
            busy.append(sum(psutil.Process(shop.server.pid).cpu_times()[:2]))
            asyncio.run(die_under_load(shop, crowd))
            if number % _LOOK_EVERY == 0 or number == ROUNDS:
                # Not each time: whoever opens the file first after a crash repairs it.
                check_kept(shop, crowd)
        shop.server.start()
        asyncio.run(crowd.finish())
        wait_quiet(shop, wholly=ROUNDS >= LONG)
        shop.server.stop()
        check_all(shop, crowd)
        report(shop, crowd, sorted(ready), max(busy), time.monotonic() - began)


def report(shop: Shop, crowd: Crowd, ready: list[float], busy: float, seconds: float) -> None:
    p95 = ready[min(len(ready) - 1, int(0.95 * len(ready)))]
    print(  # noqa: T201  # the figures of a long run are its result; pytest shows them with -s
        f"\n{ROUNDS} kills, {len(crowd.told)} events in {len(crowd.answers)} answered deliveries, "
        f"{len(shop.book.lives)} licenses, {dict(crowd.outcomes)}; asked the providers "
        f"{ {name: desk.heard.total() for name, desk in shop.desks.items()} } times; ready after "
        f"{ready[0]:.2f} s to {ready[-1]:.2f} s, p95 {p95:.2f} s, "
        f"of the processor {busy:.2f} s at most; {seconds:.0f} s in all"
    )
    if len(ready) >= LONG:
        assert p95 < READY_WITHIN
