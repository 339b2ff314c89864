"""What our mails say."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import msgspec
import pytest

from keywright.delivery.letters import Stationery
from keywright.domain.plan import FOREVER
from keywright.ports import LicenseLetter

LETTERS = Stationery("https://licenses.example.com")
TOLD = LicenseLetter(
    seller="Acme GmbH",
    product="DashCaddy",
    plan="Pro",
    key="DC-0A1B2-C3D4E-5F6G7-H8J9K-M0N1P",
    seats=5,
    machines=2,
    valid_until=datetime(2027, 5, 3, 14, 5, tzinfo=UTC),
    renews=True,
    trial=False,
)


class Seen(HTMLParser):
    """The visible text and the tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_license_letter_tells_all_in_both_forms() -> None:
    letter = LETTERS.license_issued(TOLD)
    assert letter.subject == "Your DashCaddy license key"
    for form in (letter.text, Seen(letter.html).text):
        flat = " ".join(form.split())
        for words in (
            TOLD.key,
            "DashCaddy",
            "Pro",
            "Acme GmbH",
            "2 at a time",
            "until 3 May 2027, 14:05 UTC, extended with each payment",
            "paste the key",
        ):
            assert words in flat


def test_the_key_stands_on_a_line_of_its_own() -> None:
    assert TOLD.key in [line.strip() for line in LETTERS.license_issued(TOLD).text.splitlines()]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"valid_until": FOREVER}, "does not expire"),
        ({"valid_until": None}, "not at present"),
        ({"trial": True}, "until 3 May 2027, 14:05 UTC (trial)"),
        ({"renews": False}, "until 3 May 2027, 14:05 UTC\n"),
        ({"machines": None}, "any number"),
    ],
)
def test_license_letter_tells_limits(changes: dict[str, object], words: str) -> None:
    letter = LETTERS.license_issued(msgspec.structs.replace(TOLD, **changes))
    assert words in letter.text
    assert words.strip() in Seen(letter.html).text


def test_names_are_escaped_in_html_and_plain_in_text() -> None:
    odd = '<img src=x onerror="alert(1)"> & Söhne'
    letter = LETTERS.license_issued(msgspec.structs.replace(TOLD, product=odd, seller=odd, plan=odd))
    seen = Seen(letter.html)
    assert "img" not in seen.tags
    assert odd in seen.text
    assert odd in letter.text
    assert "&amp;" not in letter.text


def test_names_cannot_break_out_of_their_line() -> None:
    letter = LETTERS.license_issued(msgspec.structs.replace(TOLD, product="Dash\r\nBcc: x@y.example\u2028\0"))
    assert letter.subject == "Your Dash Bcc: x@y.example license key"
    assert not [line for line in letter.text.splitlines() if line.startswith("Bcc")]


def test_pages_need_no_images_scripts_or_style_sheets() -> None:
    for letter in (LETTERS.license_issued(TOLD), LETTERS.alarm("dead_letter", "evt_1", {})):
        seen = Seen(letter.html)
        assert not {"img", "script", "link", "style", "iframe"} & set(seen.tags)
        assert not {"src", "href"} & set(seen.attributes)
        assert "http-equiv" not in letter.html


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dead_letter", "keywright event replay evt_1"),
        ("bad_signatures", "webhook secret"),
        ("mail_undeliverable", "keywright license resend"),
        ("something_new", "keywright doctor"),
    ],
)
def test_alarms_say_what_to_do(kind: str, words: str) -> None:
    letter = LETTERS.alarm(kind, "evt_1", {"count": 12, "error": "<b>{0}</b>\nBcc: x"})
    assert letter.subject.startswith("Keywright: ")
    for form in (letter.text, Seen(letter.html).text):
        assert words in form
        assert "<b>{0}</b> Bcc: x" in form
        assert "12" in form
        assert "https://licenses.example.com" in form
