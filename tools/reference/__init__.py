"""Writes those parts of docs/reference that the code can tell: `python -m tools.reference`.

A page is written by hand, except between `<!-- made: NAME -->` and `<!-- /made -->`. A test compares what is
checked in with what would be written now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.reference import commands, happenings, openapi, refusals, settings, verdicts

REFERENCE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference"
OPENAPI: Final = REFERENCE / "openapi.json"

BLOCKS: Final[Mapping[str, Callable[[], str]]] = {
    "settings": settings.table,
    "verdicts": verdicts.table,
    "refusals": refusals.table,
    "commands": commands.listing,
    "admin routes": openapi.table,
    "stripe events": happenings.stripe,
    "paystack events": happenings.paystack,
    "paypal events": happenings.paypal,
    "timeline": happenings.timeline,
    "audit": happenings.audit,
}

_BLOCK: Final = re.compile(r"(<!-- made: ([a-z ]+) -->\n).*?(<!-- /made -->)", re.DOTALL)


def written(page: str) -> str:
    """The page with its made parts as the code is now. Raises KeyError for a part that nobody makes."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", page)


def parts_of(page: str) -> list[str]:
    """The names of the parts of a page that are made."""
    return [found[1] for found in _BLOCK.findall(page)]


def files() -> dict[Path, str]:
    """Every file that is made, in part or in whole, as it should be."""
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(REFERENCE.glob("*.md"))}
    made = {path: written(text) for path, text in pages.items() if parts_of(text)}
    return {**made, OPENAPI: openapi.document()}
