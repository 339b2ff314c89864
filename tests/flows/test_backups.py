"""What a backup holds, what it refuses to bring back, and copies from one database into another."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from keywright import bootstrap
from keywright.domain.errors import Conflict, KeywrightError, Misconfigured, Unreadable
from keywright.domain.plan import Terms
from keywright.flows import activating, backups, license_views, licensing
from keywright.flows.context import Context
from keywright.flows.licensing import Ask, Asked, Bookkeeping
from keywright.store import backup_file, dump, migrate
from keywright.store.backup_file import Head
from keywright.store.dump import Count, Tally
from keywright.store.engine import Database
from tests.conftest import new_postgresql, test_settings
from tests.life import stripe, world

START = datetime(2026, 11, 1, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)
MACHINE = "machine-0001"


def quiet(_table: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def asked(context: Context, key: str, machine: str) -> Asked:
    return licensing.check(context, Ask(key, fingerprint=machine), fingerprint_needed=True)


@pytest.fixture
def sold(context: Context) -> Context:
    """Fifteen subscriptions, each with a license, and a machine on the first."""
    world.stock(context, price_pro=Terms(), once=Terms(term="perpetual"))
    for number in range(15):
        sub = f"sub_{number}"
        made = [
            stripe.event("customer.subscription.created", stripe.subscription(sub, START, END), START),
            stripe.event("invoice.paid", stripe.invoice(f"in_{number}", sub, START, END), START),
        ]
        assert not [one for one in world.hand_in(context, *made) if isinstance(one, Exception)]
    key = world.key_of(context, world.all_licenses(context)[0])
    assert activating.activate(context, asked(context, key, MACHINE)).valid
    return context


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind, beside the one that is copied."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'new.sqlite'}"
    return new_postgresql(request.getfixturevalue("postgresql"))


@contextmanager
def at(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.dispose()


def contents(database: Database) -> dict[str, Count]:
    tally = Tally()
    with database.engine.connect() as connection:
        for part in dump.read(connection, dump.names()):
            tally.add(part)
    return tally.counts


def saved(context: Context, folder: Path) -> Path:
    file = folder / "one.backup"
    backups.make(context.database, file, context.clock.now(), quiet)
    return file


def check_copy(sold: Context, url: str, folder: Path) -> None:
    """Whoever serves this sees what the first one saw."""
    made = test_settings(url, folder)
    with at(url) as database:
        assert contents(database) == contents(sold.database)
        bootstrap.prepare(made, database)
        copied = replace(bootstrap.build(made, database), clock=sold.clock)
        assert copied.signer.key_set(copied.master.id) == sold.signer.key_set(sold.master.id)
        looked = license_views.check_integrity(copied, copied.master.id)
        assert (looked.checked, looked.damaged) == (15, [])
        key = world.key_of(sold, world.all_licenses(sold)[0])
        for machine, code in ((MACHINE, "VALID"), ("another-machine", "NOT_ACTIVATED")):
            verdict, other = (
                licensing.validate(one, Bookkeeping(), asked(one, key, machine)) for one in (copied, sold)
            )
            assert verdict == other
            assert verdict.code == code
        assert world.all_licenses(copied) == world.all_licenses(sold)
        # And it goes on: a further sale is made there.
        made_up = stripe.subscription("sub_new", START, END)
        told = stripe.event("customer.subscription.created", made_up, START)
        assert world.outcome(copied, told) == "applied"
        assert len(world.all_licenses(copied)) == 16


# Into the other kind: tests/e2e/test_backup.py.
@pytest.mark.parametrize(
    ("prepared", "empty"), [("sqlite", "sqlite"), ("postgresql", "postgresql")], indirect=True
)
def test_it_comes_back_into_a_database_of_its_kind(sold: Context, empty: str, tmp_path: Path) -> None:
    file = saved(sold, tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    opens = bootstrap.key_check(test_settings(empty, tmp_path))
    with at(empty) as database:
        report = backups.restore(database, file, opens, quiet)
    assert report.tables["licenses"] == 15
    check_copy(sold, empty, tmp_path)
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_everything_is_moved_to_the_other_database(
    sold: Context, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    empty = f"sqlite:///{tmp_path / 'data' / 'new.sqlite'}"
    if sold.database.is_sqlite:
        empty = new_postgresql(request.getfixturevalue("postgresql"))
    opens = bootstrap.key_check(test_settings(empty, tmp_path))
    with at(empty) as database:
        backups.move(sold.database, database, sold.clock.now(), opens, quiet)
    check_copy(sold, empty, tmp_path)


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_it_holds_no_key_in_the_clear_and_nobody_signed_in(sold: Context, tmp_path: Path) -> None:
    text = gzip.decompress(saved(sold, tmp_path).read_bytes())
    master = (tmp_path / "data" / "master.key").read_bytes().strip()
    keys = [world.key_of(sold, one).encode() for one in world.all_licenses(sold)]
    assert not [secret for secret in (master, *keys) if secret in text]
    head = msgspec.json.decode(text.splitlines()[0], type=Head)
    assert "licenses" in head.tables
    assert not {"staff_sessions", "portal_sessions", "portal_links", "changes"} & set(head.tables)


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_damage_is_refused_and_nothing_is_kept(sold: Context, empty: str, tmp_path: Path) -> None:
    raw = saved(sold, tmp_path).read_bytes()
    text = gzip.decompress(raw)
    lines = text.splitlines(keepends=True)
    row = next(number for number, line in enumerate(lines) if b"sub_7" in line)
    broken = {
        "cut": raw[: len(raw) * 2 // 3],
        "cut before its end": raw[:-1],
        "no end": gzip.compress(b"".join(lines[:-1])),
        "a flipped bit": raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 4]) + raw[len(raw) // 2 + 1 :],
        "a row less": gzip.compress(b"".join(lines[:row] + lines[row + 1 :])),
        "a row changed": gzip.compress(text.replace(b"buyer@example.com", b"thief@example.com")),
        "something after it": raw + b"more",
        "other columns": gzip.compress(text.replace(b'"created_at"', b'"made_at"')),
        "another table": gzip.compress(text.replace(b'"table":"tenants"', b'"table":"alembic_version"')),
        "not packed": text,
        "nothing": b"",
        "something else": gzip.compress(b"{}\n"),
    }
    opens = bootstrap.key_check(test_settings(empty, tmp_path))
    file = tmp_path / "broken.backup"
    with at(empty) as database:
        for what, content in broken.items():
            file.write_bytes(content)
            with pytest.raises(Unreadable) as refusal:
                backups.restore(database, file, opens, quiet)
            assert refusal.value.code == "BACKUP_UNREADABLE", what
            with database.engine.connect() as connection:
                assert dump.is_empty(connection), what


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_what_is_not_ours_to_fill_is_refused(sold: Context, empty: str, tmp_path: Path) -> None:
    file = saved(sold, tmp_path)
    with pytest.raises(Conflict, match="is there already"):
        saved(sold, tmp_path)
    opens = bootstrap.key_check(test_settings(empty, tmp_path))
    with pytest.raises(Conflict, match="not empty"):
        backups.restore(sold.database, file, opens, quiet)
    other = test_settings(empty, tmp_path, keywright_master_key="A" * 43)
    with at(empty) as database:
        with pytest.raises(Misconfigured, match="not the one that sealed"):
            backups.restore(database, file, bootstrap.key_check(other), quiet)
        with database.engine.connect() as connection:
            assert dump.is_empty(connection)
        backups.restore(database, file, opens, quiet)
    with pytest.raises(Misconfigured, match="First put the master key"):
        bootstrap.key_check(test_settings(empty, tmp_path / "elsewhere"))


def write_by_hand(file: Path, source: Database, **head: str) -> None:
    """A backup as another release would have written it."""
    with source.engine.connect() as connection, backup_file.new_file(file) as target:
        known = [name for name in dump.names() if dump.columns_of(connection, name)]
        told = Head(
            "keywright-backup/1",
            head.get("version", "0.0.1"),
            head.get("schema", migrate.revision(connection)),
            START,
            dump.count(connection, known),
        )
        for _ in backup_file.write(target, told, dump.read(connection, known)):
            pass


def test_older_tables_are_brought_up_and_newer_ones_refused(empty: str, tmp_path: Path) -> None:
    with at(f"sqlite:///{tmp_path / 'old.sqlite'}") as old, at(empty) as database:
        with old.write() as connection:
            migrate.upgrade_on(connection, "0004_signing")
            connection.exec_driver_sql(
                "INSERT INTO tenants (id, slug, name, is_master, created_at)"
                " VALUES ('ten_1', 'seller', 'Seller', true, 1)"
            )
        write_by_hand(tmp_path / "newer", old, schema="9999_later", version="7.0")
        with pytest.raises(Unreadable, match=r"newer release, 7\.0"):
            backups.restore(database, tmp_path / "newer", lambda _: None, quiet)
        write_by_hand(tmp_path / "older", old)
        report = backups.restore(database, tmp_path / "older", lambda _: None, quiet)
        assert report.schema == "0004_signing"
        assert migrate.is_current(database)
        assert contents(database)["tenants"].rows == 1
    with pytest.raises(KeywrightError):
        backup_file.demand_new(tmp_path / "older")
