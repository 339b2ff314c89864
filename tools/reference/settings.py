"""The settings, as `keywright.settings` declares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from keywright.settings import Settings
from tools.reference.tables import code
from tools.reference.tables import table as make


def table() -> str:
    rows = [
        [_names(name, info), _takes(info), _default(info), "yes" if _is_secret(info) else ""]
        for name, info in Settings.model_fields.items()
    ]
    return make(["setting", "takes", "default", "secret"], rows)


def _names(name: str, info: FieldInfo) -> str:
    alias = info.validation_alias
    told = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    return ", ".join(code(str(one).upper()) for one in told)


def _kinds(annotation: Any) -> list[Any]:
    """The types a setting may have, without "nothing"."""
    if get_origin(annotation) is Literal or not get_args(annotation):
        return [annotation]
    return [kind for kind in get_args(annotation) if kind is not type(None)]


def _is_secret(info: FieldInfo) -> bool:
    return SecretStr in _kinds(info.annotation)


def _takes(info: FieldInfo) -> str:
    kind = _kinds(info.annotation)[0]
    if get_origin(kind) is Literal:
        return ", ".join(code(word) for word in get_args(kind))
    bounds = {type(one).__name__: one for one in info.metadata}
    if kind is int:
        return f"a number from {bounds['Ge'].ge} to {bounds['Le'].le}"
    if kind is Path:
        return "a path"
    return f"text of up to {bounds['MaxLen'].max_length} characters" if "MaxLen" in bounds else "text"


def _default(info: FieldInfo) -> str:
    return "" if info.default is None else code(str(info.default))
