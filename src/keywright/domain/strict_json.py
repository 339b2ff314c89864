"""JSON as RFC 8259 and I-JSON (RFC 7493) mean it: one text, one meaning, or a refusal.

Everything that comes from outside (provider events, token segments) is parsed here. The standard library's
parser is the engine; this module closes what it leaves open: repeated members, NaN, overflowing numbers, lone
surrogates, NUL, unlimited depth, and errors that carry the whole document along.

Most texts are plain, and a parser in C reads those six times as fast. It is believed only where it cannot
differ from the other one; every refusal is the other one's.
"""

import json
import re
from typing import Any, Final, NoReturn

import msgspec

MAX_DEPTH: Final = 64

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_INT64_MAX_CHARACTERS: Final = (
    20  # "-9223372036854775808"; asked first, because int() of long text is quadratic
)
_INFINITIES: Final = (float("inf"), float("-inf"))
_BOM: Final = b"\xef\xbb\xbf"

# Only an escape can bring NUL or a surrogate into a string: raw NUL is a control character, which the scanner
# refuses, and a raw surrogate is not UTF-8.
_DOUBTFUL_ESCAPE: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
# Nineteen digits may be outside signed 64 bit. Found by making all digits alike: a regular expression takes
# longer for that than the parser for the rest.
_DIGITS_ALIKE: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER: Final = b"0" * 19
_NOT_PLAIN: Final = object()
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_DOUBTFUL_CHARACTER: Final = re.compile("[\x00\ud800-\udfff]")


class StrictJSONError(ValueError):
    """The text is not acceptable JSON. The message names the rule and the place, never the content."""


def loads(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse UTF-8 JSON, or refuse.

    Args:
        raw: the text as received. The size limit is the caller's, before this call.
        max_depth: how many arrays and objects may be open at once; a lone scalar has depth 0.

    Raises:
        StrictJSONError: the only exception, for any bytes. Refused beyond RFC 8259: repeated members (RFC
            7493 2.3), integers outside signed 64 bit, numbers that overflow to infinity, a byte order mark,
            any encoding but UTF-8, lone surrogates and NUL in strings or names (PostgreSQL stores neither).
    """
    value, problem = _read_plain(raw), None
    if value is _NOT_PLAIN:
        value, problem = _parse(raw)
        if problem is None and _DOUBTFUL_ESCAPE.search(raw) and _has_doubtful_character(value):
            problem = "NUL or lone surrogate in a string"
    if problem is None and _may_be_deep(raw, max_depth) and _is_deeper_than(value, max_depth):
        problem = "nested too deeply"
    if problem is not None:
        # Raised here, outside any except block: JSONDecodeError and UnicodeDecodeError hold the whole text,
        # and as a context they would take it into logs.
        raise StrictJSONError(problem)
    return value


def _read_plain(raw: bytes) -> Any:
    """The value of a text without escapes, long numbers and repeated members; else _NOT_PLAIN.

    A repeated member is lost in the value. Without escapes each string and name has two quotation marks in
    either text, and nothing else has one, so whatever was lost is missed when they are counted.
    """
    if b"\\" in raw or _LONG_NUMBER in raw.translate(_DIGITS_ALIKE):
        return _NOT_PLAIN
    try:
        value = _decode(raw)
        return value if _encode(value).count(b'"') == raw.count(b'"') else _NOT_PLAIN
    except (ValueError, RecursionError):  # msgspec's errors, and those about UTF-8, are ValueErrors
        return _NOT_PLAIN


def _parse(raw: bytes) -> tuple[Any, str | None]:
    if raw.startswith(_BOM):
        return None, "byte order mark"
    try:
        return _DECODER.decode(raw.decode("utf-8")), None
    except StrictJSONError as refusal:
        return None, str(refusal)
    except json.JSONDecodeError as error:
        return None, f"not JSON at character {error.pos}"
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 at byte {error.start}"
    except RecursionError:
        return None, "nested too deeply"


def _may_be_deep(raw: bytes, max_depth: int) -> bool:
    """Whether the look at the whole value is worth it: its bytes make it possible at all."""
    return raw.count(b"{") + raw.count(b"[") > max_depth


def _is_deeper_than(value: Any, max_depth: int) -> bool:
    level = [value] if type(value) in (dict, list) else []
    for _ in range(max_depth):
        if not level:
            return False
        level = [
            inner
            for container in level
            for inner in (container.values() if type(container) is dict else container)
            if type(inner) in (dict, list)
        ]
    return bool(level)


def _has_doubtful_character(value: Any) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if type(one) is str:
            if _DOUBTFUL_CHARACTER.search(one):
                return True
        elif type(one) is dict:
            waiting.extend(one)
            waiting.extend(one.values())
        elif type(one) is list:
            waiting.extend(one)
    return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise StrictJSONError("repeated member in an object")
    return members


def _integer(text: str) -> int:
    if len(text) <= _INT64_MAX_CHARACTERS:
        number = int(text)
        if _INT64_MIN <= number <= _INT64_MAX:
            return number
    raise StrictJSONError("integer outside signed 64 bit")


def _float(text: str) -> float:
    number = float(text)
    if number in _INFINITIES:
        raise StrictJSONError("number too large")
    return number


def _constant(_name: str) -> NoReturn:
    raise StrictJSONError("NaN and Infinity are not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
