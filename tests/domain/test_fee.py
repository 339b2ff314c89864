"""The platform's fee: rounded as it says, bounded, and never more than the charge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.errors import Invalid
from keywright.domain.fee import NO_FEE, Fee, FeeRule, Fixed, fee_of, on_sale, share_of
from keywright.flows.fee_text import rule_from, rule_text

AMOUNTS = st.integers(0, 10**9)
FIXED = st.builds(Fixed, AMOUNTS, AMOUNTS, st.none() | AMOUNTS)
RULES = st.builds(FeeRule, st.integers(0, 10_000), st.fixed_dictionaries({}, optional={"USD": FIXED}))


@pytest.mark.parametrize(
    ("points", "amount", "fee"),
    [(250, 5010, 125), (250, 5020, 126), (250, 5000, 125), (1, 49, 0), (1, 5000, 1), (10_000, 7, 7)],
)
def test_a_half_goes_up(points: int, amount: int, fee: int) -> None:
    assert fee_of(FeeRule(points), amount, "USD") == fee


def test_amounts_of_a_currency_are_added_and_bounded() -> None:
    rule = FeeRule(1000, {"USD": Fixed(50, least=100, most=500)})
    found = [fee_of(rule, amount, "usd") for amount in (100, 400, 1000, 5000, 60)]
    assert found == [100, 100, 150, 500, 60]
    assert fee_of(rule, 1000, "EUR") == 100


@given(rule=RULES, amount=AMOUNTS)
def test_it_is_never_more_than_the_charge(rule: FeeRule, amount: int) -> None:
    assert 0 <= fee_of(rule, amount, "USD") <= amount
    sold = on_sale(rule, amount, "USD", recurring=True)
    assert sold.amount == 0
    assert 0 <= sold.basis_points <= 10_000


@given(fee=AMOUNTS, amount=st.integers(1, 10**9), parts=st.lists(st.integers(1, 10**9), max_size=4))
def test_what_belongs_to_a_refund_is_never_more_than_the_fee(fee: int, amount: int, parts: list[int]) -> None:
    assert share_of(fee, amount, amount) == fee
    assert all(0 <= share_of(fee, part, amount) <= fee for part in parts)


def test_a_subscription_has_its_fee_as_a_part() -> None:
    assert on_sale(FeeRule(1250), 5000, "USD", recurring=True) == Fee(0, 1250)
    assert on_sale(FeeRule(1000, {"USD": Fixed(50)}), 5000, "USD", recurring=True) == Fee(0, 1100)
    assert not on_sale(NO_FEE, 5000, "USD", recurring=True)
    assert not on_sale(FeeRule(0, {"USD": Fixed(50)}), 0, "USD", recurring=True)


def test_a_rule_is_read_as_it_is_written() -> None:
    rule = rule_from("12.5", "0.50 USD, 100 JPY", "", "20 usd", "keep")
    assert rule == FeeRule(1250, {"JPY": Fixed(100), "USD": Fixed(50, 0, 2000)}, "keep")
    assert rule_text(rule) == "12.5 %, plus 100 JPY, 0.50 USD, at most 20.00 USD; kept at a refund"
    assert rule_text(rule_from("", "", "", "", "give_back")) == "No fee"


@pytest.mark.parametrize(
    ("percent", "fixed", "most"),
    [
        ("101", "", ""),
        ("1.234", "", ""),
        ("-1", "", ""),
        ("ten", "", ""),
        ("1", "0.5", ""),
        ("1", "0.005 USD", ""),
        ("1", "1 USD, 2 USD", ""),
        ("1", "1.5 JPY", ""),
        ("1", "5 USD", "4 USD"),
    ],
)
def test_what_is_no_rule_is_refused(percent: str, fixed: str, most: str) -> None:
    with pytest.raises(Invalid) as refused:
        rule_from(percent, fixed, "", most, "keep")
    assert refused.value.code == "FEE_INVALID"
