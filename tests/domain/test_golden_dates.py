"""Dates on which calendars are difficult, from a purchase to the verdict.

Durations are seconds and every moment is UTC: a day is 86,400 seconds on every day of the year, whatever the
clocks on the walls of the buyer, the seller or the server do.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from keywright.domain.facts import Item, Ordered, PaymentSeen, Stamp, SubscriptionSeen
from keywright.domain.grant import Grant, worth
from keywright.domain.license import License, granted, row_mac
from keywright.domain.plan import FOREVER, Plan, Terms, later_by
from keywright.domain.purchase import Purchase, absorb
from keywright.domain.verdict import Question, judge

_INSTANT = timedelta(microseconds=1)
_DAY = 86_400


# New York and the Line Islands, by rule: a machine may have no table of zones.
@pytest.fixture(params=["UTC0", "EST5EDT,M3.2.0,M11.1.0", "<+14>-14"], autouse=True)
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The zone of the server must not matter."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _license(grant: Grant) -> License:
    blank = License(
        id="lic_1",
        tenant_id="ten_1",
        purchase_id="pur_1",
        product_id="prd_1",
        plan_id="pln_1",
        unit=0,
        customer_id=None,
        key_hash="a1",
        key_last5="ABCDE",
        key_sealed="sealed",
        seats=1,
        entitled_until=None,
        active_until=None,
        grace_until=None,
        lost_until=None,
        standing="ok",
        reason="",
        trial=False,
        canceling=False,
        past_due=False,
        created_at=utc("2020-01-01"),
    )
    return granted(blank, grant)


def _code(grant: Grant, now: datetime) -> str:
    return judge(_license(grant), grant.plan, "app", None, Question(), now, intact=True)[0]


def _ordered(terms: Terms, paid_at: datetime) -> Grant:
    plan = Plan("pln_1", "prd_1", "pro", "Pro", 1, terms)
    purchase = absorb(Purchase(), Ordered("KW-1", "pln_1", "price", 1))
    purchase = absorb(purchase, PaymentSeen(Stamp(paid_at), "cs_1", "paid", 100, "USD"))
    return worth(purchase, {"price": plan})[0]


@pytest.mark.parametrize(
    ("paid_at", "days", "end"),
    [
        ("2024-02-28T12:00:00", 1, "2024-02-29T12:00:00"),  # a leap day
        ("2024-02-29T00:00:00", 365, "2025-02-28T00:00:00"),
        ("2023-02-28T23:59:59", 1, "2023-03-01T23:59:59"),
        ("2023-03-01T00:00:00", 366, "2024-03-01T00:00:00"),
        ("2100-02-28T12:00:00", 1, "2100-03-01T12:00:00"),  # no leap year, divisible by 4
        ("2000-02-28T12:00:00", 1, "2000-02-29T12:00:00"),  # a leap year, divisible by 100
        ("2026-03-08T06:59:59", 1, "2026-03-09T06:59:59"),  # clocks go forward in New York
        ("2026-11-01T05:30:00", 1, "2026-11-02T05:30:00"),  # and back
        ("2026-03-29T00:59:59", 1, "2026-03-30T00:59:59"),  # in Europe
        ("2026-10-25T00:30:00", 1, "2026-10-26T00:30:00"),
        ("2026-12-31T23:59:59", 1, "2027-01-01T23:59:59"),  # the turn of the year
        ("2025-12-31T00:00:00", 30, "2026-01-30T00:00:00"),
        ("2016-12-31T23:59:59", 1, "2017-01-01T23:59:59"),  # a leap second, which POSIX time does not count
        ("2038-01-19T03:14:07", 1, "2038-01-20T03:14:07"),  # the last second of 32 bits
        ("2037-12-31T00:00:00", 365, "2038-12-31T00:00:00"),
        ("2106-02-07T06:28:15", 1, "2106-02-08T06:28:15"),  # the last of 32 bits without a sign
    ],
)
def test_a_fixed_term_ends_after_so_many_seconds(paid_at: str, days: int, end: str) -> None:
    terms = Terms(term=days * _DAY)
    assert terms.term_end(utc(paid_at)) == utc(end)
    grant = _ordered(terms, utc(paid_at))
    assert grant.entitled_until == utc(end)
    assert _code(grant, utc(paid_at)) == "VALID"
    assert _code(grant, utc(end) - _INSTANT) == "VALID"
    assert _code(grant, utc(end)) == "EXPIRED"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2024-01-31T10:00:00", "2024-02-29T10:00:00"),  # the provider chose the day: we take its word
        ("2024-02-29T10:00:00", "2024-03-31T10:00:00"),
        ("2023-02-28T10:00:00", "2024-02-28T10:00:00"),
        ("2026-03-08T06:30:00", "2026-04-08T06:30:00"),
        ("2026-10-25T00:30:00", "2026-11-25T00:30:00"),
        ("2026-12-31T23:59:59", "2027-01-31T23:59:59"),
        ("2038-01-19T03:14:07", "2038-02-19T03:14:08"),
    ],
)
def test_a_period_ends_when_the_provider_says(start: str, end: str) -> None:
    terms = Terms(slack=3 * 3600, grace=14 * _DAY)
    plan = Plan("pln_1", "prd_1", "pro", "Pro", 1, terms)
    items = (Item("price", 1, utc(start), utc(end)),)
    purchase = absorb(Purchase(), SubscriptionSeen(Stamp(utc(start), 6), "active", items))
    (grant,) = worth(purchase, {"price": plan})
    slack, grace = utc(end) + timedelta(hours=3), utc(end) + timedelta(days=14)
    moments = (utc(start), utc(end), slack - _INSTANT, slack, grace - _INSTANT, grace)
    assert [_code(grant, moment) for moment in moments] == ["VALID"] * 3 + ["GRACE"] * 2 + ["EXPIRED"]


def test_the_hour_that_comes_twice_and_the_one_that_never_comes() -> None:
    """A customer's wall clock may stand still or jump; the license does not notice."""
    summer, winter = timezone(timedelta(hours=-4)), timezone(timedelta(hours=-5))
    grant = _ordered(Terms(term=_DAY), utc("2026-10-31T05:30:00"))  # ends at 01:30 on the night of the change
    first, second = (datetime(2026, 11, 1, 1, 29, 59, tzinfo=zone) for zone in (summer, winter))
    assert (_code(grant, first), _code(grant, second)) == ("VALID", "EXPIRED")
    spring = _ordered(Terms(term=_DAY), utc("2026-03-07T07:00:00"))  # ends when 02:00 becomes 03:00
    before = datetime(2026, 3, 8, 1, 59, 59, tzinfo=winter)
    after = datetime(2026, 3, 8, 3, 0, 0, tzinfo=summer)
    assert (_code(spring, before), _code(spring, after)) == ("VALID", "EXPIRED")


