"""What stands in a mail, before it is text or HTML: a subject, a heading and blocks. And the text of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Kind = Literal["text", "strong", "quiet", "key", "code", "link", "facts"]

_WIDTH: Final = 72
_INDENT: Final = "    "


class Block(msgspec.Struct, frozen=True):
    """One part of a mail.

    `text`, `strong`, `quiet`: a paragraph. `key`, `code`: something to copy, on a line of its own. `link`: a
    button to `url` that is called `text`. `facts`: `rows` of name and value.
    """

    kind: Kind
    text: str = ""
    url: str = ""
    rows: tuple[tuple[str, str], ...] = ()


class Sheet(msgspec.Struct, frozen=True):
    """`urgent`: it is about trouble, and looks like it."""

    subject: str
    heading: str
    blocks: tuple[Block, ...]
    urgent: bool = False


def text(words: str) -> Block:
    return Block("text", words)


def strong(words: str) -> Block:
    return Block("strong", words)


def quiet(words: str) -> Block:
    return Block("quiet", words)


def code(words: str) -> Block:
    return Block("code", words)


def link(words: str, url: str) -> Block:
    return Block("link", words, url)


def facts(rows: Iterable[tuple[str, str]]) -> Block:
    return Block("facts", rows=tuple(rows))


def plain(sheet: Sheet, seller: str) -> str:
    """The mail as text. Keys, commands and links stand on lines of their own, whole."""
    parts = [_wrapped(sheet.heading), *(_plain(block) for block in sheet.blocks)]
    if seller:
        parts.append(seller)
    return "\n\n".join(parts) + "\n"


def _plain(block: Block) -> str:
    if block.kind == "facts":
        widest = max((len(name) for name, _ in block.rows), default=0) + 1
        return "\n".join(f"{name + ':':<{widest}} {value}" for name, value in block.rows)
    if block.kind in ("key", "code"):
        return f"{_INDENT}{block.text}"
    if block.kind == "link":
        return f"{block.text}:\n\n{_INDENT}{block.url}"
    return _wrapped(block.text)


def _wrapped(words: str) -> str:
    """On lines that every mail program shows whole. Not textwrap: it takes longer than all else here."""
    lines, room = [""], _WIDTH
    for word in words.split(" "):
        if lines[-1] and len(word) + 1 > room:
            lines.append(word)
            room = _WIDTH - len(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
            room = _WIDTH - len(lines[-1])
    return "\n".join(lines)
