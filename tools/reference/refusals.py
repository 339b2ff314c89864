"""Every code that a refusal can carry, read from the source: where it is raised says which status it has."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from keywright.domain import errors
from keywright.domain.errors import KeywrightError
from tools.reference.tables import code
from tools.reference.tables import table as make

_SOURCE: Final = Path(errors.__file__).resolve().parents[1]
_CODE: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
# A refusal of ours always leaves as one of these; the sandbox and the client speak for somebody else.
_ELSEWHERE: Final = ("sandbox", "client")
# They are told on a command line, in a log or to the mail worker, and answer no request.
_NEVER_ANSWERED: Final = (errors.Misconfigured, errors.Unproven, errors.MailRefused, errors.MailDelayed)


class Raised(NamedTuple):
    """A code, and the class that carries it."""

    code: str
    kind: type[KeywrightError]


def kinds() -> dict[str, type[KeywrightError]]:
    """The classes of the tree, by name."""
    return {
        name: one
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, KeywrightError)
    }


@cache
def raised() -> tuple[Raised, ...]:
    """Every code with each kind it is raised as."""
    return tuple(_raised())


def _raised() -> Iterator[Raised]:
    """Each `Kind("…", code="X")` of the source, and the code that each kind has of its own."""
    known = kinds()
    for kind in known.values():
        yield Raised(kind.code, kind)
    for path in sorted(_SOURCE.rglob("*.py")):
        inside = path.relative_to(_SOURCE)
        text = path.read_text(encoding="utf-8")
        if inside.parts[0] in _ELSEWHERE or "code=" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known:
                for keyword in node.keywords:
                    for word in _codes(keyword):
                        yield Raised(word, known[node.func.id])


def _codes(keyword: ast.keyword) -> Iterator[str]:
    """A code as it is written, also where one of two is chosen on the spot."""
    if keyword.arg == "code":
        for node in ast.walk(keyword.value):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
                yield node.value


def statuses() -> dict[str, set[int]]:
    """Code -> the statuses it is answered with; none where it answers no request."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for one in raised():
        found[one.code] |= set() if issubclass(one.kind, _NEVER_ANSWERED) else {one.kind.status}
    return dict(found)


def table() -> str:
    told: defaultdict[str, set[str]] = defaultdict(set)
    for one in raised():
        told[one.code].add(one.kind.__name__)
    rows = [
        [
            code(word),
            ", ".join(str(status) for status in sorted(found)),
            ", ".join(code(kind) for kind in sorted(told[word])),
        ]
        for word, found in sorted(statuses().items())
    ]
    return make(["code", "status", "kind"], rows)
