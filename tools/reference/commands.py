"""The commands, as the command line declares them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from keywright.cli.main import app
from tools.reference.tables import code, table


def listing() -> str:
    """A heading for each command, what it says of itself, and a table of what it takes."""
    return "\n\n".join(_section(path, command) for path, command in _walk(typer.main.get_command(app)))


def _walk(command: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """`Any`, because Typer brings its own copy of Click, whose types are private."""
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(prefix), command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _walk(child, (*prefix, name))


def _section(path: str, command: Any) -> str:
    rows = [_row(one) for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
    lines = [f"### `keywright {path}`", " ".join((command.help or "").split())]
    if rows:
        lines.append(table(["takes", "default", "meaning"], rows))
    return "\n\n".join(line for line in lines if line)


def _row(one: Any) -> list[str]:
    help_ = (one.help or "").strip()
    words = _choices(one)
    if words:
        help_ = f"{help_} One of {', '.join(code(word) for word in words)}.".strip()
    if one.param_type_name == "argument":
        name = (one.metavar or one.name).upper().strip("[]")
        return [code(name if one.required else f"[{name}]"), _default(one), help_]
    names = ", ".join(code(name) for name in (*one.opts, *one.secondary_opts))
    return [names if one.is_flag else f"{names} {_kind(one)}", _default(one), help_]


def _choices(one: Any) -> list[str]:
    annotation = one.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return []


def _kind(one: Any) -> str:
    """What kind of value an option takes, as a word."""
    annotation = one.type_descriptor.annotation
    return {int: "number", float: "number", Path: "file"}.get(annotation, "text")


def _default(one: Any) -> str:
    """What holds when it is left out. A default that is computed, or that is "no", needs no words."""
    told = one.default
    if one.required:
        return "required"
    if told is None or callable(told) or told is False or told in ((), [], ""):
        return ""
    return code(str(getattr(told, "value", told)))
