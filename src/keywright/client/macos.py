"""What a Mac says of itself, through the commands that it ships with."""

from __future__ import annotations

import re

from .machine import Readings, Run, is_telling


def glance(run: Run) -> Readings:
    """What a Mac is known by, without the commands that take their time."""
    platform = run(["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"])
    machine, board = _member(platform, "IOPlatformUUID").lower(), _member(platform, "IOPlatformSerialNumber")
    host = run(["/bin/hostname", "-s"]).strip().lower()
    raw = {"machine": machine, "board": board if is_telling(board) else "", "host": host}
    found = {name: value for name, value in raw.items() if value}
    return Readings("metal", f"machine:{machine}" if machine else None, found, host or None)


def read(run: Run) -> Readings:
    """Read a Mac. Takes a second or so."""
    known = glance(run)
    raw = {
        **known.raw,
        "disk": _disk(run(["/usr/sbin/diskutil", "info", "/"])),
        "mac": _address(run(["/sbin/ifconfig", "en0"])),
        "cpu": run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]).strip(),
        "os": "macos",
    }
    virtual = run(["/usr/sbin/sysctl", "-n", "kern.hv_vmm_present"]).strip() == "1"
    found = {name: value for name, value in raw.items() if value}
    return Readings("vm" if virtual else "metal", known.identity, found, known.host)


def _member(text: str, name: str) -> str:
    found = re.search(rf'"{name}"\s*=\s*"([^"]+)"', text)
    return found.group(1) if found else ""


def _disk(text: str) -> str:
    """The volume group stays when the system's volume is made anew by an update; older systems have none."""
    for name in ("APFS Volume Group", "Volume UUID"):
        found = re.search(rf"{name}:\s*([0-9A-Fa-f-]{{36}})", text)
        if found:
            return found.group(1).lower()
    return ""


def _address(text: str) -> str:
    found = re.search(r"\bether\s+((?:[0-9a-f]{2}:){5}[0-9a-f]{2})", text)
    return found.group(1) if found else ""
