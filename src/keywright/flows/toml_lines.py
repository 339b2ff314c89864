"""Which line of a TOML text a value stands on.

The standard library parses TOML and forgets the lines. This second pass runs only over text that
`tomllib` has accepted, so it has nothing to check: it walks the same grammar and notes positions.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

Path = tuple[str | int, ...]
"""The way to a value: table names, keys, and positions in arrays, as in the parsed document."""

_MAX_DEPTH = 12  # deeper values answer with the line of what holds them; bounds the memory of `a.a.a.a. ...`

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BETWEEN = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
# A closing """ may be preceded by one or two quotes that belong to the string.
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?""""{0,2}'
    r"|'''.*?''''{0,2}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}#\n]+")


class Lines:
    """Line numbers by path, counted from 1."""

    def __init__(self, text: str) -> None:
        """`text` must be a text that `tomllib.loads` accepts. Raises RecursionError when nested too deep."""
        self.of: dict[Path, int] = {}
        _Scan(text, self.of).document()

    def line(self, path: Path) -> int:
        """The line of the value, or of the nearest thing around it that was written down."""
        for length in range(len(path), 0, -1):
            found = self.of.get(path[:length])
            if found is not None:
                return found
        return 1


class _Scan:
    def __init__(self, text: str, lines: dict[Path, int]) -> None:
        self._text = text
        self._at = 0
        self._lines = lines
        self._line_ends = [found.start() for found in re.finditer("\n", text)]
        self._counts: dict[Path, int] = {}  # elements so far of each [[array of tables]]

    def document(self) -> None:
        table: Path = ()
        self._pass(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text.startswith("[", self._at):
                table = self._header(1)
            else:
                self._pair(table)
            self._pass(_BLANK)

    def _header(self, brackets: int) -> Path:
        """`[a.b]` or `[[a.b]]`. A name on the way that is an array of tables means its last element."""
        start = self._at
        self._at += brackets
        names = self._keys()
        self._at += brackets
        path: Path = ()
        for position, name in enumerate(names):
            path = (*path, name)[: _MAX_DEPTH + 1]
            self._note(path, start)
            last = position == len(names) - 1
            if brackets == 2 and last:
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
                self._note(path, start)
        return path

    def _pair(self, table: Path) -> None:
        start = self._at
        path = table
        for name in self._keys():
            path = (*path, name)[: _MAX_DEPTH + 1]
            self._note(path, start)
        self._at += 1  # the equals sign
        self._pass(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        opening = self._text[self._at]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        elif opening in "\"'":
            self._pass(_STRING)
        else:
            self._pass(_BARE)

    def _array(self, path: Path) -> None:
        self._at += 1
        position = 0
        self._pass(_BETWEEN)
        while self._text[self._at] != "]":
            element = (*path, position)[: _MAX_DEPTH + 1]
            self._note(element, self._at)
            self._value(element)
            position += 1
            self._pass(_BETWEEN)
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._pass(_BETWEEN)
        while self._text[self._at] != "}":
            self._pair(path)
            self._pass(_BETWEEN)
        self._at += 1

    def _keys(self) -> list[str]:
        """The parts of a dotted key, and the space around it."""
        names = []
        while True:
            self._pass(_SPACE)
            names.append(_plain(self._pass(_KEY)))
            self._pass(_SPACE)
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _pass(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"not TOML at offset {self._at}")
        self._at = found.end()
        return found.group()

    def _note(self, path: Path, offset: int) -> None:
        if len(path) <= _MAX_DEPTH:
            self._lines.setdefault(path, bisect_right(self._line_ends, offset - 1) + 1)


def _plain(token: str) -> str:
    """A key as the parser sees it: quoted keys without quotes and escapes."""
    if token[0] not in "\"'":
        return token
    return str(tomllib.loads(f"key = {token}")["key"])
