"""A logo that travels in mails: a small PNG, read through and packed again, so that nothing else is in it.

Only PNG: an SVG is a document that may hold scripts, and mail programs do not show it. Nothing is fetched
from anywhere: a picture at an address would tell its host who reads which mail when.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from keywright.domain.errors import Invalid

LARGEST: Final = 16 * 1024
"""Bytes of a logo: each mail carries it, and each preview twice."""

WIDEST: Final = 800
HIGHEST: Final = 400
"""Pixels of a logo."""

_SHOWN: Final = (220, 56)  # a box in CSS pixels that it is shown within
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type (PNG, 11.2.1)
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_HIGHEST_FILTER: Final = 4
_PALETTE_MOST: Final = 256


class Logo(msgspec.Struct, frozen=True):
    """A PNG that was checked. `width` and `height` in pixels."""

    png: bytes
    width: int
    height: int

    @property
    def digest(self) -> str:
        """Names the picture: the same for the same bytes."""
        return hashlib.sha256(self.png).hexdigest()[:24]

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height in CSS pixels: small enough for the head of a mail, never larger than it is."""
        scale = min(1.0, _SHOWN[0] / self.width, _SHOWN[1] / self.height)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


def read_logo(data: bytes) -> Logo:
    """The logo in these bytes, without comments, time, place or whatever else they carried.

    Raises Invalid `LOGO_INVALID`: it is no PNG, is broken, is interlaced, or is too large.
    """
    if len(data) > LARGEST:
        raise _bad(f"The logo may have at most {LARGEST // 1024} KB.")
    if not data.startswith(_SIGNATURE):
        raise _bad("The logo must be a PNG picture.")
    header, palette, clear, body = b"", b"", b"", bytearray()
    for kind, content in _chunks(data):
        if kind == b"IHDR" and not header:
            header = content
        elif kind == b"PLTE":
            palette = content
        elif kind == b"tRNS":
            clear = content
        elif kind == b"IDAT":
            body += content
        elif kind[:1].isupper() and kind != b"IEND":
            raise _bad("The logo has a part that no PNG has.")
    width, height = _check(header, palette, clear, bytes(body))
    kept = [(b"IHDR", header), (b"PLTE", palette), (b"tRNS", clear), (b"IDAT", bytes(body))]
    packed = b"".join(_chunk(kind, content) for kind, content in kept if content)
    return Logo(_SIGNATURE + packed + _chunk(b"IEND", b""), width, height)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    first = True
    while True:
        if at + 12 > len(data):
            raise _bad("The logo is cut off.")
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if end > len(data) or (first and kind != b"IHDR"):
            raise _bad("The logo is cut off, or does not begin as a PNG does.")
        content = data[at + 8 : end - 4]
        if zlib.crc32(kind + content) != struct.unpack_from(">I", data, end - 4)[0]:
            raise _bad("The logo is damaged.")
        yield kind, content
        if kind == b"IEND":
            return
        at, first = end, False


def _check(header: bytes, palette: bytes, clear: bytes, body: bytes) -> tuple[int, int]:
    if len(header) != 13:  # PNG, 11.2.1
        raise _bad("The logo does not begin as a PNG does.")
    width, height, depth, color, packing, filters, interlace = struct.unpack(">IIBBBBB", header)
    if depth not in _DEPTHS.get(color, ()) or packing or filters or interlace:
        raise _bad("The logo must be a PNG without interlacing.")
    if not (1 <= width <= WIDEST and 1 <= height <= HIGHEST):
        raise _bad(f"The logo may be {WIDEST} pixels wide and {HIGHEST} high, and it is {width} by {height}.")
    in_palette = color == 3 and palette  # its pixels are numbers in the palette
    if len(palette) % 3 or len(palette) > 3 * _PALETTE_MOST or (color == 3 and not in_palette):
        raise _bad("The colors of the logo are damaged.")
    if len(clear) > _PALETTE_MOST:
        raise _bad("The transparency of the logo is damaged.")
    row = 1 + (width * depth * _CHANNELS[color] + 7) // 8
    pixels = _unpacked(body, row * height)
    if len(pixels) != row * height or any(pixels[at] > _HIGHEST_FILTER for at in range(0, len(pixels), row)):
        raise _bad("The pixels of the logo are damaged.")
    return width, height


def _unpacked(body: bytes, size: int) -> bytes:
    """The pixels, never more than there should be: a bomb ends here."""
    unpack = zlib.decompressobj()
    try:
        pixels = unpack.decompress(body, size + 1)
    except zlib.error:
        return b""
    return pixels if unpack.eof and not unpack.unused_data else b""


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _bad(detail: str) -> Invalid:
    return Invalid(detail, code="LOGO_INVALID")
