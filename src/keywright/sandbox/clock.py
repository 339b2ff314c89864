"""One turnable clock for every process of a sandbox: real time plus an offset kept in a small file.

The server, its workers and the sandbox run in different processes and must agree on what time it is, so
the offset lives in `DATA_DIR/sandbox-clock.json`. Time only moves forward: licenses carry clocks, and a
clock that runs backwards would test a world that cannot exist.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

CLOCK_FILE_NAME = "sandbox-clock.json"
CACHE_SECONDS = 0.05
MAX_OFFSET_SECONDS = 50 * 366 * 86_400


class ClockFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the clock file holds: by how many seconds sandbox time is ahead of real time."""

    offset_seconds: float


def real_time() -> datetime:
    """The machine's time, aware, in UTC."""
    return datetime.now(UTC)


class FileClock:
    """Reads the shared clock. Asking is cheap: the file is looked at no more than every 50 ms.

    `path` is the clock file; a missing one means an offset of zero. `wall` is the source of real time.
    """

    def __init__(self, path: Path, *, wall: Callable[[], datetime] = real_time) -> None:
        self._path = path
        self._wall = wall
        self._offset = timedelta(0)
        self._seen: tuple[int, int] | None = None
        self._look_again_at = 0.0

    def now(self) -> datetime:
        """Sandbox time: aware, in UTC, at most 50 ms behind a turn made by another process.

        Raises ValueError when the clock file is not readable as one.
        """
        return self._wall() + self.offset()

    def offset(self) -> timedelta:
        """How far sandbox time is ahead of real time."""
        monotonic = time.monotonic()
        if monotonic >= self._look_again_at:
            # In this order: whoever asks while another thread still reads the file reads it, too, instead of
            # taking the time from before the turn for that of now.
            self._reload()
            self._look_again_at = monotonic + CACHE_SECONDS
        return self._offset

    def _reload(self) -> None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._seen, self._offset = None, timedelta(0)
            return
        # A replaced file is a new inode, so two turns within one tick of the file system are told apart.
        mark = (stat.st_mtime_ns, stat.st_ino)
        if mark != self._seen:
            self._offset = timedelta(seconds=self._read())
            self._seen = mark

    def _read(self) -> float:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=ClockFile).offset_seconds
        except msgspec.DecodeError as error:
            raise ValueError(f"{self._path.name} is not a sandbox clock file: {error}") from error


class TurnableClock(FileClock):
    """The clock as the sandbox holds it: it can also be turned forward."""

    def advance(self, seconds: float) -> datetime:
        """Turn the clock forward by `seconds` for every process that reads it; returns the new time.

        Raises ValueError for a negative step, or one that leaves more than fifty years on the clock.
        """
        if not seconds >= 0:
            raise ValueError("sandbox time only moves forward")
        total = (self._read() if self._path.exists() else 0.0) + seconds
        if total > MAX_OFFSET_SECONDS:
            raise ValueError("the sandbox clock cannot be more than fifty years ahead")
        self._write(total)
        self._look_again_at = 0.0
        return self.now()

    def _write(self, offset_seconds: float) -> None:
        """Write beside the file and rename over it, so that a reader never sees half a file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".sandbox-clock-")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(msgspec.json.encode(ClockFile(offset_seconds)))
                out.flush()
                os.fsync(out.fileno())
            os.replace(name, self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
