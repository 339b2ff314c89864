"""Lives that are lived side by side, and told to the shop each in a manner of its own.

Nothing is delivered by the stand-ins themselves: what they would send is sent from here, in whatever order,
as often, as late as a life's manner says; or never, and then the comparison has to find it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Literal

import msgspec

from tests.e2e.life_actors import ACTORS
from tests.e2e.life_steps import LIVES, Held, Step
from tests.e2e.town import PROVIDERS, Json, Standing, Town
from tests.e2e.wire import Answer, Line

Manner = Literal["in order", "late", "on the way", "lost"]
_LINES = 6
_PAUSES = (1.0, 2.0, 5.0)
_REPEATED = 0.25
_LOST = 0.4
# Ids that are of one life alone; not those of plans and prices, which all share.
_NAMES = {
    "stripe": re.compile(r'"((?:sub|cus|in|pi|ch|cs|re|dp)_\w+|KW-\w+|[\w-]+@lives\.example)"'),
    "paystack": re.compile(r'"([\w-]+@lives\.example)"'),
    "paypal": re.compile(r'["/]([0-9A-Z]{17}|I-[0-9A-Z]{12}|KW-\w+)"'),  # a refund only links to its capture
}


class Living:
    """One life that is being lived, and what of it has not been delivered yet."""

    def __init__(self, town: Town, provider: str, number: int, turn: int) -> None:
        self.life = LIVES[provider][number]
        self.provider, self.turn = provider, turn
        self.name = f"{self.life.__name__} at {provider}, {turn}"
        mail = f"{provider}-{self.life.__name__.replace('_', '-')}-{turn}"
        self.actor: Any = ACTORS[provider](town, mail)
        self.steps = self.life()
        self.manner: Manner = "in order" if turn == 0 else ("on the way", "lost", "late")[(turn - 1) % 3]
        self.chance = Random(self.name)
        self.waiting: list[tuple[int, Json]] = []
        self.told: list[str] = []  # what was delivered, in that order
        self.wrong: list[str] = []

    def hear(self, event: Json, stage: int, last: int) -> None:
        """The provider has something to tell. When will it arrive?"""
        if self.manner == "in order":
            self.waiting.append((stage, event))
            return
        if self.manner == "lost" and self.chance.random() < _LOST:
            return
        copies = 1 + (self.chance.random() < _REPEATED)
        for _ in range(copies):
            soon = self.manner != "late" and self.chance.random() < 0.4
            first = last if self.manner == "late" else stage
            self.waiting.append((stage if soon else self.chance.randint(first, last), event))

    def due(self, stage: int) -> list[Json]:
        found = [event for when, event in self.waiting if when <= stage]
        self.waiting = [(when, event) for when, event in self.waiting if when > stage]
        if self.manner != "in order":
            self.chance.shuffle(found)
        return found


class Story:
    """All lives of all providers, lived to the last day."""

    def __init__(self, town: Town, turns: int) -> None:
        self.town = town
        self.lives = [
            Living(town, provider, number, turn)
            for turn in range(turns + 1)
            for provider in PROVIDERS
            for number in range(len(LIVES[provider]))
        ]
        self.days = sorted({day for one in self.lives for day, _ in one.steps})
        self.delivered = self.late = 0
        self._seen = dict.fromkeys(PROVIDERS, 0)
        self._owner: dict[str, Living] = {}
        self.found: dict[str, int] = {}
        self.found_again: dict[str, int] = {}
        self.ends: dict[str, list[Standing]] = {}

    def live(self) -> None:
        for stage, day in enumerate(self.days):
            self.town.go_on(self.town.start + timedelta(days=day))
            for one in self.lives:
                for when, step in one.steps:
                    if when == day and not isinstance(step, Held):
                        self._act(one, step)
            self._gather(stage)
            asyncio.run(self._deliver(stage))
            self.town.settle()
            self._look(day)
        self.town.settle(mails=True)
        self.ends = self.town.standings()
        self.found = self.town.compare()
        self.town.settle(mails=True)
        self.found_again = self.town.compare()
        compared = self.town.standings()
        for one in self.lives:
            if one.manner == "lost":
                continue
            for name in one.actor.references:
                if not _alike(self.ends.get(name, []), compared.get(name, [])):
                    one.wrong.append(f"the comparison made {compared.get(name)} of {self.ends.get(name)}")
        self.ends = compared

    def _act(self, one: Living, step: Step) -> None:
        assert not isinstance(step, Held)
        try:
            step(one.actor)
        except Exception as error:  # noqa: BLE001  # one life that cannot be lived leaves the others alone
            one.wrong.append(f"could not be lived: {error!r}")

    def _gather(self, stage: int) -> None:
        """Whose are the events that have come since the last time?"""
        for one in self.lives:
            for name in one.actor.names:
                self._owner[name] = one
        for provider in PROVIDERS:
            events = self.town.events(provider)
            for event in events[self._seen[provider] :]:
                names = set(_NAMES[provider].findall(msgspec.json.encode(event).decode()))
                owners = {self._owner[name] for name in names if name in self._owner}
                if not owners:
                    assert not event["type"].startswith(("charge", "invoice", "PAYMENT", "BILLING")), event
                    continue  # about a price or a product
                (owner,) = owners
                for name in names:
                    self._owner[name] = owner
                owner.hear(event, stage, len(self.days) - 1)
            self._seen[provider] = len(events)

    async def _deliver(self, stage: int) -> None:
        """What is due now: each life's in its own order, the lives side by side."""
        open_lines = asyncio.Semaphore(_LINES)

        async def tell(one: Living, events: list[Json]) -> None:
            async with open_lines, Line(self.town.server.port) as line:
                for event in events:
                    answer = await self._tell(line, one.provider, event)
                    one.told.append(f"{self.days[stage]:g}: {event['type']} {answer.body.decode()[:90]}")
                    self.delivered += 1
                    if answer.status != 200:
                        one.wrong.append(f"{event['type']} was answered {answer.status}")

        due = [(one, one.due(stage)) for one in self.lives]
        await asyncio.gather(*(tell(one, events) for one, events in due if events))

    async def _tell(self, line: Line, provider: str, event: Json) -> Answer:
        """One delivery. What was not taken in time is sent again, as all of them do."""
        for pause in (*_PAUSES, 0.0):
            raw, headers = self.town.signed(provider, event)
            answer = await line.ask(f"/api/webhooks/{provider}", raw, headers)
            if answer.status != 503:
                break
            self.late += 1
            await asyncio.sleep(pause)
        return answer

    def _look(self, day: float) -> None:
        """Are the lives that are told in order what they should be on this day?"""
        standings = self.town.standings()
        for one in self.lives:
            for when, held in one.steps:
                if one.manner == "in order" and when == day and isinstance(held, Held):
                    name = ([*one.actor.references, "", "", ""])[held.purchase]
                    seen = [(each.status, each.seats) for each in standings.get(name, [])]
                    if seen != [(held.status, held.seats)]:
                        one.wrong.append(f"day {day:g}: {seen}, not {held}")


def _alike(some: list[Standing], others: list[Standing]) -> bool:
    return len(some) == len(others) and all(a.is_like(b) for a, b in zip(some, others, strict=True))


def differences(story: Story, one: Living) -> list[str]:
    """How a life ended otherwise than the one that was told in order."""
    right = next(
        other
        for other in story.lives
        if other.turn == 0 and (other.provider, other.life) == (one.provider, one.life)
    )
    found = []
    if len(one.actor.references) != len(right.actor.references):
        return ["not everything was bought"]
    for place, (mine, its) in enumerate(zip(one.actor.references, right.actor.references, strict=True)):
        ended, should = story.ends.get(mine, []), story.ends.get(its, [])
        if not _alike(ended, should):
            found.append(f"purchase {place} ended as\n  {ended}\n, in order as\n  {should}")
    return found


@contextmanager
def lived(database_url: str, folder: Path, turns: int) -> Iterator[Story]:
    """All lives, each told in order once and in `turns` other manners, at their end."""
    with ExitStack() as stack:
        story = Story(Town(database_url, folder, stack), turns)
        story.live()
        yield story
