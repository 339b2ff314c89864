"""The stylesheet: contrast of its colors in both lights, and nothing in a page that it could not style."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from keywright.domain.look import tones

WEB = Path(__file__).parents[2] / "src/keywright/web"
CSS = (WEB / "static/keywright.css").read_text()
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
Colors = dict[str, str]


def lights() -> dict[str, Colors]:
    """The colors by name, in light and in dark."""
    blocks = re.findall(r":root \{(.*?)\n\s*\}", CSS, re.DOTALL)
    light, dark = (dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{3,6})\b", one)) for one in blocks[:2])
    return {"light": light, "dark": light | dark}


def luminance(color: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    digits = "".join(c * 2 for c in color[1:]) if len(color) == 4 else color[1:]
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_reckoned_as_the_standard_says() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.478, abs=0.001)


TEXT = [
    *product(
        ("ink", "soft", "accent", "accent-deep", "bad", "wait"),
        ("paper", "sheet", "tint", "still", "bad-tint", "wait-tint"),
    ),
    *(("on-accent", "accent"), ("on-accent", "accent-deep"), ("on-bad", "bad"), ("paper", "ink")),
]
INLINE = re.compile(r"<[^>{%]*\s(style|on[a-z]+)=|<style|javascript:|<script(?![^>]*\bsrc=)")
EDGES = list(product(("field", *(f"series-{n}" for n in range(1, 6))), ("paper", "sheet", "tint")))


@pytest.mark.parametrize("light", ["light", "dark"])
def test_text_and_edges_stand_out(light: str) -> None:
    """4.5 for text (WCAG 1.4.3), 3 for what bounds a field or fills a chart (1.4.11)."""
    assert weak(lights()[light]) == []


def weak(colors: Colors) -> list[tuple[str, str, float]]:
    return [
        (one, other, round(contrast(colors[one], colors[other]), 2))
        for least, pairs in ((4.5, TEXT), (3.0, EDGES))
        for one, other in pairs
        if contrast(colors[one], colors[other]) < least
    ]


@pytest.mark.parametrize(("light", "number"), [("light", 0), ("dark", 1)])
def test_a_seller_may_choose_any_color(light: str, number: int) -> None:
    """It is moved until it can be read wherever the stylesheet puts it, and until words on it can."""
    colors = lights()[light]
    steps = ("00", "33", "66", "99", "cc", "ff")
    for chosen in map("".join, product("#", steps, steps, steps)):
        worn = tones(chosen)[number]
        own = {
            "accent": worn.accent,
            "accent-deep": worn.deep,
            "on-accent": worn.on_accent,
            "tint": worn.tint,
        }
        assert (chosen, weak(colors | own)) == (chosen, [])


def test_every_color_of_the_light_has_one_in_the_dark() -> None:
    light, dark = lights()["light"], lights()["dark"]
    assert {name for name, color in light.items() if dark[name] == color} == set()


def test_pages_carry_no_style_and_no_script_of_their_own() -> None:
    """The policy would block it, and nobody would see why."""
    assert [path.name for path in TEMPLATES if INLINE.search(path.read_text())] == []


def test_what_would_be_blocked_is_found() -> None:
    for bad in ('<p style="color:red">', '<a href="/" onclick="x()">', "<style>", "<script>x()</script>"):
        assert INLINE.search(bad)
    for good in ('<script src="/a.js" defer></script>', '{% macro act(name, style="quiet") %}'):
        assert not INLINE.search(good)


def test_colors_are_named_in_one_place() -> None:
    """Outside the tokens a color has a name; the paper under a mail, which has its own colors, is apart."""
    rules = CSS[CSS.index("/* Ground */") :]
    named = [line for line in rules.splitlines() if "iframe" not in line and "mail" not in line]
    assert re.findall(r"#[0-9a-f]{3,8}\b", "\n".join(named)) == []
