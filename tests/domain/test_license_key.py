"""License keys: what is made is read back, what is wrong is never taken."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.license_key import canonical, display, last5, make

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NAUGHTY = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "crypto" / "strings" / "blns.json").read_bytes()
)
_RANDOM = st.binary(min_size=15, max_size=15)
_PREFIXES = st.from_regex(r"[A-Z0-9]{0,16}", fullmatch=True)


def test_known_keys() -> None:
    assert make("ACME", bytes(15)) == "ACME-00000-00000-00000-00000-00000"
    assert make("DC", b"\xff" * 15) == "DC-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZR"
    assert make("", bytes(range(15))) == "000G4-0R40M-30E20-9185G-R38EJ"


@given(_PREFIXES, _RANDOM)
def test_round_trip(prefix: str, random: bytes) -> None:
    printed = make(prefix, random)
    key = canonical(printed)
    assert key is not None
    assert re.fullmatch(f"[{_ALPHABET}]{{25}}", key)
    assert display(prefix, key) == printed
    assert last5(key) == printed[-5:]
    assert canonical(key) == key
    number = 0
    for character in key[:-1]:
        number = number * 32 + _ALPHABET.index(character)
    assert number.to_bytes(15, "big") == random


@given(_PREFIXES, _RANDOM, st.data())
def test_people_may_type_it_their_way(prefix: str, random: bytes, data: st.DataObject) -> None:
    printed = make(prefix, random)
    alike = {"0": "0oO", "1": "1iIlL"}
    typed = "".join(
        data.draw(st.sampled_from(["", "-", " ", "\u2013", "\u00a0", "\n"]))
        + data.draw(st.sampled_from(alike.get(character, character + character.lower())))
        for character in printed.replace("-", "")
    )
    assert canonical(typed) == canonical(printed) is not None


@given(_RANDOM)
def test_every_single_wrong_character_is_caught(random: bytes) -> None:
    key = make("", random).replace("-", "")
    for place in range(25):
        for wrong in _ALPHABET.replace(key[place], ""):
            assert canonical(key[:place] + wrong + key[place + 1 :]) is None


@given(_RANDOM)
def test_swapped_neighbors_are_caught_but_for_one_pair(random: bytes) -> None:
    key = make("", random).replace("-", "")
    for place in range(24):
        pair = key[place : place + 2]
        if pair[0] != pair[1] and set(pair) != {"0", "Z"}:  # Luhn cannot tell the lowest from the highest
            assert canonical(key[:place] + pair[::-1] + key[place + 2 :]) is None


@given(_RANDOM)
def test_a_missing_or_added_character_is_caught_without_prefix(random: bytes) -> None:
    key = make("", random).replace("-", "")
    assert canonical(key[:-1]) is None
    assert canonical(key[1:]) is None


@pytest.mark.parametrize("text", _NAUGHTY)
def test_naughty_strings_are_no_keys(text: str) -> None:
    assert canonical(text) is None


@given(st.text())
def test_arbitrary_text_is_no_key(text: str) -> None:
    assert canonical(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 24,
        "0" * 24 + "U",
        "0" * 24 + "\u0660",  # a digit, but not of ours
        "\u0131" * 25,  # upper() would make it I
        "\uff10" * 25,
        "ACME_00000-00000-00000-00000-00000",
        "\u00c4CME-00000-00000-00000-00000-00000",
        "A" * 17 + "0" * 25,
        "0" * 25 + "\x00",
        "\ud800" + "0" * 25,
        " " * 200 + "0" * 25,
        "0" * 1_000_000,
    ],
    ids=lambda text: repr(text[:24]),
)
def test_malformed(text: str) -> None:
    assert canonical(text) is None


@pytest.mark.parametrize("prefix", ["acme", "AC ME", "AC-ME", "A" * 17, "\u00c4", "ACME\n"])
def test_prefix_is_checked(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        make(prefix, bytes(15))


@pytest.mark.parametrize("length", [0, 14, 16])
def test_random_is_exactly_120_bit(length: int) -> None:
    with pytest.raises(ValueError, match="15 random bytes"):
        make("ACME", bytes(length))


def test_display_wants_a_whole_key() -> None:
    with pytest.raises(ValueError, match="25"):
        display("ACME", "0" * 24)
