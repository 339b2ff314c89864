"""Reads TOML tables member by member and gathers every problem, with its line, instead of the first.

A member that is refused answers with a harmless value, so that reading goes on; `Table.sound` tells the
rules that compare members whether what they were given was really written.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Hashable, Mapping
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import NamedTuple, TypeVar

from keywright.flows.toml_lines import Lines, Path

Choice = TypeVar("Choice", bound=str)

HOUR = 3600
DAY = 24 * HOUR
YEAR = 365 * DAY
"""A year in the catalog is 365 days, in leap years too: a duration is a number of seconds."""
LONGEST = 100 * YEAR
LARGEST = 2**53 - 1
LARGEST_LIMIT = 2**31 - 1
"""What a verifier takes for a quota: a token that says more is refused everywhere."""
"""The largest integer that every JSON reader keeps exact (RFC 8259 section 6)."""

_MAX_SIZE = 1024 * 1024
_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_DURATION = re.compile(r"([0-9]{1,7})([hdy])")
_UNITS = {"h": HOUR, "d": DAY, "y": YEAR}
_POSITION = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
_ENDLESS_NUMBER = re.compile(r"[0-9_]{1000}")
# Comments and strings, in the order in which TOML tells them apart; one that is not closed ends with its line
# or the text. Each alternative matches wherever it begins, so that a search never goes back.
_NO_NAMES = re.compile(
    r"#[^\n]*"
    r'|"{3}(?:[^\\]|\\[\s\S])*?(?:"{3}|\Z|\\\Z)'
    r"|'{3}[\s\S]*?(?:'{3}|\Z)"
    r'|"(?:[^"\\\n]|\\[^\n])*(?:"|\\?$)'
    r"|'[^'\n]*(?:'|$)",
    re.MULTILINE,
)
_MOST_DOTS = 32
"""The parser's work and memory grow with the square of the parts of one name; ours have three."""


def _endless_name(text: str) -> int:
    """The line with more dots than names need, strings and comments apart; 0 if there is none."""
    plain = _NO_NAMES.sub(lambda found: "\n" * found[0].count("\n"), text)
    lines = enumerate(plain.split("\n"), start=1)
    return next((number for number, line in lines if line.count(".") > _MOST_DOTS), 0)


class Rule(NamedTuple):
    """What a text must look like, as a pattern and in words."""

    pattern: re.Pattern[str]
    wanted: str
    options: tuple[str, ...] = ()


ANY_TEXT = Rule(re.compile(r"(?=.*\S).{1,200}"), "1 to 200 printable characters")


class Document:
    """One TOML text, what was refused in it, and where."""

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        """Never raises: a text that is not TOML is an empty document with one problem."""
        self.environment = environment
        self._problems: list[tuple[int, str]] = []
        self._bad: set[Path] = set()
        self._first: dict[Hashable, int] = {}
        self._lines = Lines("")
        self.root = Table(self, (), self._decode(text.removeprefix("\ufeff").replace("\r\n", "\n")))

    def problems(self) -> list[tuple[int, str]]:
        """Line and message of every problem, in the order of the file."""
        return sorted(dict.fromkeys(self._problems), key=lambda problem: problem[0])

    def refuse(self, path: Path, message: str) -> None:
        self._bad.add(path)
        self._problems.append((self._lines.line(path), message))

    def sound(self, path: Path) -> bool:
        return path not in self._bad

    def once(self, identity: Hashable, path: Path, what: str) -> None:
        """Refuse the second thing of the same identity, naming the line of the first."""
        if identity in self._first:
            self.refuse(path, f"{what} is already used on line {self._first[identity]}")
        else:
            self._first[identity] = self._lines.line(path)

    def _decode(self, text: str) -> dict[str, object]:
        if len(text) > _MAX_SIZE:
            self._problems.append((1, "the file is larger than 1 MiB"))
            return {}
        if line := _endless_name(text):
            self._problems.append((line, f"a name has more than {_MOST_DOTS} dots"))
            return {}
        try:
            members: dict[str, object] = tomllib.loads(text)
            self._lines = Lines(text)
        except RecursionError:
            self._problems.append((1, "the values are nested too deep"))
        except tomllib.TOMLDecodeError as error:
            self._problems.append(_syntax(str(error), text))
        except ValueError:
            # Python refuses to read integers of thousands of digits, and tomllib passes that on.
            found = _ENDLESS_NUMBER.search(text)
            self._problems.append((_line_at(text, found.start() if found else 0), "a number is too long"))
        else:
            return members
        return {}


