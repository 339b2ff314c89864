"""Where the client keeps its state when the program does not say: one folder for settings, one for what a
program did.

Two places, so that putting back an old copy of one of them is noticed.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def places_for(product: str, state_dir: Path | None, second_dir: Path | None) -> tuple[Path, Path]:
    """The two folders of a product's state. Nothing is created here."""
    first, second = _defaults()
    name = _NAME.sub("-", product) or "program"
    return state_dir or first / name, second_dir or second / name


def _defaults() -> tuple[Path, Path]:
    if sys.platform == "win32":
        home = _home()
        return (
            _from_environment("APPDATA", home / "AppData" / "Roaming"),
            _from_environment("LOCALAPPDATA", home / "AppData" / "Local"),
        )
    home = _home()
    if sys.platform == "darwin":
        library = home / "Library"
        return library / "Application Support", library / "Caches"
    return (
        _from_environment("XDG_CONFIG_HOME", home / ".config"),
        _from_environment("XDG_STATE_HOME", home / ".local" / "state"),
    )


def _from_environment(name: str, otherwise: Path) -> Path:
    named = os.environ.get(name, "")
    return Path(named) if os.path.isabs(named) else otherwise


def _home() -> Path:
    try:
        return Path.home()
    except (RuntimeError, OSError):  # a service without a home
        return Path("/nonexistent")
