"""What a page's policy must say so that the styles within a mail are shown, and no others.

Mails carry their styles with them, and a frame inherits the policy of the page around it. `unsafe-inline`
would let in whatever a customer managed to get into a mail; a digest of each style that is there lets in
these (Content Security Policy Level 3, 'unsafe-hashes': the digests count for attributes, too).
"""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser
from typing import Final

_MOST: Final = 100
"""Digests; each takes fifty bytes of a header. The mails we write have about twenty styles."""


class _Styles(HTMLParser):
    """Collects the style attributes, and what style elements hold."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, None] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "style"
        for name, value in attrs:
            if name == "style" and value:
                self.found[value] = None

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  # the base class fixes the signature
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[data] = None


def styles_of(html: str) -> str:
    """The `style-src` for a page that frames this HTML."""
    parser = _Styles()
    # Mails end their lines with CR LF, and a browser reads a line feed there.
    parser.feed(html.replace("\r\n", "\n").replace("\r", "\n"))
    parser.close()
    digests = [f"'sha256-{_digest(style)}'" for style in list(parser.found)[:_MOST]]
    return " ".join(["'self'", "'unsafe-hashes'", *digests]) if digests else "'self'"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
