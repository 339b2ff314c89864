"""Waits until no mail is owed any more, and tells when the last one was sent.

    python -m benchmarks.mails --limit 180

A process of its own, because in one process nothing but the server may open a SQLite file.
"""

import argparse
import time

import msgspec
import sqlalchemy as sa

from keywright import bootstrap
from keywright.store import announcements, tables
from keywright.store.engine import Database

_PAUSE_S = 0.5


class Mails(msgspec.Struct, frozen=True):
    """`counts` by status; `last_sent_at` in unix seconds, None when nothing was sent."""

    counts: dict[str, int]
    last_sent_at: float | None


def drained(database: Database, limit_s: float) -> Mails:
    """What became of the mails, as soon as none is pending or the limit is over."""
    until = time.monotonic() + limit_s
    while True:
        with database.read() as connection:
            counts = announcements.counts(connection)
            if not counts.get("pending") or time.monotonic() > until:
                last = connection.execute(sa.select(sa.func.max(tables.announcements.c.sent_at))).scalar()
                return Mails(counts, None if last is None else last.timestamp())
        time.sleep(_PAUSE_S)


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mails")
    parser.add_argument("--limit", type=float, default=180.0, help="seconds")
    limit = parser.parse_args().limit
    database = bootstrap.open_database(bootstrap.read_settings())
    print(msgspec.json.encode(drained(database, limit)).decode())
    database.dispose()


if __name__ == "__main__":
    main()
