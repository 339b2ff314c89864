"""Filling a stand-in with what a seller had before: subscriptions of every status and age, at once.

Nothing is lived through and no event is sent: it was all there already. Everything is made from a number, so
the same number gives the same shop, but for the ids.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple

DAY: Final = 86_400
# Per hundred: how a shop of some years looks.
STATUSES: Final[tuple[tuple[str, int], ...]] = (
    ("active", 58),
    ("canceling", 4),
    ("trialing", 6),
    ("past_due", 6),
    ("unpaid", 4),
    ("paused", 3),
    ("canceled", 13),
    ("incomplete", 3),
    ("incomplete_expired", 3),
)
PRODUCTS: Final = ("basic", "pro", "team")
UNMAPPED: Final = "legacy"
"""A product that nobody has in a catalog: what is sold of it stands in the way of an import."""


class Buyer(NamedTuple):
    """Who buys, by a number that several subscriptions may share. `email` None: nobody wrote one down."""

    number: int
    email: str | None


class Sold(NamedTuple):
    """One subscription to make. `age` in days since it began; `also` a second product of it."""

    number: int
    status: str
    buyer: Buyer
    product: str
    yearly: bool
    quantity: int
    age: int
    also: str | None
    refunded: bool


def shop(count: int, seed: int) -> list[Sold]:
    """So many subscriptions. The first of them have every status once, however few there are."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    names = [name for name, _ in STATUSES]
    weights = [weight for _, weight in STATUSES]
    made: list[Sold] = []
    for number in range(count):
        status = names[number] if number < len(names) else chance.choices(names, weights)[0]
        product = UNMAPPED if number % 25 == 17 else chance.choice(PRODUCTS)
        others = [name for name in PRODUCTS if name != product]
        made.append(
            Sold(
                number=number,
                status=status,
                buyer=_buyer(number, made, chance),
                product=product,
                yearly=chance.random() < 0.4,
                quantity=chance.choice((1, 1, 1, 2, 3, 5, 10, 25)),
                age=chance.randint(1, 900),
                also=chance.choice(others) if product != UNMAPPED and chance.random() < 0.05 else None,
                refunded=status in ("active", "canceled") and chance.random() < 0.02,
            )
        )
    return made


def _buyer(number: int, made: list[Sold], chance: random.Random) -> Buyer:
    if made and chance.random() < 0.15:
        return chance.choice(made[-50:]).buyer
    if number % 33 == 5:
        return Buyer(number, None)
    # Two customers of the provider may be one person.
    name = number - 1 if number % 40 == 21 else number
    return Buyer(number, f"buyer{name}@shop.example")
