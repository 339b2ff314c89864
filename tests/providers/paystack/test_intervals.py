"""Which period a payment was for, and which subscription it belongs to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.providers.paystack.intervals import length, period_end, stepped
from keywright.providers.paystack.links import founding_of, subscription_of

INTERVALS = ("hourly", "daily", "weekly", "monthly", "quarterly", "biannually", "annually")
Json = dict[str, Any]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("paid_at", "interval", "next_at", "end", "known"),
    [
        ("2026-01-01T12:30", "monthly", "2026-02-01T12:00", "2026-02-01T12:00", True),
        ("2026-01-01T12:30", "monthly", "2026-04-01T12:00", "2026-02-01T12:00", True),
        ("2026-01-31T12:30", "monthly", "2026-02-28T12:00", "2026-02-28T12:00", True),
        ("2026-01-31T23:59", "monthly", "2026-03-01T00:00", "2026-03-01T00:00", True),  # a minute early
        ("2025-11-20T00:00", "annually", "2027-11-20T00:00", "2026-11-20T00:00", True),
        ("2026-01-01T12:30", "quarterly", "2026-10-01T00:00", "2026-04-01T00:00", True),
        ("2026-01-01T00:00", "hourly", "2026-11-20T12:00", "2026-01-01T01:00", True),
        ("2026-01-01T00:00", "weekly", "2026-11-19T00:00", "2026-01-08T00:00", True),
        ("2026-01-31T12:30", "monthly", None, "2026-02-28T12:30", False),
        ("2026-02-01T00:01", "monthly", "2026-02-01T00:00", "2026-03-01T00:01", False),  # not moved on yet
        ("2026-01-01T12:30", None, "2026-02-01T12:00", "2026-02-01T12:00", True),
        ("2026-01-01T12:30", "fortnightly", None, None, False),
    ],
)
def test_a_payment_is_for_the_period_it_was_made_in(
    paid_at: str, interval: str | None, next_at: str | None, end: str | None, known: bool
) -> None:
    found = period_end(day(paid_at), interval, day(next_at) if next_at else None)
    assert found == (day(end) if end else None, known)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001  # Hypothesis wants naive bounds
    st.sampled_from(INTERVALS),
    st.integers(1, 40),
)
def test_a_payments_period_does_not_depend_on_when_it_is_looked_at(
    begun: datetime, interval: str, later: int
) -> None:
    paid_at = begun.replace(day=min(begun.day, 28), tzinfo=UTC)
    first, once = (stepped(paid_at, interval, steps) for steps in (1, 1 + later))
    assert first is not None
    assert period_end(paid_at + timedelta(seconds=5), interval, first) == (first, True)
    assert period_end(paid_at + timedelta(seconds=5), interval, once) == (first, True)
    span = length(interval)
    assert span is not None
    assert first - paid_at >= span


PAIR: Json = {"plan": {"plan_code": "PLN_1"}, "customer": {"customer_code": "CUS_1", "id": 1}}


def payment(at: str, reference: str = "r", id_: int = 7, **members: Any) -> Json:
    return {**PAIR, "id": id_, "reference": reference, "status": "success", "paid_at": at, **members}


def subscription(code: str, at: str, **members: Any) -> Json:
    return {**PAIR, "subscription_code": code, "createdAt": at, **members}


OURS = "KW-ABCDEFGH23456777"
OLD, NEW = subscription("SUB_1", "2026-01-01T00:00:02"), subscription("SUB_2", "2026-03-01T00:00:02")
INVOICED = subscription("SUB_3", "2026-01-01T00:00:00", invoices=[{"transaction": 7}])
ELSEWHERE = {**OLD, "customer": {"customer_code": "CUS_2"}}


@pytest.mark.parametrize(
    ("paid", "listed", "code"),
    [
        (payment("2026-01-01T00:00:00", OURS), [OLD, NEW], "SUB_1"),
        (payment("2026-03-01T00:00:00", OURS), [OLD, NEW], "SUB_2"),
        (payment("2026-03-01T00:00:00", OURS), [OLD], None),  # its own is about to be made
        (payment("2026-02-01T00:00:00"), [OLD, NEW], "SUB_1"),  # the only one there was then
        (payment("2026-04-01T00:00:00"), [OLD, NEW], None),  # either: invoice.update will tell
        (payment("2026-04-01T00:00:00"), [OLD, NEW, INVOICED], "SUB_3"),
        (payment("2026-02-01T00:00:00"), [ELSEWHERE], None),
        (payment("2026-02-01T00:00:00", plan={}), [OLD], None),
        (payment("2026-02-01T00:00:00"), [], None),
    ],
)
def test_a_payment_finds_its_subscription(paid: Json, listed: list[Json], code: str | None) -> None:
    found = subscription_of(paid, listed)
    assert (found["subscription_code"] if found is not None else None) == code


def test_a_subscription_finds_the_payment_that_began_it() -> None:
    first, second = payment("2026-03-01T00:00:00", OURS), payment("2026-02-28T23:55:00", "KW-ZZZZ", 8)
    later, failed = (
        payment("2026-03-01T00:03:00", id_=9),
        payment("2026-03-01T00:00:01", id_=10, status="failed"),
    )
    assert founding_of(NEW, [second, first, later, failed]) == first
    assert founding_of(NEW, [later, failed]) is None
    assert founding_of({**NEW, "createdAt": None}, [first]) is None
