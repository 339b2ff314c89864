"""Files for spreadsheets: no cell in them is a formula, whatever was typed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from keywright.flows.cells import cell


def rows(lines: Iterable[Sequence[object]]) -> bytes:
    """Lines of a CSV file (RFC 4180), every cell in quotes."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([cell(value) for value in line] for line in lines)
    return out.getvalue().encode()
