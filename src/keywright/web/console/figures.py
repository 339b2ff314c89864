"""The charts of the first page, each with its words and the table behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from keywright.domain.money import iso_exponent
from keywright.domain.revenue import Money
from keywright.flows.numbers import FEES, Currency, Numbers
from keywright.web.console import charts
from keywright.web.console.charts import Chart, Series, compact, month_name
from keywright.web.storefront.words import money, provider_name

_DRAWN: Final = 6
# The same color in every chart.
_COLORS: Final = {"stripe": 1, "paystack": 2, "paypal": 3}


class Table(msgspec.Struct, frozen=True):
    """`head`, `rows` and `foot` have as many cells; the first of each names it."""

    head: list[str]
    rows: list[list[str]]
    foot: list[str]


class Figure(msgspec.Struct, frozen=True):
    """`now`: the running month; `told`: the whole in words, for those who do not see it."""

    id: str
    title: str
    now: str
    told: str
    chart: Chart
    key: list[tuple[str, int]]
    table: Table


def of_licenses(numbers: Numbers) -> Figure:
    """New ones stand, lost ones hang."""
    series = [
        Series("New", numbers.made, 1),
        Series("Lost", [-one for one in numbers.ended], 3),
    ]
    rows = [
        [month_name(month), f"{made:,}", f"{ended:,}", f"{made - ended:+,}"]
        for month, made, ended in zip(numbers.months, numbers.made, numbers.ended, strict=True)
    ]
    made, ended = sum(numbers.made), sum(numbers.ended)
    return Figure(
        id="licenses-by-month",
        title="Licenses, new and lost",
        now=f"{numbers.made[-1]:,} new and {numbers.ended[-1]:,} lost in {month_name(numbers.months[-1])}",
        told=f"In twelve months {made:,} were new and {ended:,} were lost. New ones stand, lost ones hang.",
        chart=charts.stacked(
            numbers.months, series, lambda one: f"{abs(one):,}", lambda one: compact(abs(one))
        ),
        key=_key(series),
        table=Table(
            ["Month", "New", "Lost", "Difference"],
            rows[::-1],
            ["Together", f"{made:,}", f"{ended:,}", f"{made - ended:+,}"],
        ),
    )


def of_revenue(numbers: Numbers) -> list[Figure]:
    """One for each currency, for no two are ever added; the most used ones are drawn."""
    return [_revenue(one, numbers.months) for one in numbers.revenue[:_DRAWN]]


def more_revenue(numbers: Numbers) -> list[tuple[str, str, str, str]]:
    """The currencies that are not drawn: name, what came in, what was given back, what is left."""
    return [(one.currency, *_sums(one.months, one.currency)) for one in numbers.revenue[_DRAWN:]]


def of_fees(numbers: Numbers) -> list[Figure]:
    """What the platform got of other tenants' sales, one for each currency; none without such sales."""
    return [_revenue(one, numbers.months, what="Fees") for one in numbers.fees[:_DRAWN]]


def _revenue(of: Currency, months: Sequence[str], *, what: str = "Revenue") -> Figure:
    code, together = of.currency, of.months
    series = [
        Series(_series_name(provider), [_left(one) for one in row], _COLORS.get(provider, 4))
        for provider, row in of.providers.items()
    ]
    digits = 10 ** iso_exponent(code)
    rows = [
        [
            month_name(month),
            *(money(one.values[number], code) for one in series if len(series) > 1),
            *_sums(together[number : number + 1], code),
        ]
        for number, month in enumerate(months)
    ]
    columns = [one.name for one in series] if len(series) > 1 else []
    best = max(range(len(months)), key=lambda number: _left(together[number]))
    left = money(sum(map(_left, together)), code)
    return Figure(
        id=f"{what.lower()}-{code.lower()}",
        title=f"{what} in {code}",
        now=f"{money(_left(together[-1]), code)} in {month_name(months[-1])}",
        told=f"{left} in twelve months, the most in {month_name(months[best])} with "
        f"{money(_left(together[best]), code)}. Refunds are subtracted in the month of the refund.",
        chart=charts.stacked(months, series, lambda one: money(one, code), lambda one: compact(one / digits)),
        key=_key(series),
        table=Table(
            ["Month", *columns, "Came in", "Given back", "Left"],
            rows[::-1],
            [
                "Together",
                *(money(sum(one.values), code) for one in series if len(series) > 1),
                *_sums(together, code),
            ],
        ),
    )


def _series_name(provider: str) -> str:
    return "Fees of tenants" if provider == FEES else provider_name(provider)


def _key(series: Sequence[Series]) -> list[tuple[str, int]]:
    return [(one.name, one.color) for one in series]


def _left(one: Money) -> int:
    return one.paid - one.given_back


def _sums(of: Sequence[Money], currency: str) -> tuple[str, str, str]:
    paid, back = sum(one.paid for one in of), sum(one.given_back for one in of)
    return money(paid, currency), money(back, currency), money(paid - back, currency)
