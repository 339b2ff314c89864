"""A shop behind a running server, on each database: one per module, because a start takes two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import httpx
import pytest

from keywright.domain.plan import Terms
from keywright.flows.context import Context
from keywright.sandbox.app import SandboxServer
from tests.conftest import new_postgresql
from tests.e2e.server import Server, environment, opened
from tests.life import world


class Shop:
    """Sells `price_pro` monthly, `price_three` for three machines in turn, and `once` for ever."""

    def __init__(self, database_url: str, folder: Path, stack: ExitStack, **env: str) -> None:
        self.database_url = database_url
        self.folder = folder
        self.sandbox = stack.enter_context(SandboxServer(data_dir=folder / "sandbox", seed=7))
        self.once = self._make_price()
        self.outbox = folder / "data" / "outbox"
        env = {"STRIPE_API_BASE": self.sandbox.url, "STRIPE_SECRET_KEY": self.sandbox.api_key, **env}
        self.env = environment(database_url, folder, **env)
        three = Terms(max_activations=3, over_limit="replace_oldest")
        with self.opened() as context:
            world.stock(context, price_pro=Terms(), price_three=three, **{self.once: Terms(term="perpetual")})
        self.server = stack.enter_context(Server(self.env, folder))

    @property
    def port(self) -> int:
        return self.server.port

    def opened(self) -> AbstractContextManager[Context]:
        """The shop's database, looked at from this process while the server runs."""
        return opened(self.database_url, self.folder)

    def _make_price(self) -> str:
        made = httpx.post(
            f"{self.sandbox.url}/v1/prices",
            auth=(self.sandbox.api_key, ""),
            data={"currency": "usd", "unit_amount": "5000", "product_data[name]": "DashCaddy for ever"},
            trust_env=False,
        )
        price: str = made.json()["id"]
        return price


def database_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """An empty database of this kind."""
    if kind == "sqlite":
        return f"sqlite:///{folder / 'data' / 'keywright.sqlite'}"
    return new_postgresql(request.getfixturevalue("postgresql"))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with ExitStack() as stack:
        yield Shop(database_of(request.param, request, folder), folder, stack)
