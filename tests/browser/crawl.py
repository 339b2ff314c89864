"""Every page there is: found by following the links of the storefront, the portal and the console.

A new page comes in by itself as soon as something leads to it. What nothing leads to is named in
`test_pages.py`, which compares what was found with the route table.
"""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import chain
from urllib.parse import parse_qsl, urlencode, urlsplit

from playwright.sync_api import Error, Page

# Of pages that differ by an id, or by what they filter for, so many are looked at beside the starts.
_OF_A_KIND = 3 if os.environ.get("KEYWRIGHT_AXE") == "all" else 1
_AN_ID = re.compile(r"^(?:[a-z]{3}_[0-9a-z]{8,}|KW-[0-9A-Z]{8,}|[0-9a-zA-Z_-]{22,}|.*\.eml)$")
_LINKS = "all => all.map((one) => one.href)"
# What each filter form would ask for, with one choice taken in each of its lists.
_FILTERS = """all => all.map((form) => {
  const asked = new URLSearchParams();
  for (const field of form.elements) {
    if (!field.name) continue;
    const choice = field.options ? [...field.options].find((one) => one.value) : null;
    asked.set(field.name, choice ? choice.value : field.value);
  }
  return `${form.action}?${asked}`;
})"""

Look = Callable[[Page, str], None]


def kind_of(address: str) -> str:
    """The address with its ids and questions left out: what two pages of the same template share."""
    parts = urlsplit(address)
    path = "/".join("{}" if _AN_ID.match(part) else part for part in parts.path.split("/"))
    return f"{path}?" if any(value for _, value in parse_qsl(parts.query)) else path


def crawl(
    page: Page, site: str, starts: Sequence[str], look: Look, *, within: str = "/", without: str = ""
) -> set[str]:
    """Look at the starts, at what they link to, and so on. Returns the paths of all that answered.

    Follows links beneath `within` alone, and none with `without` in it. Asserts that each leads somewhere.
    """
    waiting, known = deque(starts), set(starts)
    seen: Counter[str] = Counter()
    answered = set()
    while waiting:
        path = waiting.popleft()
        kind = kind_of(path)
        if seen[kind] >= _OF_A_KIND and path not in starts:
            continue
        seen[kind] += 1
        answered.add(urlsplit(path).path)
        if not _open(page, site, path):
            continue
        answered.add(urlsplit(page.url).path)
        look(page, path)
        for found in _leads(page, site):
            wanted = found.startswith(within) and not (without and without in found)
            if wanted and found not in known:
                known.add(found)
                waiting.append(found)
    return answered


def _open(page: Page, site: str, path: str) -> bool:
    """Whether there is a page: False for what is saved as a file, or is none."""
    try:
        response = page.goto(f"{site}{path}")
    except Error as error:
        if "Download is starting" in error.message:
            return False
        raise
    assert response is not None, path
    assert response.status < 400, f"{response.status} at {path}"
    return response.headers.get("content-type", "").startswith("text/html")


def _leads(page: Page, site: str) -> list[str]:
    """Where the page leads on this site."""
    links = page.eval_on_selector_all("a[href]", _LINKS)
    forms = page.eval_on_selector_all("form[method=get]", _FILTERS)
    found = []
    for address in chain(links, forms):
        parts = urlsplit(address)
        if f"{parts.scheme}://{parts.netloc}" == site:
            asked = urlencode([(name, value) for name, value in parse_qsl(parts.query) if value])
            found.append(f"{parts.path or '/'}?{asked}" if asked else parts.path or "/")
    return found
