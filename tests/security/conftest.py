"""A shop with everything on, behind a real socket, for the checks of the security scoreboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keywright.domain.plan import Terms
from keywright.flows import staff_factors
from keywright.flows.context import Context
from keywright.signing.hmac_key import DerivedSecrets
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.life.billing import BillDesk, billed_by
from tests.life.payments import PayDesk, selling_through
from tests.security.served import Post, Served

BUYER = "buyer@example.com"
ELSEWHERE = "https://licenses.example.com"


class Phone:
    """The clock of everybody's phone: it stands still until it is turned."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def later(self, steps: int = 1) -> None:
        """The app shows another code."""
        self.time += 30 * steps


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch) -> Phone:
    made = Phone()
    monkeypatch.setattr(staff_factors, "phone_time", lambda: made.time)
    return made


@pytest.fixture
def shop(context: Context, clock: TurnableClock, phone: Phone) -> Context:  # the phone must stand still first
    """One subscription of two seats, paid; its provider is of our own making."""
    desk = BillDesk(clock)
    secrets = DerivedSecrets("a master secret of these very tests")
    made = replace(context, mailer=Post(), firm_secrets=secrets)
    made = selling_through(billed_by(made, desk), PayDesk(clock))
    world.stock(made, price_pro=Terms(moves=1, offline=7 * 86400))
    start = clock.now()
    world.hand_in(made, desk.told())
    paid = stripe.invoice("in_1", "sub_1", start, start + timedelta(days=30), quantity=2, amount=10000)
    world.hand_in(made, stripe.event("invoice.paid", paid, start, id_="evt_paid"))
    return made


Serve = Callable[..., Served]


@pytest.fixture
def serve(shop: Context, tmp_path: Path) -> Iterator[Serve]:
    """`serve(base_url, …)`: a server of the shop with this policy."""
    outbox = tmp_path / "outbox"
    outbox.mkdir(exist_ok=True)
    with ExitStack() as stack:

        def start(base_url: str = "", **policy: Any) -> Served:
            told = {"sandbox": True, "outbox": outbox, **policy}
            return stack.enter_context(Served(shop, base_url, **told))

        yield start
