"""Limits on how often one may ask, counted in this process."""

from __future__ import annotations

import ipaddress
import time
from functools import lru_cache
from typing import Final

from keywright.domain.errors import TooMany

_MOST_NAMES: Final = 50_000
_LONGEST_ADDRESS: Final = 64  # an IPv6 address with its zone; what is longer came out of a header
_NOBODY: Final = "unknown"


class Limit:
    """At most `most` per name in each minute of the clock.

    A fixed window: two bursts may meet at its edge, which is harmless here: the limits are for load, not for
    guessing (a key has 120 random bits).

    Whoever invents names must not fill the memory, nor wipe out what is known of others: when there are
    too many names, those begin a second life apart, and only who is not met again meanwhile is forgotten.
    """

    def __init__(self, most: int, names: int = _MOST_NAMES) -> None:
        self._most = most
        self._names = names
        self._minute = 0
        self._counts: dict[str, int] = {}
        self._earlier: dict[str, int] = {}

    def count(self, name: str) -> None:
        """Count one call. Raises TooMany when it is one too many."""
        minute = int(time.time() // 60)
        if minute != self._minute:
            self._minute, self._counts, self._earlier = minute, {}, {}
        counted = self._counts.get(name)
        if counted is None:
            counted = self._first(name)
        self._counts[name] = counted + 1
        if counted >= self._most:
            raise _too_many()

    def is_reached(self, name: str) -> bool:
        """Whether the next call of this minute is one too many."""
        if int(time.time() // 60) != self._minute:
            return False
        return self._counts.get(name, self._earlier.get(name, 0)) >= self._most

    def _first(self, name: str) -> int:
        """Make room for a name. Returns how often it was counted before it was set aside."""
        if len(self._counts) >= self._names:
            self._counts, self._earlier = {}, self._counts
        return self._earlier.get(name, 0)


class AddressLimit(Limit):
    """The same by address, as `party_of` reads it."""

    def count(self, name: str) -> None:
        super().count(party_of(name))

    def is_reached(self, name: str) -> bool:
        return super().is_reached(party_of(name))


def party_of(address: str) -> str:
    """Whom an address is counted as: itself, or the network of 64 bits that an IPv6 address is in.

    A household or a rented server has such a network whole, so that each of its addresses would be a fresh
    start. What is no address, because a proxy passed on what it was told, is all one party.
    """
    return _party(address) if len(address) <= _LONGEST_ADDRESS else _NOBODY


@lru_cache(maxsize=4096)
def _party(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return _NOBODY
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(found) >> 64 << 64)}/64"


def _too_many() -> TooMany:
    return TooMany("Too many requests. Please wait.", retry_after=60 - int(time.time() % 60))
