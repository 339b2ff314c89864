"""Limits on how often one may ask, counted in this process."""

from __future__ import annotations

import time

from keywright.domain.errors import TooMany

_MOST_NAMES = 200_000


class Limit:
    """At most `most` per name in each minute of the clock.

    A fixed window: two bursts may meet at its edge, which is harmless here: the limits are for load, not for
    guessing (a key has 120 random bits).
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._minute = 0
        self._counts: dict[str, int] = {}

    def count(self, name: str) -> None:
        """Count one call. Raises TooMany when it is one too many."""
        if self._add(name) > self._most:
            raise _too_many()

    def is_reached(self, name: str) -> bool:
        """Whether the next call of this minute is one too many."""
        return int(time.time() // 60) == self._minute and self._counts.get(name, 0) >= self._most

    def _add(self, name: str) -> int:
        minute = int(time.time() // 60)
        if minute != self._minute or len(self._counts) > _MOST_NAMES:
            self._minute, self._counts = minute, {}
        counted = self._counts[name] = self._counts.get(name, 0) + 1
        return counted


def _too_many() -> TooMany:
    return TooMany("Too many requests. Please wait.", retry_after=60 - int(time.time() % 60))