def test_forever_is_the_end_of_the_calendar() -> None:
    assert Terms(term="perpetual").term_end(utc("2026-01-01")) == FOREVER
    assert Terms(term="subscription").term_end(utc("2026-01-01")) == FOREVER
    grant = _ordered(Terms(term="perpetual"), utc("2024-02-29"))
    for now in ("2024-02-29", "2038-01-19T03:14:08", "2106-02-07T06:28:16", "9999-12-30T23:59:59"):
        assert _code(grant, utc(now)) == "VALID"


@pytest.mark.parametrize(
    ("moment", "seconds", "expected"),
    [
        ("2026-01-01", 0, "2026-01-01"),
        ("2026-01-01", 1, "2026-01-01T00:00:01"),
        ("9999-12-30", _DAY - 1, "9999-12-30T23:59:59"),
        ("9999-12-30", _DAY, "9999-12-31"),
        ("9999-12-30", 10**15, "9999-12-31"),
        ("9999-12-31", 14 * _DAY, "9999-12-31"),
        ("9999-12-31T12:00:00", 14 * _DAY, "9999-12-31T12:00:00"),
    ],
)
def test_no_sum_leaves_the_calendar(moment: str, seconds: int, expected: str) -> None:
    assert later_by(utc(moment), seconds) == utc(expected)


def test_the_mac_of_a_row_does_not_depend_on_the_zone_of_the_server() -> None:
    held = _license(_ordered(Terms(term=_DAY), utc("2026-11-01T05:30:00")))
    # 2026-11-02T05:30:00Z is 1793597400 seconds after the epoch.
    clocks = "[1793597400000000,1793597400000000,1793597400000000,null]"
    members = '"license-row/1","lic_1","ten_1","pur_1","prd_1","pln_1",0,"a1",1'
    text = f'[{members},{clocks},"ok",null,{{}}]'.encode()
    assert row_mac(held, bytes(32)) == hmac.digest(bytes(32), text, "sha256").hex()[:32]
