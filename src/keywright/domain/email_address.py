"""What we take for an e-mail address: one that stands alone in a header and in an envelope."""

from __future__ import annotations

import re
from typing import Final

# RFC 5321 4.5.3.1.1: 64 octets before the at sign. What separates, quotes or comments in a header is left
# out, though RFC 5322 allows it in quotes: one address must never read as two.
_PART: Final = r"[^\s\x00-\x1f\x7f@,;:<>()\[\]\\\"]"
_ADDRESS: Final = re.compile(rf"{_PART}{{1,64}}@{_PART}{{1,189}}")


def is_email_address(text: str) -> bool:
    """Whether a mail can be sent to this and to nobody else. Says nothing about whether somebody reads it."""
    return _ADDRESS.fullmatch(text) is not None
