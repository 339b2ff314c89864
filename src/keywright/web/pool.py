"""Threads for calls that may hang: a number of their own, and a limit on what waits for them.

Shared by all tenants of a process: with threads of his own for each, a hundred would be a thousand threads.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from keywright.domain.errors import Unavailable

T = TypeVar("T")


class Pool:
    """`full`: what is told to whoever is one too many."""

    def __init__(self, name: str, *, threads: int, most_waiting: int, full: str) -> None:
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._most_waiting = most_waiting
        self._full = full
        self._busy = 0

    def start(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Have the call made. Raises Unavailable when too much is waiting."""
        if self._busy >= self._most_waiting:
            raise Unavailable(self._full, retry_after=5)
        self._busy += 1
        # With what the request knows of itself: whose it is, above all.
        known = contextvars.copy_context()
        work = asyncio.get_running_loop().run_in_executor(self._threads, known.run, call)
        work.add_done_callback(self._done)
        return work

    def _done(self, _work: asyncio.Future[Any]) -> None:
        self._busy -= 1
