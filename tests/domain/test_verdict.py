"""Every code, the whole order of precedence, and the exact moments at which an answer changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.activation import Activation
from keywright.domain.grant import Standing
from keywright.domain.license import License, Status
from keywright.domain.plan import FOREVER, Plan, Terms
from keywright.domain.verdict import (
    DETAIL,
    Code,
    Question,
    is_valid,
    judge,
    offline_until,
    refusal_of_activation,
)

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
        seats=1,
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


_PLAN = Plan("pln_1", "prd_1", "pro", "Pro", 1, Terms(entitlements=("export.pdf", "export.svg")))
_MACHINE = Activation("act_1", "lic_1", "ten_1", "f1", None, day(0))
_FULL = Question(fingerprinted=True, product="app", entitlements=("export.pdf",))

# In the order of the contract: what makes each code the answer, when nothing before it does.
_CAUSES: dict[Code, dict[str, object]] = {
    "TAMPERED": {"intact": False},
    "REVOKED": {"standing": "revoked"},
    "SUSPENDED": {"standing": "suspended"},
    "PENDING": {"entitled_until": None, "active_until": None, "grace_until": None},
    "EXPIRED": {"now": day(44)},
    "PRODUCT_MISMATCH": {"product": "other"},
    "ENTITLEMENT_MISSING": {"entitlements": ("export.pdf", "export.dwg")},
    "NOT_ACTIVATED": {"activation": None},
    "GRACE": {"now": day(31)},
    "VALID": {},
}
_ORDER = list(_CAUSES)


def verdict(**causes: object) -> tuple[Code, Status]:
    given_: dict[str, object] = {"now": day(1), "intact": True, "activation": _MACHINE, **causes}
    question = msgspec.structs.replace(
        _FULL, **{name: given_.pop(name) for name in ("product", "entitlements") if name in given_}
    )
    now, intact, machine = given_.pop("now"), given_.pop("intact"), given_.pop("activation")
    held = license_(**given_)
    assert isinstance(now, datetime)
    assert machine is None or isinstance(machine, Activation)
    return judge(held, _PLAN, "app", machine, question, now, intact=bool(intact))


@pytest.mark.parametrize("code", _ORDER)
def test_every_code(code: Code) -> None:
    assert verdict(**_CAUSES[code])[0] == code


@pytest.mark.parametrize(("first", "second"), list(combinations(_ORDER, 2)))
def test_of_each_pair_the_first_is_answered(first: Code, second: Code) -> None:
    both = {**_CAUSES[second], **_CAUSES[first]}
    assert verdict(**both)[0] == first


def test_all_at_once() -> None:
    remaining = list(_ORDER)
    while remaining:
        causes: dict[str, object] = {}
        for code in reversed(remaining):
            causes |= _CAUSES[code]
        assert verdict(**causes)[0] == remaining.pop(0)


def test_the_codes_of_the_contract_are_all_there_in_order() -> None:
    assert list(DETAIL) == list(get_args(Code))
    asked_elsewhere = {"NOT_FOUND", "TOO_MANY_ACTIVATIONS", "MOVES_EXHAUSTED"}
    assert [code for code in DETAIL if code not in asked_elsewhere] == _ORDER


def test_each_code_says_what_to_do() -> None:
    assert {code: action for code, (action, _) in DETAIL.items()} == {
        "NOT_FOUND": "contact",
        "TAMPERED": "contact",
        "REVOKED": "contact",
        "SUSPENDED": "contact",
        "PENDING": "retry",
        "EXPIRED": "renew",
        "PRODUCT_MISMATCH": "contact",
        "ENTITLEMENT_MISSING": "contact",
        "NOT_ACTIVATED": "activate",
        "TOO_MANY_ACTIVATIONS": "contact",
        "MOVES_EXHAUSTED": "contact",
        "GRACE": "renew",
        "VALID": "continue",
    }
    assert [code for code in DETAIL if is_valid(code)] == ["GRACE", "VALID"]


def test_the_http_status_of_a_refused_activation() -> None:
    special: dict[Code, int] = {"NOT_FOUND": 404, "TOO_MANY_ACTIVATIONS": 409}
    for code in DETAIL:
        if not is_valid(code):
            assert refusal_of_activation(code) == special.get(code, 403)


@pytest.mark.parametrize(
    ("now", "code", "status"),
    [
        (day(30), "VALID", "active"),
        (day(30.125) - _INSTANT, "VALID", "active"),
        (day(30.125), "GRACE", "grace"),
        (day(44) - _INSTANT, "GRACE", "grace"),
        (day(44), "EXPIRED", "expired"),
    ],
)
def test_the_exact_moments(now: datetime, code: Code, status: Status) -> None:
    assert verdict(now=now) == (code, status)


def test_only_what_is_asked_is_checked() -> None:
    def asked(question: Question, machine: Activation | None = None) -> Code:
        return judge(license_(), _PLAN, "app", machine, question, day(1), intact=True)[0]

    assert asked(Question()) == "VALID"
    assert asked(Question(), _MACHINE) == "VALID"
    assert asked(Question(product="app", entitlements=("export.svg", "export.pdf"))) == "VALID"
    assert asked(Question(product="")) == "PRODUCT_MISMATCH"
    assert asked(Question(fingerprinted=True)) == "NOT_ACTIVATED"
    assert asked(Question(fingerprinted=True), _MACHINE) == "VALID"


def test_a_tampered_row_says_nothing_of_its_clocks() -> None:
    for now in (day(1), day(31), day(99)):
        assert verdict(intact=False, now=now) == ("TAMPERED", "suspended")


# ------------------------------------------------------------------------------------------- offline


@pytest.mark.parametrize(
    ("members", "now", "expected"),
    [
        ({}, day(0), day(7)),
        ({}, day(29), day(36)),  # the last days of paid time and the first of grace
        ({}, day(40), day(44)),
        ({}, day(44) - _INSTANT, day(44)),
        ({}, day(44), None),
        ({"grace_until": day(30)}, day(29), day(30.125)),
        ({"grace_until": None}, day(29), day(30.125)),
        ({"active_until": FOREVER, "grace_until": FOREVER}, day(29), day(36)),
        ({"standing": "revoked"}, day(0), None),
        ({"standing": "suspended"}, day(0), None),
        ({"standing": "paused"}, day(29), day(30.125)),
        ({"standing": "paused"}, day(31), None),
        ({"lost_until": day(60)}, day(29), day(30.125)),
        ({"lost_until": day(60)}, day(31), None),
        ({"lost_until": day(10)}, day(29), day(36)),
        ({"active_until": None, "grace_until": None}, day(0), None),
    ],
)
def test_how_long_it_may_run_offline(
    members: dict[str, object], now: datetime, expected: datetime | None
) -> None:
    assert offline_until(license_(**members), _PLAN, now) == expected


_moments = st.none() | st.integers(-5, 30).map(day)


@given(
    _moments,
    _moments,
    _moments,
    st.sampled_from(get_args(Standing)),
    st.integers(-6, 31).map(day),
    st.integers(1, 20 * 86400),
    st.data(),
)
def test_offline_time_ends_with_the_last_valid_moment_at_the_latest(
    active: datetime | None,
    grace: datetime | None,
    lost: datetime | None,
    standing: Standing,
    now: datetime,
    offline: int,
    data: st.DataObject,
) -> None:
    held = license_(active_until=active, grace_until=grace, lost_until=lost, standing=standing)
    plan = msgspec.structs.replace(_PLAN, terms=Terms(offline=offline))

    def valid_at(moment: datetime) -> bool:
        return is_valid(judge(held, plan, "app", None, Question(), moment, intact=True)[0])

    until = offline_until(held, plan, now)
    if until is None:
        assert not valid_at(now)
        return
    assert now < until <= now + timedelta(seconds=offline)
    seconds = data.draw(st.floats(0, 1, exclude_max=True))
    for moment in (now, now + (until - now) * seconds, until - _INSTANT):
        assert valid_at(moment)
    assert until == now + timedelta(seconds=offline) or not valid_at(until)
