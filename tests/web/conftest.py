"""The application over a prepared database, with a provider of our own making behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from keywright.domain.plan import Terms
from keywright.flows.context import Context
from keywright.web.app import create_app
from tests.conftest import TurnableClock
from tests.life import world
from tests.life.payments import PayDesk, selling_through

Client = TestClient[Litestar]
BASE = "http://127.0.0.1:8000"


class IdleEngine:
    """A workflow engine with nothing to do: what is enqueued stays in its table."""

    def launch(self) -> None: ...

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None: ...


@pytest.fixture
def desk(clock: TurnableClock) -> PayDesk:
    return PayDesk(clock)


@pytest.fixture
def shop(context: Context, desk: PayDesk) -> Context:
    """Sells `dashcaddy/plan-0` once and `dashcaddy/plan-1` monthly."""
    monthly = Terms(trial=14 * 86400, entitlements=("export.pdf",), limits={"projects": 100})
    world.stock(context, price_once=Terms(term="perpetual"), price_monthly=monthly)
    return selling_through(context, desk)


Serve = Callable[..., Client]


@pytest.fixture
def serve(shop: Context, tmp_path: Path) -> Iterator[Serve]:
    """`serve(sandbox=True, …)`: a client of a server with this policy, of this shop or another one."""
    with ExitStack() as stack:

        def start(of: Context = shop, /, **policy: Any) -> Client:
            changed = replace(of, policy=replace(of.policy, **policy))
            app = create_app(changed, IdleEngine())
            return stack.enter_context(TestClient(app, base_url=BASE))

        yield start


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve()
