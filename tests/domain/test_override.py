"""What an operator decided, on top of what was paid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.grant import Grant, Standing
from keywright.domain.override import NO_OVERRIDES, Decision, Overrides, apply, decide, extend
from keywright.domain.plan import FOREVER, Plan, Terms

_PLAN = Plan("pln_1", "prd_1", "pro", "Pro", 1, Terms())


def day(number: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


def suspend(at: float, by: str = "stf_1") -> Decision:
    return Decision("suspend", day(at), by)


def reinstate(at: float, by: str = "stf_1") -> Decision:
    return Decision("reinstate", day(at), by)


def revoke(at: float, by: str = "stf_1") -> Decision:
    return Decision("revoke", day(at), by)


def grant(
    until: datetime | None, *, standing: Standing = "ok", reason: str = "", lost: datetime | None = None
) -> Grant:
    return Grant("prd_1", _PLAN, 5, 1, until, until, until, lost, standing, reason)


def after(*decisions: Decision) -> Overrides:
    overrides = NO_OVERRIDES
    for decision in decisions:
        overrides = decide(overrides, decision)
    return overrides


_CASES: list[tuple[tuple[Decision, ...], Decision]] = [
    ((suspend(1),), suspend(1)),
    ((suspend(1), reinstate(2)), reinstate(2)),
    ((suspend(1), reinstate(2), suspend(3)), suspend(3)),
    ((revoke(1),), revoke(1)),
    # A revocation is final: a later suspension does not soften it. Only a reinstatement ends it.
    ((revoke(1), suspend(2)), revoke(1)),
    ((revoke(1), reinstate(2)), reinstate(2)),
    ((revoke(1), reinstate(2), suspend(3)), suspend(3)),
    ((revoke(1), suspend(2), reinstate(3)), reinstate(3)),
    ((revoke(1), reinstate(2), revoke(3)), revoke(3)),
    ((revoke(2), suspend(1)), revoke(2)),
    # At one moment the stricter one.
    ((suspend(1), reinstate(1)), suspend(1)),
    ((revoke(1), reinstate(1)), revoke(1)),
    ((revoke(1), suspend(1)), revoke(1)),
    # The late arrival of a reinstatement between two others.
    ((revoke(1), reinstate(2), suspend(4)), suspend(4)),
    ((suspend(1, "stf_1"), suspend(1, "stf_2")), suspend(1, "stf_2")),
]


@pytest.mark.parametrize(("decisions", "expected"), _CASES)
def test_which_decision_is_in_force_in_every_order(
    decisions: tuple[Decision, ...], expected: Decision
) -> None:
    results = {msgspec.json.encode(after(*order)) for order in permutations(decisions)}
    assert len(results) == 1
    assert after(*decisions).decision == expected


_decisions = st.builds(
    Decision,
    st.sampled_from(["suspend", "reinstate", "revoke"]),
    st.integers(0, 5).map(day),
    st.sampled_from(["stf_1", "stf_2"]),
)


@given(st.lists(_decisions, min_size=1, max_size=8), st.data())
def test_decisions_arrive_in_any_order_and_more_than_once(
    decisions: list[Decision], data: st.DataObject
) -> None:
    again = data.draw(st.permutations(decisions + decisions[:3]))
    expected = after(*decisions)
    assert after(*again) == expected
    assert decide(expected, decisions[0]) == expected
    # Against the rule in one sentence: the strictest of those that no reinstatement came after.
    last = max((d.at for d in decisions if d.kind == "reinstate"), default=day(-1))
    kinds = {d.kind for d in decisions if d.at >= last}
    wanted = next(kind for kind in ("revoke", "suspend", "reinstate") if kind in kinds)
    assert expected.decision is not None
    assert expected.decision.kind == wanted


def test_an_extension_is_a_floor_that_only_rises() -> None:
    floored = extend(extend(NO_OVERRIDES, day(40)), day(30))
    assert floored == extend(extend(NO_OVERRIDES, day(30)), day(40))
    assert floored.floor == day(40)
    short = apply(grant(day(30)), floored)
    assert short.entitled_until == short.active_until == short.grace_until == day(40)
    assert apply(grant(day(50)), floored).entitled_until == day(50)
    assert apply(grant(None), floored).active_until == day(40)
    assert apply(grant(FOREVER), floored).entitled_until == FOREVER
    slack = msgspec.structs.replace(grant(day(39)), grace_until=day(53))
    assert apply(slack, floored).grace_until == day(53)


def test_nothing_decided_changes_nothing() -> None:
    one = grant(day(30))
    assert apply(one, NO_OVERRIDES) is one
    assert apply(one, Overrides()) is one


def test_seats_are_added() -> None:
    assert apply(grant(day(30)), Overrides(seats=3)).seats == 8


@pytest.mark.parametrize(
    ("standing", "decision", "expected", "reason"),
    [
        ("ok", suspend(1), "suspended", "suspend by staff"),
        ("ok", revoke(1), "revoked", "revoke by staff"),
        ("ok", reinstate(1), "ok", "given"),
        ("paused", suspend(1), "suspended", "suspend by staff"),
        ("paused", reinstate(1), "ok", ""),  # operator over provider
        ("suspended", reinstate(1), "ok", ""),
        ("suspended", revoke(1), "revoked", "revoke by staff"),
        ("revoked", suspend(1), "revoked", "given"),  # a unit no longer bought
        ("revoked", reinstate(1), "revoked", "given"),
    ],
)
def test_operator_over_provider(
    standing: Standing, decision: Decision, expected: Standing, reason: str
) -> None:
    one = apply(grant(day(30), standing=standing, reason="given"), after(decision))
    assert (one.standing, one.reason) == (expected, reason)


def test_a_reinstatement_gives_no_refunded_time_back_but_an_extension_does() -> None:
    refunded = grant(day(0), lost=day(30), reason="refunded")
    assert apply(refunded, after(reinstate(5))) == refunded
    assert apply(refunded, extend(NO_OVERRIDES, day(30))).active_until == day(30)


def test_overrides_read_back_from_the_store_as_they_were() -> None:
    overrides = extend(after(revoke(1), suspend(2), reinstate(0)), day(9))
    assert msgspec.json.decode(msgspec.json.encode(overrides), type=Overrides) == overrides
    assert msgspec.json.encode(NO_OVERRIDES) == b"{}"
