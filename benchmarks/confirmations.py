"""Waits until a provider has been asked about all of its events, and tells what came of them.

    python -m benchmarks.confirmations --provider paystack --limit 300

A process of its own, because in one process nothing but the server may open a SQLite file.
"""

import argparse
import time

import msgspec
import sqlalchemy as sa

from keywright import bootstrap
from keywright.store.engine import Database
from keywright.store.tables import inbox, licenses, provider_accounts, purchases, refetches

_PAUSE_S = 0.5


class Confirmations(msgspec.Struct, frozen=True):
    """`webhooks` by status, without what was fetched; `unanswered` objects still to be asked for; `licenses`
    sold through this provider, the last at `last_license_at` (unix seconds, None without any)."""

    webhooks: dict[str, int]
    unanswered: int
    licenses: int
    last_license_at: float | None


def drained(database: Database, provider: str, limit_s: float) -> Confirmations:
    """What became of this provider's events, as soon as nothing is to be asked for or the limit is over."""
    with database.read() as connection:
        query = sa.select(provider_accounts.c.id).where(provider_accounts.c.provider == provider)
        account = connection.execute(query).scalar_one()
    until = time.monotonic() + limit_s
    while time.monotonic() < until and _unanswered(database, account):
        time.sleep(_PAUSE_S)
    return _found(database, account)


def _unanswered(database: Database, account: str) -> int:
    query = sa.select(sa.func.count()).where(refetches.c.provider_account_id == account)
    with database.read() as connection:
        return connection.execute(query).scalar_one()


def _found(database: Database, account: str) -> Confirmations:
    by_status = (
        sa.select(inbox.c.status, sa.func.count())
        .where(inbox.c.provider_account_id == account, inbox.c.type.not_like("fetched.%"))
        .group_by(inbox.c.status)
    )
    sold = (
        sa.select(sa.func.count(), sa.func.max(licenses.c.created_at))
        .join(purchases, purchases.c.id == licenses.c.purchase_id)
        .where(purchases.c.provider_account_id == account)
    )
    with database.read() as connection:
        webhooks = {status: count for status, count in connection.execute(by_status)}  # noqa: C416 - rows, not pairs
        count, last = connection.execute(sold).one()
    return Confirmations(
        webhooks=webhooks,
        unanswered=_unanswered(database, account),
        licenses=count,
        last_license_at=None if last is None else last.timestamp(),
    )


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.confirmations")
    parser.add_argument("--provider", required=True)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds")
    arguments = parser.parse_args()
    database = bootstrap.open_database(bootstrap.read_settings())
    print(msgspec.json.encode(drained(database, arguments.provider, arguments.limit)).decode())
    database.dispose()


if __name__ == "__main__":
    main()
