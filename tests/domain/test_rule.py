"""The rules in words: who did it, and why a license is what it is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keywright.domain import rule
from keywright.domain.facts import Item, Ordered, PaidLine, PaymentSeen, Stamp, SubscriptionSeen


@pytest.mark.parametrize(
    ("by", "who"),
    [
        ("staff stf_1", "Staff"),
        ("token tok_1", "Staff"),
        ("command line", "Staff"),
        ("customer cus_1", "The customer"),
        ("buyer", "The buyer"),
    ],
)
def test_a_mail_was_asked_for_by_whoever_asked(by: str, who: str) -> None:
    assert rule.of_change("license.resent", by=by).startswith(f"{who} had")


def test_a_change_was_asked_for_by_whoever_asked() -> None:
    assert rule.of_change("billing.asked", by="customer cus_1").startswith("The customer asked")
    assert rule.of_change("billing.asked", by="staff stf_1").startswith("Staff asked")


def test_nobody_is_named_where_nobody_is_known() -> None:
    for kind in ("license.resent", "billing.asked"):
        assert "Staff" not in rule.of_change(kind)
        assert rule.of_change(kind)


def test_an_event_is_not_taken_for_staff() -> None:
    bought = rule.of_change("license.seats_changed")
    assert bought != rule.of_change("license.seats_changed", by="staff stf_1")
    assert bought == rule.of_change("license.seats_changed", by="customer cus_1")


def test_a_price_is_called_by_its_own_name_alone() -> None:
    """One id may begin another one, or be part of the payment's."""
    at = Stamp(datetime(2026, 1, 1, tzinfo=UTC))
    names = {"pro": "DashCaddy Pro"}
    lines = (PaidLine("pro", 1), PaidLine("pro_yearly", 1))
    told = [
        rule.told(SubscriptionSeen(at, "active", (Item("pro", 2), Item("pro_yearly", 1))), names),
        rule.told(PaymentSeen(at, "pro_1", "paid", 5000, "USD", lines=lines), names),
        rule.told(Ordered("KW-1", "plan_1", "pro", 3), names),
        rule.told(Ordered("KW-1", "plan_1", "pro", 3)),
    ]
    assert told == [
        "subscription active: 2 x DashCaddy Pro, 1 x pro_yearly",
        "payment pro_1 paid: 50.00 USD for DashCaddy Pro, pro_yearly",
        "order KW-1: 3 x DashCaddy Pro",
        "order KW-1: 3 x pro",
    ]