class Table:
    """One table of a document. Ask for every member it may have, then `finish`: the rest is unknown."""

    def __init__(self, document: Document, path: Path, members: Mapping[str, object]) -> None:
        self.path = path
        self._document = document
        self._members = members
        self._asked: set[str] = set()

    def has(self, name: str) -> bool:
        return name in self._members

    def sound(self, name: str) -> bool:
        """False when the member was refused, or is missing and has to be there."""
        return self._document.sound((*self.path, name))

    def refuse(self, name: str, message: str) -> None:
        """Refuse a member by name; `""` means the table itself."""
        self._document.refuse((*self.path, name) if name else self.path, message)

    def once(self, name: str, identity: Hashable, what: str) -> None:
        """Refuse the member if another one of the same identity came before it in the document."""
        if self.sound(name):
            self._document.once(identity, (*self.path, name), what)

    def shown(self, name: str) -> str:
        """The member as the file has it. A text from the environment shows its variable, never its value."""
        return quoted(self._members.get(name))

    def text(self, name: str, rule: Rule, default: str | None = None) -> str:
        """A text. Without a default it has to be there."""
        found = self.optional_text(name, rule)
        if found is None and default is None and not self.has(name):
            self._missing(name)
        return found if found is not None else default or ""

    def optional_text(self, name: str, rule: Rule) -> str | None:
        if self._value(name) is None:
            return None
        return self._string((*self.path, name), name, self._members[name], rule)

    def texts(self, name: str, rule: Rule) -> tuple[str, ...]:
        """An array of texts, each once."""
        value = self._value(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong(name, "an array of texts", value)
            return ()
        found: list[str] = []
        for position, element in enumerate(value):
            text = self._string((*self.path, name, position), f"{name}[{position}]", element, rule)
            if text is not None and text in found:
                self._document.refuse((*self.path, name, position), f"{name} has {quoted(element)} twice")
            elif text is not None:
                found.append(text)
        return tuple(found)

    def choice(self, name: str, choices: tuple[Choice, ...], default: Choice | None = None) -> Choice:
        """One of the given words. Without a default it has to be there."""
        found = self.optional_choice(name, choices)
        if found is None and default is None and not self.has(name):
            self._missing(name)
        return found or default or choices[0]

    def optional_choice(self, name: str, choices: tuple[Choice, ...]) -> Choice | None:
        rule = Rule(re.compile("|".join(choices)), "one of " + ", ".join(choices), choices)
        text = self.optional_text(name, rule)
        return next((word for word in choices if word == text), None)

    def whole(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """An integer within bounds. Without a default it has to be there."""
        found = self.optional_whole(name, least, most)
        if found is None and default is None and not self.has(name):
            self._missing(name)
        return found if found is not None else default if default is not None else least

    def optional_whole(self, name: str, least: int, most: int) -> int | None:
        value = self._value(name)
        if value is None:
            return None
        if type(value) is not int:  # a bool is an int to Python, not to a catalog
            self._wrong(name, "a whole number", value)
        elif not least <= value <= most:
            self.refuse(name, f"{name} must be a whole number from {least} to {most}")
        else:
            return value
        return None

    def flag(self, name: str, default: bool, wanted: str = "true or false") -> bool:
        """`wanted`: what the member may be, for the message; where it may be something else as well."""
        value = self._value(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self._wrong(name, wanted, value)
        return default

    def duration(self, name: str, default: int, least: int = 0) -> int:
        """A duration in seconds, written as hours, days or years of 365 days: "12h", "14d", "1y"."""
        text = self.optional_text(name, ANY_TEXT)
        if text is None:
            return default
        seconds = read_duration(text)
        if seconds is None:
            self.refuse(
                name, f'{name} must be a duration such as "12h", "14d" or "1y", not {self.shown(name)}'
            )
        elif not least <= seconds <= LONGEST:
            bounds = f"from {show_duration(least)} to {show_duration(LONGEST)}"
            self.refuse(name, f"{name} must be {bounds}, not {self.shown(name)}")
        else:
            return seconds
        return default

    def durations(self, name: str, least: int, most: int) -> tuple[int, ...]:
        """An array of one or more different durations in seconds, longest first; () when it was refused."""
        bounds = f"from {show_duration(least)} to {show_duration(most)}"
        found: list[int] = []
        texts = self.texts(name, ANY_TEXT)
        if not texts and self.sound(name) and self._members.get(name) == []:
            self.refuse(name, f"{name} is empty: write false for none")
        for position, text in enumerate(texts):
            seconds = read_duration(text)
            if seconds is None or not least <= seconds <= most:
                wanted = f'durations such as "3d", {bounds}'
                self._document.refuse(
                    (*self.path, name, position), f"{name} must have {wanted}, not {quoted(text)}"
                )
            elif seconds in found:
                self._document.refuse((*self.path, name, position), f"{name} has {quoted(text)} twice")
            else:
                found.append(seconds)
        return tuple(sorted(found, reverse=True))

    def is_array(self, name: str) -> bool:
        """Whether the member is written as an array: some may be that or something else."""
        return isinstance(self._members.get(name), list)

    def numbers(self, name: str, rule: Rule) -> dict[str, int]:
        """A table of whole numbers whose names follow the rule."""
        table = self.table(name)
        return table.all_numbers(name, rule) if table is not None else {}

    def all_numbers(self, label: str, rule: Rule) -> dict[str, int]:
        """Every member of this table, each a whole number, its name following the rule."""
        for key in self._members:
            if not rule.pattern.fullmatch(key):
                self.refuse(key, f"{quoted(key)} in {label} must be {rule.wanted}")
        return {key: self.whole(key, 0, LARGEST_LIMIT) for key in self._members}

    def table(self, name: str) -> Table | None:
        value = self._value(name)
        if value is None or isinstance(value, dict):
            return None if value is None else Table(self._document, (*self.path, name), value)
        self._wrong(name, "a table", value)
        return None

    def tables(self, name: str) -> list[Table]:
        """An array of tables, written either way: `[[name]]` or `name = [{ ... }]`."""
        value = self._value(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong(name, "an array of tables", value)
            return []
        found = []
        for position, element in enumerate(value):
            path = (*self.path, name, position)
            if isinstance(element, dict):
                found.append(Table(self._document, path, element))
            else:
                self._document.refuse(path, f"{name}[{position}] must be a table, not {_kind(element)}")
        return found

    def finish(self) -> None:
        """Refuse every member that nobody asked for."""
        for name in self._members:
            if name not in self._asked:
                self.refuse(name, f"unknown member {quoted(name)}{_hint(name, self._asked)}")

    def _value(self, name: str) -> object | None:
        self._asked.add(name)
        return self._members.get(name)

    def _missing(self, name: str) -> None:
        self.refuse(name, f"{name} is missing")

    def _wrong(self, name: str, wanted: str, value: object) -> None:
        self.refuse(name, f"{name} must be {wanted}, not {_kind(value)}")

    def _string(self, path: Path, label: str, value: object, rule: Rule) -> str | None:
        """A text, from the environment when it is written as `$NAME`. None when it was refused."""
        if not isinstance(value, str):
            self._document.refuse(path, f"{label} must be a text, not {_kind(value)}")
            return None
        text = value
        variable = _VARIABLE.fullmatch(value)
        if variable is not None:
            text = self._document.environment.get(variable.group(1), "")
            if not text:
                self._document.refuse(
                    path, f"{label}: the environment variable {variable.group(1)} is not set"
                )
                return None
        if not rule.pattern.fullmatch(text) or not text.isprintable():
            # A hint would tell something about the value, and a value from the environment stays there.
            hint = _hint(text, rule.options) if variable is None else ""
            self._document.refuse(path, f"{label} must be {rule.wanted}, not {quoted(value)}{hint}")
            return None
        return text


def read_duration(text: str) -> int | None:
    """Seconds of "12h", "14d" or "1y" (365 days); None when the text is no duration."""
    found = _DURATION.fullmatch(text)
    return int(found.group(1)) * _UNITS[found.group(2)] if found else None


def show_duration(seconds: int) -> str:
    """The shortest way to write a duration in a catalog; seconds when no unit fits."""
    for letter, unit in (("y", YEAR), ("d", DAY), ("h", HOUR)):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit}{letter}"
    return f"{seconds}s" if seconds else "0d"


def _hint(word: str, known: Collection[str]) -> str:
    near = get_close_matches(word[:60], sorted(known), 1)
    return f", did you mean {near[0]}?" if near else ""


def quoted(value: object) -> str:
    """A value for a message: one line, printable, never long."""
    if not isinstance(value, str):
        return _kind(value)
    short = value if len(value) <= 60 else value[:57] + "..."
    return json.dumps(short, ensure_ascii=not short.isprintable())


def _kind(value: object) -> str:
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "a boolean"),
        (int, "a whole number"),
        (float, "a decimal number"),
        (str, "a text"),
        (list, "an array"),
        (dict, "a table"),
        ((datetime, date, time), "a date or time"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), "something else")


def _syntax(message: str, text: str) -> tuple[int, str]:
    """Line and words of a syntax error; tomllib tells the position at the end of its message."""
    found = _POSITION.fullmatch(message)
    if found is None:
        return 1, message
    line = int(found.group(2)) if found.group(2) else _line_at(text, len(text.rstrip()))
    return line, f"not TOML: {found.group(1)}"


def _line_at(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
