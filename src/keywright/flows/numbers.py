"""The numbers on the console's first page: licenses, revenue by month, and what waits for somebody."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from keywright.domain.revenue import Money, month_of
from keywright.flows.context import Context
from keywright.store import fees, numbers, revenue
from keywright.store.fees import Got
from keywright.store.revenue import Taken

MONTHS: Final = 12
FEES: Final = "fees"
COUNTED_EACH_TIME: Final = 20_000
_COUNTED_A_SECOND: Final = 10_000
_DECEMBER: Final = 12


class Currency(msgspec.Struct, frozen=True):
    """What came in in one currency: provider -> one entry for each month, in ISO minor units."""

    currency: str
    providers: Mapping[str, list[Money]]

    @property
    def months(self) -> list[Money]:
        """All providers together."""
        return [
            Money(sum(one.paid for one in month), sum(one.given_back for one in month))
            for month in zip(*self.providers.values(), strict=True)
        ]


class Numbers(msgspec.Struct, frozen=True):
    """How the tenant stood at a moment. `months`: `2026-11`, newest last; all lists of months are as long.

    `live`: the revenue is of live accounts; else of test accounts, and no real money.
    """

    at: datetime
    licenses: Mapping[str, int]
    events: Mapping[str, int]
    mails: Mapping[str, int]
    months: list[str]
    made: list[int]
    ended: list[int]
    revenue: list[Currency]
    live: bool
    fees: list[Currency] = []  # what the platform got of other tenants' sales


def home(context: Context, tenant: str) -> Numbers:
    """All of it, as of now."""
    now = context.clock.now()
    starts = months_until(now)
    names = [month_of(start) for start in starts]
    live = any(channel.account.live for channel in context.of(tenant).channels.values())
    with context.database.read() as connection:
        census = numbers.census(connection, tenant, now, starts)
        return Numbers(
            at=now,
            licenses=census.states,
            events=numbers.count_events(connection, tenant),
            mails=numbers.count_mails(connection, tenant),
            months=names,
            made=census.made,
            ended=census.ended,
            revenue=_by_currency(revenue.since(connection, tenant, names[0]), names, live=live),
            live=live,
            fees=_fees(fees.since(connection, tenant, names[0]), names, live=live),
        )


class Board:
    """The numbers, kept for a while where counting takes long: ten seconds for a hundred thousand licenses.

    Below `COUNTED_EACH_TIME` licenses nothing is kept.
    """

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._kept: dict[str, tuple[float, Numbers]] = {}

    def read(self, context: Context, tenant: str) -> tuple[Numbers, bool]:
        """The numbers, and whether they were kept: not of this very moment."""
        until, known = self._kept.get(tenant, (0.0, None))
        if known is not None and self._elapsed() < until:
            return known, True
        found = home(context, tenant)
        count = sum(found.licenses.values())
        self._kept.pop(tenant, None)
        if count > COUNTED_EACH_TIME:
            self._kept[tenant] = (self._elapsed() + count / _COUNTED_A_SECOND, found)
        return found, False


def months_until(now: datetime) -> list[datetime]:
    """When each of the last twelve months began, in UTC; the running one is the last."""
    last = now.astimezone(UTC)
    number = last.year * _DECEMBER + last.month - 1
    return [
        datetime(one // _DECEMBER, one % _DECEMBER + 1, 1, tzinfo=UTC)
        for one in range(number - MONTHS + 1, number + 1)
    ]


def _fees(got: Sequence[Got], months: Sequence[str], *, live: bool) -> list[Currency]:
    as_taken = [Taken(FEES, one.live, one.month, one.currency, one.taken, one.given_back) for one in got]
    return _by_currency(as_taken, months, live=live)


def _by_currency(taken: Sequence[Taken], months: Sequence[str], *, live: bool) -> list[Currency]:
    """Those of one mode, the currency that was used in the most months first."""
    places = {month: number for number, month in enumerate(months)}
    found: dict[str, dict[str, list[Money]]] = {}
    for one in taken:
        if one.live is not live or one.month not in places or not (one.paid or one.given_back):
            continue
        providers = found.setdefault(one.currency, {})
        row = providers.setdefault(one.provider, [Money()] * len(months))
        was = row[places[one.month]]
        row[places[one.month]] = Money(was.paid + one.paid, was.given_back + one.given_back)
    made = [Currency(name, dict(sorted(providers.items()))) for name, providers in found.items()]
    return sorted(made, key=lambda one: (-sum(month != Money() for month in one.months), one.currency))
