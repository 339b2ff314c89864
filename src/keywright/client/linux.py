"""What a Linux machine says of itself, in the files that every user may read."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from . import container
from .machine import Readings, is_telling, text_of

_SYS = Path("sys")
_DMI = _SYS / "class/dmi/id"
_BOARD = ("product_uuid", "board_serial", "product_serial", "chassis_serial")  # readable by root only, mostly
_HYPERVISORS = re.compile(
    r"qemu|kvm|bochs|vmware|virtualbox|innotek|xen|parallels|bhyve|openstack|virtual machine|vserver"
    r"|google compute engine|digitalocean|droplet|amazon ec2|alibaba cloud|hvm domu|firecracker",
    re.IGNORECASE,
)
_ID = re.compile(r"[0-9a-f]{32}")
_MADE_UP_DISK = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|nbd)\d*")


def read(root: Path, state_dir: Path | None) -> Readings:
    """Read a Linux machine below `root`."""
    inside = container.is_container(root)
    kind = "container" if inside else "vm" if is_virtual(root) else "metal"
    host = host_of(root)
    raw = {
        "machine": machine_id(root),
        "board": board_of(root),
        "disk": disk_of(root),
        "mac": mac_of(root, virtual=kind != "metal"),
        "host": host,
        "cpu": cpu_of(root),
        "os": os_of(root),
    }
    identity = f"machine:{raw['machine']}" if raw["machine"] else None
    if kind == "vm" and identity is not None:
        # A copy of a virtual machine has the original's system. What it gets anew is a network card.
        identity += f" {raw['mac']}"
    if inside:
        # The files of the image, and the host's hardware behind them, are the same for every container on it.
        volume = container.volume_of(root, state_dir)
        kept = kept_id(state_dir) if volume is not None else None
        raw = {"host": host, "cpu": raw["cpu"], "os": raw["os"], "machine": "", "disk": volume or ""}
        if kept is not None:
            raw["machine"], identity = kept, f"volume:{kept}:{volume}"
        else:
            identity = f"container:{host}" if host else None
    return Readings(kind, identity, {name: value for name, value in raw.items() if value}, host or None)


def machine_id(root: Path) -> str:
    """The id that the system was given when it was installed."""
    for place in ("etc/machine-id", "var/lib/dbus/machine-id"):
        found = text_of(root / place, 64).lower()
        if _ID.fullmatch(found) and len(set(found)) > 2:
            return found
    return ""


def board_of(root: Path) -> str:
    """The serial number of the board. Not its maker or model, which all machines of one make share."""
    for name in _BOARD:
        found = text_of(root / _DMI / name, 256)
        if is_telling(found):
            return found.lower()
    for place in ("sys/firmware/devicetree/base/serial-number", "proc/device-tree/serial-number"):
        found = text_of(root / place, 256)
        if is_telling(found):
            return found.lower()
    return ""


def disk_of(root: Path) -> str:
    """The serial number of the disk that the system runs from; of the first real one where that is not
    told."""
    names = [_root_disk(root), *_disks(root)]
    return next((serial for serial in (_serial(root, name) for name in names if name) if serial), "")


def mac_of(root: Path, *, virtual: bool = False) -> str:
    """The lowest address of the network cards inside the machine: those on USB come and go.

    Addresses that software made up do not count on hardware; a virtual machine has no others.
    """
    found = []
    for card in _entries(root / _SYS / "class/net"):
        address = text_of(card / "address", 64).lower()
        device = card / "device"
        if not device.exists() or re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", address) is None:
            continue
        made_up = bool(int(address[:2], 16) & 2)
        is_usb = "/usb" in os.path.realpath(device)
        if address != "00:00:00:00:00:00" and not is_usb and (virtual or not made_up):
            found.append(address)
    return min(found, default="")


def host_of(root: Path) -> str:
    """The host's name without its domain."""
    name = text_of(root / "proc/sys/kernel/hostname", 256) or text_of(root / "etc/hostname", 256)
    first = name.split(".")[0].lower()
    return "" if first in ("localhost", "(none)") else first


def cpu_of(root: Path) -> str:
    for line in text_of(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Hardware", "cpu model"):
            return " ".join(value.split())
    return ""


def os_of(root: Path) -> str:
    """The distribution, without its version: an update does not make another machine."""
    for line in text_of(root / "etc/os-release").splitlines():
        if line.startswith("ID="):
            return "linux " + line[3:].strip("\"' ")
    return "linux"


def is_virtual(root: Path) -> bool:
    """Whether a hypervisor stands below."""
    words = " ".join(
        text_of(root / _DMI / name, 256)
        for name in ("sys_vendor", "product_name", "board_vendor", "bios_vendor")
    )
    if ".metal" in words:  # a whole machine of a cloud that otherwise rents virtual ones
        return False
    if _HYPERVISORS.search(words) or text_of(root / "sys/hypervisor/type", 64):
        return True
    return any(
        line.startswith(("flags", "Features")) and "hypervisor" in line.split()
        for line in text_of(root / "proc/cpuinfo").splitlines()
    )


def kept_id(folder: Path | None) -> str | None:
    """A random id that is kept in a folder, made when it is not there. None when the folder cannot hold
    one."""
    if folder is None:
        return None
    path = folder / "machine"
    found = text_of(path, 64)
    if _ID.fullmatch(found):
        return found
    made = secrets.token_hex(16)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(made)
    except FileExistsError:
        found = text_of(path, 64)  # another process of the program was quicker
        return found if _ID.fullmatch(found) else None
    except OSError:
        return None
    return made


def _root_disk(root: Path) -> str:
    """The name of the disk under `/`: `sda`, not `sda2`."""
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        members = line.split(" ")
        if len(members) > 4 and members[4] == "/":
            block = Path(os.path.realpath(root / "sys/dev/block" / members[2]))
            name = block.parent.name if (block / "partition").exists() else block.name
            return name if (root / "sys/block" / name).exists() else ""
    return ""


def _disks(root: Path) -> list[str]:
    names = [entry.name for entry in _entries(root / _SYS / "block")]
    return [
        name
        for name in names
        if not _MADE_UP_DISK.match(name) and text_of(root / _SYS / "block" / name / "removable", 8) != "1"
    ]


def _serial(root: Path, disk: str) -> str:
    device = root / _SYS / "block" / disk / "device"
    for path in (device / "serial", device.parent / "serial", device / "wwid", device / "vpd_pg80"):
        found = re.sub(r"[^ -~]", "", text_of(path, 256)).strip()
        if is_telling(found):
            return found
    # What a user may not read in /sys, udev has put into the names of its links.
    links = [entry.name for entry in _entries(root / "dev/disk/by-id") if _leads_to(entry, disk)]
    serials = [
        name.split("-", 1)[1]
        for name in links
        if name.startswith(("ata-", "nvme-", "scsi-", "wwn-", "virtio-"))
    ]
    return min((serial for serial in serials if is_telling(serial)), default="")


def _leads_to(link: Path, disk: str) -> bool:
    try:
        return os.path.basename(os.readlink(link)) == disk
    except OSError:
        return False


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
