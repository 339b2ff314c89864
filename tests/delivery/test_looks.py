"""Languages, colors and logos of our mails."""

from __future__ import annotations

import email
import email.policy
import string
from datetime import UTC, datetime
from email.headerregistry import Address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.delivery.email import compose
from keywright.delivery.letters import ADVICE
from keywright.delivery.speech import catalog, speech
from keywright.domain.errors import Invalid
from keywright.domain.language import LANGUAGES, USUAL, preferred
from keywright.domain.logo import LARGEST, read_logo
from keywright.domain.look import (
    LEAST_SHAPE,
    LEAST_TEXT,
    NIGHT,
    PAPER,
    Look,
    contrast,
    paint,
    read_color,
    read_language,
)
from keywright.domain.plan import NOTICE_KINDS
from keywright.ports import Letter, Mail, PortalLetter
from tests.delivery.test_letters import LETTERS, NOTICED, TOLD, Seen
from tests.pictures import body, chunk, header, picture, png

GERMAN = Look(language="de")
SENDER = Address("Acme", addr_spec="licenses@acme.example")
NOW = datetime(2027, 1, 1, tzinfo=UTC)
OTHERS = [tag for tag in LANGUAGES if tag != USUAL]
HOSTILE = (
    "Evil\r\nBcc: x@y.example\u2028\u202e{0.__class__}{product}<img src=x onerror=alert(1)>=?utf-8?q?x?="
)


def placeholders(words: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name is not None}


# -- languages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", OTHERS)
def test_every_language_says_everything_with_the_same_names_in_it(tag: str) -> None:
    ours, theirs = catalog(USUAL), catalog(tag)
    assert ours.keys() == theirs.keys()
    assert {key: placeholders(words) for key, words in ours.items()} == {
        key: placeholders(words) for key, words in theirs.items()
    }
    # The rest is for programs, or is the same word.
    alike = {key for key, words in ours.items() if theirs[key] == words and not key.startswith("form.")}
    assert alike <= {"fact.mail"}


@pytest.mark.parametrize("tag", LANGUAGES)
def test_catalogs_hold_plain_words(tag: str) -> None:
    for key, words in catalog(tag).items():
        assert words == words.strip(), key
        assert words.isprintable(), key
        assert all(name.isidentifier() for name in placeholders(words)), key
        assert not {"<", ">", "&lt;"} & set(words), key
    assert {key.rpartition(".")[0] for key in catalog(tag) if key.endswith(".one")} == {
        key.rpartition(".")[0] for key in catalog(tag) if key.endswith(".other")
    }
    assert len(catalog(tag)["form.months"].split()) == 12
    for kind in ADVICE:
        assert f"alarm.{kind}.title" in catalog(tag)


def everything(look: Look, name: str = "") -> list[Letter]:
    """Every letter there is. `name`: of seller, product and plan."""
    told, noticed = TOLD, NOTICED
    portal = PortalLetter(name or "Acme GmbH", "https://licenses.example.com/portal/link/abc", 10)
    if name:
        told = msgspec.structs.replace(TOLD, seller=name, product=name, plan=name)
        noticed = msgspec.structs.replace(NOTICED, seller=name, product=name, plan=name)
    firm = msgspec.structs.replace(
        told, device="", hmac_key="AAAAA", hmac_last_day=datetime(2027, 5, 17, tzinfo=UTC).date()
    )
    found = [LETTERS.license_issued(one, look) for one in (told, firm)]
    found += [
        LETTERS.notice(
            msgspec.structs.replace(noticed, kind=kind, works=works, becomes_paid=works, detail=detail), look
        )
        for kind in NOTICE_KINDS
        for works in (True, False)
        for detail in ({}, {"amount": 1250, "currency": "EUR", "before": 1, "seats": 3, "from": 1809525900})
    ]
    found += [LETTERS.portal_link(portal, look), LETTERS.address_link(portal, look)]
    found += [LETTERS.address_moved(portal, look), LETTERS.staff_invited(portal, look)]
    kinds = {
        key.split(".")[1] for key in catalog(USUAL) if key.startswith("alarm.") and key.endswith(".title")
    }
    found += [LETTERS.alarm(kind, "evt_1", {"count": 3, "when": NOW}, name, look) for kind in sorted(kinds)]
    return found


