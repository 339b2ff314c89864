"""JSON from outside: one text, one meaning, or a refusal.

The parser of the standard library keeps the last of two members with one name, and takes NaN, numbers that
overflow, lone surrogates and a depth without end. A token that two readers read in two ways is a forged one.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 32

_LARGEST = 2**63 - 1
_DOUBTFUL = re.compile("[\x00\ud800-\udfff]")
_LONGEST_NUMBER = 20  # characters of the longest integer that counts; int() of long text is quadratic


class NotJSON(ValueError):
    """The text is not acceptable. The message names the rule, never the content."""


def loads(raw: bytes) -> Any:
    """Parse UTF-8 JSON.

    Raises:
        NotJSON: the only exception, for any bytes: repeated members, NaN and infinities, integers outside
        signed
            64 bit, lone surrogates, NUL, a byte order mark, more than 32 levels.
    """
    problem = "not JSON"
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
        problem = _problem(value, 0)
    except NotJSON as refusal:
        problem = str(refusal)
    except (ValueError, RecursionError):
        # Raised below, outside this block: the parser's own errors carry the whole text along.
        pass
    if problem:
        raise NotJSON(problem)
    return value


def _problem(value: Any, depth: int) -> str:
    """What is wrong inside a parsed value; empty for nothing."""
    if isinstance(value, str):
        return "NUL or lone surrogate" if _DOUBTFUL.search(value) else ""
    if not isinstance(value, (dict, list)):
        return ""
    if depth >= MAX_DEPTH:
        return "nested too deeply"
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return next((found for found in (_problem(one, depth + 1) for one in inner) if found), "")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotJSON("repeated member")
    return members


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or not -_LARGEST <= int(text) <= _LARGEST:
        raise NotJSON("integer out of range")
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if number - number != 0:  # infinite
        raise NotJSON("number out of range")
    return number


def _constant(_name: str) -> NoReturn:
    raise NotJSON("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_real, parse_constant=_constant
)
