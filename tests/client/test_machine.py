"""Machines as their file systems and commands show them: told apart, known again, and never shown raw."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from keywright.client import machine as reading
from keywright.client import signal, this_machine
from keywright.client.machine import Machine, Run, is_telling, run_command
from keywright.domain import machine as server

PRODUCT = "dashcaddy"
ID = "3f2a9c4e5b6d7081923a4b5c6d7e8f90"


def put(root: Path, path: str, text: str) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def link(root: Path, path: str, target: str) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def laptop(
    root: Path,
    *,
    machine_id: str = ID,
    disk: str = "S5H9NX0T123456",
    mac: str = "3c:7c:3f:12:34:56",
    host: str = "ann-laptop",
    board: str = "",
    vendor: str = "LENOVO",
) -> Path:
    """A Linux laptop: an NVMe disk with two partitions, a card inside, one on USB, and a bridge."""
    put(root, "etc/machine-id", machine_id + "\n")
    put(root, "etc/os-release", 'NAME="Debian GNU/Linux"\nVERSION_ID="13"\nID=debian\n')
    put(root, "proc/sys/kernel/hostname", host + ".example.net\n")
    put(
        root,
        "proc/cpuinfo",
        "processor\t: 0\nmodel name\t: 12th Gen Intel(R)  Core(TM) i7\nflags\t\t: fpu vme sse\n",
    )
    put(root, "proc/self/mountinfo", "25 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n")
    put(root, "proc/1/cgroup", "0::/init.scope\n")
    put(root, "sys/class/dmi/id/sys_vendor", vendor + "\n")
    put(root, "sys/class/dmi/id/product_name", "21CBCTO1WW\n")
    if board:
        put(root, "sys/class/dmi/id/product_uuid", board + "\n")
    put(root, "sys/class/dmi/id/board_serial", "To be filled by O.E.M.\n")
    device = "sys/devices/pci0000:00/nvme/nvme0/nvme0n1"
    put(root, f"{device}/nvme0n1p2/partition", "2\n")
    put(root, f"{device}/device/serial", disk + "  \n")
    link(root, "sys/dev/block/259:2", f"../../../{device}/nvme0n1p2")
    link(root, "sys/block/nvme0n1", f"../../{device}")
    put(root, "sys/block/loop0/size", "1\n")
    put(root, "sys/devices/pci0000:00/net/eth0/address", mac + "\n")
    put(root, "sys/devices/pci0000:00/vendor", "0x8086\n")
    link(root, "sys/devices/pci0000:00/net/eth0/device", "../..")
    link(root, "sys/class/net/eth0", "../../devices/pci0000:00/net/eth0")
    put(root, "sys/devices/pci0000:00/usb1/1-1/net/eth9/address", "00:00:5e:00:53:01\n")
    link(root, "sys/devices/pci0000:00/usb1/1-1/net/eth9/device", "../..")
    link(root, "sys/class/net/eth9", "../../devices/pci0000:00/usb1/1-1/net/eth9")
    put(root, "sys/class/net/docker0/address", "02:42:ac:11:00:01\n")
    put(root, "sys/class/net/lo/address", "00:00:00:00:00:00\n")
    return root


def read(root: Path, state_dir: Path | None = None) -> Machine:
    return this_machine(PRODUCT, root=root, system="linux", state_dir=state_dir)


def test_a_laptop(tmp_path: Path) -> None:
    found = read(laptop(tmp_path))
    assert found == Machine(
        reading.fingerprint_of(PRODUCT, f"machine:{ID}"),
        {
            "machine": signal(PRODUCT, "machine", ID),
            "disk": signal(PRODUCT, "disk", "S5H9NX0T123456"),
            "mac": signal(PRODUCT, "mac", "3c:7c:3f:12:34:56"),
            "host": signal(PRODUCT, "host", "ann-laptop"),
            "cpu": signal(PRODUCT, "cpu", "12th Gen Intel(R) Core(TM) i7"),
            "os": signal(PRODUCT, "os", "linux debian"),
            "kind": "metal",
        },
        "ann-laptop",
    )


def test_signals_are_hashes_in_the_servers_form(tmp_path: Path) -> None:
    found = read(laptop(tmp_path, board="4c4c4544-0042-3510-8052-b4c04f4d3532"))
    assert server.read(found.signals) == found.signals
    assert set(found.signals) == {*server.WEIGHTS, "kind"}
    told = json.dumps([found.fingerprint, dict(found.signals)])
    for raw in (ID, "S5H9NX0T123456", "3c:7c:3f", "ann-laptop", "Intel", "4c4c4544"):
        assert raw not in told
    assert re.fullmatch(r"[ -~]{8,256}", found.fingerprint)
    hashed = b"keywright-signal/1\0dashcaddy\0machine\0" + ID.encode()
    expected = base64.urlsafe_b64encode(hashlib.sha256(hashed).digest()[:16]).rstrip(b"=").decode()
    assert signal(PRODUCT, "machine", ID) == expected
    assert signal("other", "machine", ID) != expected


@pytest.mark.parametrize(
    "change",
    [
        {"disk": "WD-WX12345678"},
        {"host": "new-name"},
        {"mac": "3c:7c:3f:ff:ff:01"},
        {"disk": "NEW-DISK-9", "host": "b"},
    ],
    ids=str,
)
def test_the_server_knows_a_machine_after_a_change(tmp_path: Path, change: dict[str, str]) -> None:
    before, after = read(laptop(tmp_path / "a")), read(laptop(tmp_path / "b", **change))
    assert before.fingerprint == after.fingerprint
    assert server.compare(before.signals, after.signals) is not None


def test_the_server_tells_another_machine_of_the_same_make(tmp_path: Path) -> None:
    one = read(laptop(tmp_path / "a"))
    other = read(
        laptop(
            tmp_path / "b",
            machine_id="a" * 4 + ID[4:],
            disk="S5H9NX0T999999",
            mac="3c:7c:3f:65:43:21",
            host="bob",
        )
    )
    assert one.fingerprint != other.fingerprint
    assert server.compare(one.signals, other.signals) is None


def test_a_new_installation_on_the_same_board(tmp_path: Path) -> None:
    board = "4c4c4544-0042-3510-8052-b4c04f4d3532"
    before = read(laptop(tmp_path / "a", board=board))
    after = read(laptop(tmp_path / "b", board=board, machine_id="b" * 4 + ID[4:]))
    assert before.fingerprint != after.fingerprint
    assert server.compare(before.signals, after.signals) is not None


def virtual(root: Path, **more: str) -> Path:
    laptop(root, vendor="QEMU", mac=more.pop("mac", "52:54:00:12:34:56"), disk="", **more)
    put(root, "proc/cpuinfo", "model name\t: QEMU Virtual CPU\nflags\t\t: fpu hypervisor\n")
    return root


def test_virtual_machines_and_their_copies(tmp_path: Path) -> None:
    one, copy = read(virtual(tmp_path / "a")), read(virtual(tmp_path / "b", mac="52:54:00:65:43:21"))
    assert one.signals["kind"] == "vm"
    assert "mac" in one.signals
    assert one.fingerprint != copy.fingerprint
    assert server.compare(one.signals, copy.signals) is None
    assert server.compare(one.signals, read(virtual(tmp_path / "c", host="renamed")).signals) is not None


@pytest.mark.parametrize(
    ("vendor", "name", "flags", "kind"),
    [
        ("VMware, Inc.", "VMware7,1", "fpu", "vm"),
        ("innotek GmbH", "VirtualBox", "fpu", "vm"),
        ("Microsoft Corporation", "Virtual Machine", "fpu", "vm"),
        ("Microsoft Corporation", "Surface Laptop 5", "fpu", "metal"),
        ("Amazon EC2", "m5.large", "fpu hypervisor", "vm"),
        ("Amazon EC2", "m5.metal", "fpu", "metal"),
        ("Google", "Google Compute Engine", "fpu", "vm"),
        ("", "", "fpu hypervisor", "vm"),
        ("Dell Inc.", "XPS 13", "fpu", "metal"),
    ],
)
def test_kinds(tmp_path: Path, vendor: str, name: str, flags: str, kind: str) -> None:
    laptop(tmp_path, vendor=vendor)
    put(tmp_path, "sys/class/dmi/id/product_name", name)
    put(tmp_path, "proc/cpuinfo", f"flags : {flags}\n")
    assert read(tmp_path).signals["kind"] == kind


def contained(root: Path, host: str, mount: str = "") -> Path:
    """A container on the laptop: the image's machine-id, the host's hardware in /sys."""
    laptop(root, host=host)
    overlay = "40 1 0:51 / / rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/AB\n"
    put(root, "proc/self/mountinfo", overlay + mount)
    put(root, ".dockerenv", "")
    return root


def test_a_container_is_known_by_its_name_alone(tmp_path: Path) -> None:
    one, same = read(contained(tmp_path / "a", "web-1")), read(contained(tmp_path / "b", "web-1"))
    other = read(contained(tmp_path / "c", "web-2"))
    assert one.signals["kind"] == "container"
    assert one == same
    assert one.fingerprint != other.fingerprint
    assert set(one.signals) == {"host", "cpu", "os", "kind"}
    assert server.compare(one.signals, other.signals) is None


def test_a_container_with_a_volume_outlives_itself(tmp_path: Path) -> None:
    state = tmp_path / "volume" / "state"
    mount = f"50 40 8:1 /var/lib/docker/volumes/acme_data/_data {tmp_path}/volume rw - ext4 /dev/sda1 rw\n"
    one = read(contained(tmp_path / "a", "c0ffee000001", mount), state)
    redeployed = read(contained(tmp_path / "b", "c0ffee000002", mount), state)
    assert one.fingerprint == redeployed.fingerprint
    assert one.signals["machine"] == redeployed.signals["machine"]
    assert (state / "machine").stat().st_mode & 0o777 == 0o600
    # Its files copied into another volume are another machine.
    elsewhere = mount.replace("acme_data", "other_data")
    assert read(contained(tmp_path / "c", "c0ffee000002", elsewhere), state).fingerprint != one.fingerprint
    # And a folder that is part of the container is none.
    assert read(contained(tmp_path / "d", "c0ffee000002"), state).fingerprint != one.fingerprint


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".dockerenv", ""),
        ("run/.containerenv", ""),
        ("proc/1/cgroup", "12:cpu:/docker/0123456789ab\n"),
        ("proc/1/cgroup", "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-0123.scope\n"),
        ("proc/self/cgroup", "0::/machine.slice/libpod-0123.scope\n"),
        ("proc/1/environ", "container=lxc\0PATH=/bin\0"),
        ("var/run/secrets/kubernetes.io/serviceaccount/token", "x"),
        ("proc/self/mountinfo", "40 1 0:51 / / rw - overlay overlay rw,lowerdir=/var/lib/containerd/x\n"),
    ],
)
def test_signs_of_a_container(tmp_path: Path, path: str, text: str) -> None:
    laptop(tmp_path)
    assert read(tmp_path).signals["kind"] == "metal"
    put(tmp_path, path, text)
    assert read(tmp_path).signals["kind"] == "container"


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / "root").mkdir()
    one, again = read(tmp_path / "root", state), read(tmp_path / "root", state)
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint != read(tmp_path / "root", tmp_path / "other").fingerprint
    assert one.signals == {"kind": "metal", "os": signal(PRODUCT, "os", "linux")}
    # Where not even an id can be kept, there is one for this run.
    put(tmp_path, "file", "")
    assert len(read(tmp_path / "root", tmp_path / "file" / "x").fingerprint) > 20


def test_a_machine_id_that_is_none(tmp_path: Path) -> None:
    for broken in ("", "uninitialized", "0" * 32, "f" * 32, ID[:-1]):
        root = laptop(tmp_path / (broken or "empty"), machine_id=broken)
        found = read(root)
        assert "machine" not in found.signals
        assert found.fingerprint == reading.fingerprint_of(PRODUCT, "mac:3c:7c:3f:12:34:56")


def test_hostile_file_systems_raise_nothing(tmp_path: Path) -> None:
    for path in ("etc/machine-id", "proc/cpuinfo", "proc/self/mountinfo", "sys/class/dmi/id/product_uuid"):
        (tmp_path / "folders" / path).mkdir(parents=True)
        place = tmp_path / "bytes" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bytes(range(256)) * 40)
    link(tmp_path / "loops", "sys/class/net/eth0", "eth0")
    link(tmp_path / "loops", "sys/dev/block/8:1", "8:1")
    put(tmp_path / "loops", "proc/self/mountinfo", "25 1 8:1 / / rw - ext4 /dev/sda1 rw\nx\n - \n")
    for root in ("folders", "bytes", "loops", "missing"):
        found = read(tmp_path / root)
        assert found.signals["kind"] in ("metal", "vm")
        assert server.read(found.signals)


@pytest.mark.parametrize(
    ("raw", "telling"),
    [
        ("S5H9NX0T123456", True),
        ("4c4c4544-0042-3510-8052-b4c04f4d3532", True),
        ("PF3ABCDE", True),
        ("", False),
        ("0", False),
        ("None", False),
        ("To be filled by O.E.M.", False),
        ("Default string", False),
        ("Not Specified", False),
        ("System Serial Number", False),
        ("0123456789", False),
        ("00000000-0000-0000", False),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", False),
        ("03000200-0400-0500-0006-000700080009", False),
        ("....", False),
    ],
)
def test_placeholders_are_no_serial_numbers(raw: str, telling: bool) -> None:
    assert is_telling(raw) is telling


def test_a_disk_whose_serial_number_only_udev_tells(tmp_path: Path) -> None:
    root = laptop(tmp_path, disk="")
    link(root, "dev/disk/by-id/nvme-Samsung_SSD_980_S64DNX0R", "../../nvme0n1")
    link(root, "dev/disk/by-id/nvme-Samsung_SSD_980_S64DNX0R-part2", "../../nvme0n1p2")
    link(root, "dev/disk/by-id/ata-OTHER_DISK_123", "../../sda")
    assert read(root).signals["disk"] == signal(PRODUCT, "disk", "Samsung_SSD_980_S64DNX0R")


def test_a_small_board(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor : 0\nModel\t\t: Raspberry Pi 5 Model B\n")
    put(tmp_path, "sys/firmware/devicetree/base/serial-number", "a1b2c3d4e5f60718\0")
    found = read(tmp_path)
    assert found.signals["board"] == signal(PRODUCT, "board", "a1b2c3d4e5f60718")
    assert found.signals["cpu"] == signal(PRODUCT, "cpu", "Raspberry Pi 5 Model B")


# --- systems that are asked by commands ---


def told(answers: dict[str, str]) -> Run:
    """Answers commands as the system does; nothing for those it does not have."""

    def run(command: Sequence[str]) -> str:
        line = " ".join(command)
        return next((text for part, text in answers.items() if part in line), "")

    return run


MAC = {
    "ioreg": """+-o J314sAP  <class IOPlatformExpertDevice, id 0x10000024b, registered, matched, active>
    {
      "IOPlatformSerialNumber" = "C02XK0ABCDEF"
      "IOPlatformUUID" = "8F3E2D1C-5B6A-4978-8B9C-0D1E2F3A4B5C"
      "manufacturer" = <"Apple Inc.">
    }
