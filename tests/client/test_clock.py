"""Clocks that are turned, states that are put back, folders that are copied: each ends as the rules say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keywright.client import Client, Machine
from tests.client.seller import DAY, KEY, PRODUCT, START, Seller, Time, client_of

HOUR = 3600
ROOT = Path(__file__).resolve().parents[2]


def seen_until(seller: Seller, folder: Path, clock: Time, days: float = 3, **more: Any) -> Client:
    """A client that was activated and then ran for some days without a network."""
    client = client_of(seller, folder, clock, **more)
    assert client.activate(KEY).valid
    seller.mood = lambda *_: (503, {}, b"")
    for _ in range(int(days * 4)):
        clock.turn(6 * HOUR)
        assert client.check().valid
    return client


def network_is_back(seller: Seller, after: float = 0) -> None:
    seller.mood = lambda *_: None
    seller.time.turn(after)


def test_within_the_hour_a_clock_may_be_wrong(seller: Seller, tmp_path: Path) -> None:
    clock = Time()
    seen_until(seller, tmp_path, clock)
    clock.turn(-50 * 60)
    assert client_of(seller, tmp_path, clock).check().valid


@pytest.mark.parametrize("back", [2 * HOUR, 2 * DAY, 400 * DAY], ids=["2h", "2d", "400d"])
def test_set_back_needs_the_server_once_and_is_healed_by_it(
    seller: Seller, tmp_path: Path, back: int
) -> None:
    clock = Time()
    client = seen_until(seller, tmp_path, clock)
    clock.turn(-back)
    for one in (client, client_of(seller, tmp_path, clock)):
        result = one.check()
        assert (result.state, result.next_action, result.valid) == ("clock", "connect", False)
        assert result.reason == ("before_issue" if back > 100 * DAY else "set_back")
        assert result.limit("projects") == 3
    # The true time went on. One answer heals it, though the clock stays wrong.
    network_is_back(seller, 3 * DAY)
    clock.turn(61)
    assert client.check().valid
    seller.mood = lambda *_: (503, {}, b"")
    for _ in range(6 * 4):
        clock.turn(6 * HOUR)
        assert client.check().valid
    # It bought no time: the lease ends after its seven days, give or take what a right clock could show.
    clock.turn(1 * DAY + 2 * HOUR)
    assert client.check().state == "offline"


def test_a_clock_that_is_put_right_again_goes_on(seller: Seller, tmp_path: Path) -> None:
    clock = Time()
    client = seen_until(seller, tmp_path, clock, days=1)
    clock.turn(-2 * DAY)
    network_is_back(seller, DAY)
    assert client.check().valid
    seller.mood = lambda *_: (503, {}, b"")
    clock.turn(2 * DAY)
    assert client.check().valid
    clock.turn(5 * DAY)
    assert client.check().valid


def test_before_the_license_was_issued(seller: Seller, tmp_path: Path) -> None:
    clock = Time(START - DAY - 10)
    client = client_of(None, tmp_path, clock, trust=seller.trust())
    refused = client.load_file(seller.file())
    assert (refused.state, refused.reason) == ("clock", "before_issue")
    clock.turn(DAY - 2 * HOUR)
    assert client.check().reason == "set_back"
    clock.turn(2 * HOUR)
    assert client.check().valid


def test_a_clock_in_the_past_from_the_first_day_works_while_the_server_says_the_time(
    seller: Seller, tmp_path: Path
) -> None:
    clock = Time(1_600_000_000)
    client = client_of(seller, tmp_path, clock)
    assert client.activate(KEY).valid
    seller.mood = lambda *_: (503, {}, b"")
    clock.turn(6 * DAY)
    assert client_of(seller, tmp_path, clock).check().valid
    clock.turn(2 * DAY)
    assert client_of(seller, tmp_path, clock).check().state == "offline"


def test_forward_only_ends_the_lease(seller: Seller, tmp_path: Path) -> None:
    clock = Time()
    client = seen_until(seller, tmp_path, clock, days=1)
    clock.turn(400 * DAY)
    result = client.check()
    assert (result.state, result.reason) == ("offline", "offline_too_long")
    # Put right, the clock is behind what was seen, and one answer heals that, too.
    clock.turn(-400 * DAY)
    assert client.check().state == "clock"
    network_is_back(seller, DAY)
    clock.turn(61)
    assert client.check().valid


def test_a_restored_state_is_noticed(seller: Seller, tmp_path: Path) -> None:
    clock = Time()
    client = client_of(seller, tmp_path, clock)
    client.activate(KEY)
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    seller.code = "REVOKED"
    clock.turn(3 * DAY)
    seller.time.turn(3 * DAY)
    assert client.check().reason == "revoked"
    # The old state, in which the license was good, and the clock of that day.
    shutil.rmtree(tmp_path / "first")
    shutil.copytree(tmp_path / "copy", tmp_path / "first")
    clock.turn(-3 * DAY)
    seller.mood = lambda *_: (503, {}, b"")
    assert client_of(seller, tmp_path, clock).check().reason == "revoked"
    # The same for the second place.
    shutil.rmtree(tmp_path / "second")
    assert client_of(seller, tmp_path, clock).check().reason == "revoked"


def test_a_restored_state_makes_the_server_be_asked(seller: Seller, tmp_path: Path) -> None:
    clock = Time()
    client = client_of(seller, tmp_path, clock)
    client.activate(KEY)
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    client.validate()
    clock.turn(120)
    seller.asked.clear()
    shutil.copytree(tmp_path / "copy", tmp_path / "first", dirs_exist_ok=True)
    assert client_of(seller, tmp_path, clock).check().valid
    assert seller.calls("/validate") == 1
    assert client_of(seller, tmp_path, clock).check().valid
    assert seller.calls("/validate") == 1


def test_the_mark_of_the_second_place_counts(seller: Seller, tmp_path: Path) -> None:
    clock = Time()
    client = client_of(seller, tmp_path, clock)
    client.activate(KEY)
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    seller.mood = lambda *_: (503, {}, b"")
    clock.turn(6 * DAY)
    assert client.check().valid
    shutil.copytree(tmp_path / "copy", tmp_path / "first", dirs_exist_ok=True)
    clock.turn(-5 * DAY)
    assert client_of(seller, tmp_path, clock).check().state == "clock"


def test_a_folder_copied_to_another_machine(seller: Seller, tmp_path: Path) -> None:
    client_of(seller, tmp_path).activate(KEY)
    shutil.copytree(tmp_path / "first", tmp_path / "clone" / "first")
    shutil.copytree(tmp_path / "second", tmp_path / "clone" / "second")
    other = Machine("machine-0002")
    offline = client_of(None, tmp_path / "clone", seller.time, trust=seller.trust(), machine=other).check()
    assert (offline.state, offline.reason, offline.next_action) == ("unlicensed", "other_machine", "activate")
    clone = client_of(seller, tmp_path / "clone", machine=other)
    asked = clone.check()
    assert (asked.valid, asked.reason) == (False, "not_activated")
    assert seller.machines == {"machine-0001"}
    # The user need not type the key again.
    assert clone.activate().valid
    assert seller.machines == {"machine-0001", "machine-0002"}
    assert client_of(seller, tmp_path).check().valid


def test_a_copied_folder_still_tells_of_its_key_after_the_server_was_away(
    seller: Seller, tmp_path: Path
) -> None:
    client_of(seller, tmp_path).activate(KEY)
    other = Machine("machine-0002")
    seller.mood = lambda *_: (503, {}, b"")
    away = client_of(seller, tmp_path, machine=other)
    assert [away.check().reason, away.validate().reason] == ["other_machine"] * 2
    again = client_of(seller, tmp_path, machine=other)
    assert again.check().reason == "other_machine"
    seller.mood = lambda *_: None
    assert again.activate().valid
    # Freed here, the other machine's key is not taken up by itself.
    assert again.deactivate().reason == "freed"
    assert client_of(seller, tmp_path, machine=other).check().reason == "no_license"


def test_a_home_that_two_machines_share(seller: Seller, tmp_path: Path) -> None:
    for name in ("machine-0001", "machine-0002"):
        assert client_of(seller, tmp_path, machine=Machine(name)).activate(KEY).valid
    seller.mood = lambda *_: (503, {}, b"")
    for name in ("machine-0001", "machine-0002", "machine-0001"):
        assert client_of(seller, tmp_path, machine=Machine(name)).check().valid


def test_a_state_renamed_to_the_other_machines_name(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    client.activate(KEY)
    other = client_of(None, tmp_path, seller.time, trust=seller.trust(), machine=Machine("machine-0002"))
    for mine, others in zip(client._store._paths, other._store._paths, strict=True):
        shutil.copy(mine, others)
    assert other.check().reason == "other_machine"


def test_a_lease_of_another_machine_under_our_own_mac(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    client.activate(KEY)
    stolen = seller.lease({"fingerprint": "machine-0002", "nonce": "x"})
    client._store.change(lambda old: type(old)(**{**vars(old), "lease": stolen}))
    seller.mood = lambda *_: (503, {}, b"")
    assert client_of(seller, tmp_path).check().reason == "other_machine"


PROGRAM = """
import json, sys
from keywright.client import Client, Machine, Trust
told = json.loads(sys.argv[1])
client = Client(
    product=told["product"], server=told["server"], trust=Trust(told["issuer"], keys=told["keys"]),
    state_dir=told["first"], second_dir=told["second"], baseline={}, machine=Machine("machine-0001"),
    clock=lambda: told["now"], timeout=2.0,
)
result = client.activate(told["key"]) if told["key"] else client.check()
print(json.dumps([result.state, result.reason, result.contact]))
"""


def run_at(seller: Seller, folder: Path, now: float, key: str = "") -> list[str]:
    """What a program of its own is told at this time."""
    told = {
        "product": PRODUCT, "server": seller.url, "issuer": "https://licenses.acme.example/t/ten_1",
        "keys": seller.jwks(), "first": str(folder / "first"), "second": str(folder / "second"),
        "now": now, "key": key,
    }  # fmt: skip
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(told)],
        env=environment, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    answer: list[str] = json.loads(done.stdout)
    return answer


def test_a_program_started_at_other_times(seller: Seller, tmp_path: Path) -> None:
    assert run_at(seller, tmp_path, START, KEY) == ["valid", "licensed", "fine"]
    seller.mood = lambda *_: (503, {}, b"")
    assert run_at(seller, tmp_path, START + 4 * DAY) == ["valid", "licensed", "away"]
    assert run_at(seller, tmp_path, START + 4 * DAY - 2 * HOUR) == ["clock", "set_back", "away"]
    assert run_at(seller, tmp_path, START + 2 * DAY) == ["clock", "set_back", "away"]
    assert run_at(seller, tmp_path, START - 2 * DAY) == ["clock", "before_issue", "away"]
    assert run_at(seller, tmp_path, START + 8 * DAY) == ["offline", "offline_too_long", "away"]
    network_is_back(seller, 8 * DAY)
    assert run_at(seller, tmp_path, START + 6 * DAY) == ["valid", "licensed", "fine"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["clock", "time", "network", "start"]), st.integers(-20 * DAY, 20 * DAY)),
    max_size=8,
)


@given(STEPS)
@settings(max_examples=int(os.environ.get("KEYWRIGHT_FUZZ_EXAMPLES", "50")) // 2)
def test_any_walk_of_clock_and_network(steps: list[tuple[str, int]]) -> None:
    """Whatever is turned: the server heals it at once, and without it nothing outlives the lease."""
    with Seller() as seller, tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), Time()
        client = client_of(seller, folder, clock)
        client.activate(KEY)
        seller.mood = lambda *_: (503, {}, b"")
        mark = client._store.read().state.mark
        for step, amount in steps:
            if step == "clock":
                clock.turn(amount)
            elif step == "time":
                clock.turn(abs(amount))
                seller.time.turn(abs(amount))
            elif step == "start":
                client = client_of(seller, folder, clock)
            else:
                seller.mood = lambda *_: None
                assert client.validate().valid
                seller.mood = lambda *_: (503, {}, b"")
                mark = int(seller.time.now)
            result, state = client.check(), client._store.read().state
            assert state.mark >= mark
            mark = state.mark
            lexp = read_unverified(state.lease)["lexp"]
            if result.valid:
                assert mark < lexp + HOUR
            else:
                assert result.state in ("clock", "offline")


def read_unverified(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
