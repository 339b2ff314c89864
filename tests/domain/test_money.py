"""Minor units, where a provider and ISO 4217 count alike and where they do not."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.money import iso_exponent, to_iso_minor, written


@pytest.mark.parametrize(
    ("currency", "exponent"),
    [("USD", 2), ("EUR", 2), ("HUF", 2), ("MGA", 2), ("JPY", 0), ("ISK", 0), ("UGX", 0), ("XOF", 0),
     ("KWD", 3), ("TND", 3), ("CLF", 4)],
)  # fmt: skip
def test_the_standard_names_the_decimals(currency: str, exponent: int) -> None:
    assert iso_exponent(currency) == exponent


@pytest.mark.parametrize(
    ("amount", "currency", "exponent", "iso"),
    [
        (1050, "USD", 2, 1050),
        (1000, "JPY", 0, 1000),
        (100_000, "XOF", 2, 1000),
        (90_000, "ISK", 2, 900),
        (900, "MGA", 0, 90_000),
        (90_049, "ISK", 2, 900),
        (90_050, "ISK", 2, 901),
        (-90_050, "ISK", 2, -901),
        (-90_049, "ISK", 2, -900),
        (0, "ISK", 2, 0),
    ],
)
def test_amounts_become_iso_minor_units(amount: int, currency: str, exponent: int, iso: int) -> None:
    assert to_iso_minor(amount, currency, exponent) == iso


CURRENCIES = ("USD", "JPY", "ISK", "KWD", "CLF")


@given(st.integers(-(10**12), 10**12), st.sampled_from(CURRENCIES), st.integers(0, 4))
def test_no_amount_moves_by_more_than_half_a_minor_unit(amount: int, currency: str, exponent: int) -> None:
    exact = Fraction(amount, 10**exponent) * 10 ** iso_exponent(currency)
    assert abs(to_iso_minor(amount, currency, exponent) - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("amount", "currency", "told"),
    [
        (5000, "USD", "50.00 USD"),
        (123456789, "EUR", "1,234,567.89 EUR"),
        (500, "JPY", "500 JPY"),
        (1, "KWD", "0.001 KWD"),
        (-250, "USD", "-2.50 USD"),
    ],
)
def test_an_amount_is_written_with_the_decimals_of_its_currency(
    amount: int, currency: str, told: str
) -> None:
    assert written(amount, currency) == told
