"""HMAC keys: what they carry, what they refuse, and that no alteration passes."""

from __future__ import annotations

import os
import random
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain import hmac_key, license_key
from keywright.domain.errors import Invalid
from keywright.domain.hmac_key import Body, Presented
from keywright.domain.plan import FOREVER

FIRM = "Norddeutsche Wasserwerke 7"
SECRET = bytes(range(64))
ALTERATIONS = int(os.environ.get("KEYWRIGHT_HMAC_ALTERATIONS", "20000"))
BODY = Body(tier=3, product=513, seats=25, last_day=20800, epoch=1, serial=b"\x01\x02\x03\x04\x05")


def made(body: Body = BODY, *, firm: str = FIRM, secret: bytes = SECRET) -> str:
    return hmac_key.make(secret, firm, body)


def read(text: str) -> Presented:
    known = hmac_key.read(text)
    assert known is not None
    return known


bodies = st.builds(
    Body,
    tier=st.integers(0, 255),
    product=st.integers(0, 65535),
    seats=st.integers(0, 65535),
    last_day=st.integers(0, 65535),
    epoch=st.integers(0, 255),
    serial=st.binary(min_size=5, max_size=5),
    trial=st.booleans(),
)


@given(bodies, st.text(min_size=1, max_size=200).map(hmac_key.normalized_firm).filter(bool))
def test_both_forms_come_back_whole(body: Body, firm: str) -> None:
    full = hmac_key.make(SECRET, firm, body)
    short = hmac_key.shortened(full)
    assert (len(full), len(short)) == (hmac_key.FULL_LENGTH, hmac_key.SHORT_LENGTH)
    for text in (full, short, hmac_key.grouped(short), hmac_key.to_file(full)):
        known = read(text)
        assert known.body == body
        assert hmac_key.is_proven(known, firm, SECRET)
        assert hmac_key.canonical(known) == short


def test_a_key_is_ten_groups_of_five() -> None:
    shown = hmac_key.grouped(hmac_key.shortened(made()))
    assert [len(group) for group in shown.split("-")] == [5] * 10
    assert len(shown) == 59


def test_a_key_as_people_type_it() -> None:
    shown = hmac_key.grouped(hmac_key.shortened(made()))
    typed = f"  {shown.lower().replace('1', 'l').replace('0', 'o')}\n"
    assert hmac_key.canonical(read(typed)) == hmac_key.shortened(made())


def test_this_very_key_stays_what_it_is() -> None:
    # Installations check keys with programs of their own: a byte that moves breaks them all.
    assert hmac_key.grouped(hmac_key.shortened(made())) == KNOWN


KNOWN = "041G4-08035-8M008-00410-6105T-MTJS7-THFY4-AEJWE-874V2-6QENR"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 50,
        hmac_key.shortened(made())[:-1],
        hmac_key.shortened(made()) + "0",
        hmac_key.shortened(made()).replace(hmac_key.shortened(made())[9], "U", 1),
        made()[:-1],
        made() + "0",
        "A" * 100_000,
        "é" * 50,
        hmac_key.to_file(made()).replace("-----END", "-----FIN"),
        license_key.make("DC", bytes(15)),
    ],
)
def test_what_is_no_key(text: str) -> None:
    assert hmac_key.read(text) is None


def test_left_over_bits_are_zero() -> None:
    for text, spare in ((hmac_key.shortened(made()), 2), (made(), 3)):
        last = license_key.ALPHABET.index(text[-1])
        assert last % (1 << spare) == 0
        for more in range(1, 1 << spare):
            assert hmac_key.read(text[:-1] + license_key.ALPHABET[last + more]) is None


def test_a_license_key_and_an_hmac_key_are_never_taken_for_each_other() -> None:
    short = hmac_key.shortened(made())
    assert license_key.canonical(short) is None
    assert license_key.canonical(hmac_key.grouped(short)) is None


def test_an_unknown_version_or_flag_is_refused() -> None:
    raw = hmac_key.pack(BODY)
    for place, value in ((0, 0), (0, 2), (9, 2), (9, 128)):
        other = raw[:place] + bytes([value]) + raw[place + 1 :]
        tag = hmac_key.tag_of(SECRET, FIRM, other)
        assert hmac_key.read(hmac_key._encoded(other + tag)) is None  # rightly tagged, and still no key


@pytest.mark.parametrize("firm", ["Norddeutsche Wasserwerke 8", "", FIRM + " ", FIRM.upper(), FIRM + "\x01"])
def test_another_firm_is_refused(firm: str) -> None:
    assert not hmac_key.is_proven(read(made()), firm, SECRET)


def test_a_firms_end_is_not_the_bodys_beginning() -> None:
    raw = hmac_key.pack(BODY)
    assert hmac_key.tag_of(SECRET, "ab", raw) != hmac_key.tag_of(SECRET, "a", b"b" + raw)


