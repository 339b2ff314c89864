"""The master key is changed: what was wrapped opens afterwards, at whatever moment the change was ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from keywright import bootstrap
from keywright.domain.errors import Conflict, Misconfigured
from keywright.key_ports import MasterKeys as Changed
from keywright.signing import rewrap, vault
from keywright.signing.keyring import Keyring
from keywright.signing.master_key import KeyFile, MasterKey, MasterKeys, Source, named, new_master_key
from keywright.signing.vault import VaultRefused
from keywright.store import keys, master_keys, tenants
from keywright.store.engine import Database
from keywright.store.tenants import Tenant
from tests.conftest import Prepared, test_settings

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
TEXT = "sk_live_what_a_tenant_has_entrusted"


@dataclass
class Vaults:
    """A prepared database, its key file, and any number of processes that work on it."""

    database: Database
    file: Path
    owners: list[str] = field(default_factory=list)

    def source(self) -> KeyFile:
        return KeyFile(self.file, lambda: True)

    def keyring(self, source: Source | None = None) -> Keyring:
        return Keyring(MasterKeys(source or self.source()), self.database)

    def rotate(self, source: Source | None = None, tell: Callable[[int], None] = lambda _n: None) -> Changed:
        masters = MasterKeys(source or self.source())
        return rewrap.rotate(self.database, masters, NOW, prepare=False, keep=None, tell=tell)

    def under(self) -> dict[str, int]:
        with self.database.read() as connection:
            return master_keys.count_wrapped(connection)

    def current(self) -> str:
        with self.database.write() as connection:
            found = master_keys.find_current(connection)
        assert found is not None
        return found.id

    def add(self, count: int, keyring: Keyring | None = None) -> dict[str, str]:
        """More tenants, each with a sealed secret. Tenant -> ciphertext."""
        keyring = keyring or self.keyring()
        sealed = {}
        for number in range(len(self.owners), len(self.owners) + count):
            one = Tenant(f"ten_{number:04}", f"firm-{number}", f"Firm {number}")
            with self.database.write() as connection:
                tenants.insert(connection, one, NOW)
                keyring.create(connection, one.id, NOW)
            self.owners.append(one.id)
            sealed[one.id] = keyring.seal(one.id, "test", one.slug, TEXT + one.id)
        return sealed


@pytest.fixture
def vaults(prepared: Prepared) -> Iterator[Vaults]:
    settings = test_settings(prepared.url, prepared.folder)
    database = bootstrap.open_database(settings)
    yield Vaults(database, settings.data_dir / "master.key")
    database.dispose()


def opens(keyring: Keyring, sealed: dict[str, str]) -> bool:
    return all(
        keyring.unseal(tenant, "test", f"firm-{int(tenant[4:])}", text) == TEXT + tenant
        for tenant, text in sealed.items()
    )


def test_everything_opens_under_the_new_key_and_the_old_one_is_gone(vaults: Vaults) -> None:
    sealed = vaults.add(5)
    running, late = vaults.keyring(), vaults.keyring()
    hashed = running.blind("license-key-lookup", "ACME-1")
    row_key = running.row_key("ten_0001")
    (old,) = vaults.source().read()
    done = vaults.rotate()
    (new,) = vaults.source().read()
    assert new != old
    assert (done.id, done.generation, done.left_out) == (new.id, 2, (old.id,))
    assert vaults.under() == {new.id: done.rewrapped}
    assert done.rewrapped == 5 + 1 + 6  # five tenants, the master tenant, and the keys of look-up hashes
    for keyring in (running, late, vaults.keyring()):
        assert opens(keyring, sealed)
        assert keyring.blind("license-key-lookup", "ACME-1") == hashed
        assert keyring.row_key("ten_0001") == row_key
        assert keyring.active_key("ten_0003", "lease+jwt") == running.active_key("ten_0003", "lease+jwt")
    for one in vaults.keyring().list_master_keys():
        assert (one.id == new.id) == (one.until is None) == (one.retired_at is None) == one.at_hand


def test_a_tenant_made_meanwhile_is_made_under_the_new_key(vaults: Vaults) -> None:
    vaults.add(2)
    running = vaults.keyring()
    made: dict[str, str] = {}
    done = vaults.rotate(tell=lambda _n: made.update(vaults.add(2, running)))
    assert made
    assert set(vaults.under()) == {done.id}
    assert opens(vaults.keyring(), made)


class Ended(Exception):
    """The process ended here."""


@pytest.mark.parametrize("at", range(1, 10))
def test_ended_at_any_step_it_is_finished_by_running_it_again(
    vaults: Vaults, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = vaults.add(3)
    running = vaults.keyring()
    hashed = running.blind("claim", "x")
    monkeypatch.setattr(rewrap, "_AT_ONCE", 3)  # ten wrapped keys in four batches
    steps = itertools.count(1)

    def step(do: Callable[..., object]) -> Callable[..., object]:
        def stepped(*args: object, **more: object) -> object:
            if next(steps) == at:
                raise Ended
            return do(*args, **more)

        return stepped

    # Each write is a step: the new file, the switch, four batches, the note, the file without the old one.
    monkeypatch.setattr(KeyFile, "write", step(KeyFile.write))
    for name in ("replace", "rewrap", "retire"):
        monkeypatch.setattr(master_keys, name, step(getattr(master_keys, name)))
    ended = False
    try:
        vaults.rotate()
    except Ended:
        ended = True
    assert ended == (at <= 8)
    # Whatever is there now, a server that runs, and one that starts, have everything.
    for keyring in (running, vaults.keyring()):
        assert opens(keyring, sealed)
        assert keyring.blind("claim", "x") == hashed
    assert opens(vaults.keyring(), vaults.add(1))
    if ended:
        done = vaults.rotate()
        (only,) = vaults.source().read()
        assert done.id == only.id == vaults.current()
        assert done.generation == 2
        assert set(vaults.under()) == {only.id}
    assert opens(vaults.keyring(), sealed)
    assert vaults.keyring().blind("claim", "x") == hashed


class Given:
    """A source whose keys are what an operator has set."""

    name = "KEYWRIGHT_MASTER_KEY"

    def __init__(self, *keys: MasterKey) -> None:
        self.keys = keys

    def read(self) -> tuple[MasterKey, ...]:
        return self.keys


def test_from_the_environment_it_needs_both_keys(vaults: Vaults) -> None:
    sealed = vaults.add(2)
    (old,) = vaults.source().read()
    new = new_master_key()
    with pytest.raises(Misconfigured, match="openssl rand"):
        vaults.rotate(Given(old))
    with pytest.raises(VaultRefused, match=old.id):
        vaults.rotate(Given(new))
    assert vaults.current() == old.id
    # A server with both keys wraps by the old one until the command was run: others have only that one yet.
    both = vaults.keyring(Given(new, old))
    early = vaults.add(1, both)
    assert opens(vaults.keyring(Given(old)), early)
    done = vaults.rotate(Given(new, old))
    assert (done.id, done.left_out) == (new.id, (old.id,))
    assert opens(vaults.keyring(Given(new)), sealed | early)
    again = vaults.rotate(Given(new, old))
    assert (again.id, again.generation, again.rewrapped) == (new.id, 2, 0)
    with pytest.raises(Misconfigured, match="used before"):
        vaults.rotate(Given(old, new))
    with pytest.raises(VaultRefused, match=new.id):
        vaults.keyring(Given(old)).unseal("ten_0000", "test", "firm-0", sealed["ten_0000"])


def test_the_new_key_can_be_made_first_and_taken_later(vaults: Vaults, tmp_path: Path) -> None:
    sealed = vaults.add(1)
    (old,) = vaults.source().read()

    def rotate(*, prepare: bool, keep: Path | None = None) -> Changed:
        masters = MasterKeys(vaults.source())
        return rewrap.rotate(vaults.database, masters, NOW, prepare=prepare, keep=keep, tell=lambda _n: None)

    begun = rotate(prepare=True)
    new, kept = vaults.source().read()
    assert (begun.begun, begun.id, kept) == (True, new.id, old)
    assert vaults.under() == {old.id: 8}
    assert rotate(prepare=True).id == new.id
    aside = tmp_path / "old.key"
    assert rotate(prepare=False, keep=aside).id == new.id
    assert KeyFile(aside, lambda: True).read() == (old,)
    assert vaults.source().read() == (new,)
    assert opens(vaults.keyring(), sealed)


def test_two_at_once_are_refused(vaults: Vaults) -> None:
    with vaults.source().changing(), pytest.raises(Conflict, match="Another command"):
        vaults.rotate()
    assert len(vaults.source().read()) == 1


def test_two_machines_with_files_of_their_own_do_not_part(vaults: Vaults, tmp_path: Path) -> None:
    """Each would make a key of its own. The second is refused: nothing is under a key that only it has."""
    sealed = vaults.add(1)
    elsewhere = KeyFile(tmp_path / "elsewhere.key", lambda: True)
    elsewhere.write(vaults.source().read())
    first = vaults.rotate()
    with pytest.raises(VaultRefused, match=first.id):
        vaults.rotate(elsewhere)
    assert set(vaults.under()) == {first.id}
    assert opens(vaults.keyring(), sealed)


def test_a_key_that_does_not_open_is_named_and_stops_the_change(vaults: Vaults) -> None:
    sealed = vaults.add(2)
    with vaults.database.write() as connection:
        connection.execute(
            sa.text("UPDATE data_keys SET wrapped = :other WHERE tenant_id = 'ten_0001'"),
            {"other": vault.wrap_data_key(bytes(32), bytes(32), tenant="ten_0001")},
        )
    with pytest.raises(VaultRefused, match="ten_0001"):
        vaults.rotate()
    assert len(vaults.source().read()) == 2  # the old one is still needed
    assert opens(vaults.keyring(), {"ten_0000": sealed["ten_0000"]})
    with vaults.database.write() as connection:
        keys.delete_data_key(connection, "ten_0001")
    done = vaults.rotate()
    assert set(vaults.under()) == {done.id}
    assert [one.id for one in vaults.source().read()] == [done.id]
    assert opens(vaults.keyring(), {"ten_0000": sealed["ten_0000"]})


def test_a_database_of_before_keeps_its_look_ups(vaults: Vaults) -> None:
    """Until release 0.6 the keys of look-up hashes were derived from the master key itself."""
    (master,) = vaults.source().read()
    with vaults.database.write() as connection:
        for text in (
            "DELETE FROM blind_keys",
            "DELETE FROM master_keys",
            "UPDATE data_keys SET master_id = ''",
        ):
            connection.execute(sa.text(text))
    with vaults.database.write() as connection:
        vaults.keyring().complete(connection, NOW)
    expected = vault.derive(master.key, "fingerprint")
    keyring = vaults.keyring()
    hashed = keyring.blind("fingerprint", "a machine")
    assert keyring._blinds["fingerprint"] == expected
    assert vaults.under() == {master.id: 7}
    vaults.rotate()
    assert vaults.keyring().blind("fingerprint", "a machine") == hashed


def test_a_new_database_derives_nothing_from_its_master_key(vaults: Vaults) -> None:
    (master,) = vaults.source().read()
    keyring = vaults.keyring()
    keyring.blind("staff", "x")
    assert keyring._blinds["staff"] != vault.derive(master.key, "staff")


def test_a_database_of_before_is_refused_to_another_master_key(vaults: Vaults) -> None:
    with vaults.database.write() as connection:
        for text in (
            "DELETE FROM blind_keys",
            "DELETE FROM master_keys",
            "UPDATE data_keys SET master_id = ''",
        ):
            connection.execute(sa.text(text))
    with vaults.database.write() as connection, pytest.raises(VaultRefused, match="not the one that sealed"):
        vaults.keyring(Given(named(bytes(32)))).complete(connection, NOW)


def test_a_shredded_tenant_opens_nowhere(vaults: Vaults) -> None:
    sealed = vaults.add(2)
    here, elsewhere = vaults.keyring(), vaults.keyring()
    assert opens(here, sealed)
    assert opens(elsewhere, sealed)
    with vaults.database.write() as connection:
        here.shred(connection, "ten_0000")
    here.forget("ten_0000")
    elsewhere.refresh()
    for keyring in (here, elsewhere, vaults.keyring()):
        with pytest.raises(VaultRefused, match="no data key"):
            keyring.unseal("ten_0000", "test", "firm-0", sealed["ten_0000"])
        with pytest.raises(VaultRefused, match="no data key"):
            keyring.sign("ten_0000", "lease+jwt", {})
        assert opens(keyring, {"ten_0001": sealed["ten_0001"]})
    vaults.rotate()
    with pytest.raises(VaultRefused):
        vaults.keyring().row_key("ten_0000")
