"""The name of a machine, as it may stand in a mail or on a page that bears the seller's name.

It was typed by whoever opened the checkout, who may be a stranger to whoever reads it: it must not be able to
carry a link, a number to call, or a sentence of any length.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 200

_SHOWN: Final = 40
_STRANGE: Final = re.compile(r"[^\w' -]|_", re.UNICODE)
_NUMBER: Final = re.compile(r"\d(?:[ '-]*\d){5,}")
_BLANKS: Final = re.compile(r"\s+")


def check_name(name: str) -> bool:
    """Whether it may be the name of a machine: 1 to 200 printable characters."""
    return 0 < len(name) <= LONGEST and name.isprintable()


def shown_name(name: str | None) -> str:
    """What is shown of it: letters, digits, blanks, hyphens and apostrophes, no long numbers, 40 characters.

    Empty when there is no name, or nothing is left of it.
    """
    if name is None:
        return ""
    plain = _NUMBER.sub(" ", _STRANGE.sub(" ", name))
    plain = _BLANKS.sub(" ", plain).strip(" -'")
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 1].rstrip()}…"