@pytest.mark.parametrize("tag", LANGUAGES)
def test_every_letter_can_be_written_in_every_language(tag: str) -> None:
    for letter in everything(Look(language=tag)):
        assert f'<html lang="{tag}">' in letter.html
        for form in (letter.subject, letter.text, Seen(letter.html).text):
            assert form.strip()
        assert not {"{", "}"} & set(letter.text)
        # Both forms say the same.
        flat = " ".join(Seen(letter.html).text.split())
        for line in letter.text.splitlines():
            words = line.strip().removesuffix(":")
            if line.startswith("    "):
                assert words in flat, line


def test_german_letters_are_german() -> None:
    letter = LETTERS.license_issued(TOLD, GERMAN)
    assert letter.subject == "Ihr Lizenzschlüssel für DashCaddy"
    assert "bis 3. Mai 2027, 14:05 UTC, mit jeder Zahlung verlängert" in letter.text
    noticed = msgspec.structs.replace(
        NOTICED, detail={"amount": 123450, "currency": "EUR"}, kind="payment_failed"
    )
    assert "Die Zahlung von 1.234,50 EUR" in LETTERS.notice(noticed, GERMAN).text
    assert "The payment of 1,234.50 EUR" in LETTERS.notice(noticed).text
    one = msgspec.structs.replace(NOTICED, kind="seats_changed", detail={"before": 3, "seats": 1})
    assert LETTERS.notice(one, GERMAN).subject == "Ihre Lizenz für DashCaddy: 1 Platz"
    assert LETTERS.notice(one).subject == "Your DashCaddy license: 1 seat"
    more = msgspec.structs.replace(one, detail={"before": 1, "seats": 3})
    assert LETTERS.notice(more, GERMAN).subject == "Ihre Lizenz für DashCaddy: 3 Plätze"


@pytest.mark.parametrize(
    ("amount", "currency", "english", "german"),
    [
        (123456789, "EUR", "1,234,567.89 EUR", "1.234.567,89 EUR"),
        (500, "JPY", "500 JPY", "500 JPY"),
        (1500, "KWD", "1.500 KWD", "1,500 KWD"),
    ],
)
def test_money_is_written_as_its_readers_do(amount: int, currency: str, english: str, german: str) -> None:
    assert speech("en").money(amount, currency) == english
    assert speech("de").money(amount, currency) == german


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-US,en;q=0.9,de;q=0.8", "en"),
        ("fr-FR, fr;q=0.9, DE;q=0.5, en;q=0.4", "de"),
        ("de;q=0, en;q=0.1", "en"),
        ("fr, *;q=0.5", None),
        ("", None),
        ("de;q=nan, en;q=2, en;x=1, ;;;,,,", None),
        ("x" * 100_000 + ",de", None),
    ],
)
def test_the_language_is_the_one_that_a_browser_likes_best(header: str, language: str | None) -> None:
    assert preferred(header) == language


@given(st.text())
def test_no_accept_language_breaks_anything(header: str) -> None:
    assert preferred(header) in (None, *LANGUAGES)


def test_a_language_that_nobody_writes_is_refused_and_read_as_english() -> None:
    assert speech("tlh").tag == USUAL
    with pytest.raises(Invalid) as refused:
        read_language("tlh")
    assert refused.value.code == "LANGUAGE_UNKNOWN"


# -- colors ---------------------------------------------------------------------------------------------


@given(st.integers(0, 0xFFFFFF))
def test_any_color_is_seen_and_what_is_on_it_can_be_read(number: int) -> None:
    worn = paint(f"#{number:06x}")
    assert contrast(worn.fill, PAPER) >= LEAST_SHAPE
    assert contrast(worn.night_fill, NIGHT) >= LEAST_SHAPE
    assert contrast(worn.ink, worn.fill) >= LEAST_TEXT
    assert contrast(worn.night_ink, worn.night_fill) >= LEAST_TEXT


def test_a_color_that_can_be_seen_is_left_alone() -> None:
    assert paint("#0d6b5e").fill == "#0d6b5e"
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_a_color_is_six_digits_and_nothing_else() -> None:
    assert read_color(" #0D6B5E\n") == "#0d6b5e"
    for typed in ("", "red", "#fff", "#0d6b5e;", "#0d6b5e}", "0d6b5e", "#0d6b5g", "#0d6b5e\n}x{"):
        with pytest.raises(Invalid):
            read_color(typed)


