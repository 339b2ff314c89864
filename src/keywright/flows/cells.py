"""Cells of files for spreadsheets: none is a formula, whatever was typed."""

from __future__ import annotations

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
