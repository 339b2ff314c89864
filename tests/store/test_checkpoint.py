"""SQLite's log is emptied beside the writers, and begins anew."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from keywright.store.engine import Database


def _log_of(database: Database) -> int:
    assert database.file is not None
    return os.stat(f"{database.file}-wal").st_size


def _fill(database: Database, megabytes: int) -> None:
    for _ in range(megabytes):
        with database.write() as connection:
            connection.exec_driver_sql("INSERT INTO filled VALUES (randomblob(1000000))")


def test_the_log_begins_anew_while_others_write(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE filled (content BLOB)")
    _fill(database, 12)
    assert _log_of(database) > 12_000_000
    writing = threading.Event()

    def write_on() -> None:
        while not writing.wait(0.001):
            _fill(database, 1)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for _ in range(30):
            database.checkpoint()
    finally:
        writing.set()
        writer.join(10)
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT count(*) FROM filled").scalar_one()
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    # Far fewer bytes than were written: it began anew again and again.
    assert _log_of(database) < rows * 1_000_000 / 2 or rows < 40
    before = _log_of(database)
    database.checkpoint()
    _fill(database, 1)
    assert _log_of(database) == before
    database.dispose()