def test_letters_wear_the_color() -> None:
    letter = LETTERS.notice(NOTICED, Look("#7a1fa2"))
    assert letter.html.count("#7a1fa2") >= 3
    assert "#0d6b5e" not in letter.html


# -- logos ----------------------------------------------------------------------------------------------


def test_a_logo_is_packed_again_without_what_else_was_in_it() -> None:
    hidden = chunk(b"tEXt", b"Comment\x00<script>"), chunk(b"eXIf", b"where I live")
    found = read_logo(png(header(300, 80), *hidden, body(300, 80)) + b"and more behind it")
    assert found.png == picture()
    assert (found.width, found.height, found.shown) == (300, 80, (210, 56))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"GIF89a",
        picture()[:-20],
        picture().replace(b"IDAT", b"IDAX"),
        png(body(300, 80), header(300, 80)),
        png(header(300, 80)),
        png(header(300, 80), body(300, 79)),
        png(header(300, 80), body(300, 81)),
        png(header(300, 80), body(300, 80, filtered=5)),
        png(header(300, 80, interlace=1), body(300, 80)),
        png(header(300, 80, depth=3), body(300, 80)),
        png(header(300, 80, color=3), body(300, 80, pixel=b"\0")),
        png(header(300, 80), chunk(b"EVIL", b""), body(300, 80)),
        png(header(300, 80), chunk(b"IDAT", b"no deflate")),
        png(header(0, 80), body(0, 80)),
        png(header(801, 80), body(801, 80)),
        png(header(300, 401), body(300, 401)),
        png(header(2, 2), body(20_000, 2_000)),  # a bomb: it says four pixels, and unpacks to 120 MB
        png(header(300, 80), body(300, 80), chunk(b"tEXt", b"x" * LARGEST)),
    ],
)
def test_what_is_no_small_whole_png_is_no_logo(data: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        read_logo(data)
    assert refused.value.code == "LOGO_INVALID"


def test_a_logo_with_a_palette_is_fine() -> None:
    colors = chunk(b"PLTE", b"\0\0\0\xff\xff\xff")
    row = png(header(8, 1, depth=1, color=3), colors, chunk(b"IDAT", b"x\x9cc\xa8\x07\x00\x00\xaa\x00\xab"))
    with pytest.raises(Invalid):
        read_logo(row)  # its checksum is wrong
    good = png(header(2, 2, color=3), colors, chunk(b"tRNS", b"\0"), body(2, 2, pixel=b"\1"))
    assert read_logo(good).png == good


def test_the_logo_travels_with_the_mail_and_nothing_is_fetched() -> None:
    logo = read_logo(picture())
    letter = LETTERS.license_issued(TOLD, Look(logo=logo))
    assert letter.logo == logo
    mail = Mail("jo@acme.example", letter.subject, letter.text, letter.html, "<ann_1@acme.example>", logo)
    message = email.message_from_bytes(compose(mail, SENDER, NOW)[1], policy=email.policy.default)
    kinds = [part.get_content_type() for part in message.walk()]
    assert kinds == ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"]
    html, image = list(message.walk())[3:]
    assert image.get_content() == logo.png
    assert f'src="cid:{image["Content-ID"][1:-1]}"' in html.get_content()
    assert not any(part.defects for part in message.walk())
    # Without pictures nothing is missing: the name stands in words.
    assert TOLD.seller in Seen(letter.html).text
    assert 'alt=""' in letter.html


# -- what sellers may type ------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", LANGUAGES)
def test_no_name_adds_a_header_a_tag_or_a_word(tag: str) -> None:
    for letter in everything(Look(language=tag), HOSTILE):
        seen = Seen(letter.html)
        assert "img" not in seen.tags
        mail = Mail("jo@acme.example", letter.subject, letter.text, letter.html, "<ann_1@acme.example>")
        message = email.message_from_bytes(compose(mail, SENDER, NOW)[1], policy=email.policy.default)
        assert set(message.keys()) == {
            *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"),
            "Content-Type",
        }
        assert str(message["subject"]) == letter.subject
        assert not [line for line in letter.text.splitlines() if line.startswith("Bcc")]
        if "Evil" in letter.subject:
            assert "{0.__class__}{product}" in letter.subject
