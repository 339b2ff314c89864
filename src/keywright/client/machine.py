"""The machine that the program runs on: an opaque name for it, and hashed signals by which the server knows
it again.

Nothing that is read here leaves the machine as it is. What is sent are hashes under the product's name, so
two sellers cannot compare their customers' machines, and nobody can read a serial number from them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .tokens import to_base64

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns what it printed; empty when it could not. Never raises."""

_PATIENCE = 5.0  # seconds for a command of the system
_NO_WINDOW = 0x08000000  # Windows: without a console window that flashes up
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Machine:
    """What the server is told of this machine. A program may make one itself.

    Attributes:
        fingerprint: 8 to 256 printable ASCII characters, the same at every start.
        signals: hashes by name (`signal`), and `kind`, plainly: `metal`, `vm` or `container`.
        name: what people call it, shown in the customer's portal.
    """

    fingerprint: str
    signals: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True)
class Readings:
    """What a reader found: the kind of machine, what it is known by, and the raw signals. Stays on this
    machine."""

    kind: str = "metal"
    identity: str | None = None
    raw: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None

    def __repr__(self) -> str:  # serial numbers never reach a log
        return f"Readings(kind={self.kind!r}, signals={sorted(self.raw)})"


def this_machine(
    product: str,
    *,
    root: Path | None = None,
    run: Run | None = None,
    system: str | None = None,
    state_dir: Path | None = None,
) -> Machine:
    """Read this machine. Never raises.

    Takes a millisecond on Linux. On macOS and Windows commands must be asked; what takes long is left until
    the signals are needed for a question.

    Args:
        product: the product's slug; all hashes are made under it.
        root: where the file system begins, for tests.
        run: what runs a command, for tests.
        system: `sys.platform` of the machine, for tests.
        state_dir: where the program keeps its state. In a container the volume that holds it is what
            outlives the container.
    """
    where, runner, platform = root or Path("/"), run or run_command, system or sys.platform
    glance = _harmless(lambda: _glance(platform, runner))
    if glance.identity is not None:
        # What tells the machine is enough to start with. The rest takes a second, and only a question needs
        # it.
        later = Later(lambda: _signals(product, _harmless(lambda: _read(platform, where, runner, state_dir))))
        return Machine(fingerprint_of(product, glance.identity), later, _shown(glance.host))
    readings = _harmless(lambda: _read(platform, where, runner, state_dir))
    identity = readings.identity or _something(readings, state_dir)
    return Machine(fingerprint_of(product, identity), _signals(product, readings), _shown(readings.host))


class Later(Mapping[str, str]):
    """Signals that are read when somebody first looks at them, and then kept."""

    def __init__(self, read: Callable[[], dict[str, str]]) -> None:
        self._read = read
        self._found: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._found is None:
            self._found = self._read()
        return self._found

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def _signals(product: str, readings: Readings) -> dict[str, str]:
    found = {name: signal(product, name, raw) for name, raw in sorted(readings.raw.items()) if raw}
    return {**found, "kind": readings.kind}


def _shown(host: str | None) -> str | None:
    return host[:_LONGEST_NAME] if host else None


def _harmless(read: Callable[[], Readings]) -> Readings:
    """A strange machine must not stop the customer's program."""
    try:
        return read()
    except Exception:  # noqa: BLE001 - whatever a system does
        return Readings()


def signal(product: str, name: str, raw: str) -> str:
    """The hash of one signal: base64url of 16 bytes of SHA-256("keywright-signal/1", 0, product, 0, name, 0,
    raw)."""
    return _hash("keywright-signal/1", product, name, raw)[:22]


def fingerprint_of(product: str, identity: str) -> str:
    """A fingerprint from whatever tells this machine from all others."""
    return "m1-" + _hash("keywright-fingerprint/1", product, identity)


def run_command(command: Sequence[str]) -> str:
    """What a command prints, at most some seconds later; empty when it fails."""
    flags = _NO_WINDOW if sys.platform == "win32" else 0
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
            creationflags=flags,
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def text_of(path: Path, longest: int = 64 * 1024) -> str:
    """A small file of the system, stripped; empty when it is not there, not readable or not text."""
    try:
        with path.open("rb") as file:
            return file.read(longest).decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return ""


def is_telling(raw: str) -> bool:
    """Whether a serial number tells machines apart: many makers leave a placeholder in its place."""
    bare = "".join(character for character in raw.lower() if character.isalnum())
    if len(bare) < 4 or len(set(bare)) < 3:
        return False
    return not any(word in raw.lower() for word in _PLACEHOLDERS) and bare not in _SERIES


_PLACEHOLDERS = (
    "to be filled", "default string", "not specified", "not applicable", "not available", "system serial",
    "system product", "base board serial", "chassis serial", "oem", "invalid", "unknown", "none", "empty",
)  # fmt: skip
_SERIES = {"0123456789", "123456789", "1234567890", "12345678", "03000200040005000006000700080009"}


def _glance(platform: str, run: Run) -> Readings:
    if platform == "win32":
        from . import windows

        return windows.glance(run)
    if platform == "darwin":
        from . import macos

        return macos.glance(run)
    return Readings()  # Linux tells all of it at once


def _read(platform: str, root: Path, run: Run, state_dir: Path | None) -> Readings:
    if platform == "win32":
        from . import windows

        return windows.read(run)
    if platform == "darwin":
        from . import macos

        return macos.read(run)
    from . import linux

    return linux.read(root, state_dir)


def _something(readings: Readings, state_dir: Path | None) -> str:
    """An identity for a machine that says nothing of itself: what it has, else an id that is kept with the
    state."""
    for name in ("machine", "board", "mac"):
        if readings.raw.get(name):
            return f"{name}:{readings.raw[name]}"
    from .linux import kept_id

    kept = kept_id(state_dir) if state_dir is not None else None
    if kept is not None:
        return f"kept:{kept}"
    return f"host:{readings.host}" if readings.host else f"once:{uuid.uuid4()}"


def _hash(*parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return to_base64(hashlib.sha256(text).digest()[: 16 if parts[0] == "keywright-signal/1" else 24])
