"""Whether the program runs in a container, and which volume outlives it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .machine import text_of

_MARKS = (".dockerenv", "run/.containerenv", "run/secrets/kubernetes.io", "var/run/secrets/kubernetes.io")
_GROUPS = re.compile(r"docker|kubepods|containerd|libpod|/lxc/|/ecs/|crio-|buildkit|garden")
_LAYERS = re.compile(r"/docker/|containerd|containers/storage|/overlay2/|kubelet")
_VOLUME = re.compile(r"volumes/([^/ ]+)/_data|(pvc-[0-9a-f-]{36})")


def is_container(root: Path) -> bool:
    """Whether the file system below `root` is a container's."""
    if any((root / mark).exists() for mark in _MARKS):
        return True
    if any(_GROUPS.search(text_of(root / f"proc/{who}/cgroup")) for who in ("1", "self")):
        return True
    if "container=" in text_of(root / "proc/1/environ").replace("\0", "\n"):
        return True
    mount = _mount_of(root, "/")
    return mount is not None and mount[1] == "overlay" and _LAYERS.search(mount[2]) is not None


def volume_of(root: Path, folder: Path | None) -> str | None:
    """The name of the mounted volume that holds the folder; None when it is a part of the container itself.

    Empty when it is a volume whose name is not told.
    """
    if folder is None:
        return None
    mount = _mount_of(root, os.path.abspath(folder))
    if mount is None or mount[0] == "/":
        return None
    named = _VOLUME.search(mount[2])
    return (named.group(1) or named.group(2)) if named is not None else ""


def _mount_of(root: Path, path: str) -> tuple[str, str, str] | None:
    """Where what holds the path is mounted, its type, and all that is said of its source."""
    best: tuple[str, str, str] | None = None
    for line in text_of(root / "proc/self/mountinfo", 1024 * 1024).splitlines():
        left, _, right = line.partition(" - ")
        members, source = left.split(" "), right.split(" ")
        if len(members) < 5 or len(source) < 2:
            continue
        point = members[4].replace("\\040", " ")
        holds = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two mounts at one point the later one is seen.
        if holds and (best is None or len(point) >= len(best[0])):
            best = (point, source[0], f"{members[3]} {right}")
    return best
