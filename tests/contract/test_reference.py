"""The reference says what the code says: where the code wrote it, and where people did."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tools import reference
from tools.reference import refusals

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SRC = ROOT / "src" / "keywright"
PAGES = sorted(reference.REFERENCE.glob("*.md"))
MADE = [
    *(page.name for page in PAGES if reference.parts_of(page.read_text(encoding="utf-8"))),
    reference.OPENAPI.name,
]


@pytest.fixture(scope="module")
def due() -> dict[str, str]:
    """What `make reference` would write now."""
    return {path.name: text for path, text in reference.files().items()}


@pytest.mark.parametrize("name", MADE)
def test_what_is_checked_in_is_current(name: str, due: dict[str, str]) -> None:
    held = (reference.REFERENCE / name).read_text(encoding="utf-8")
    assert held == due[name], f"docs/reference/{name} is out of date: run `make reference`"


def test_every_part_stands_in_one_place() -> None:
    parts = Counter(part for page in PAGES for part in reference.parts_of(page.read_text(encoding="utf-8")))
    assert parts == Counter(reference.BLOCKS.keys())


def test_a_page_is_left_alone_between_its_parts() -> None:
    page = "# Words\n\n<!-- made: verdicts -->\nold\n<!-- /made -->\n\nMore words.\n"
    written = reference.written(page)
    assert written.startswith("# Words\n\n<!-- made: verdicts -->\n\n| code |")
    assert written.endswith(" |\n\n<!-- /made -->\n\nMore words.\n")
    assert reference.written(written) == written


def by_hand(page: str) -> str:
    """A page without what is made."""
    text = (reference.REFERENCE / page).read_text(encoding="utf-8")
    return re.sub(r"<!-- made: .*?<!-- /made -->", "", text, flags=re.DOTALL)


def test_the_statuses_told_by_hand_are_those_of_the_code() -> None:
    known = refusals.statuses()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d{3}) \|", by_hand("errors.md"), re.MULTILINE)
    # These two are told by the class they have in the tree; requests never meet them.
    rows = [row for row in rows if row[0] not in ("MISCONFIGURED", "UNPROVEN")]
    assert len(rows) > 60
    wrong = [
        f"{code} is told as {told}, and is {known[code]}"
        for code, told in rows
        if code in known and int(told) not in known[code]
    ]
    assert wrong == []


def test_every_reason_of_an_outcome_is_told() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in SRC.rglob("*.py"))
    reasons = set(re.findall(r'\bOutcome\(\s*"[a-z]+",\s*"([A-Z_]+)"', source))
    assert "PRICE_UNMAPPED" in reasons
    assert sorted(one for one in reasons if f"| `{one}` |" not in by_hand("codes.md")) == []


def test_every_page_is_reached_from_the_navigation() -> None:
    listed = re.findall(
        r"^ +- (?:[^:\n]+: )?([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE
    )
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    decisions = {page for page in pages if re.match(r"adr/\d", page)}
    index = (DOCS / "adr" / "index.md").read_text(encoding="utf-8")
    assert sorted(pages - decisions) == sorted(listed)
    assert [page for page in sorted(decisions) if f"({page.removeprefix('adr/')})" not in index] == []


def test_every_picture_is_shown_somewhere() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    pictures = sorted((DOCS / "img").glob("*.png"))
    assert [picture.name for picture in pictures if f"/{picture.name})" not in pages] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > 200_000] == []
