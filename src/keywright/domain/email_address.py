"""What we take for an e-mail address: one that stands alone in a header and in an envelope."""

from __future__ import annotations

import re
from typing import Final

# RFC 5321 4.5.3.1.1: 64 octets before the at sign. What separates, quotes or comments in a header is left
# out, though RFC 5322 allows it in quotes: one address must never read as two.
# Characters that turn the direction of what follows (UAX 9) would let it be shown as another one.
_PART: Final = r"[^\s\x00-\x1f\x7f@,;:<>()\[\]\\\"\u202a-\u202e\u2066-\u2069]"
_LABEL: Final = _PART.replace("[^", "[^.")
# A domain without a dot is reached from inside a network only, and is mostly a slip of the hand.
_ADDRESS: Final = re.compile(rf"{_PART}{{1,64}}@(?=.{{1,189}}\Z){_LABEL}+(?:\.{_LABEL}+)+")


def is_email_address(text: str) -> bool:
    """Whether a mail can be sent to this and to nobody else. Says nothing about whether somebody reads it."""
    return _ADDRESS.fullmatch(text) is not None


def folded(text: str) -> str:
    """An address as it is compared: ASCII capitals are small letters, all else stays (RFC 4343 for domains;
    mailboxes that differ in capitals alone are not given out)."""
    return "".join(c.lower() if c.isascii() else c for c in text)


_ERASED: Final = "@erased.invalid"


def erased_for(customer_id: str) -> str:
    """What stands in the place of an address that was erased. RFC 2606: nobody has a domain in `.invalid`."""
    return f"{customer_id}{_ERASED}"


def is_erased(text: str | None) -> bool:
    """Whether this stands in the place of an erased address."""
    return text is not None and text.endswith(_ERASED)
