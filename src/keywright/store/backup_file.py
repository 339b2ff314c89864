"""The file that a backup is: lines of JSON under gzip, the same from both databases.

First what it is (`Head`). Then each table: a line that names it and its columns, and a line for each row.
Last how many rows each table has, and their digests: without this line it is no whole backup.
"""

from __future__ import annotations

import gzip
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Final, Literal

import msgspec

from keywright.domain.errors import Conflict, Unreadable
from keywright.store.dump import BATCH, Count, Part, Tally

_LEVEL: Final = 4  # most of it is ciphertext, which does not get smaller by trying harder
_LONGEST_LINE: Final = 1 << 26
_encode = msgspec.json.Encoder().encode


class Head(msgspec.Struct, frozen=True):
    """`version`: of the program that wrote it. `schema`: the revision of its `tables`, each with its rows."""

    format: Literal["keywright-backup/1"]
    version: str
    schema: str
    made_at: datetime
    tables: dict[str, int]


class _Title(msgspec.Struct, frozen=True):
    table: str
    columns: tuple[str, ...]


class _End(msgspec.Struct, frozen=True):
    end: dict[str, Count]


_read_head = msgspec.json.Decoder(Head).decode
_read_format = msgspec.json.Decoder(dict[str, object]).decode
_read_title = msgspec.json.Decoder(_Title).decode
_read_end = msgspec.json.Decoder(_End).decode


def unreadable(why: str) -> Unreadable:
    return Unreadable(f"This backup cannot be read: {why}", code="BACKUP_UNREADABLE")


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that only its owner may read, and that has its name when it is whole and on the disk.

    Raises Conflict when there is one of this name.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    demand_new(path)
    try:
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _name(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def demand_new(path: Path) -> None:
    """Raises Conflict when there is a file of this name, or anything else."""
    if os.path.lexists(path):
        raise Conflict(f"{path} is there already: a backup replaces nothing.", code="FILE_EXISTS")


def _name(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)  # a link never replaces
    except FileExistsError:
        demand_new(path)
    except OSError:
        # A file system without links, as on many sticks.
        demand_new(path)
        os.rename(draft, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # not every file system can
            os.fsync(folder)
    finally:
        os.close(folder)


def write(file: IO[bytes], head: Head, parts: Iterable[Part]) -> Iterator[tuple[str, int]]:
    """Write all of it. Yields after each part which table it was of, and how many rows of it are written."""
    tally = Tally()
    current = None
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_LEVEL, mtime=0) as packed:
        packed.write(_encode(head) + b"\n")
        for part in parts:
            if part.table != current:
                packed.write(_encode(_Title(part.table, part.columns)) + b"\n")
                current = part.table
            packed.write(b"".join(line + b"\n" for line in part.lines))
            yield part.table, tally.add(part)
        packed.write(_encode(_End(tally.counts)) + b"\n")


class Backup:
    """A backup that is open for reading. `counts` is what `parts` gave when it came to its end."""

    def __init__(self, lines: gzip.GzipFile) -> None:
        self._lines = lines
        self.head = _head_of(self._line())
        self.counts: dict[str, Count] = {}

    def parts(self) -> Iterator[Part]:
        """All rows. Raises Unreadable at the end when these were not all, or not these."""
        tally = Tally()
        title: _Title | None = None
        lines: list[bytes] = []
        while True:
            line = self._line()
            if line.startswith(b"["):
                lines.append(line)
            if title is not None and (len(lines) == BATCH or not line.startswith(b"[")):
                part = Part(title.table, title.columns, lines)
                tally.add(part)
                yield part
                lines = []
            if line.startswith(b'{"end"'):
                break
            if not line.startswith(b"["):
                title = _read_title(line)
        self.counts = tally.counts
        if _read_end(line).end != self.counts or self._lines.read(1):
            raise unreadable("its rows are not those that were written.")

    def _line(self) -> bytes:
        line = self._lines.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise unreadable("its end is missing.")
        return line[:-1]


def _head_of(line: bytes) -> Head:
    if _read_format(line).get("format") != "keywright-backup/1":
        raise unreadable("it is none of ours, or of a newer release: update Keywright.")
    return _read_head(line)


@contextmanager
def opened(path: Path) -> Iterator[Backup]:
    """A backup, with its head read. Raises Unreadable for anything else, also when that shows later."""
    with path.open("rb") as file, gzip.GzipFile(fileobj=file, mode="rb") as lines:
        try:
            yield Backup(lines)
        except EOFError:
            raise unreadable("its end is missing.") from None
        except (gzip.BadGzipFile, zlib.error, msgspec.MsgspecError, UnicodeDecodeError):
            raise unreadable("it is damaged, or no backup.") from None
