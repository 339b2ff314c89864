"""The goals of the bench of live streams. Fifty of them are opened in `tests/e2e/test_streams.py`."""

from benchmarks.streams import Found


def test_each_goal_that_is_missed_is_named() -> None:
    good = Found("sqlite", 1000, 1.0, 49.9, 49.9, 0.5, 0.99, 0.1, 0.99, 0.5)
    assert good.missed() == []
    bad = Found("sqlite", 1000, 1.0, 50.0, 50.0, 0.5, 1.0, 0.1, 1.0, 0.5)
    assert len(bad.missed()) == 3
