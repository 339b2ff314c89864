"""Spool files and raw HTTP/1.1 requests: everything is built before the clock runs.

A spool is a sequence of records, each a big-endian 32-bit length and that many bytes: one complete request.
"""

import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_LENGTH = struct.Struct(">I")


def http_post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of one keep-alive JSON POST as they go over the socket."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def write_spool(path: Path, records: Iterable[bytes]) -> int:
    """Writes the records to `path`, down to the disk, and answers how many there were.

    What the system would still have to write later would be written while the database under test commits.
    """
    count = 0
    with path.open("wb") as file:
        for record in records:
            file.write(_LENGTH.pack(len(record)))
            file.write(record)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def read_spool(path: Path, skip: int = 0) -> Iterator[bytes]:
    """The records of a spool in order, from number `skip` on; read lazily, so a spool may outgrow memory."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        position = number = 0
        while position < len(view):
            (length,) = _LENGTH.unpack_from(view, position)
            position += _LENGTH.size
            if number >= skip:
                yield view[position : position + length]
            position += length
            number += 1
