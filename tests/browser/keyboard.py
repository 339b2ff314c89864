"""Somebody without a mouse: Tab, Enter, Space and the arrows, and a look at where the focus is."""

from __future__ import annotations

import re

from playwright.sync_api import Page

_MOST_TABS = 120
# What has the focus: its name, and whether one sees that it has it. A label may wear the ring of its field.
_FOCUS = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const ring = (of) => {
    const style = of && getComputedStyle(of);
    return style && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  };
  const box = one.getBoundingClientRect();
  const inSight = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const label = one.labels && one.labels[0] ? one.labels[0].innerText : "";
  const name = one.getAttribute("aria-label") || label || one.innerText || one.value || one.title || "";
  const seen = inSight && (ring(one) || ring(one.closest("label")));
  return { name: name.replace(/\\s+/g, " ").trim(), seen };
}"""


class Keyboard:
    """Walks over one page at a time. Asserts at every stop that the focus can be seen."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def to(self, name: str) -> None:
        """Tab until the focus is on what is called so (a regular expression, from the beginning)."""
        stops = []
        for _ in range(_MOST_TABS):
            self._page.keyboard.press("Tab")
            focus = self._page.evaluate(_FOCUS)
            if focus is None:  # past the last one, in the browser's own bar
                continue
            assert focus["seen"], f"nobody sees that the focus is on {focus['name']!r}"
            if re.match(name, focus["name"]):
                return
            stops.append(focus["name"])
        raise AssertionError(f"Tab never came to {name!r}, only to {list(dict.fromkeys(stops))}")

    def enter(self, name: str = "") -> None:
        """Tab there, if it is said where, and press Enter. Waits for the next page."""
        if name:
            self.to(name)
        with self._page.expect_navigation():
            self._page.keyboard.press("Enter")

    def write(self, name: str, text: str) -> None:
        """Tab to a field, and type over what is in it."""
        self.to(name)
        self._page.keyboard.press("ControlOrMeta+a")
        self._page.keyboard.type(text)
