"""A fee as people write it: `12.5` percent, `0.50 USD, 0.45 EUR`; and read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from keywright.domain.errors import Invalid
from keywright.domain.fee import WHOLE, FeeRule, Fixed, OnRefund
from keywright.domain.money import iso_exponent

_PERCENT: Final = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?")
_AMOUNT: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,4}))? ?([A-Za-z]{3})")
_MOST: Final = 40


def rule_from(percent: str, fixed: str, least: str, most: str, on_refund: str) -> FeeRule:
    """The rule that these words mean. An amount may stand for each currency once.

    Args:
        percent: of a charge, with two decimals at most; empty is none.
        fixed, least, most: amounts with their currencies, comma between; empty is none.
        on_refund: `give_back` or `keep`.

    Raises:
        Invalid: FEE_INVALID, with what is wrong.
    """
    policies: dict[str, OnRefund] = {"give_back": "give_back", "keep": "keep"}
    if on_refund not in policies:
        raise _invalid("At a refund the fee is given back (`give_back`) or kept (`keep`).")
    parts = {"amount": _amounts(fixed), "least": _amounts(least), "most": _amounts(most)}
    by_currency: dict[str, Fixed] = {}
    for currency in sorted(set().union(*parts.values())):
        one = Fixed(
            parts["amount"].get(currency, 0), parts["least"].get(currency, 0), parts["most"].get(currency)
        )
        if one.most is not None and one.most < max(one.least, one.amount):
            raise _invalid(f"In {currency} the most is less than what is always taken.")
        by_currency[currency] = one
    return FeeRule(_points(percent), by_currency, policies[on_refund])


def checked(rule: FeeRule) -> FeeRule:
    """A rule that was given as it is kept. Raises Invalid as `rule_from`."""
    for currency, one in rule.by_currency.items():
        if one.most is not None and one.most < max(one.least, one.amount):
            raise _invalid(f"In {currency} the most is less than what is always taken.")
    if len(rule.by_currency) > _MOST:
        raise _invalid(f"At most {_MOST} currencies have amounts of their own.")
    return rule


def percent_text(rule: FeeRule) -> str:
    """`12.5`; as `rule_from` reads it."""
    whole, rest = divmod(rule.basis_points, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".") if rest else str(whole)


def amounts_text(rule: FeeRule, member: str) -> str:
    """`0.45 EUR, 0.50 USD`: the amounts of one kind, `amount`, `least` or `most`."""
    found: Mapping[str, int | None] = {
        currency: getattr(one, member) for currency, one in sorted(rule.by_currency.items())
    }
    return ", ".join(_amount_text(amount, currency) for currency, amount in found.items() if amount)


def rule_text(rule: FeeRule) -> str:
    """The whole rule in a line."""
    if not rule.basis_points and not rule.by_currency:
        return "No fee"
    parts = [f"{percent_text(rule)} %"]
    for member, name in (("amount", "plus"), ("least", "at least"), ("most", "at most")):
        if text := amounts_text(rule, member):
            parts.append(f"{name} {text}")
    back = "given back with a refund" if rule.on_refund == "give_back" else "kept at a refund"
    return f"{', '.join(parts)}; {back}"


def _points(percent: str) -> int:
    if not percent.strip():
        return 0
    match = _PERCENT.fullmatch(percent.strip().removesuffix("%").strip())
    points = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else WHOLE + 1
    if points > WHOLE:
        raise _invalid("The percentage is 0 to 100, with two decimals at most.")
    return points


def _amounts(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in (one.strip() for one in text.split(",") if one.strip()):
        match = _AMOUNT.fullmatch(part)
        currency = match[3].upper() if match else ""
        digits = iso_exponent(currency)
        decimals = (match[2] or "") if match else ""
        if match is None or len(decimals) > digits or currency in found or len(found) >= _MOST:
            raise _invalid("Amounts are written like `0.50 USD, 0.45 EUR`, each currency once.")
        found[currency] = int(match[1]) * int(10**digits) + int(decimals.ljust(digits, "0") or "0")
    return found


def _amount_text(amount: int, currency: str) -> str:
    digits = iso_exponent(currency)
    whole, part = divmod(amount, int(10**digits))
    return f"{whole}.{part:0{digits}d} {currency}" if digits else f"{whole} {currency}"


def _invalid(detail: str) -> Invalid:
    return Invalid(detail, code="FEE_INVALID")


class RuleShown(msgspec.Struct, frozen=True):
    """A rule as it is kept, and in words."""

    rule: FeeRule
    text: str


def shown(rule: FeeRule) -> RuleShown:
    """For answers of the API and of commands."""
    return RuleShown(rule, rule_text(rule))
