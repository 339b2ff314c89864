"""Status at a moment, the name of a change, and the MAC of a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.grant import Grant, Standing
from keywright.domain.license import License, Status, change_of, granted, is_intact, row_mac, seats_at, status
from keywright.domain.override import Decision, Overrides
from keywright.domain.plan import Plan, Terms

_PLAN = Plan("pln_1", "prd_1", "pro", "Pro", 1, Terms())
_KEY = bytes(range(32))
_INSTANT = timedelta(microseconds=1)


def day(number: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


def license_(**members: object) -> License:
    blank = License(
        id="lic_1",
        tenant_id="ten_1",
        purchase_id="pur_1",
        product_id="prd_1",
        plan_id="pln_1",
        unit=0,
        customer_id="cus_1",
        key_hash="a1b2",
        key_last5="ABCDE",
        key_sealed="sealed",
        seats=5,
        entitled_until=day(30),
        active_until=day(30.125),
        grace_until=day(44),
        lost_until=None,
        standing="ok",
        reason="",
        trial=False,
        canceling=False,
        past_due=False,
        created_at=day(0),
    )
    return msgspec.structs.replace(blank, **members)


_NEVER: dict[str, object] = {"entitled_until": None, "active_until": None, "grace_until": None}


@pytest.mark.parametrize(
    ("members", "now", "expected"),
    [
        ({}, day(29), "active"),
        ({}, day(30), "active"),  # slack is silent
        ({}, day(30.125) - _INSTANT, "active"),
        ({}, day(30.125), "grace"),
        ({}, day(44) - _INSTANT, "grace"),
        ({}, day(44), "expired"),
        ({"grace_until": day(30)}, day(30.125) - _INSTANT, "active"),
        ({"grace_until": day(30)}, day(30.125), "expired"),
        ({"grace_until": None}, day(31), "expired"),
        (_NEVER, day(0), "pending"),
        ({**_NEVER, "standing": "suspended"}, day(0), "suspended"),
        ({**_NEVER, "standing": "paused"}, day(0), "suspended"),
        ({**_NEVER, "standing": "revoked"}, day(0), "revoked"),
        ({"standing": "suspended"}, day(0), "suspended"),
        ({"standing": "suspended"}, day(100), "suspended"),
        ({"standing": "revoked"}, day(0), "revoked"),
        # Paid time beats a provider's pause.
        ({"standing": "paused"}, day(30.125) - _INSTANT, "active"),
        ({"standing": "paused"}, day(30.125), "suspended"),
        # No counting period covers now, and a refunded one would have.
        ({"lost_until": day(60)}, day(30.125) - _INSTANT, "active"),
        ({"lost_until": day(60)}, day(30.125), "revoked"),
        ({"lost_until": day(60)}, day(60) - _INSTANT, "revoked"),
        ({"lost_until": day(60)}, day(60), "expired"),
        ({"lost_until": day(60), "standing": "suspended"}, day(50), "revoked"),
        ({"lost_until": day(60), "standing": "suspended"}, day(10), "suspended"),
        ({**_NEVER, "lost_until": day(60)}, day(50), "revoked"),
        ({**_NEVER, "lost_until": day(60)}, day(60), "pending"),
    ],
)
def test_status_at_a_moment(members: dict[str, object], now: datetime, expected: Status) -> None:
    assert status(license_(**members), now) == expected


def _grant(held: License, **members: object) -> Grant:
    grant = Grant(
        held.product_id, _PLAN, held.seats, 1, held.entitled_until, held.active_until, held.grace_until
    )
    return msgspec.structs.replace(grant, **members)


def test_the_same_grant_changes_nothing() -> None:
    held = license_()
    assert granted(held, _grant(held)) is held
    after = granted(held, _grant(held, seats=6, trial=True, past_due=True, reason="past_due"))
    assert (after.seats, after.trial, after.past_due, after.reason) == (6, True, True, "past_due")
    assert after.key_hash == held.key_hash


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ({}, {"standing": "paused"}, "license.paused"),
        ({}, {"standing": "suspended"}, "license.suspended"),
        ({}, {"standing": "revoked", "seats": 1}, "license.revoked"),
        ({"standing": "paused"}, {"standing": "ok"}, "license.reinstated"),
        ({}, {"lost_until": day(60)}, "license.refunded"),
        ({"lost_until": day(60)}, {"lost_until": None, "entitled_until": day(90)}, "license.renewed"),
        ({}, {"plan_id": "pln_2", "seats": 9}, "license.plan_changed"),
        ({}, {"seats": 9}, "license.seats_changed"),
        ({}, {"seats_after": 3, "seats_after_at": day(30)}, "license.seats_changed"),
        # The step was told of before: when its moment comes that is no news.
        (
            {"seats_after": 3, "seats_after_at": day(30)},
            {"seats": 3, "seats_after": None, "entitled_until": day(60)},
            "license.renewed",
        ),
        ({"seats_after": 3, "seats_after_at": day(30)}, {"seats_after": None}, "license.seats_changed"),
        ({"standing": "suspended"}, {"standing": "ok", "lost_until": day(60)}, "license.refunded"),
        ({}, {"lost_until": day(60), "reason": "dispute lost"}, "license.revoked"),
        ({}, {"lost_until": day(60), "standing": "suspended"}, "license.suspended"),
        ({}, {"canceling": True}, "license.canceling"),
        ({"canceling": True}, {"canceling": False}, "license.changed"),
        ({}, {"entitled_until": day(60)}, "license.renewed"),
        (_NEVER, {"entitled_until": day(60)}, "license.renewed"),
        ({}, {"entitled_until": day(60), "reason": "removed"}, "license.changed"),
        ({}, {"entitled_until": day(10)}, "license.changed"),
        ({}, {"entitled_until": None}, "license.changed"),
    ],
)
def test_the_name_of_a_change(before: dict[str, object], after: dict[str, object], name: str) -> None:
    held = license_(**before)
    assert change_of(held, msgspec.structs.replace(held, **after)) == name


def test_fewer_seats_begin_when_the_time_paid_for_more_is_over() -> None:
    held = license_(seats_after=3, seats_after_at=day(30))
    assert [seats_at(held, day(n)) for n in (0, 29.9, 30, 31)] == [5, 5, 3, 3]
    assert seats_at(license_(), day(99)) == 5


def test_a_row_from_before_there_were_steps_keeps_its_mac() -> None:
    # As the first release wrote it: computed from the text of the row, not by this code.
    assert row_mac(license_(), _KEY) == "e87e8acc70bca8848358961c9bf26f07"


# What a verdict rests on, each with another value.
_COVERED: dict[str, object] = {
    "id": "lic_2",
    "tenant_id": "ten_2",
    "purchase_id": None,
    "product_id": "prd_2",
    "plan_id": "pln_2",
    "unit": 1,
    "key_hash": "a1b3",
    "seats": 6,
    "entitled_until": day(30) + _INSTANT,
    "active_until": day(31),
    "grace_until": None,
    "lost_until": day(1),
    "standing": "suspended",
    "firm": "Example Ltd",
    "overrides": Overrides(floor=day(900)),
    "seats_after": 1,
    "seats_after_at": day(30),
    "hmac_sealed": "v1.other",
}
# The rest decides nothing: who holds it, how the key is shown, flags for people, where the timeline stands.
_FREE: dict[str, object] = {
    "customer_id": "cus_2",
    "key_last5": "ZZZZZ",
    "key_sealed": "other",
    "reason": "because",
    "trial": True,
    "canceling": True,
    "past_due": True,
    "created_at": day(1),
    "origin": "comp",
    "head": "ff",
    "events": 7,
    "mac": "00",
}


def test_every_member_is_either_covered_or_free() -> None:
    assert {field.name for field in msgspec.structs.fields(License)} == _COVERED.keys() | _FREE.keys()
    assert not _COVERED.keys() & _FREE.keys()


@pytest.mark.parametrize("member", _COVERED)
def test_the_mac_covers(member: str) -> None:
    held = license_()
    sealed = msgspec.structs.replace(held, mac=row_mac(held, _KEY))
    assert is_intact(sealed, _KEY)
    assert not is_intact(msgspec.structs.replace(sealed, **{member: _COVERED[member]}), _KEY)


@pytest.mark.parametrize("member", sorted(_FREE.keys() - {"mac"}))
def test_the_mac_leaves_out(member: str) -> None:
    held = license_()
    assert row_mac(msgspec.structs.replace(held, **{member: _FREE[member]}), _KEY) == row_mac(held, _KEY)


def test_the_mac_needs_the_key_and_tolerates_any_text_in_the_row() -> None:
    held = license_()
    sealed = msgspec.structs.replace(held, mac=row_mac(held, _KEY))
    assert len(sealed.mac) == 32
    assert not is_intact(sealed, bytes(32))
    for altered in ("", "\u00e9" * 32, sealed.mac.upper(), sealed.mac + "0"):
        assert not is_intact(msgspec.structs.replace(sealed, mac=altered), _KEY)


def test_no_two_rows_share_a_text() -> None:
    """Members may not flow into each other, and nothing is not the empty text."""
    rows = [
        license_(standing="ok", firm=None),
        license_(standing="ok", firm=""),
        license_(product_id='prd_1","pln_1', plan_id="x"),
        license_(product_id="prd_1", plan_id='pln_1","x'),
        license_(product_id="a\x1fb", plan_id="c"),
        license_(product_id="a", plan_id="b\x1fc"),
        license_(purchase_id=None),
        license_(purchase_id=""),
    ]
    assert len({row_mac(row, _KEY) for row in rows}) == len(rows)


def test_the_mac_is_the_same_after_a_round_trip_through_the_store() -> None:
    overrides = Overrides(Decision("suspend", day(1.5) + _INSTANT, "stf_1"), day(3), 2)
    held = license_(overrides=overrides)
    back = msgspec.structs.replace(
        held, overrides=msgspec.json.decode(msgspec.json.encode(overrides), type=Overrides)
    )
    assert row_mac(back, _KEY) == row_mac(held, _KEY)


_moments = st.none() | st.integers(-5, 60).map(day)


@given(
    _moments,
    _moments,
    _moments,
    st.sampled_from(get_args(Standing)),
    st.integers(-10, 70).map(day),
)
def test_status_is_a_function_of_clocks_and_now(
    active: datetime | None,
    grace: datetime | None,
    lost: datetime | None,
    standing: Standing,
    now: datetime,
) -> None:
    held = license_(active_until=active, grace_until=grace, lost_until=lost, standing=standing)
    found = status(held, now)
    paid = active is not None and now < active
    assert (found == "active") == (paid and standing in ("ok", "paused"))
    assert (found == "revoked") == (standing == "revoked" or (not paid and lost is not None and now < lost))
    if standing == "suspended":
        assert found in ("suspended", "revoked")
    if found == "pending":
        assert active is None
    if found == "grace":
        assert grace is not None
        assert now < grace
