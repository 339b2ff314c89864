"""The file of keys that a seller brings along: CSV, read strictly, line by line.

Nothing here is guessed. A column that is not known, a line with a cell too many, a date that is none: each is
refused with its line. Cells are data; one that looks like a spreadsheet's formula is a text like any other.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Generator, Iterable, Sequence
from datetime import UTC, datetime
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any, Final

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


class _Wrong(Exception):
    """The reason why a line is bad."""


class KeyFile:
    """An open file of keys. It may be read several times."""

    def __init__(self, path: Path) -> None:
        """Raises TooLarge, Invalid."""
        self._path = path
        try:
            self._file: BufferedReader = path.open("rb")
        except OSError as error:
            raise Invalid(f"{path} cannot be read: {error.strerror or type(error).__name__}.") from None
        if os.fstat(self._file.fileno()).st_size > LARGEST:
            self._file.close()
            raise TooLarge(
                f"{path} is larger than {LARGEST >> 20} MiB. Split it; repeat the first line in each part."
            )

    def __enter__(self) -> KeyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def digest(self) -> str:
        """The SHA-256 of the bytes, hex: what was imported, for the audit."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def lines(self, now: datetime) -> Generator[Line | Bad, None, None]:
        """Every key of the file, in order. Raises Invalid, with the line, where it is no CSV in UTF-8.

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
                    yield _read(number, columns, cells, now)
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
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            raise self._unreadable(
                1, f"the first line names the columns, and {', '.join(missing)} is missing"
            )
        if unknown := sorted(set(names) - {*REQUIRED, *OPTIONAL}):
            known = ", ".join((*REQUIRED, *OPTIONAL))
            raise self._unreadable(1, f"there is no column {unknown[0]!r}; there are {known}")
        if len(set(names)) < len(names):
            raise self._unreadable(1, "a column is there twice")
        return names

    def _unreadable(self, number: int, reason: str) -> Invalid:
        return Invalid(f"{self._path}:{max(number, 1)}: {reason}", code="KEYS_UNREADABLE")


def _read(number: int, columns: Sequence[str], cells: Sequence[str], now: datetime) -> Line | Bad:
    if len(cells) != len(columns):
        return Bad(number, f"it has {len(cells)} cells, and there are {len(columns)} columns")
    told = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
    try:
        return _line(number, told, now)
    except _Wrong as wrong:
        return Bad(number, str(wrong))


def _line(number: int, told: dict[str, str], now: datetime) -> Line:
    for name, cell in told.items():
        if cell and not cell.isprintable():
            raise _Wrong(f"{name} has characters that cannot be printed")
    if not told["key"]:
        raise _Wrong("key is empty")
    issued_at = _moment("issued_at", told["issued_at"]) if told.get("issued_at") else None
    if issued_at is not None and issued_at > now:
        raise _Wrong("issued_at is in the future")
    return Line(
        number=number,
        key=told["key"],
        plan=told["plan"],
        email=_email(told["email"]),
        seats=_seats(told["seats"]),
        until=_until(told["until"]),
        firm=_firm(told.get("firm", "")),
        issued_at=issued_at,
        fingerprints=_fingerprints(told.get("fingerprints", "")),
        name=_name(told.get("name", "")),
    )


def _email(text: str) -> str | None:
    if text and not is_email_address(text):
        raise _Wrong("email is no e-mail address")
    return text or None


def _seats(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MOST_SEATS))):
        raise _Wrong("seats is no whole number")
    if not 1 <= int(text) <= _MOST_SEATS:
        raise _Wrong(f"seats must be 1 to {_MOST_SEATS}")
    return int(text)


def _until(text: str) -> datetime | None:
    if text.lower() == NEVER:
        return FOREVER
    return _moment("until", text) if text else None


def _moment(name: str, text: str) -> datetime:
    """A day means its first moment, UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or (moment.tzinfo is None and len(text) > len("2027-01-31")):
        wanted = "2027-01-31, or 2027-01-31T12:00:00Z with its zone"
        raise _Wrong(f"{name} must be {wanted}{', or never' if name == 'until' else ''}")
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        moment = FOREVER
    if moment < _EARLIEST:
        raise _Wrong(f"{name} is before {_EARLIEST.year}")
    return min(moment, FOREVER)


def _firm(text: str) -> str | None:
    firm = hmac_key.normalized_firm(text) if text else None
    if text and firm is None:
        raise _Wrong(f"firm must be 1 to {hmac_key.LONGEST_FIRM} printable characters, and no card number")
    return firm


def _fingerprints(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split("|") if part.strip()))
    if not all(map(fingerprint.check, found)):
        raise _Wrong("fingerprints must be 8 to 256 printable ASCII characters each, with | between them")
    if len(found) > _MOST_MACHINES:
        raise _Wrong(f"fingerprints are more than {_MOST_MACHINES}")
    return found


def _name(text: str) -> str | None:
    if len(text) > _LONGEST_NAME:
        raise _Wrong(f"name is longer than {_LONGEST_NAME} characters")
    return redact(text) if text else None


def count(lines: Iterable[Any]) -> int:
    """How many there are. Reads to the end, so that a file that cannot be read is refused before a line of it
    is taken."""
    return sum(1 for _ in lines)
