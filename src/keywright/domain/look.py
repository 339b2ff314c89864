"""What a seller's mails and pages look like: color, logo, language. And colors that can be read."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from keywright.domain.errors import Invalid
from keywright.domain.language import LANGUAGES, USUAL, is_language
from keywright.domain.logo import Logo

COLOR: Final = "#0d6b5e"
"""The color of a seller who chose none."""

PAPER: Final = "#ffffff"
NIGHT: Final = "#1b1f24"
"""What mails are printed on, by day and in dark mode."""

LEAST_SHAPE: Final = 3.0
LEAST_TEXT: Final = 4.5
"""Contrast that a shape, and text, must have with what is behind them (WCAG 2.2, 1.4.11 and 1.4.3)."""

_COLOR: Final = re.compile(r"#[0-9a-f]{6}")
_STEPS: Final = 64


class Look(msgspec.Struct, frozen=True):
    """`language`: of customers whose own is not known, of staff, and of alarms."""

    color: str = COLOR
    language: str = USUAL
    logo: Logo | None = None


PLAIN: Final = Look()


_DAY: Final = ("#f6f7f4", "#fbebe9", "#edf0ed")
_DUSK: Final = ("#182120", "#371e1c", "#322814", "#25302d")
"""What a color may stand on in pages: the grounds of the stylesheet that are hardest to stand out from."""

_TINGE: Final = 0.07


class Paint(msgspec.Struct, frozen=True):
    """A color as mails wear it: `fill` on white paper with `ink` upon it, and the same for dark mode."""

    fill: str
    ink: str
    night_fill: str
    night_ink: str


def read_color(typed: str) -> str:
    """A color as it is stored, `#rrggbb`. Raises Invalid `COLOR_INVALID`."""
    color = typed.strip().lower()
    if not _COLOR.fullmatch(color):
        raise Invalid("A color is # and six hexadecimal digits, as #0d6b5e.", code="COLOR_INVALID")
    return color


def read_language(typed: str) -> str:
    """The tag of a language we write. Raises Invalid `LANGUAGE_UNKNOWN`."""
    tag = typed.strip().lower()
    if not is_language(tag):
        raise Invalid(f"Mails are written in: {', '.join(LANGUAGES)}.", code="LANGUAGE_UNKNOWN")
    return tag


@lru_cache(maxsize=64)
def paint(color: str) -> Paint:
    """How a color is worn, so that its shape is seen and what is on it can be read, whatever was chosen."""
    fill, night = seen_on(color, PAPER), seen_on(color, NIGHT)
    return Paint(fill, ink_on(fill), night, ink_on(night))


class Tones(msgspec.Struct, frozen=True):
    """A color as pages wear it: of links and buttons, under a pointer, of words upon it, and as a ground."""

    accent: str
    deep: str
    on_accent: str
    tint: str


@lru_cache(maxsize=64)
def tones(color: str) -> tuple[Tones, Tones]:
    """The color on pages by day and in dark mode, so that it can be read as text wherever it stands."""
    return _toned(color, "#ffffff", _DAY, "#000000"), _toned(color, _DUSK[0], _DUSK, "#ffffff")


def _toned(color: str, sheet: str, grounds: tuple[str, ...], away: str) -> Tones:
    tint = _mixed(sheet, color, _TINGE)
    # The one that the color has most trouble with, as it moves away from them all.
    hardest = min((*grounds, tint), key=lambda ground: contrast(ground, away))
    accent = seen_on(color, hardest, LEAST_TEXT)
    return Tones(accent, _mixed(accent, away, 0.25), ink_on(accent), tint)


def _mixed(one: str, other: str, share: float) -> str:
    """The first color with this share of the other."""
    parts = zip(_parts(one), _parts(other), strict=True)
    return "#{:02x}{:02x}{:02x}".format(*(round(a + (b - a) * share) for a, b in parts))


def seen_on(color: str, ground: str, least: float = LEAST_SHAPE) -> str:
    """The color, or the nearest one of its hue that stands out from the ground.

    It is mixed with the end, black or white, that is farther from the ground.
    """
    end = 0 if luminance(ground) > luminance("#777777") else 255
    parts = _parts(color)
    for step in range(_STEPS + 1):
        mixed = tuple(round(part + (end - part) * step / _STEPS) for part in parts)
        found = "#{:02x}{:02x}{:02x}".format(*mixed)
        if contrast(found, ground) >= least:
            break
    return found


def ink_on(fill: str) -> str:
    """White or black, whichever can be read better on it: at least 4.58 to 1 on any color."""
    return max(("#ffffff", "#000000"), key=lambda ink: contrast(ink, fill))


def contrast(one: str, other: str) -> float:
    """The contrast of two colors, 1 to 21 (WCAG 2.2, contrast ratio)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    """Relative luminance of an sRGB color, 0 to 1 (WCAG 2.2)."""
    red, green, blue = (_linear(part / 255) for part in _parts(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


def _parts(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
