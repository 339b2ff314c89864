"""Threads that many tenants share, and none of them takes for himself.

Some of what people and programs ask lasts: a provider is asked, or a webhook is tried at a receiver that
hangs. Whoever asks for that again and again holds his own share of the threads, and waits for it.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from keywright.store import wall

P = ParamSpec("P")
T = TypeVar("T")
_Call = tuple[Future[Any], Callable[[], Any]]


class FairThreads(ThreadPoolExecutor):
    """By the tenant that the request is walled in with; what is walled in with none has a share as well."""

    def __init__(self, name: str, *, threads: int, most_of_one: int) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._most_of_one = most_of_one
        self._mutex = threading.Lock()
        self._running: Counter[str] = Counter()
        self._behind: dict[str, deque[_Call]] = {}

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        tenant = wall.tenant() or ""
        future: Future[T] = Future()
        call: _Call = (future, partial(fn, *args, **kwargs))
        with self._mutex:
            if self._running[tenant] >= self._most_of_one:
                self._behind.setdefault(tenant, deque()).append(call)
                return future
            self._running[tenant] += 1
        super().submit(self._serve, tenant, call)
        return future

    def _serve(self, tenant: str, call: _Call) -> None:
        """Make a call, and see to the tenant's next one: behind what others wait for by now."""
        _make(*call)
        with self._mutex:
            behind = self._behind.get(tenant)
            following = behind.popleft() if behind else None
            if not behind:
                self._behind.pop(tenant, None)
            if following is None:
                self._running[tenant] -= 1
                if not self._running[tenant]:
                    del self._running[tenant]
                return
        try:
            super().submit(self._serve, tenant, following)
        except RuntimeError:  # the threads end: what was taken is still done, as by any executor
            self._serve(tenant, following)


def _make(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        made = call()
    except BaseException as error:  # noqa: BLE001  # whatever it was, it is the caller's
        future.set_exception(error)
    else:
        future.set_result(made)
