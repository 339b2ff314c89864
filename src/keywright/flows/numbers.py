"""The numbers on the console's first page: licenses, revenue by month, and what waits for somebody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from keywright.domain.revenue import Money, month_of
from keywright.flows.context import Context
from keywright.store import numbers, revenue
from keywright.store.revenue import Taken

MONTHS: Final = 12
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
    """How the tenant stands. `months`: `2026-11`, the newest last; every list of months is as long.

    `live`: the revenue is of live accounts; else of test accounts, and no real money.
    """

    licenses: Mapping[str, int]
    events: Mapping[str, int]
    mails: Mapping[str, int]
    months: list[str]
    made: list[int]
    ended: list[int]
    revenue: list[Currency]
    live: bool


def home(context: Context, tenant: str) -> Numbers:
    """All of it, as of now."""
    now = context.clock.now()
    starts = months_until(now)
    names = [month_of(start) for start in starts]
    live = any(channel.account.live for channel in context.channels.values())
    with context.database.read() as connection:
        census = numbers.census(connection, tenant, now, starts)
        return Numbers(
            licenses=census.states,
            events=numbers.count_events(connection, tenant),
            mails=numbers.count_mails(connection, tenant),
            months=names,
            made=census.made,
            ended=census.ended,
            revenue=_by_currency(revenue.since(connection, tenant, names[0]), names, live=live),
            live=live,
        )


def months_until(now: datetime) -> list[datetime]:
    """When each of the last twelve months began, in UTC; the running one is the last."""
    last = now.astimezone(UTC)
    number = last.year * _DECEMBER + last.month - 1
    return [
        datetime(one // _DECEMBER, one % _DECEMBER + 1, 1, tzinfo=UTC)
        for one in range(number - MONTHS + 1, number + 1)
    ]


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
