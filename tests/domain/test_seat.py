"""How long a seat is held, and that no lease outlives it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain import seat
from keywright.domain.activation import Activation, admit, may_rebind
from keywright.domain.license import License
from keywright.domain.plan import Plan, Terms
from tests.domain.test_activation import _held, _plan

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FLOATING = _plan(floating=True, offline=4 * 3600, checkout=30 * 86400)
FIXED = _plan(checkout=30 * 86400)


def bound(name: str = "a", **more: object) -> Activation:
    found = Activation(f"act_{name}", "lic_1", "ten_1", name, None, NOW - 9 * DAY)
    return msgspec.structs.replace(found, **more)


def held(until: datetime = NOW + 365 * DAY) -> License:
    return msgspec.structs.replace(_held(5), entitled_until=until, active_until=until)


def test_an_ordinary_seat_has_no_end() -> None:
    one = bound(seat_until=NOW - DAY)
    assert seat.until(one, FIXED) is None
    assert not seat.is_lapsed(one, FIXED, NOW + 999 * DAY)
    assert not seat.is_due(held(), FIXED, one, NOW)
    assert seat.lease_end(held(), FIXED, one, NOW) == NOW + 7 * DAY


def test_a_floating_seat_ends_with_its_lease() -> None:
    one = bound(seat_until=NOW + HOUR)
    assert not seat.is_lapsed(one, FLOATING, NOW + HOUR - timedelta(microseconds=1))
    assert seat.is_lapsed(one, FLOATING, NOW + HOUR)
    assert seat.lease_end(held(), FLOATING, one, NOW) == NOW + HOUR


def test_a_machine_bound_before_its_plan_floated_keeps_what_it_was_given() -> None:
    one = bound(last_seen_at=NOW)
    assert seat.until(one, FLOATING) == NOW + 4 * HOUR + seat.SEEN_AGAIN_AFTER
    assert seat.is_due(held(), FLOATING, one, NOW)
    assert not seat.is_lapsed(one, FLOATING, NOW + 4 * HOUR)
    assert seat.is_lapsed(one, FLOATING, NOW + 5 * HOUR)


@pytest.mark.parametrize(
    ("left", "license_left", "due"),
    [
        (4 * HOUR, 99 * DAY, False),
        (3 * HOUR, 99 * DAY, False),
        (2 * HOUR, 99 * DAY, True),
        (HOUR, 99 * DAY, True),
        # The license ends first, and the seat already lasts as long.
        (HOUR, HOUR, False),
        (HOUR, 3 * HOUR, True),
        (2 * HOUR, 3 * HOUR, False),
    ],
)
def test_a_sign_of_life_is_written_when_half_is_gone(
    left: timedelta, license_left: timedelta, due: bool
) -> None:
    assert seat.is_due(held(NOW + license_left), FLOATING, bound(seat_until=NOW + left), NOW) is due


def test_a_machine_that_is_checked_out() -> None:
    out = NOW + 20 * DAY
    for plan in (FIXED, FLOATING):
        one = bound(seat_until=NOW + HOUR, out_until=out)
        assert seat.is_out(one, NOW)
        assert not seat.is_out(one, out)
        assert seat.lease_end(held(), plan, one, NOW) == out
        # Never beyond the license.
        assert seat.lease_end(held(NOW + 9 * DAY), plan, one, NOW) == NOW + 9 * DAY
        assert seat.is_move(one, plan, NOW)
    assert seat.is_lapsed(bound(seat_until=NOW + HOUR, out_until=out), FLOATING, out)
    assert not seat.is_lapsed(bound(seat_until=NOW + HOUR, out_until=out), FLOATING, out - HOUR)
    # On its last days it lives on as every other one does.
    assert seat.lease_end(held(), FIXED, bound(out_until=NOW + DAY), NOW) == NOW + 7 * DAY


def test_what_counts_as_a_move() -> None:
    assert seat.is_move(bound(), FIXED, NOW)
    assert not seat.is_move(bound(), FLOATING, NOW)
    assert not seat.is_move(bound(out_until=NOW), FLOATING, NOW)


def test_nobody_takes_the_place_of_a_machine_that_is_checked_out() -> None:
    out = bound("out", last_seen_at=NOW - 99 * DAY, out_until=NOW + DAY)
    old, new = bound("old", last_seen_at=NOW - 9 * DAY), bound("new", last_seen_at=NOW)
    assert seat.oldest([new, out, old], NOW) == old
    assert seat.oldest([out], NOW) is None
    plan = _plan(over_limit="replace_oldest", max_activations=2)
    assert admit(held(), plan, active=2, released=0, now=NOW, out=1) == "replace_oldest"
    assert admit(held(), plan, active=2, released=0, now=NOW, out=2) == "TOO_MANY_ACTIVATIONS"


def test_dead_machines_give_way_when_the_limit_is_reached() -> None:
    plan = _plan(reclaim=90 * 86400)
    dead = [bound(str(n), last_seen_at=NOW - (100 - n) * DAY) for n in range(3)]
    out = bound("out", last_seen_at=NOW - 300 * DAY, out_until=NOW + DAY)
    alive = bound("alive", last_seen_at=NOW - 89 * DAY)
    assert seat.giving_way([*dead, alive], plan, 5, NOW) == ()
    assert seat.giving_way([*dead, alive], plan, None, NOW) == ()
    assert seat.giving_way([*dead, alive], plan, 4, NOW) == (dead[0],)
    assert seat.giving_way([*dead, alive, out], plan, 4, NOW) == (dead[0], dead[1])
    # One more would not fit all the same: then nothing is taken.
    assert seat.giving_way([dead[0], alive, out], plan, 1, NOW) == ()
    assert seat.giving_way([*dead, alive], _plan(), 4, NOW) == ()


def test_rebinds_have_a_budget() -> None:
    assert [may_rebind(_plan(rebinds=2), rebound=n) for n in range(4)] == [True, True, False, False]
    assert not may_rebind(_plan(rebinds=0), rebound=0)


hours = st.integers(0, 400)


@given(st.lists(st.tuples(hours, st.booleans()), max_size=30), st.integers(1, 400), st.integers(0, 30))
def test_no_lease_outlives_its_seat_and_who_calls_in_time_keeps_it(
    calls: list[tuple[int, bool]], license_hours: int, checked_out: int
) -> None:
    """Validations at any time, each of them answered as the server does it."""
    license_ = held(NOW + timedelta(hours=license_hours))
    out = NOW + timedelta(days=checked_out) if checked_out else None
    one = bound(out_until=out)
    one = msgspec.structs.replace(one, seat_until=seat.reach(license_, FLOATING, one, NOW))
    lease, now = seat.lease_end(license_, FLOATING, one, NOW), NOW
    for gap, hasty in calls:
        # A client calls while half its lease is left; a hasty one, more often.
        now += (lease - now) * (0.2 if hasty else 0.9)
        if gap > 350:  # it was off for a while
            now += timedelta(hours=gap)
        if seat.is_lapsed(one, FLOATING, now):
            assert lease <= now
            return
        if seat.is_due(license_, FLOATING, one, now):
            ends = seat.reach(license_, FLOATING, one, now)
            one = msgspec.structs.replace(one, seat_until=max(ends, seat.until(one, FLOATING) or ends))
        lease = max(lease, seat.lease_end(license_, FLOATING, one, now))
        seat_end = seat.until(one, FLOATING)
        assert seat_end is not None
        assert lease <= seat_end
        if now < license_.active_until - HOUR:  # type: ignore[operator]  # it has one
            assert seat_end > now


def test_old_terms_read_as_they_were() -> None:
    old = msgspec.json.decode(b'{"moves":5,"offline":86400}', type=Terms)
    assert (old.floating, old.checkout, old.reclaim, old.rebinds) == (False, 0, 0, 3)
    assert msgspec.json.encode(Terms()) == b"{}"
    assert Plan("p", "q", "r", "s", 1, old).terms.machines(3) == 3
