"""What a Windows machine says of itself, through its registry and the commands that it ships with."""

from __future__ import annotations

import re
from typing import Final

from .machine import Readings, Run, is_telling

_SYSTEM: Final = r"C:\Windows\System32"
_POWERSHELL: Final = rf"{_SYSTEM}\WindowsPowerShell\v1.0\powershell.exe"
_BIOS: Final = r"HKLM\HARDWARE\DESCRIPTION\System\BIOS"
_HYPERVISORS: Final = re.compile(
    r"vmware|virtualbox|innotek|qemu|kvm|xen|parallels|virtual machine|amazon ec2|google compute",
    re.IGNORECASE,
)


def glance(run: Run) -> Readings:
    """What a Windows machine is known by, without the commands that take their time."""
    machine = _registry(run, r"HKLM\SOFTWARE\Microsoft\Cryptography", "MachineGuid").lower()
    host = _registry(
        run, r"HKLM\SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName", "ComputerName"
    ).lower()
    raw = {name: value for name, value in (("machine", machine), ("host", host)) if value}
    return Readings("metal", f"machine:{machine}" if machine else None, raw, host or None)


def read(run: Run) -> Readings:
    """Read a Windows machine. Takes a second or so."""
    known = glance(run)
    make = " ".join(_registry(run, _BIOS, name) for name in ("SystemManufacturer", "SystemProductName"))
    raw = {
        **known.raw,
        "board": _board(run),
        "disk": _volume(run([rf"{_SYSTEM}\cmd.exe", "/c", "vol", "C:"])),
        "mac": _address(run([rf"{_SYSTEM}\getmac.exe", "/fo", "csv", "/nh", "/v"])),
        "cpu": _registry(run, r"HKLM\HARDWARE\DESCRIPTION\System\CentralProcessor\0", "ProcessorNameString"),
        "os": "windows",
    }
    found = {name: value for name, value in raw.items() if value}
    kind = "vm" if _HYPERVISORS.search(make) and ".metal" not in make else "metal"
    return Readings(kind, known.identity, found, known.host)


def _registry(run: Run, key: str, name: str) -> str:
    # The 64-bit view: a 32-bit program would be shown another part of the registry, without the id.
    text = run([rf"{_SYSTEM}\reg.exe", "query", key, "/v", name, "/reg:64"])
    found = re.search(rf"^\s*{re.escape(name)}\s+REG_\w+\s+(.+?)\s*$", text, re.MULTILINE)
    return found.group(1) if found else ""


def _board(run: Run) -> str:
    text = run(
        [
            _POWERSHELL,
            "-NoProfile",
            "-NonInteractive",
            "-Command",
            "(Get-CimInstance Win32_ComputerSystemProduct).UUID",
        ]
    ).strip()
    return text.lower() if is_telling(text) else ""


def _volume(text: str) -> str:
    """The serial number is the one thing in that answer that no language changes."""
    found = re.search(r"\b([0-9A-F]{4}-[0-9A-F]{4})\b", text)
    return found.group(1) if found else ""


def _address(text: str) -> str:
    """The lowest address of a card that is no virtual one."""
    found = []
    for line in text.splitlines():
        address = re.search(r'"((?:[0-9A-F]{2}-){5}[0-9A-F]{2})"', line)
        if address and not re.search(r"virtual|vpn|tap-|bluetooth|hyper-v|wi-fi direct", line, re.IGNORECASE):
            found.append(address.group(1).lower().replace("-", ":"))
    return min((one for one in found if not int(one[:2], 16) & 2), default="")
