"""What a start refuses, in one clear line, and how it leaves its files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import sqlalchemy as sa

from keywright import bootstrap
from keywright.cli.serve import _listeners
from keywright.domain.errors import Misconfigured
from keywright.store.engine import Database
from tests.conftest import Prepared, test_settings


def test_one_server_to_a_file_whatever_the_data_folder(tmp_path: Path) -> None:
    file = tmp_path / "shared" / "keywright.sqlite"
    one = bootstrap.open_database(test_settings(f"sqlite:///{file}", tmp_path / "one"))
    (tmp_path / "link").symlink_to(file.parent)
    other = test_settings(f"sqlite:///{tmp_path / 'link' / file.name}", tmp_path / "other")
    two = bootstrap.open_database(other)
    assert one.file is not None
    assert two.file is not None
    with (
        bootstrap.only_server(one.file),
        pytest.raises(Misconfigured, match="Another server"),
        bootstrap.only_server(two.file),
    ):
        pass
    with bootstrap.only_server(two.file):
        assert file.with_name("keywright.sqlite.lock").exists()
    one.dispose()
    two.dispose()


def test_only_the_owner_reads_what_we_make(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        made = test_settings(f"sqlite:///{tmp_path / 'data' / 'keywright.sqlite'}", tmp_path)
        database = bootstrap.open_database(made)
        bootstrap.prepare(made, database)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()}
        database.dispose()
    finally:
        os.umask(before)
    assert {"keywright.sqlite", "keywright.sqlite-wal", "keywright.sqlite-shm", "master.key"} <= set(modes)
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_missing_master_key_is_not_made_anew(prepared: Prepared) -> None:
    key = prepared.folder / "data" / "master.key"
    kept = key.read_bytes()
    key.unlink()
    made = test_settings(prepared.url, prepared.folder)
    database = bootstrap.open_database(made)
    for start in (bootstrap.prepare, bootstrap.build):
        with pytest.raises(Misconfigured) as refused:
            start(made, database)
        assert str(key) in refused.value.detail
    assert not key.exists()
    given = test_settings(prepared.url, prepared.folder, keywright_master_key=kept.decode())
    assert bootstrap.build(given, database).master.slug == "master"
    database.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "secretword",
        "mysql://root:secretword@localhost/x",
        "postgresql://u:secretword@host:port/x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:secretword?uri=true",
        "",
    ],
)
def test_what_is_no_database_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(Misconfigured, match="DATABASE_URL") as refused:
        Database(url)
    assert "secretword" not in refused.value.detail


def test_a_database_url_may_be_short_for_postgresql() -> None:
    database = Database("postgres://u@localhost/x")
    assert isinstance(database.engine.dialect, sa.dialects.postgresql.psycopg.PGDialect_psycopg)
    database.dispose()


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    url = f"sqlite:///{tmp_path / 'data' / 'keywright.sqlite'}"
    with pytest.raises(Misconfigured, match="DATA_DIR"):
        bootstrap.open_database(test_settings(url, tmp_path))
    with pytest.raises(Misconfigured, match=r"keywright\.sqlite"):
        Database(url)


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"127.0.0.1 port {port}"):
            _listeners("127.0.0.1", port)
    (free,) = _listeners("127.0.0.1", port)
    assert free.getsockname() == ("127.0.0.1", port)
    free.close()
    with pytest.raises(Misconfigured, match="no-such-host"):
        _listeners("no-such-host.invalid", 0)