def test_another_firms_secret_proves_nothing() -> None:
    chance = random.Random(4)
    short, full = read(hmac_key.shortened(made())), read(made())
    for _ in range(ALTERATIONS // 10):
        other = chance.randbytes(64)
        assert not hmac_key.is_proven(short, FIRM, other)
        assert not hmac_key.is_proven(full, FIRM, other)


def test_no_alteration_is_accepted() -> None:
    """Firm, tier, expiry, seats, product, epoch, serial, flag and tag, one or several at a time."""
    chance = random.Random(20_26)
    short = read(hmac_key.shortened(made()))
    full = read(made())
    kinds = ("firm", "tier", "product", "seats", "last_day", "epoch", "serial", "trial", "raw", "tag")
    done = dict.fromkeys(kinds, 0)
    while sum(done.values()) < ALTERATIONS:
        kind = chance.choice(kinds)
        firm, known = altered(chance, kind, short if chance.random() < 0.9 else full)
        if (firm, known.raw, known.tag) in ((FIRM, one.raw, one.tag) for one in (short, full)):
            continue
        assert not hmac_key.is_proven(known, firm, SECRET), (kind, firm, known)
        done[kind] += 1
    assert min(done.values()) > ALTERATIONS // 20


def altered(chance: random.Random, kind: str, known: Presented) -> tuple[str, Presented]:
    if kind == "firm":
        place = chance.randrange(len(FIRM))
        wrong = chr(chance.randrange(32, 0x2FFF))
        return FIRM[:place] + wrong + FIRM[place + chance.randrange(2) :], known
    if kind in ("raw", "tag"):
        text = bytearray(getattr(known, kind))
        for _ in range(chance.randrange(1, 4)):
            text[chance.randrange(len(text))] ^= chance.randrange(1, 256)
        return FIRM, msgspec.structs.replace(known, **{kind: bytes(text)})
    most = {"tier": 256, "epoch": 256, "trial": 2}.get(kind, 65536)
    value = chance.randbytes(5) if kind == "serial" else chance.randrange(most)
    body = msgspec.structs.replace(BODY, **{kind: bool(value) if kind == "trial" else value})
    return FIRM, Presented(body, hmac_key.pack(body), known.tag)


def test_a_typed_character_that_is_wrong_is_never_accepted() -> None:
    short = hmac_key.shortened(made())
    for place, right in enumerate(short):
        for wrong in license_key.ALPHABET:
            if wrong != right:
                known = hmac_key.read(short[:place] + wrong + short[place + 1 :])
                assert known is None or not hmac_key.is_proven(known, FIRM, SECRET)


@pytest.mark.parametrize(
    ("end", "day"),
    [
        (datetime(2027, 1, 1, tzinfo=UTC), date(2026, 12, 31)),
        (datetime(2027, 1, 1, 0, 0, 1, tzinfo=UTC), date(2027, 1, 1)),
        (datetime(2028, 2, 29, 12, tzinfo=UTC), date(2028, 2, 29)),
        (datetime(2149, 6, 6, 12, tzinfo=UTC), date(2149, 6, 5)),
        (datetime(2500, 1, 1, tzinfo=UTC), date(2149, 6, 5)),
        (FOREVER, None),
    ],
)
def test_the_last_day(end: datetime, day: date | None) -> None:
    body = msgspec.structs.replace(BODY, last_day=hmac_key.last_day_of(end))
    assert body.last_date == day
    if day is None:
        assert body.ends_at == FOREVER
    elif end.year < 2149:
        assert timedelta() <= body.ends_at - end < timedelta(days=1)


@pytest.mark.parametrize(
    ("member", "value"), [("tier", 256), ("seats", 65536), ("product", -1), ("serial", b"1234")]
)
def test_what_does_not_fit_is_refused(member: str, value: object) -> None:
    body = msgspec.structs.replace(BODY, **{member: value})
    with pytest.raises(ValueError, match=r"fit|bytes"):
        hmac_key.pack(body)


def test_what_is_no_full_key_cannot_be_shortened() -> None:
    with pytest.raises(ValueError, match="full form"):
        hmac_key.shortened("0" * 127)


@pytest.mark.parametrize(
    ("typed", "firm"),
    [
        (" Acme  Works ", "Acme  Works"),
        ("Cafe\u0301", "Caf\u00e9"),
        ("ACME", "ACME"),
        ("acme", "acme"),
        ("\u65e5\u672c", "\u65e5\u672c"),
        ("x" * 200, "x" * 200),
        ("x" * 201, None),
        ("  ", None),
        ("a\x00b", None),
        ("a\nb", None),
        ("\ud800", None),
        ("4242 4242 4242 4242", None),
    ],
)
def test_how_a_firm_is_stored(typed: str, firm: str | None) -> None:
    assert hmac_key.normalized_firm(typed) == firm
    if firm is None:
        with pytest.raises(Invalid) as caught:
            hmac_key.checked_firm(typed)
        assert caught.value.code == "FIRM_INVALID"
    else:
        assert hmac_key.normalized_firm(firm) == firm
