"""The file of an import: what customers hold from elsewhere, by the subscription that pays for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Final

import msgspec

from keywright.domain.card_numbers import find_card_numbers
from keywright.flows.key_file import LineFile, Wrong, fingerprints_in, firm_in, moment_in, seats_in, until_in

REQUIRED: Final = ("subscription",)
OPTIONAL: Final = ("key", "product", "unit", "seats", "until", "issued_at", "firm", "fingerprints")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{3,64}")
_MOST_UNITS: Final = 10_000


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one license had elsewhere. `product` None: the only one of its subscription. `unit` from 1."""

    number: int
    subscription: str
    key: str | None = None
    product: str | None = None
    unit: int = 1
    seats: int | None = None
    until: datetime | None = None
    issued_at: datetime | None = None
    firm: str | None = None
    fingerprints: tuple[str, ...] = ()

    def __repr__(self) -> str:  # keys never reach a log
        return f"Line({self.number})"


class ImportFile(LineFile[Line]):
    """An open file of an import. It may be read several times."""

    required: ClassVar[Sequence[str]] = REQUIRED
    optional: ClassVar[Sequence[str]] = OPTIONAL

    def read(self, number: int, told: dict[str, str], now: datetime) -> Line:
        """What a line brings. Raises Wrong."""
        subscription = told["subscription"]
        if not _NAME.fullmatch(subscription) or find_card_numbers(subscription):
            raise Wrong("subscription must be the provider's id of it, like sub_…, SUB_… or I-…")
        issued_at = moment_in("issued_at", told["issued_at"]) if told.get("issued_at") else None
        if issued_at is not None and issued_at > now:
            raise Wrong("issued_at is in the future")
        line = Line(
            number=number,
            subscription=subscription,
            key=told.get("key") or None,
            product=told.get("product") or None,
            unit=_unit(told.get("unit", "")),
            seats=seats_in(told.get("seats", "")),
            until=until_in(told.get("until", "")),
            issued_at=issued_at,
            firm=firm_in(told.get("firm", "")),
            fingerprints=fingerprints_in(told.get("fingerprints", "")),
        )
        if line == Line(number, subscription, product=line.product, unit=line.unit):
            raise Wrong("it brings nothing: key, seats, until, issued_at, firm and fingerprints are empty")
        return line


def _unit(text: str) -> int:
    if not text:
        return 1
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _MOST_UNITS):
        raise Wrong(f"unit must be 1 to {_MOST_UNITS}: the number of the key among those of its subscription")
    return int(text)
