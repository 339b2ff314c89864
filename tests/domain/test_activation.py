"""Whether one more machine fits, and whether one may be freed."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from keywright.domain.activation import Admission, admit, may_release
from keywright.domain.license import License
from keywright.domain.plan import Plan, Terms


def _plan(**terms: object) -> Plan:
    return Plan("pln_1", "prd_1", "pro", "Pro", 1, msgspec.convert(terms, Terms))


def _held(seats: int) -> License:
    return License(
        id="lic_1",
        tenant_id="ten_1",
        purchase_id=None,
        product_id="prd_1",
        plan_id="pln_1",
        unit=0,
        customer_id=None,
        key_hash="a1",
        key_last5="ABCDE",
        key_sealed="sealed",
        seats=seats,
        entitled_until=None,
        active_until=None,
        grace_until=None,
        lost_until=None,
        standing="ok",
        reason="",
        trial=False,
        canceling=False,
        past_due=False,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


_NOW = datetime(2026, 1, 2, tzinfo=UTC)
_OLDEST = {"over_limit": "replace_oldest"}


@pytest.mark.parametrize(
    ("terms", "seats", "active", "released", "expected"),
    [
        # As many machines as seats, unless the plan says otherwise.
        ({}, 1, 0, 0, "admit"),
        ({}, 1, 1, 0, "TOO_MANY_ACTIVATIONS"),
        ({}, 5, 4, 0, "admit"),
        ({}, 5, 5, 0, "TOO_MANY_ACTIVATIONS"),
        ({"max_activations": 2}, 5, 1, 0, "admit"),
        ({"max_activations": 2}, 5, 2, 0, "TOO_MANY_ACTIVATIONS"),
        ({"max_activations": 0}, 1, 1_000_000, 0, "admit"),
        # Fewer seats: nobody new until the count fits, also where the oldest gives way.
        ({}, 3, 5, 0, "TOO_MANY_ACTIVATIONS"),
        (_OLDEST, 3, 5, 0, "TOO_MANY_ACTIVATIONS"),
        (_OLDEST, 3, 3, 0, "replace_oldest"),
        (_OLDEST, 3, 2, 0, "admit"),
        # No seat at all: nobody could give way.
        ({}, 0, 0, 0, "TOO_MANY_ACTIVATIONS"),
        (_OLDEST, 0, 0, 0, "TOO_MANY_ACTIVATIONS"),
        # Replacing is a move.
        ({**_OLDEST, "moves": 5}, 1, 1, 4, "replace_oldest"),
        ({**_OLDEST, "moves": 5}, 1, 1, 5, "MOVES_EXHAUSTED"),
        ({**_OLDEST, "moves": 0}, 1, 1, 0, "MOVES_EXHAUSTED"),
        ({**_OLDEST, "moves": 5}, 1, 0, 9, "admit"),
        ({"moves": 5}, 1, 1, 9, "TOO_MANY_ACTIVATIONS"),
    ],
)
def test_whether_one_more_machine_fits(
    terms: dict[str, object], seats: int, active: int, released: int, expected: Admission
) -> None:
    assert admit(_held(seats), _plan(**terms), active=active, released=released, now=_NOW) == expected


@pytest.mark.parametrize(
    ("moves", "released", "expected"), [(None, 99, True), (5, 4, True), (5, 5, False), (0, 0, False)]
)
def test_whether_a_machine_may_be_freed(moves: int | None, released: int, expected: bool) -> None:
    assert may_release(_plan(moves=moves), released=released) is expected
