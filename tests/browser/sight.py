"""What is looked for on every page: that nothing sticks out to the side, and what axe finds."""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files
from typing import Any

from playwright.sync_api import Page

WIDTHS = (320, 480, 768, 1024, 1440, 1920)
_HEIGHT = 900
# Everything that axe has about WCAG 2.2 A and AA, and its advice on landmarks and headings.
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Dark differs from light by its colors alone. KEYWRIGHT_AXE=all looks for everything there, too.
_COLORS = ["color-contrast", "link-in-text-block"]
_SIDEWAYS = """() => {
  const page = document.documentElement, wide = page.clientWidth;
  if (page.scrollWidth <= wide) return [];
  return [...document.body.querySelectorAll("*")]
    .filter((one) => one.getBoundingClientRect().right > wide + 0.5)
    .map((one) => one.outerHTML.slice(0, 120)).slice(0, 5).concat(`${page.scrollWidth} px wide`);
}"""
# Frames show mails, and no script runs in them: axe could not look inside, and the attempt is an error.
_RUN = """async (only) => {
  const found = await axe.run(document, { runOnly: only, resultTypes: ["violations"], iframes: false });
  return found.violations.map((one) => [one.id, one.nodes.map((node) => [node.html, node.failureSummary])]);
}"""


@cache
def _axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def sideways(page: Page, widths: tuple[int, ...] = WIDTHS) -> list[str]:
    """What sticks out, at which width."""
    before = page.viewport_size
    found = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": _HEIGHT})
        found += [f"{width}: {one}" for one in page.evaluate(_SIDEWAYS)]
    if before is not None:
        page.set_viewport_size(before)
    return found


def barriers(page: Page) -> list[str]:
    """What axe finds, light and dark. Its script is put there past the policy, which stays as it is."""
    page.evaluate(_axe())
    found = []
    everything = os.environ.get("KEYWRIGHT_AXE") == "all"
    for scheme in ("light", "dark"):
        # Without motion: a color that is on its way is none to judge.
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        only: dict[str, Any] = {"type": "tag", "values": _TAGS}
        if scheme == "dark" and not everything:
            only = {"type": "rule", "values": _COLORS}
        for rule, nodes in page.evaluate(_RUN, only):
            found += [f"{scheme} {rule}: {html[:200]} ({' '.join(why.split())})" for html, why in nodes]
    page.emulate_media(color_scheme="null", reduced_motion="null")
    return found
