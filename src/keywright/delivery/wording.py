"""How our mails write dates and names."""

from __future__ import annotations

from datetime import datetime
from typing import Final

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def day(moment: datetime) -> str:
    """`3 May 2027, 14:05 UTC`. Not strftime: the names of months would follow the server's locale."""
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M} UTC"


def line(text: str) -> str:
    """On one line, without control characters: fit for a subject, and for a row of a table."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
