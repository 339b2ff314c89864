"""The moment at which the process is asked to stop, before the server tells the application.

The server waits for all answers that are under way first, and a live stream is one that never ends by itself.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def when_asked_to_stop(call: Callable[[], None]) -> Iterator[None]:
    """Have `call` called in the running loop at SIGTERM or SIGINT, and then whatever was to be done then.

    Only the main thread may take signals: elsewhere, as in tests, nothing is taken.
    """
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def asked(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(call)
        then = before[signal.Signals(number)]
        if callable(then):
            then(number, frame)

    taken = [number for number, then in before.items() if callable(then)]
    for number in taken:
        signal.signal(number, asked)
    try:
        yield
    finally:
        for number in taken:
            # Unless somebody took it after us.
            if signal.getsignal(number) is asked:
                signal.signal(number, before[number])