""",
    "hostname": "Anns-MacBook\n",
    "diskutil": "   Volume UUID:   11111111-2222-4333-8444-555555555555\n"
    "   APFS Volume Group:         0A1B2C3D-4E5F-4A6B-8C7D-9E0F1A2B3C4D\n",
    "ifconfig": "en0: flags=8863<UP,BROADCAST>\n\tether a4:83:e7:01:02:03 \n",
    "machdep": "Apple M1 Pro\n",
    "hv_vmm": "0\n",
}


def test_a_mac() -> None:
    found = this_machine(PRODUCT, system="darwin", run=told(MAC))
    assert found.fingerprint == reading.fingerprint_of(
        PRODUCT, "machine:8f3e2d1c-5b6a-4978-8b9c-0d1e2f3a4b5c"
    )
    assert set(found.signals) == {*server.WEIGHTS, "kind"}
    assert found.signals["board"] == signal(PRODUCT, "board", "C02XK0ABCDEF")
    assert found.signals["disk"] == signal(PRODUCT, "disk", "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d")
    assert found.signals["kind"] == "metal"
    assert found.name == "anns-macbook"
    virtual_one = this_machine(PRODUCT, system="darwin", run=told({**MAC, "hv_vmm": "1\n"}))
    assert virtual_one.signals["kind"] == "vm"


WINDOWS = {
    "MachineGuid": "\r\nHKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Cryptography\r\n"
    "    MachineGuid    REG_SZ    5D1E8F70-0000-4A3B-9C2D-112233445566\r\n\r\n",
    "ComputerName": "    ComputerName    REG_SZ    ANN-PC\r\n",
    "SystemManufacturer": "    SystemManufacturer    REG_SZ    Dell Inc.\r\n",
    "SystemProductName": "    SystemProductName    REG_SZ    XPS 13 9310\r\n",
    "ProcessorNameString": "    ProcessorNameString    REG_SZ    11th Gen Intel(R) Core(TM) i7-1185G7\r\n",
    "powershell": "4C4C4544-0042-3510-8052-B4C04F4D3532\r\n",
    "vol C:": " Volume in Laufwerk C: hat keine Bezeichnung.\r\n Volumeseriennummer: 1A2B-3C4D\r\n",
    "getmac": '"Ethernet","Intel(R) Ethernet","8C-16-45-01-02-03","\\Device\\Tcpip_{1}"\r\n'
    '"VPN","TAP-Windows Adapter","00-15-5D-01-02-03","Media disconnected"\r\n',
}


def test_a_windows_machine() -> None:
    found = this_machine(PRODUCT, system="win32", run=told(WINDOWS))
    assert found.fingerprint == reading.fingerprint_of(
        PRODUCT, "machine:5d1e8f70-0000-4a3b-9c2d-112233445566"
    )
    assert set(found.signals) == {*server.WEIGHTS, "kind"}
    assert found.signals["disk"] == signal(PRODUCT, "disk", "1A2B-3C4D")
    assert found.signals["mac"] == signal(PRODUCT, "mac", "8c:16:45:01:02:03")
    assert (found.signals["kind"], found.name) == ("metal", "ann-pc")
    box = {**WINDOWS, "SystemProductName": "    SystemProductName    REG_SZ    VirtualBox\r\n"}
    assert this_machine(PRODUCT, system="win32", run=told(box)).signals["kind"] == "vm"


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_slow_commands_wait_until_they_are_needed(system: str) -> None:
    asked: list[str] = []
    answers = told({**MAC, **WINDOWS})

    def run(command: Sequence[str]) -> str:
        asked.append(command[0])
        return answers(command)

    found = this_machine(PRODUCT, system=system, run=run)
    assert len(asked) == 2
    assert len(found.signals) == 8
    assert dict(found.signals)["kind"] == "metal"
    assert 6 <= len(asked) <= 10


@pytest.mark.parametrize("system", ["darwin", "win32", "linux", "plan9"])
def test_where_nothing_answers(tmp_path: Path, system: str) -> None:
    found = this_machine(PRODUCT, system=system, root=tmp_path, run=told({}), state_dir=tmp_path / "state")
    assert found.signals["kind"] == "metal"
    assert (
        found.fingerprint
        == this_machine(
            PRODUCT, system=system, root=tmp_path, run=told({}), state_dir=tmp_path / "state"
        ).fingerprint
    )


def test_a_reader_that_breaks_stops_nothing(tmp_path: Path) -> None:
    def broken(_: Sequence[str]) -> str:
        raise RuntimeError("the system is strange")

    found = this_machine(PRODUCT, system="darwin", run=broken, state_dir=tmp_path)
    assert found.signals == {"kind": "metal"}
    assert (tmp_path / "machine").exists()


def test_commands_that_fail_say_nothing() -> None:
    assert run_command(["/bin/sh", "-c", "echo told"]) == "told\n"
    assert run_command(["/bin/sh", "-c", "echo told; exit 1"]) == ""
    assert run_command(["/nowhere/to/be/found"]) == ""
    assert run_command(["/bin/sh", "-c", "printf '\\377'"]) == "\ufffd"


def test_this_machine_is_read_in_no_time(tmp_path: Path) -> None:
    found = this_machine(PRODUCT, state_dir=tmp_path)
    assert server.read(found.signals)
    assert os.uname().nodename.split(".")[0].lower()[:200] in (found.name, "localhost")
