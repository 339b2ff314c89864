"""The HMAC key: what an on-premise installation checks by itself, with a secret that it shares with us.

A body of 15 bytes says product, tier, seats and the last day; a tag under the firm's secret proves it. The
firm's id is part of what is proven and not of the key, so a key works at its own firm only. The short form,
50 characters, is for people; the full form keeps the whole tag, for files. Whoever holds a firm's secret can
make keys for that firm: docs/explanation/hmac-profile.md says what follows from that.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from keywright.domain import license_key
from keywright.domain.card_numbers import redact
from keywright.domain.errors import Invalid
from keywright.domain.license_key import ALPHABET
from keywright.domain.plan import FOREVER

VERSION: Final = 1
BODY_BYTES: Final = 15
SERIAL_BYTES: Final = 5
SHORT_TAG_BYTES: Final = 16  # 128 bits against forging; RFC 2104 section 5 allows no less than 80
FULL_TAG_BYTES: Final = 64
SHORT_LENGTH: Final = 50
FULL_LENGTH: Final = 127
NEVER: Final = 0xFFFF
"""The last day of a key that never ends."""
MOST_SEATS: Final = 0xFFFF
"""The largest number a key can carry; it stands for as many and more."""
LARGEST_EPOCH: Final = 255
SECRET_BYTES: Final = 64
LONGEST_FIRM: Final = 200

_TRIAL: Final = 1
_LABEL: Final = b"hmaclic/1"
_GROUP: Final = 5
_LINE: Final = 64
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}
_CODED: Final = re.compile(rf"[{ALPHABET}]+")
_TAG_BYTES: Final = {SHORT_LENGTH: SHORT_TAG_BYTES, FULL_LENGTH: FULL_TAG_BYTES}
_EPOCH_DAY: Final = date(1970, 1, 1)
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEGIN: Final = "-----BEGIN KEYWRIGHT HMAC LICENSE-----"
_END: Final = "-----END KEYWRIGHT HMAC LICENSE-----"
_LONGEST_TEXT: Final = 512


class Body(msgspec.Struct, frozen=True):
    """What a key says. `tier` is the plan's code, `product` the product's; `last_day` counts days since 1970,
    the last one included, UTC; `serial` tells the licenses of one firm apart."""

    tier: int
    product: int
    seats: int
    last_day: int
    epoch: int
    serial: bytes
    trial: bool = False

    @property
    def ends_at(self) -> datetime:
        """The first moment at which the key is over; FOREVER when it never is."""
        return FOREVER if self.last_day == NEVER else _START + timedelta(days=self.last_day + 1)

    @property
    def last_date(self) -> date | None:
        """The last day it is good for; None: it never ends."""
        return None if self.last_day == NEVER else _EPOCH_DAY + timedelta(days=self.last_day)


class Presented(msgspec.Struct, frozen=True):
    """A key as it was typed, taken apart and not checked yet: nothing in it is proven."""

    body: Body
    raw: bytes
    tag: bytes

    @property
    def is_full(self) -> bool:
        return len(self.tag) == FULL_TAG_BYTES


def normalized_firm(text: str) -> str | None:
    """A firm id as it is stored and compared from then on: composed (NFC) and trimmed.

    None when it is empty, longer than 200 characters, holds control characters, or a card number.
    """
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character
        return None
    firm = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(firm) <= LONGEST_FIRM or not firm.isprintable() or redact(firm) != firm:
        return None
    return firm


def checked_firm(text: str) -> str:
    """The same. Raises Invalid `FIRM_INVALID`."""
    firm = normalized_firm(text)
    if firm is None:
        detail = f"`firm` must be 1 to {LONGEST_FIRM} printable characters, and no card number."
        raise Invalid(detail, code="FIRM_INVALID")
    return firm


def mac(secret: bytes, message: bytes) -> bytes:
    """HMAC-SHA512 (RFC 2104, FIPS 180-4), all 64 bytes."""
    return hmac.digest(secret, message, "sha512")


def tag_of(secret: bytes, firm: str, raw: bytes) -> bytes:
    """The whole tag of a body at a firm: HMAC-SHA512 over a label, the firm's length, the firm, the body.

    The length keeps a firm's last characters from being read as the body's first.
    """
    named = firm.encode()
    return mac(secret, _LABEL + len(named).to_bytes(2, "big") + named + raw)


def pack(body: Body) -> bytes:
    """The 15 bytes. Raises ValueError for a member that does not fit."""
    if len(body.serial) != SERIAL_BYTES:
        raise ValueError(f"a serial has exactly {SERIAL_BYTES} bytes")
    try:
        return b"".join(
            (
                VERSION.to_bytes(1, "big"),
                body.tier.to_bytes(1, "big"),
                body.product.to_bytes(2, "big"),
                body.seats.to_bytes(2, "big"),
                body.last_day.to_bytes(2, "big"),
                body.epoch.to_bytes(1, "big"),
                (_TRIAL if body.trial else 0).to_bytes(1, "big"),
                body.serial,
            )
        )
    except OverflowError:
        raise ValueError("a member of the key's body does not fit") from None


def make(secret: bytes, firm: str, body: Body) -> str:
    """A key in its full form, 127 characters. `shortened` makes the one that people type of it.

    Raises:
        ValueError: a member does not fit.
    """
    raw = pack(body)
    return _encoded(raw + tag_of(secret, firm, raw))


def shortened(full: str) -> str:
    """The 50 characters of a key in its full form. Raises ValueError when it is none."""
    known = read(full)
    if known is None:
        raise ValueError("not an HMAC key in its full form")
    return _encoded(known.raw + known.tag[:SHORT_TAG_BYTES])


def grouped(short: str) -> str:
    """The short form as people see it: ten groups of five."""
    return "-".join(short[start : start + _GROUP] for start in range(0, len(short), _GROUP))


def to_file(full: str) -> str:
    """The text of a file that holds a key in its full form."""
    lines = [full[start : start + _LINE] for start in range(0, len(full), _LINE)]
    return "\n".join([_BEGIN, *lines, _END, ""])


def read(text: str) -> Presented | None:
    """Take a key, or a file that holds one, apart. None for everything that no key can look like.

    Case is free, I and L are read as 1, O as 0, dashes and blanks are ignored, as in every key that people
    type. The length, the version, the flags and the bits that are left over must be exactly right.
    """
    if len(text) > _LONGEST_TEXT:
        return None
    inside = text.strip()
    if inside.startswith(_BEGIN):
        if not inside.endswith(_END):
            return None
        inside = inside[len(_BEGIN) : -len(_END)]
    typed = license_key.bare(inside)
    size = _TAG_BYTES.get(len(typed))
    if size is None or _CODED.fullmatch(typed) is None:
        return None
    data = _decoded(typed, BODY_BYTES + size)
    if data is None:
        return None
    raw, tag = data[:BODY_BYTES], data[BODY_BYTES:]
    body = _unpacked(raw)
    return None if body is None else Presented(body, raw, tag)


def canonical(presented: Presented) -> str:
    """The one text for a key, whichever form it came in: of its short form."""
    return _encoded(presented.raw + presented.tag[:SHORT_TAG_BYTES])


def is_proven(presented: Presented, firm: str, secret: bytes) -> bool:
    """Whether the tag is right for this firm under this secret. Takes the same time whatever differs."""
    expected = tag_of(secret, firm, presented.raw)
    return hmac.compare_digest(presented.tag, expected[: len(presented.tag)])


def last_day_of(end: datetime) -> int:
    """The last day that a key may say for a license that ends then. A day that has begun counts whole."""
    if end >= FOREVER:
        return NEVER
    days = (end - timedelta(microseconds=1) - _START).days
    return min(max(days, 0), NEVER - 1)


def _unpacked(raw: bytes) -> Body | None:
    flags = raw[9]
    if raw[0] != VERSION or flags & ~_TRIAL:
        return None
    return Body(
        tier=raw[1],
        product=int.from_bytes(raw[2:4], "big"),
        seats=int.from_bytes(raw[4:6], "big"),
        last_day=int.from_bytes(raw[6:8], "big"),
        epoch=raw[8],
        serial=raw[10:15],
        trial=bool(flags & _TRIAL),
    )


def _encoded(data: bytes) -> str:
    """Base32 from the first bit on; what is left over of the last character is zero."""
    length = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (length * 5 - len(data) * 8)
    return "".join(ALPHABET[number >> shift & 31] for shift in range(length * 5 - 5, -1, -5))


def _decoded(text: str, size: int) -> bytes | None:
    number = 0
    for character in text:
        number = number << 5 | _VALUES[character]
    spare = len(text) * 5 - size * 8
    if number & ((1 << spare) - 1):
        return None  # else one key would have several texts
    return (number >> spare).to_bytes(size, "big")
