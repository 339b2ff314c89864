"""The card number detector: every published test card, none of our own ids."""

import base64
import hashlib
import json
import random
import urllib.parse
import uuid
from pathlib import Path

import pytest

from keywright.domain.card_numbers import REPLACEMENT, find_card_numbers, redact
from keywright.domain.license_key import make

_FIXTURE = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "crypto" / "pci" / "test_pans.json").read_bytes()
)
_PANS = [card["pan"] for card in _FIXTURE["must_detect"]]
_FOURS = [pan[:4] + "{0}" + "{0}".join(pan[at : at + 4] for at in range(4, len(pan), 4)) for pan in _PANS]


@pytest.mark.parametrize("pan", _PANS)
@pytest.mark.parametrize(
    "form",
    [
        "{}", "card={};", '"number":"{}"', "<td>{}</td>", "pan:{},", "({})", "'{}'", "\t{}\n", "card_{}_x",
        "{}.", "a\n{}", "no. 12 {} exp 12 27", "{} 12/27", "4000 0000 {}", '{{"n":"\\n{}\\n"}}', "n%3D{}%26",
        "&nbsp;{}&nbsp;",
    ],
)  # fmt: skip
def test_found_in_every_setting(form: str, pan: str) -> None:
    text = form.format(pan)
    assert pan in find_card_numbers(text)
    assert redact(text).count(REPLACEMENT) == 1
    assert pan not in redact(text)


@pytest.mark.parametrize("template", _FOURS)
@pytest.mark.parametrize(
    "separator", [" ", "-", "\u00a0", "\u2009", "\u2011", "\\u00a0", "%20", "+", "&nbsp;", "%C2%A0"]
)
def test_found_in_groups(template: str, separator: str) -> None:
    text = template.format(separator)
    assert template.format("") in find_card_numbers(f"card {text}.")
    assert redact(f"card {text}.") == f"card {REPLACEMENT}."


@pytest.mark.parametrize("text", _FIXTURE["must_detect_forms"])
def test_found_in_published_forms(text: str) -> None:
    assert find_card_numbers(text) == ["4242424242424242"]
    assert "4242" not in redact(text)


def test_found_as_cards_are_printed() -> None:
    assert find_card_numbers("3782 822463 10005") == ["378282246310005"]
    assert find_card_numbers("3622 720627 1667") == ["36227206271667"]


def test_found_in_other_digits() -> None:
    assert find_card_numbers("".join(chr(0x660 + int(digit)) for digit in "4242424242424242"))


@pytest.mark.parametrize("text", _FIXTURE["must_not_detect"])
def test_published_others_are_left_alone(text: str) -> None:
    assert find_card_numbers(text) == []
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x4242424242424242",
        "4242424242424242x",
        "44242424242424242",
        "0.4242424242424242",
        "4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2",
        "4242  4242  4242  4242",
        "42424242-4242-4242",
        "4444444444444444",
        "4242,4242,4242,4242",
    ],
)
def test_others_are_left_alone(text: str) -> None:
    assert find_card_numbers(text) == []
    assert redact(text) == text


def test_order_and_repetition() -> None:
    text = "b 5555555555554444 a 4242424242424242 b 5555-5555-5555-4444"
    assert find_card_numbers(text) == ["5555555555554444", "4242424242424242"]
    assert redact(text) == f"b {REPLACEMENT} a {REPLACEMENT} b {REPLACEMENT}"


def test_survives_url_and_json_encoding() -> None:
    text = 'pay "4242 4242 4242 4242"\u00e4'
    for encoded in (json.dumps(text), urllib.parse.quote(text), urllib.parse.quote_plus(text)):
        assert find_card_numbers(encoded) == ["4242424242424242"]


def test_our_own_ids_are_left_alone() -> None:
    chance = random.Random(7)
    found = []
    for _ in range(20_000):
        raw = chance.randbytes(20)
        moment = chance.randrange(1_600_000_000, 2_200_000_000)
        ids = (
            str(uuid.UUID(bytes=raw[:16], version=4)),
            hashlib.sha256(raw).hexdigest(),
            "lic_" + base64.b32encode(raw[:16]).decode().rstrip("=").lower(),
            make("ACME", raw[:15]),
            f"{moment} {moment}123 {moment}123456 {moment / 7}",
        )
        found += [one for one in ids if find_card_numbers(one)]
    assert found == []


def test_long_hostile_text_is_linear() -> None:
    # Each of these is quadratic for a detector that tries every start against every end.
    for text in ("4" * 200_000, "4242 " * 20_000, "4 " * 100_000, "\\u00a04" * 30_000):
        assert len(find_card_numbers(text)) <= 3
