"""The file of keys that a seller brings along: CSV, read strictly, line by line.

Nothing here is guessed. A column that is not known, a line with a cell too many, a date that is none: each is
refused with its line. Cells are data; one that looks like a spreadsheet's formula is a text like any other.
"""

from __future__ import annotations

import csv
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from datetime import UTC, datetime
from io import BufferedReader, BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

import msgspec

from keywright.domain import fingerprint, hmac_key
from keywright.domain.card_numbers import redact
from keywright.domain.email_address import is_email_address
from keywright.domain.errors import Invalid, TooLarge
from keywright.domain.plan import FOREVER

REQUIRED: Final = ("key", "plan", "email", "seats", "until")
OPTIONAL: Final = ("firm", "issued_at", "fingerprints", "name")
LARGEST: Final = 64 << 20
NEVER: Final = "never"

_MOST_SEATS: Final = 2**31 - 1
_MOST_MACHINES: Final = 1000
_LONGEST_NAME: Final = 200
_EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)


class Line(msgspec.Struct, frozen=True):
    """One key of the file. `until` and `seats` None: as the plan has them. FOREVER: it never ends."""

    number: int
    key: str
    plan: str
    email: str | None
    seats: int | None
    until: datetime | None
    firm: str | None
    issued_at: datetime | None
    fingerprints: tuple[str, ...]
    name: str | None

    def __repr__(self) -> str:  # keys never reach a log
        return f"Line({self.number})"


class Bad(msgspec.Struct, frozen=True):
    """A line that cannot be taken. The reason quotes no cell: it may be the key in the wrong column."""

    number: int
    reason: str


class Wrong(Exception):
    """The reason why a line is bad."""


_L = TypeVar("_L")


class LineFile(ABC, Generic[_L]):
    """An open file of lines, each of which becomes a value or the reason why it does not."""

    required: ClassVar[Sequence[str]]
    optional: ClassVar[Sequence[str]]

    def __init__(self, path: Path | bytes) -> None:
        """A file, or what is in one. Raises TooLarge, Invalid."""
        self._file: BufferedReader | BytesIO
        if isinstance(path, bytes):
            self._path, self._file = Path("the file"), BytesIO(path)
            return
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise Invalid(f"{path} cannot be read: {error.strerror or type(error).__name__}.") from None
        if os.fstat(self._file.fileno()).st_size > LARGEST:
            self._file.close()
            raise TooLarge(
                f"{path} is larger than {LARGEST >> 20} MiB. Split it; repeat the first line in each part."
            )

    @abstractmethod
    def read(self, number: int, told: dict[str, str], now: datetime) -> _L:
        """The value of a line, whose cells are told by column. Raises Wrong."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def digest(self) -> str:
        """The SHA-256 of the bytes, hex: what was imported, for the audit."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def lines(self, now: datetime) -> Generator[_L | Bad, None, None]:
        """Every line of the file, in order. Raises Invalid, with the line, where it is no CSV in UTF-8.

        Close it before the file.
        """
        self._file.seek(0)
        # Spreadsheets begin UTF-8 with a mark. Line ends are the reader's business (Python's csv, "newline").
        text = TextIOWrapper(self._file, encoding="utf-8-sig", errors="strict", newline="")
        reader = csv.reader(text, strict=True)
        try:
            columns = self._columns(next(reader, []))
            before = reader.line_num
            for cells in reader:
                number, before = before + 1, reader.line_num
                if cells:
                    yield self._read(number, columns, cells, now)
        except UnicodeDecodeError:
            raise self._unreadable(reader.line_num, "it is not UTF-8 text") from None
        except csv.Error as error:
            raise self._unreadable(reader.line_num, str(error)) from None
        finally:
            text.detach()

    def _columns(self, cells: Sequence[str]) -> Sequence[str]:
        names = [cell.strip().lower() for cell in cells]
        if len(names) == 1 and any(mark in names[0] for mark in (";", "\t")):
            raise self._unreadable(1, "columns are separated by commas")
        missing = [name for name in self.required if name not in names]
        if missing:
            raise self._unreadable(
                1, f"the first line names the columns, and {', '.join(missing)} is missing"
            )
        if unknown := sorted(set(names) - {*self.required, *self.optional}):
            known = ", ".join((*self.required, *self.optional))
            raise self._unreadable(1, f"there is no column {unknown[0]!r}; there are {known}")
        if len(set(names)) < len(names):
            raise self._unreadable(1, "a column is there twice")
        return names

    def _read(self, number: int, columns: Sequence[str], cells: Sequence[str], now: datetime) -> _L | Bad:
        if len(cells) != len(columns):
            return Bad(number, f"it has {len(cells)} cells, and there are {len(columns)} columns")
        told = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
        blurred = next((name for name, cell in told.items() if cell and not cell.isprintable()), None)
        if blurred is not None:
            return Bad(number, f"{blurred} has characters that cannot be printed")
        try:
            return self.read(number, told, now)
        except Wrong as wrong:
            return Bad(number, str(wrong))

    def _unreadable(self, number: int, reason: str) -> Invalid:
        return Invalid(f"{self._path}:{max(number, 1)}: {reason}", code="KEYS_UNREADABLE")


