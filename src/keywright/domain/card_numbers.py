"""Finds what looks like a payment card number, so that none is stored, logged or mailed.

A candidate has 13 to 19 digits, bare or in groups, carries a prefix that a card scheme uses at that length,
and passes Luhn (ISO/IEC 7812-1). Ids and timestamps of ours must not be caught: a wrong find destroys data.
"""

import re
from typing import Final

REPLACEMENT: Final = "[card number]"

_MIN_DIGITS: Final = 13
_MAX_DIGITS: Final = 19
_MIN_FIRST_GROUP: Final = 4

# JSON, URL and HTML escapes end in letters and digits that would stick to a number beside them. The first
# group is a blank or a dash in disguise.
_ESCAPE: Final = re.compile(
    r"(\\u00[aA]0|%20|%2[dD]|%[cC]2%[aA]0|&nbsp;|&#160;|&#x[aA]0;)|\\[nrt]|\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}"
)
# An escape is blanked to the same length, so that places found in the blanked text hold in the original.
_FILLER: Final = "\x00"
_SEPARATOR: Final = r"[ +\-\u00a0\u2000-\u200b\u202f\u2010-\u2015\u2212]\x00*"
# From the start of a group of four or more. The look behind stands after the digit: that is twice as fast.
_RUN: Final = re.compile(rf"\d(?<!\d\d)\d{{3}}(?:(?:{_SEPARATOR})?\d){{9,}}")
_GROUP: Final = re.compile(r"\d+")

_SCHEMES: Final[tuple[tuple[int, int, frozenset[int]], ...]] = (
    # first and last prefix of the scheme (compared over that many digits), lengths in use
    (4, 4, frozenset({13, 16, 19})),  # Visa
    (51, 55, frozenset({16})),  # Mastercard
    (2221, 2720, frozenset({16})),  # Mastercard
    (34, 34, frozenset({15})),  # American Express
    (37, 37, frozenset({15})),  # American Express
    (300, 305, frozenset(range(14, 20))),  # Diners Club
    (3095, 3095, frozenset(range(14, 20))),  # Diners Club
    (36, 36, frozenset(range(14, 20))),  # Diners Club
    (38, 39, frozenset(range(14, 20))),  # Diners Club
    (3528, 3589, frozenset(range(16, 20))),  # JCB
    (2200, 2204, frozenset(range(16, 20))),  # Mir
    (50, 50, frozenset(range(13, 20))),  # Verve, Maestro, Elo
    (56, 58, frozenset(range(13, 20))),  # Maestro
    (60, 69, frozenset(range(13, 20))),  # Discover, UnionPay, Maestro, RuPay, Verve
    (81, 82, frozenset(range(16, 20))),  # UnionPay, RuPay
    (9792, 9792, frozenset({16})),  # Troy
)
_UNEVEN_GROUPINGS: Final = (
    [4, 6, 5],
    [4, 6, 4],
    [6, 7],
    [6, 10],
    [6, 13],
)  # American Express, Diners, Maestro


def find_card_numbers(text: str) -> list[str]:
    """The card numbers in a text, digits only, in order, each once."""
    return list(dict.fromkeys(digits for _, _, digits in _spans(text)))


def redact(text: str) -> str:
    """The text with every card number replaced; not even its last four digits remain."""
    pieces: list[str] = []
    done = 0
    for start, end, _ in _spans(text):
        if start >= done:
            pieces += text[done:start], REPLACEMENT
        done = max(done, end)
    pieces.append(text[done:])
    return "".join(pieces)


def _spans(text: str) -> list[tuple[int, int, str]]:
    """Start, end and digits of each find, by start; finds may overlap."""
    if len(text) < _MIN_DIGITS:
        return []
    if "\\" in text or "%" in text or "&" in text:
        text = _ESCAPE.sub(_blank, text)
    return [span for run in _RUN.finditer(text) for span in _spans_in_run(text, run.start(), run.end())]


def _blank(escape: re.Match[str]) -> str:
    width = len(escape[0])
    return _FILLER * width if escape[1] is None else " ".ljust(width, _FILLER)


def _spans_in_run(text: str, start: int, end: int) -> list[tuple[int, int, str]]:
    # Every window of neighboring groups is tried: "no. 12 4242 4242 4242 4242" holds a card number too.
    groups = [match.span() for match in _GROUP.finditer(text, start, end)]
    found = []
    for first, (begin, first_end) in enumerate(groups):
        if first_end - begin < _MIN_FIRST_GROUP:
            continue
        digits, lengths = "", []
        for group_start, group_end in groups[first : first + _MAX_DIGITS]:
            if len(digits) + group_end - group_start > _MAX_DIGITS:
                break
            digits += text[group_start:group_end]
            lengths.append(group_end - group_start)
            if _is_card_number(digits, lengths) and _stands_alone(text, begin, group_end):
                found.append((begin, group_end, digits))
    return found


def _is_card_number(digits: str, lengths: list[int]) -> bool:
    if len(digits) < _MIN_DIGITS or not _is_card_grouping(lengths):
        return False
    values = [int(digit) for digit in digits]
    return len(set(values)) > 1 and _is_issued(digits) and _passes_luhn(values)


def _is_card_grouping(lengths: list[int]) -> bool:
    """One block, equal blocks of 4 to 8 with a shorter rest, or one of the uneven ways cards are printed.

    Tables of small numbers and the parts of a UUID (8-4-4) are grouped otherwise.
    """
    first, *rest = lengths
    if not rest or lengths in _UNEVEN_GROUPINGS:
        return True
    return (
        _MIN_FIRST_GROUP <= first <= 8 and all(length == first for length in rest[:-1]) and rest[-1] <= first
    )


def _is_issued(digits: str) -> bool:
    return any(
        len(digits) in lengths and first <= int(digits[: len(str(first))]) <= last
        for first, last, lengths in _SCHEMES
    )


def _passes_luhn(values: list[int]) -> bool:
    doubled = [value * 2 - 9 if value > 4 else value * 2 for value in values[-2::-2]]
    return (sum(values[-1::-2]) + sum(doubled)) % 10 == 0


def _stands_alone(text: str, start: int, end: int) -> bool:
    """False inside a word (hex digests, base32 ids) and in the fraction of a decimal number."""
    if text[start - 1 : start].isalnum() or text[end : end + 1].isalnum():
        return False
    return not (text[start - 1 : start] == "." and text[start - 2 : start - 1].isdigit())
