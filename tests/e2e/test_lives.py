"""Lives through HTTP: in whatever order, however often, and where half was lost, they end as in order.

Every life is lived once for each manner of delivery, with purchases of its own, side by side with the others.
`KEYWRIGHT_LIVES` says how often each is lived besides in order (`make lives`: 15 times on each database).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import database_of
from tests.e2e.life_steps import LEFT_OUT, LIVES
from tests.e2e.story import Story, differences, lived
from tests.e2e.town import PROVIDERS

TURNS = int(os.environ.get("KEYWRIGHT_LIVES", "0"))
_TURNS = {"sqlite": TURNS or 3, "postgresql": TURNS or 2}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("town")
    began = time.monotonic()
    with lived(database_of(request.param, request, folder), folder, _TURNS[request.param]) as told:
        print(  # noqa: T201  # the figures of a long run; pytest shows them with -s
            f"\n{len(told.lives)} lives, {told.delivered} deliveries, {told.late} sent again after a 503,"
            f" {time.monotonic() - began:.0f} s; compared: {told.found}, again: {told.found_again}"
        )
        yield told


_EACH = [(provider, life) for provider in PROVIDERS for life in range(len(LIVES[provider]))]


@pytest.mark.parametrize(("provider", "number"), _EACH, ids=[f"{p}-{LIVES[p][n].__name__}" for p, n in _EACH])
def test_a_life_ends_as_it_does_in_order(story: Story, provider: str, number: int) -> None:
    mine = [one for one in story.lives if (one.provider, one.life) == (provider, LIVES[provider][number])]
    wrong = []
    for one in mine:
        found = one.wrong + differences(story, one)
        if found:
            told = "\n  ".join(one.told)
            wrong.append("\n".join([f"{one.name} ({one.manner})", *found, f"told:\n  {told}"]))
    assert not wrong, "\n\n".join(wrong)
    assert all(story.ends[reference] for one in mine for reference in one.actor.references)


def test_nothing_was_made_that_nobody_bought(story: Story) -> None:
    bought = [reference for one in story.lives for reference in one.actor.references]
    assert sorted(story.ends) == sorted(bought)
    assert {len(held) for held in story.ends.values()} == {1}
    assert {standing.mails for held in story.ends.values() for standing in held} == {1}


def test_a_second_comparison_finds_nothing(story: Story) -> None:
    assert any(name.endswith("missed-event") for name in story.found)
    assert story.found_again == {}


def test_enough_is_lived(story: Story) -> None:
    others = Counter(one.provider for one in story.lives if one.manner != "in order")
    assert all(others[provider] >= 15 for provider in PROVIDERS)
    assert sum(_TURNS.values()) * min(len(LIVES[provider]) for provider in PROVIDERS) >= 50
    known = {life for lives in LIVES.values() for life in lives}
    for provider in PROVIDERS:
        assert len(LIVES[provider]) >= 10
        assert set(LEFT_OUT[provider]) == known - set(LIVES[provider])
        assert all(LEFT_OUT[provider].values())
