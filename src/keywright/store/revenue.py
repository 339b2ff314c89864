"""The revenue of each month, kept beside the purchases it comes from."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.purchase import Purchase
from keywright.domain.revenue import Slot, changed, revenue_of
from keywright.store import rows
from keywright.store.number_tables import revenue
from keywright.store.tables import provider_accounts, purchases
from keywright.store.tenants import ProviderAccount

PARTS: Final = 16
_AT_ONCE: Final = 1000
_decode: Final = msgspec.json.Decoder(Purchase).decode
_COLUMNS: Final = {
    **dict.fromkeys(("provider_account_id", "month", "currency"), "text"),
    "part": "bigint",
    "tenant_id": "text",
    **dict.fromkeys(("paid", "given_back"), "bigint"),
}


class Taken(msgspec.Struct, frozen=True):
    """What one provider account took in one month, in minor units of one currency."""

    provider: str
    live: bool
    month: str
    currency: str
    paid: int
    given_back: int


def book(
    connection: sa.Connection, account: ProviderAccount, pairs: Sequence[tuple[Purchase, Purchase]]
) -> None:
    """Write down the money that moved: purchases of one account, each before and after."""
    moved = changed(pairs)
    if not moved:
        return
    part = secrets.randbelow(PARTS)
    _write(
        connection, [_row(account.tenant_id, account.id, slot, part, *moved[slot]) for slot in sorted(moved)]
    )


def _row(tenant: str, account: str, slot: Slot, part: int, paid: int, back: int) -> dict[str, object]:
    return {
        "provider_account_id": account,
        "month": slot.month,
        "currency": slot.currency,
        "part": part,
        "tenant_id": tenant,
        "paid": paid,
        "given_back": back,
    }


def _write(connection: sa.Connection, made: list[dict[str, object]]) -> None:
    names, source = ", ".join(_COLUMNS), rows.recordset(connection, "r", _COLUMNS)
    text = rows.prepared(
        f"INSERT INTO revenue ({names}) SELECT {names} FROM {source} WHERE true"  # noqa: S608  # our own names
        " ON CONFLICT (provider_account_id, month, currency, part) DO UPDATE"
        " SET paid = revenue.paid + excluded.paid, given_back = revenue.given_back + excluded.given_back"
    )
    connection.execute(text, {"rows": rows.json_of(made)})


def since(connection: sa.Connection, tenant: str, month: str) -> list[Taken]:
    """From that month on, the oldest first."""
    query = (
        sa.select(
            provider_accounts.c.provider,
            provider_accounts.c.live,
            revenue.c.month,
            revenue.c.currency,
            sa.func.sum(revenue.c.paid),
            sa.func.sum(revenue.c.given_back),
        )
        .join(provider_accounts, provider_accounts.c.id == revenue.c.provider_account_id)
        .where(provider_accounts.c.tenant_id == tenant, revenue.c.month >= month)
        .group_by(provider_accounts.c.provider, provider_accounts.c.live, revenue.c.month, revenue.c.currency)
        .order_by(revenue.c.month, revenue.c.currency, provider_accounts.c.provider)
    )
    return [
        Taken(provider, bool(live), at, currency, int(paid), int(back))
        for provider, live, at, currency, paid, back in connection.execute(query)
    ]


def recount(connection: sa.Connection) -> None:
    """Count all of it anew from the purchases. For migrations: it reads them all."""
    connection.execute(sa.delete(revenue))
    totals: defaultdict[tuple[str, str, Slot], list[int]] = defaultdict(lambda: [0, 0])
    after = ""
    columns = (purchases.c.id, purchases.c.tenant_id, purchases.c.provider_account_id, purchases.c.state)
    while True:
        query = sa.select(*columns).where(purchases.c.id > after).order_by(purchases.c.id).limit(_AT_ONCE)
        page = connection.execute(query).all()
        if not page:
            break
        after = page[-1].id
        for _, tenant, account, state in page:
            for slot, money in revenue_of(_decode(state)).items():
                total = totals[tenant, account, slot]
                total[0] += money.paid
                total[1] += money.given_back
    _write(
        connection,
        [
            _row(tenant, account, slot, 0, *totals[tenant, account, slot])
            for tenant, account, slot in sorted(totals)
        ],
    )
