"""The state on the disk: torn, edited, read-only, shared by processes, and never a reason to stop the
program."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.client import state as keeping
from keywright.client.places import places_for
from keywright.client.state import State, Store
from keywright.client.trust import Trust
from tests.client.seller import ISSUER, KEY, PRODUCT, START, Pair, Seller, client_of
from tests.client.test_clock import run_at

ROOT = Path(__file__).resolve().parents[2]
SECRET = b"k" * 32
FULL = State(
    writes=7, key=KEY, lease="a.b.c", mark=1_800_000_000, offset=-5, seq=9, refused={"code": "REVOKED"},
    told={"trial": True}, claim={"reference": "KW-1"}, baseline={"limits": {"projects": 3}},
)  # fmt: skip
RAW = keeping.encode(FULL, SECRET)


def store_in(folder: Path, fingerprint: str = "machine-0001") -> Store:
    return Store((folder / "first", folder / "second"), PRODUCT, fingerprint)


def test_round_trip() -> None:
    assert keeping.decode(RAW, SECRET) == (FULL, "")
    assert keeping.decode(RAW, b"another machine") == (None, KEY)
    assert KEY not in repr(FULL)


@given(st.binary(max_size=300))
def test_any_bytes_are_no_state(raw: bytes) -> None:
    assert keeping.decode(raw, SECRET) == (None, "")


@given(st.integers(0, len(RAW) - 3))
def test_a_torn_file_is_no_state(length: int) -> None:
    assert keeping.decode(RAW[:length], SECRET)[0] is None


@given(st.integers(0, len(RAW) - 2), st.integers(1, 255))
def test_a_file_with_another_byte_is_no_state(place: int, by: int) -> None:
    changed = RAW[:place] + bytes([RAW[place] ^ by]) + RAW[place + 1 :]
    found, _ = keeping.decode(changed, SECRET)
    assert found is None or found == FULL


ANYTHING = st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(sorted(vars(FULL))), ANYTHING))
def test_members_of_other_types_under_the_right_mac(members: dict[str, Any]) -> None:
    body = json.dumps({**vars(State()), **members}, allow_nan=True)
    raw = json.dumps({"v": 1, "mac": keeping._mac(body, SECRET), "body": body}).encode()
    found, _ = keeping.decode(raw, SECRET)
    assert found is None or all(
        type(vars(found)[name]) is type(value) for name, value in vars(State()).items()
    )


@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from(["license", "revoked"]))
def test_a_client_over_any_files_answers(
    tmp_path_factory: pytest.TempPathFactory, one: bytes, two: bytes, name: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    client = client_of(None, folder, lambda: 1_800_000_000, trust=Trust(ISSUER, keys={"k": Pair().x}))
    paths = client._store._paths if name == "license" else client._store._lists
    for path, raw in zip(paths, (one, two), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    assert client.check().state == "unlicensed"


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.change(lambda old: replace(old, key=KEY))
    for path in store._paths:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert {entry.name for entry in path.parent.iterdir()} <= {path.name, ".license-lock"}


def test_one_place_is_enough(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    client.activate(KEY)
    for gone in client._store._paths:
        kept = gone.read_bytes()
        gone.write_bytes(kept[:50])
        assert client_of(seller, tmp_path).check().valid
        gone.unlink(missing_ok=True)
        assert client_of(seller, tmp_path).check().valid
        gone.write_bytes(kept)


def test_without_any_place_the_program_runs_on_memory(seller: Seller, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    client = client_of(
        seller, tmp_path, state_dir=tmp_path / "file" / "x", second_dir=Path("/proc/nothing/here")
    )
    assert client.check().reason == "no_license"
    assert client.activate(KEY).valid
    assert client.check().valid
    seller.code = "REVOKED"
    assert client.validate().reason == "revoked"
    assert client.check().reason == "revoked"


def test_a_read_only_place(seller: Seller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client_of(seller, tmp_path).activate(KEY)

    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)  # for the lock, and for tempfile, which opens through it
    client = client_of(seller, tmp_path)
    assert client.check().valid
    assert client.validate().valid
    seller.code = "SUSPENDED"
    assert client.validate().reason == "suspended"
    assert client.check().reason == "suspended"


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    store.change(lambda old: replace(old, key="one"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert store.change(lambda old: replace(old, key="two")).key == "two"
    assert store.read().state.key == "two"
    assert store_in(tmp_path).read().state.key == "one"
    names = {entry.name for entry in (tmp_path / "first").iterdir()}
    assert names == {store._paths[0].name, ".license-lock"}


def test_the_newer_place_counts_and_is_told(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.change(lambda old: replace(old, key="one"))
    old = store._paths[0].read_bytes()
    store.change(lambda state: replace(state, key="two"))
    store._paths[0].write_bytes(old)
    seen = store_in(tmp_path).read()
    assert (seen.state.key, seen.restored) == ("two", True)
    fresh = store_in(tmp_path)
    fresh.change(lambda state: state)
    assert not fresh.read().restored


def test_another_program_sees_what_one_wrote(seller: Seller, tmp_path: Path) -> None:
    one, other = client_of(seller, tmp_path), client_of(seller, tmp_path)
    assert not other.check().valid
    one.activate(KEY)
    assert other.check().valid
    seller.code = "REVOKED"
    other.validate()
    assert one.check().reason == "revoked"


COUNTER = """
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from keywright.client.state import Store
store = Store((Path(sys.argv[1]) / "first", Path(sys.argv[1]) / "second"), "dashcaddy", "machine-0001")
for _ in range(25):
    store.change(lambda old: replace(old, seq=old.seq + 1), durable=False)
    assert store.read().state.seq >= 0
"""


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}
    running = [
        subprocess.Popen([sys.executable, "-c", COUNTER, str(tmp_path)], env=environment) for _ in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    seen = store_in(tmp_path).read()
    assert seen.state.seq == -1 + 3 * 25
    assert not seen.restored


def test_programs_that_start_at_once_share_a_seat(seller: Seller, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: run_at(seller, tmp_path, START, KEY), range(4)))
    assert found == [["valid", "licensed", "fine"]] * 4
    assert seller.machines == {"machine-0001"}
    assert client_of(seller, tmp_path).check().valid
    assert not store_in(tmp_path).read().restored


def test_of_many_threads_one_asks(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    client.activate(KEY)
    seller.time.turn(3700)
    seller.asked.clear()
    asking = threading.Event()

    def slowly(path: str, _: dict[str, Any]) -> None:
        if path.endswith("/validate"):
            asking.set()
            time.sleep(0.3)

    seller.mood = slowly
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(client.check)
        assert asking.wait(10)
        others = [pool.submit(client.check) for _ in range(7)]
        # Who does not ask does not wait, either.
        assert all(one.result(10).valid for one in others)
        assert not first.done()
        assert first.result(10).contact == "fine"
    assert seller.calls("/validate") == 1


def test_default_places_are_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/not/taken")
    first, second = places_for("dash/../caddy", None, None)
    assert first == tmp_path / "config" / "dash-caddy"
    assert second == tmp_path / ".local" / "state" / "dash-caddy"
    assert places_for("x", tmp_path, tmp_path / "b") == (tmp_path, tmp_path / "b")
    for platform in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        first, second = places_for("dashcaddy", None, None)
        assert first != second
        assert str(first).startswith(str(tmp_path))