class KeyFile(LineFile[Line]):
    """An open file of keys. It may be read several times."""

    required = REQUIRED
    optional = OPTIONAL

    def read(self, number: int, told: dict[str, str], now: datetime) -> Line:
        """The key of a line. Raises Wrong."""
        return _line(number, told, now)


def _line(number: int, told: dict[str, str], now: datetime) -> Line:
    if not told["key"]:
        raise Wrong("key is empty")
    issued_at = moment_in("issued_at", told["issued_at"]) if told.get("issued_at") else None
    if issued_at is not None and issued_at > now:
        raise Wrong("issued_at is in the future")
    return Line(
        number=number,
        key=told["key"],
        plan=told["plan"],
        email=_email(told["email"]),
        seats=seats_in(told["seats"]),
        until=until_in(told["until"]),
        firm=firm_in(told.get("firm", "")),
        issued_at=issued_at,
        fingerprints=fingerprints_in(told.get("fingerprints", "")),
        name=_name(told.get("name", "")),
    )


def _email(text: str) -> str | None:
    if text and not is_email_address(text):
        raise Wrong("email is no e-mail address")
    return text or None


def seats_in(text: str) -> int | None:
    """A count; None for an empty cell. Raises Wrong."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MOST_SEATS))):
        raise Wrong("seats is no whole number")
    if not 1 <= int(text) <= _MOST_SEATS:
        raise Wrong(f"seats must be 1 to {_MOST_SEATS}")
    return int(text)


def until_in(text: str) -> datetime | None:
    """An end; None for an empty cell. Raises Wrong."""
    if text.lower() == NEVER:
        return FOREVER
    return moment_in("until", text) if text else None


def moment_in(name: str, text: str) -> datetime:
    """A moment. A day means its first one, UTC. Raises Wrong."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or (moment.tzinfo is None and len(text) > len("2027-01-31")):
        wanted = "2027-01-31, or 2027-01-31T12:00:00Z with its zone"
        raise Wrong(f"{name} must be {wanted}{', or never' if name == 'until' else ''}")
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        moment = FOREVER
    if moment < _EARLIEST:
        raise Wrong(f"{name} is before {_EARLIEST.year}")
    return min(moment, FOREVER)


def firm_in(text: str) -> str | None:
    """A firm's name as it is compared; None for an empty cell. Raises Wrong."""
    firm = hmac_key.normalized_firm(text) if text else None
    if text and firm is None:
        raise Wrong(f"firm must be 1 to {hmac_key.LONGEST_FIRM} printable characters, and no card number")
    return firm


def fingerprints_in(text: str) -> tuple[str, ...]:
    """Machines, each once. Raises Wrong."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split("|") if part.strip()))
    if not all(map(fingerprint.check, found)):
        raise Wrong("fingerprints must be 8 to 256 printable ASCII characters each, with | between them")
    if len(found) > _MOST_MACHINES:
        raise Wrong(f"fingerprints are more than {_MOST_MACHINES}")
    return found


def _name(text: str) -> str | None:
    if len(text) > _LONGEST_NAME:
        raise Wrong(f"name is longer than {_LONGEST_NAME} characters")
    return redact(text) if text else None


def count(lines: Iterable[Any]) -> int:
    """How many there are. Reads to the end, so that a file that cannot be read is refused before a line of it
    is taken."""
    return sum(1 for _ in lines)
