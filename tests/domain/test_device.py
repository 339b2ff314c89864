"""What is shown of a machine's name cannot carry a message."""

from __future__ import annotations

import pytest

from keywright.domain.device import check_name, shown_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ann's laptop", "Ann's laptop"),
        ("DESKTOP-4F7A2K1", "DESKTOP-4F7A2K1"),
        ("büro-01", "büro-01"),
        ("机器 7", "机器 7"),
        ("ann.local", "ann local"),
        ("", ""),
        ("***", ""),
        (None, ""),
        ("see https://evil.example/x?y", "see https evil example x y"),
        ("call 0800 123 456 now", "call now"),
        ("<b>you won</b>", "b you won b"),
        ("a" * 50, "a" * 39 + "…"),
        ("one\N{NO-BREAK SPACE}  two", "one two"),
    ],
)
def test_only_what_is_harmless_is_shown(name: str | None, shown: str) -> None:
    assert shown_name(name) == shown


@pytest.mark.parametrize(
    ("name", "good"), [("a", True), ("x" * 200, True), ("x" * 201, False), ("", False), ("a\nb", False)]
)
def test_a_name_is_short_and_printable(name: str, good: bool) -> None:
    assert check_name(name) is good
