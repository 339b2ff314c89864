"""Twenty lives in the manner of three providers: right on the way, and alike in any order of arrival."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.facts import Fact
from keywright.domain.grant import Grant, of_unit, worth
from keywright.domain.license import License, Status, granted, seats_at, status
from keywright.domain.purchase import Purchase, absorb, merge
from tests.life.lives import LIVES, PLANS, STYLES, Checked, Style, Teller, day

# 2,000 a provider, shared out over the lives.
_PERMUTATIONS = 2000 // len(LIVES)
Told = tuple[int, Fact]
_Life = Callable[[Teller], None]
_lives = pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
_styles = pytest.mark.parametrize("style", STYLES)


def told(facts: Iterable[Told]) -> dict[int, Purchase]:
    purchases: dict[int, Purchase] = {}
    for which, fact in facts:
        purchases[which] = absorb(purchases.get(which, Purchase()), fact)
    return purchases


def in_pieces(facts: list[Told], chance: random.Random) -> dict[int, Purchase]:
    """Told to several who do not know of each other, and then found to be one."""
    shares = [told(chance.sample(facts, k=len(facts))) for facts in _split(facts, chance)]
    chance.shuffle(shares)
    whole: dict[int, Purchase] = {}
    for share in shares:
        for which, purchase in share.items():
            whole[which] = merge(whole[which], purchase) if which in whole else purchase
    return whole


def _split(facts: list[Told], chance: random.Random) -> list[list[Told]]:
    shares: list[list[Told]] = [[] for _ in range(chance.randint(2, 3))]
    for fact in facts:
        for share in chance.sample(shares, k=chance.randint(1, len(shares))):
            share.append(fact)
    return shares


def worths(purchases: dict[int, Purchase]) -> dict[int, tuple[Grant, ...]]:
    return {which: worth(purchase, PLANS) for which, purchase in sorted(purchases.items())}


def state(grant: Grant, at: float) -> tuple[Status, int]:
    """Status and seats; where keys are sold, how many of them are valid."""
    if grant.plan.terms.quantity == "seats":
        held = license_of(grant)
        return status(held, day(at)), seats_at(held, day(at))
    most = max([grant.units, *(step.units for step in grant.leaving)])
    found = [status(license_of(of_unit(grant, unit)), day(at)) for unit in range(most)]
    return found[0], found.count("active")


def license_of(grant: Grant) -> License:
    blank = License(
        id="lic_1",
        tenant_id="ten_1",
        purchase_id="pur_1",
        product_id=grant.product_id,
        plan_id=grant.plan.id,
        unit=0,
        customer_id=None,
        key_hash="hash",
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
        created_at=day(0),
    )
    return granted(blank, grant)


def lived(life: _Life, style: Style) -> Teller:
    teller = Teller(style)
    life(teller)
    return teller


@_styles
@_lives
def test_it_is_right_on_the_way(life: _Life, style: Style) -> None:
    teller = lived(life, style)
    assert teller.checks
    for check in teller.checks:
        (grant,) = worths(told(teller.facts[: check.told]))[check.purchase]
        found, seats = state(grant, check.day)
        assert (found, seats) == (check.status, seats if check.seats is None else check.seats), check


@_styles
@_lives
def test_any_order_any_repetition_and_any_split_end_alike(life: _Life, style: Style) -> None:
    teller = lived(life, style)
    chance = random.Random(f"{style} {life.__name__}")
    for turn in range(_PERMUTATIONS):
        assert_alike(teller, chance, split=turn % 3 == 0)


@given(st.sampled_from(LIVES), st.sampled_from(STYLES), st.randoms(use_true_random=False), st.booleans())
def test_so_hypothesis_says_too(life: _Life, style: Style, chance: random.Random, split: bool) -> None:
    teller = lived(life, style)
    assert_alike(teller, chance, split=split)
    assert teller.checks


def assert_alike(teller: Teller, chance: random.Random, *, split: bool) -> None:
    moments = sorted({check.day for check in teller.checks})
    # Up to the end of the life, or up to any moment that was looked at.
    until = chance.choice([len(teller.facts), *(check.told for check in teller.checks)])
    facts = teller.facts[:until]
    right = told(facts)
    mixed = facts + chance.choices(facts, k=chance.randint(0, len(facts)))
    chance.shuffle(mixed)
    found = in_pieces(mixed, chance) if split else told(mixed)
    assert found == right
    ended, should = worths(found), worths(right)
    assert ended == should
    for which, grants in ended.items():
        for one, other in zip(grants, should[which], strict=True):
            assert [state(one, at) for at in moments] == [state(other, at) for at in moments]


@_styles
def test_purchases_of_one_customer_stay_apart(style: Style) -> None:
    checks = [check for life in LIVES for check in lived(life, style).checks]
    assert {check.purchase for check in checks} == {0, 1}
    assert {check.status for check in checks} == {
        "pending", "active", "grace", "expired", "suspended", "revoked"
    }  # fmt: skip
    assert all(isinstance(check, Checked) for check in checks)
