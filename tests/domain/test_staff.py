"""Roles and passwords."""

from __future__ import annotations

import pytest

from keywright.domain.staff import ROLES, Deed, least_role, may, password_problem

DEEDS: tuple[Deed, ...] = ("look", "help", "decide", "govern")


@pytest.mark.parametrize(
    ("role", "number"), [("owner", 4), ("admin", 3), ("support", 2), ("read-only", 1), ("root", 0), ("", 0)]
)
def test_a_role_may_what_every_lower_one_may_and_more(role: str, number: int) -> None:
    assert [may(role, deed) for deed in DEEDS] == [place < number for place in range(4)]


def test_the_least_role_may_and_the_next_lower_may_not() -> None:
    for deed in DEEDS:
        place = ROLES.index(least_role(deed))
        assert [may(role, deed) for role in ROLES] == [at <= place for at in range(4)]


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "Passes mit Umlaut äöü",
        "密码密码密码密码一二三四",
        "        spaces  count too",
        "12345678a9-",
        "x" * 5 + "yzab",
    ],
)
def test_any_characters_will_do(password: str) -> None:
    assert password_problem(password, "ada@example.com", alone=False) is None


@pytest.mark.parametrize(
    "password",
    [
        *(
            "",
            "short12",
            "aaaaaaaa",
            "abcabcabc",
            "12345678",
            "87654321",
            "0123456789",
            "password",
            "PASSWORD",
        ),
        *(
            "Password123!",
            "qwertyuiop",
            "iloveyou!!",
            "keywright",
            "lovelace",
            "Lovelace2026",
            "lovelace@example.com",
        ),
        "x" * 201,
    ],
)
def test_what_everybody_tries_will_not(password: str) -> None:
    assert password_problem(password, "lovelace@example.com", alone=False)


def test_alone_a_password_is_longer() -> None:
    assert password_problem("fourteen chars", "a@example.com", alone=True)
    assert password_problem("fifteen chars !", "a@example.com", alone=True) is None
    assert password_problem("8 chars!", "a@example.com", alone=False) is None
    assert password_problem("7 chars", "a@example.com", alone=False)
