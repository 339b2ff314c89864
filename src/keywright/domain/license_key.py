"""The license key people type: `ACME-XXXXX-XXXXX-XXXXX-XXXXX-XXXXX`.

24 random Crockford base32 characters (120 bit) and one check character. The prefix is for the eye and for
secret scanners; it carries no meaning and is not part of the canonical form.
"""

import re
from typing import Final

RANDOM_BYTES: Final = 15
CANONICAL_LENGTH: Final = 25

# Crockford base32: no I, L, O (read as 1, 1, 0) and no U (words nobody wants in a key).
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Also of the other keys that people type."""
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}
_BASE: Final = len(ALPHABET)
# The value of a doubled character with its carry added again, as the check character counts every second one.
_DOUBLED: Final = {character: value * 2 // _BASE + value * 2 % _BASE for character, value in _VALUES.items()}
_GROUP: Final = 5

_PREFIX: Final = re.compile(r"[A-Z0-9]{0,16}")
_BODY: Final = re.compile(rf"[{ALPHABET}]{{{CANONICAL_LENGTH}}}")
_TYPED_MAX: Final = 128  # a key is 46 characters at most; the rest is room for blanks that mail programs add

# Dashes and blanks as keyboards, word processors and mail programs write them, with the invisible ones.
_IGNORED: Final = (
    " \t\r\n\f\v\u00a0\u00ad\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u202f"
    "\u205f\u3000\ufeff-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
)
# Not str.upper(): it turns letters outside ASCII into ASCII ones and one character into two.
_READ: Final = str.maketrans(
    {chr(code): chr(code - 32) for code in range(ord("a"), ord("z") + 1)}
    | dict.fromkeys("iIlL", "1")
    | dict.fromkeys("oO", "0")
    | dict.fromkeys(_IGNORED, "")
)


def fresh(random: bytes) -> str:
    """A new key in its canonical form, from exactly 15 bytes of a cryptographic source.

    Raises:
        ValueError: another number of bytes.
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a license key needs exactly {RANDOM_BYTES} random bytes")
    number = int.from_bytes(random, "big")
    body = "".join([ALPHABET[(number >> shift) & 31] for shift in range(115, -1, -5)])
    return body + _check_character(body)


def make(prefix: str, random: bytes) -> str:
    """Build a printed license key.

    Args:
        prefix: the product's prefix, up to 16 characters A-Z and 0-9; empty for none.
        random: exactly 15 bytes from a cryptographic source.

    Raises:
        ValueError: the prefix or the number of random bytes is not as above.
    """
    return display(prefix, fresh(random))


def canonical(text: str) -> str | None:
    """Read what a person typed: 25 upper-case characters without prefix, or None.

    Case is free, I and L are read as 1, O as 0, dashes and blanks are ignored, the prefix is optional.
    None when anything else is wrong, the check character included: such a key never reaches the database.
    """
    if len(text) > _TYPED_MAX:
        return None
    typed = bare(text)
    prefix, key = typed[:-CANONICAL_LENGTH], typed[-CANONICAL_LENGTH:]
    if _BODY.fullmatch(key) is None or _PREFIX.fullmatch(prefix) is None:
        return None
    return key if _check_character(key[:-1]) == key[-1] else None


def bare(text: str) -> str:
    """What was typed, as it is read: in capitals, I and L as 1, O as 0, without dashes and blanks."""
    return text.translate(_READ)


def display(prefix: str, canonical: str) -> str:
    """Rebuild the printed form from a prefix and a canonical key.

    Raises:
        ValueError: the prefix is not up to 16 characters A-Z and 0-9, or the key is not 25 characters long.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("a key prefix is up to 16 characters A-Z and 0-9")
    if len(canonical) != CANONICAL_LENGTH:
        raise ValueError(f"a canonical license key has {CANONICAL_LENGTH} characters")
    groups = [canonical[start : start + _GROUP] for start in range(0, CANONICAL_LENGTH, _GROUP)]
    return "-".join([prefix, *groups] if prefix else groups)


def last5(canonical: str) -> str:
    """The five characters that may be shown and stored in clear, so that people can tell keys apart."""
    return canonical[-_GROUP:]


def _check_character(body: str) -> str:
    """Luhn mod 32: catches every single wrong character (doubling permutes the values of an even base)."""
    total = sum(map(_DOUBLED.__getitem__, body[::-2])) + sum(map(_VALUES.__getitem__, body[-2::-2]))
    return ALPHABET[-total % _BASE]
