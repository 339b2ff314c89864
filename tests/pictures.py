"""PNG pictures, made by hand: good ones, and bad ones of every kind."""

from __future__ import annotations

import struct
import zlib
from random import Random

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int, *, depth: int = 8, color: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))


def body(width: int, height: int, *, pixel: bytes = b"\x0d\x6b\x5e", filtered: int = 0) -> bytes:
    return chunk(b"IDAT", zlib.compress((bytes([filtered]) + pixel * width) * height))


def png(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND", b"")


def noise(width: int, height: int) -> bytes:
    """A picture that cannot be packed smaller than it is."""
    random = Random(1)
    rows = b"".join(b"\0" + random.randbytes(3 * width) for _ in range(height))
    return png(header(width, height), chunk(b"IDAT", zlib.compress(rows)))


def picture(width: int = 300, height: int = 80, *, pixel: bytes = b"\x0d\x6b\x5e") -> bytes:
    return png(header(width, height), body(width, height, pixel=pixel))
