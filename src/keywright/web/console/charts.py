"""Charts as SVG: where each bar stands. Pure numbers: the template writes them, classes color them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

WIDTH: Final = 420
HEIGHT: Final = 210
_LEFT: Final = 52
_RIGHT: Final = 4
_TOP: Final = 10
_BOTTOM: Final = 24
_FILLED: Final = 0.64  # of a column's width
_STEPS: Final = 4
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Bar(msgspec.Struct, frozen=True):
    """A part of a column. `series`: 1 to 5, which color. `title`: what it is, in words."""

    series: int
    x: float
    y: float
    width: float
    height: float
    title: str


class Mark(msgspec.Struct, frozen=True):
    """A label on an axis, and where."""

    at: float
    label: str


class Chart(msgspec.Struct, frozen=True):
    """`rules`: lines across, with their values; `zero`: where nothing is."""

    bars: list[Bar]
    rules: list[Mark]
    columns: list[Mark]
    zero: float
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    width: int = WIDTH
    height: int = HEIGHT


class Series(msgspec.Struct, frozen=True):
    """One value a column; those below zero hang down. `color`: 1 to 5."""

    name: str
    values: Sequence[int]
    color: int


def stacked(
    columns: Sequence[str], series: Sequence[Series], value: Callable[[int], str], tick: Callable[[int], str]
) -> Chart:
    """Columns of stacked bars: what is above zero stands on it, what is below hangs from it.

    Args:
        columns: months, as `2026-11`.
        series: at most five, each with a value for every column.
        value: a value in words; `tick`: the same in few letters.
    """
    high = max((_total(series, at, 1) for at in range(len(columns))), default=0)
    low = min((_total(series, at, -1) for at in range(len(columns))), default=0)
    step = nice_step(high - low)
    top, bottom = -(-high // step) * step, (low // step) * step
    if top == bottom:
        top = step
    scale = (HEIGHT - _TOP - _BOTTOM) / (top - bottom)

    def y(of: float) -> float:
        return round(_TOP + (top - of) * scale, 1)

    each = (WIDTH - _LEFT - _RIGHT) / max(len(columns), 1)
    bars = []
    for number, month in enumerate(columns):
        above = below = 0
        for one in series:
            amount = one.values[number]
            if amount == 0:
                continue
            start = above if amount > 0 else below
            ends = sorted((y(start), y(start + amount)))
            above, below = above + max(amount, 0), below + min(amount, 0)
            x = round(_LEFT + each * (number + (1 - _FILLED) / 2), 1)
            title = f"{one.name}, {month_name(month)}: {value(amount)}"
            # A little money must not be invisible.
            tall = max(round(ends[1] - ends[0], 1), 1.0)
            bars.append(Bar(one.color, x, ends[0], round(each * _FILLED, 1), tall, title))
    rules = [Mark(y(at), tick(at)) for at in range(bottom, top + 1, step)]
    every = 2 if len(columns) > _STEPS * 2 else 1
    shown = [
        Mark(round(_LEFT + each * (number + 0.5), 1), short_month(month))
        for number, month in enumerate(columns)
        if (len(columns) - 1 - number) % every == 0
    ]
    return Chart(bars, rules, shown, y(0))


def _total(series: Sequence[Series], column: int, sign: int) -> int:
    """What stands above zero in a column, or hangs below it."""
    return sum(one.values[column] for one in series if one.values[column] * sign > 0)


def nice_step(span: int) -> int:
    """A step of 1, 2 or 5 with noughts, of which a few cover the span."""
    wanted = max(span / _STEPS, 1)
    power = 1
    while power * 10 <= wanted:
        power *= 10
    return next(power * one for one in (1, 2, 5, 10) if power * one >= wanted)


def compact(amount: float) -> str:
    """A number for an axis: `950`, `1.5k`, `2M`, `3B`."""
    for size, letter in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")):
        if abs(amount) >= size:
            return f"{amount / size:.4g}{letter}"
    return f"{amount:.4g}"


def month_name(month: str) -> str:
    """`2026-11`: Nov 2026."""
    return f"{short_month(month)} {month[:4]}"


def short_month(month: str) -> str:
    return _MONTHS[int(month[5:7]) - 1]
