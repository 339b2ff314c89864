"""Whether a machine is one that we know, after something in it changed.

A program sends signals beside its fingerprint: hashes of things that a machine has, under the product's slug.
When the fingerprint is unknown they are compared with those of the machines that hold the license.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from keywright.domain.errors import Invalid

Signals = Mapping[str, str]
"""Name -> hash, and `kind` -> `metal`, `vm` or `container` in plain words."""

KIND: Final = "kind"
# What each counts for. A machine keeps the first two longest; many share the last two.
WEIGHTS: Final[Mapping[str, int]] = {
    "machine": 4,  # the installation of the operating system
    "board": 4,  # the hardware, or what a hypervisor calls a virtual one
    "disk": 2,
    "mac": 2,
    "host": 1,
    "cpu": 1,
    "os": 1,
}
ANCHORS: Final = ("machine", "board")
# What no two machines of one make share, unless somebody set them up as copies.
_ITS_OWN: Final = ("disk", "mac", "host")
_LEAST_COMPARED: Final = 7
_AGREE_TENTHS: Final = 6
_MOST: Final = 32
_LONGEST_NAME: Final = 64
# 16 bytes in unpadded base64url: the last character holds two bits.
_HASH: Final = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")
_WORD: Final = re.compile(r"[a-z]{1,16}")


class Likeness(msgspec.Struct, frozen=True):
    """How two machines are alike: the names that agree, those that differ, and the part that agrees."""

    agreed: tuple[str, ...]
    changed: tuple[str, ...]
    part: float


def read(signals: Signals) -> dict[str, str]:
    """The signals that mean something here; other names are left out, for programs newer than the server.

    Raises:
        Invalid: `SIGNALS_INVALID`, for more of them, longer ones, or other values than a program can mean.
    """
    if len(signals) > _MOST:
        raise _refusal(f"`signals` may have {_MOST} names at most.")
    found: dict[str, str] = {}
    for name, value in signals.items():
        if name in WEIGHTS:
            if _HASH.fullmatch(value) is None:
                raise _refusal(f"`signals.{name}` must be 16 bytes as 22 characters of base64url.")
            found[name] = value
        elif name == KIND:
            if _WORD.fullmatch(value) is None:
                raise _refusal("`signals.kind` must be metal, vm or container.")
            found[name] = value
        elif len(name) > _LONGEST_NAME:
            raise _refusal(f"A name in `signals` may be {_LONGEST_NAME} characters long.")
    return found


def _refusal(detail: str) -> Invalid:
    return Invalid(detail, code="SIGNALS_INVALID")


def compare(known: Signals, shown: Signals) -> Likeness | None:
    """How a machine that we know and one that shows up are alike; None: they are two machines.

    Only what both have is compared: a program without the rights to read a serial number sends none.
    """
    if known.get(KIND) != shown.get(KIND):
        return None
    agreed: list[str] = []
    changed: list[str] = []
    for name in WEIGHTS:
        if name in known and name in shown:
            (agreed if known[name] == shown[name] else changed).append(name)
    weight = sum(map(WEIGHTS.__getitem__, agreed))
    compared = weight + sum(map(WEIGHTS.__getitem__, changed))
    if compared < _LEAST_COMPARED or weight * 10 < compared * _AGREE_TENTHS:
        return None
    # Machines of one make agree in much, and so do those set up from one image. Serial numbers that a maker
    # left blank agree as well. So it takes one of the anchors, and something that is the machine's own.
    if not (any(name in agreed for name in _ITS_OWN) and _is_anchored(shown.get(KIND), agreed, changed)):
        return None
    return Likeness(tuple(agreed), tuple(changed), weight / compared)


def _is_anchored(kind: str | None, agreed: list[str], changed: list[str]) -> bool:
    if kind == "container":
        # What a container can see is its host's, or its image's, and all its neighbors have the same.
        return False
    if kind == "metal":
        return any(name in agreed for name in ANCHORS)
    # A copy of a virtual machine has the system and the disks of the original. The hypervisor gives it an id
    # of its own, and a network card.
    if "board" in agreed or "board" in changed:
        return "board" in agreed
    return "machine" in agreed and "mac" in agreed


def closest(shown: Signals, known: Iterable[tuple[str, Signals]]) -> tuple[str, Likeness] | None:
    """The one that is most like it, of those that are like it at all; the first of equals."""
    best: tuple[str, Likeness] | None = None
    for name, signals in known:
        likeness = compare(signals, shown)
        if likeness is not None and (best is None or likeness.part > best[1].part):
            best = name, likeness
    return best
