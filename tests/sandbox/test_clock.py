from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keywright.sandbox.clock import CLOCK_FILE_NAME, FileClock, TurnableClock
from keywright.sandbox.periods import period_after, shifted

FIXED = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_turn_is_seen_by_another_clock_on_the_same_file_within_50_ms(tmp_path: Path) -> None:
    path = tmp_path / CLOCK_FILE_NAME
    turned, reading = TurnableClock(path, wall=lambda: FIXED), FileClock(path, wall=lambda: FIXED)
    assert reading.now() == FIXED
    assert turned.advance(90) == FIXED + timedelta(seconds=90)
    time.sleep(0.06)
    assert reading.now() == FIXED + timedelta(seconds=90)


def test_two_who_ask_after_a_turn_are_told_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while one of them still reads the file."""
    path = tmp_path / CLOCK_FILE_NAME
    reading = FileClock(path, wall=lambda: FIXED)
    assert reading.now() == FIXED
    TurnableClock(path).advance(90)
    time.sleep(0.06)
    read, both = Path.read_bytes, threading.Barrier(2, timeout=30)

    def slowly(this: Path) -> bytes:
        both.wait()
        return read(this)

    monkeypatch.setattr(Path, "read_bytes", slowly)
    with ThreadPoolExecutor(2) as pool:
        told = [pool.submit(reading.now) for _ in range(2)]
        assert [one.result() for one in told] == [FIXED + timedelta(seconds=90)] * 2


def test_the_offset_outlives_the_clock_and_adds_up_across_processes(tmp_path: Path) -> None:
    path = tmp_path / CLOCK_FILE_NAME
    TurnableClock(path).advance(10)
    code = (
        "import sys; from pathlib import Path; from keywright.sandbox.clock import TurnableClock; "
        "TurnableClock(Path(sys.argv[1])).advance(5)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert TurnableClock(path).offset() == timedelta(seconds=15)
    assert [each.name for each in tmp_path.iterdir()] == [CLOCK_FILE_NAME]


@pytest.mark.parametrize("seconds", [-1, float("nan"), 10**12])
def test_the_clock_refuses_steps_that_make_no_sense(tmp_path: Path, seconds: float) -> None:
    clock = TurnableClock(tmp_path / CLOCK_FILE_NAME)
    with pytest.raises(ValueError, match="sandbox"):
        clock.advance(seconds)


def test_a_broken_clock_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / CLOCK_FILE_NAME
    path.write_text("{")
    with pytest.raises(ValueError, match=CLOCK_FILE_NAME):
        FileClock(path).now()


def test_reading_the_clock_is_cheap(tmp_path: Path) -> None:
    clock = TurnableClock(tmp_path / CLOCK_FILE_NAME)
    clock.advance(1)
    began = time.perf_counter()
    for _ in range(10_000):
        clock.now()
    assert (time.perf_counter() - began) / 10_000 < 50e-6


def test_months_are_clamped_and_come_back() -> None:
    anchor = int(FIXED.timestamp())
    february = period_after(anchor, "month", 1, anchor)
    assert datetime.fromtimestamp(february, UTC) == datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert datetime.fromtimestamp(period_after(anchor, "month", 1, february), UTC).day == 31
    leap = int(datetime(2024, 2, 29, tzinfo=UTC).timestamp())
    assert datetime.fromtimestamp(shifted(leap, "year", 1), UTC) == datetime(2025, 2, 28, tzinfo=UTC)
    assert datetime.fromtimestamp(shifted(leap, "year", 4), UTC) == datetime(2028, 2, 29, tzinfo=UTC)
    assert shifted(anchor, "week", 2) - anchor == 14 * 86_400
