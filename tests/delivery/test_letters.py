"""What our mails say."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import msgspec
import pytest

from keywright.delivery.letters import Stationery
from keywright.domain.plan import FOREVER, NOTICE_KINDS
from keywright.ports import LicenseLetter, NoticeLetter, PortalLetter

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


NOTICED = NoticeLetter(
    kind="payment_failed",
    seller="Acme GmbH",
    product="DashCaddy",
    plan="Pro",
    key_last5="M0N1P",
    seats=5,
    works=True,
    entitled_until=datetime(2027, 5, 3, 14, 5, tzinfo=UTC),
    stops_at=datetime(2027, 5, 17, 14, 5, tzinfo=UTC),
    cause="unpaid",
    detail={},
    manage_url="https://licenses.example.com/portal",
    shop_url="https://licenses.example.com/buy/dashcaddy",
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
        assert not {"img", "script", "link", "iframe"} & set(seen.tags)
        assert not {"src", "href"} & set(seen.attributes)
        assert "http-equiv" not in letter.html
        # The one style sheet is for dark mode, and fetches nothing.
        assert seen.tags.count("style") == 1
        assert not [word for word in ("url(", "@import", "@font-face") if word in letter.html]


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
        assert words in " ".join(form.split())
        assert "<b>{0}</b> Bcc: x" in form
        assert "12" in form
        assert "https://licenses.example.com" in form


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("payment_failed", {"detail": {"amount": 5000, "currency": "USD"}}, "payment of 50.00 USD"),
        ("payment_failed", {}, "works on until 17 May 2027, 14:05 UTC"),
        ("payment_failed", {"works": False}, "works again as soon as the payment arrives"),
        ("grace_ending", {}, "still works, until 17 May 2027, 14:05 UTC"),
        ("trial_ending", {}, "Your trial ends on 3 May 2027, 14:05 UTC"),
        ("expired", {"works": False}, "your license has stopped"),
        ("expired", {"works": False, "cause": "canceled"}, "Thank you for having used DashCaddy"),
        ("expired", {"works": False, "cause": "trial"}, "Your trial of DashCaddy is over"),
        ("expired", {"works": False, "cause": "over"}, "The time that you bought DashCaddy for is over"),
        ("renewed", {"detail": {"amount": 500, "currency": "JPY"}}, "payment of 500 JPY has arrived"),
        ("renewed", {"entitled_until": FOREVER}, "runs until further notice"),
        ("seats_changed", {"detail": {"before": 1, "seats": 5}}, "now has 5 seats instead of 1"),
        ("seats_changed", {"detail": {"before": 5, "seats": 1}}, "Machines that run go on"),
        (
            "seats_changed",
            {"detail": {"before": 5, "seats": 3, "from": "1809525900"}},
            "From 5 May 2027, 14:05 UTC on, your DashCaddy license will have 3 seats. Until then it has 5.",
        ),
        (
            "refunded",
            {"detail": {"amount": 1250, "before": 0, "currency": "EUR"}},
            "given you 12.50 EUR back",
        ),
        (
            "refunded",
            {"detail": {"amount": 4000, "before": 1500, "currency": "KWD"}},
            "another 2.500 KWD back for DashCaddy: 4.000 KWD in all",
        ),
        ("refunded", {"works": False}, "is not valid any more"),
    ],
)
def test_notices_tell_what_happened_in_both_forms(kind: str, changes: dict[str, object], words: str) -> None:
    letter = LETTERS.notice(msgspec.structs.replace(NOTICED, kind=kind, **changes))
    for form in (letter.text, Seen(letter.html).text):
        flat = " ".join(form.split())
        for expected in (words, "DashCaddy", "Pro", "Acme GmbH", "ends in M0N1P"):
            assert expected in flat


@pytest.mark.parametrize("kind", NOTICE_KINDS)
@pytest.mark.parametrize("works", [True, False])
def test_notices_load_nothing_and_link_to_our_own_pages_only(kind: str, works: bool) -> None:
    odd = '<img src=x onerror="alert(1)"> & Söhne\r\nBcc: x@y.example'
    told = msgspec.structs.replace(NOTICED, kind=kind, works=works, product=odd, plan=odd, seller=odd)
    letter = LETTERS.notice(told)
    seen = Seen(letter.html)
    assert not {"img", "script", "link", "iframe"} & set(seen.tags)
    assert "\n" not in letter.subject
    links = [words for words in letter.text.split() if "://" in words]
    assert set(links) <= {NOTICED.manage_url, NOTICED.shop_url}
    assert all(f'href="{link}"' in letter.html for link in links)


def test_the_link_to_sign_in_says_how_long_and_where_it_works() -> None:
    url = "https://licenses.example.com/portal/link/abc"
    letter = LETTERS.portal_link(PortalLetter("Acme <b> & Co\n", url, 10))
    assert letter.subject == "Sign in at Acme <b> & Co"
    assert f"    {url}\n" in letter.text
    for words in (letter.text, " ".join(Seen(letter.html).words)):
        assert "10 minutes" in words
        assert "in the browser that asked" in " ".join(words.split())
        assert "If you did not ask, do nothing" in " ".join(words.split())
    assert "Acme &lt;b&gt; &amp; Co" in letter.html
    assert letter.html.count(url) == 2
