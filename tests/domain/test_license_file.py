"""The license file as text: what is written, and what is read back from what became of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.license_file import MAX_FILE, is_file, unwrap, wrap
from keywright.domain.license_token import TokenRefused

TOKEN = "aGVhZGVy.cGF5bG9hZA" * 12 + ".c2lnbmF0dXJl"
BEGIN, END = "-----BEGIN KEYWRIGHT LICENSE-----", "-----END KEYWRIGHT LICENSE-----"


def refusal(text: str) -> str:
    with pytest.raises(TokenRefused) as caught:
        unwrap(text)
    return caught.value.reason


def test_lines_of_64_characters_between_two_lines() -> None:
    text = wrap(TOKEN)
    first, *lines, last = text.splitlines()
    assert (first, last, text[-1]) == (BEGIN, END, "\n")
    assert {len(line) for line in lines[:-1]} == {64}
    assert 0 < len(lines[-1]) <= 64
    assert is_file(text)
    assert not is_file(TOKEN)


@given(st.text(alphabet="ABCyz019-_.", min_size=1, max_size=3900))
def test_what_was_wrapped_is_unwrapped(token: str) -> None:
    # A token is base64url: it has no five dashes in a row, unless by the luck of this alphabet.
    if "-----" not in token:
        assert unwrap(wrap(token)) == token


@pytest.mark.parametrize(
    "text",
    [
        wrap(TOKEN).replace("\n", "\r\n"),
        wrap(TOKEN).replace("\n", "\n\n"),
        "  " + wrap(TOKEN).replace("\n", "  \n\t"),
        f"Dear customer,\n\n{wrap(TOKEN)}\nKind regards",
        wrap(TOKEN).rstrip(),
    ],
)
def test_mail_programs_do_no_harm(text: str) -> None:
    assert unwrap(text) == TOKEN


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "shape"),
        (TOKEN, "shape"),
        (f"{BEGIN}\n{TOKEN}\n", "shape"),
        (f"{TOKEN}\n{END}\n", "shape"),
        (f"{BEGIN}\n{END}\n", "shape"),
        (f"{END}\n{TOKEN}\n{BEGIN}", "shape"),
        (f"{BEGIN}\n{TOKEN}é\n{END}", "shape"),
        (f"{BEGIN}\n{BEGIN}\n{TOKEN}\n{END}\n", "shape"),
        (f"{BEGIN}\n{'a' * MAX_FILE}\n{END}", "size"),
    ],
)
def test_anything_else_is_refused(text: str, reason: str) -> None:
    assert refusal(text) == reason


def test_a_file_has_four_kilobytes_at_the_most() -> None:
    with pytest.raises(ValueError, match="4096"):
        wrap("a" * MAX_FILE)
    longest = max(n for n in range(3900, MAX_FILE) if _fits(n))
    assert len(wrap("a" * longest)) == MAX_FILE


def _fits(count: int) -> bool:
    try:
        wrap("a" * count)
    except ValueError:
        return False
    return True
