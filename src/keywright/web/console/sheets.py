"""Files for spreadsheets: no cell in them is a formula, whatever was typed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

# What spreadsheets take for the beginning of a formula, in both widths (OWASP, CSV injection); and what may
# stand before it without changing that.
_BEGINNINGS: Final = "=+-@|%\uff1d\uff0b\uff0d\uff20"
_BLANKS: Final = " \t\r\n\v\f\u00a0\u3000\ufeff'\""


def cell(value: object) -> str:
    """A value as a cell. What a spreadsheet would compute gets an apostrophe before it: then it is text."""
    text = str(value)
    bare = text.lstrip(_BLANKS)
    if bare[:1] in tuple(_BEGINNINGS) or text[:1] in ("\t", "\r", "\n"):
        return f"'{text}"
    return text


def rows(lines: Iterable[Sequence[object]]) -> bytes:
    """Lines of a CSV file (RFC 4180), every cell in quotes."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([cell(value) for value in line] for line in lines)
    return out.getvalue().encode()
