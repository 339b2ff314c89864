"""The pace at which a provider is asked when there is much to ask: evenly, and slower when it says so."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final

_SLOWEST: Final = 0.2  # requests a second
_SLOWER: Final = 0.7
_FASTER: Final = 1.1
_CALM_FOR: Final = 100  # requests without a refusal, before it is a little faster again
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_LONGEST_WISH: Final = 900


class Pace:
    """Turns for the requests of one listing, evenly spaced; no burst, because the shop sells meanwhile.

    After a refusal nobody asks until the provider's `Retry-After`, or a pause that doubles, is over; then the
    requests come further apart, and slowly nearer again. Safe to use from several threads.
    """

    def __init__(
        self,
        a_second: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`a_second`: how many requests a second at the most."""
        self.requests = self.refusals = 0
        self._most = self._rate = a_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._calm = self._silences = 0

    def turn(self) -> None:
        """Wait until the next request may be sent."""
        with self._lock:
            now = self._monotonic()
            at = max(now, self._next_at)
            self._next_at = at + 1 / self._rate
            self.requests += 1
            self._calm += 1
            if self._calm >= _CALM_FOR:
                self._calm, self._silences = 0, 0
                self._rate = min(self._rate * _FASTER, self._most)
        if at > now:
            self._sleep(at - now)

    def refused(self, retry_after: int | None = None) -> float:
        """The provider wants to be left alone, or does not answer. Returns for how many seconds nobody asks.

        `retry_after`: for how many seconds, when it says so.
        """
        with self._lock:
            pause: float = min(_FIRST_PAUSE * 2**self._silences, _LONGEST_PAUSE)
            # Not to the moment: whoever else was refused with us comes back at that one.
            pause = max(pause * random.uniform(0.5, 1.0), min(retry_after or 0, _LONGEST_WISH))  # noqa: S311  # no secret
            self._silences, self._calm = min(self._silences + 1, 10), 0
            self._rate = max(self._rate * _SLOWER, _SLOWEST)
            self._next_at = max(self._next_at, self._monotonic() + pause)
            self.refusals += 1
            return pause
