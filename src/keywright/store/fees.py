"""Fees: what each tenant is to pay the platform, and what the platform got."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import FeeSeen
from keywright.domain.fee import NO_FEE, FeeRule
from keywright.domain.revenue import month_of
from keywright.store import rows
from keywright.store.connect_tables import platform_fees, tenant_fees
from keywright.store.tables import provider_accounts

_rule: Final = msgspec.json.Decoder(FeeRule)


class Got(msgspec.Struct, frozen=True):
    """What the platform got, and gave back, in one month, in minor units of one currency."""

    live: bool
    month: str
    currency: str
    taken: int
    given_back: int


def rule_of(connection: sa.Connection, tenant: str) -> FeeRule:
    """The tenant's fee; none where nothing was ever set."""
    found = connection.execute(
        sa.select(tenant_fees.c.rule).where(tenant_fees.c.tenant_id == tenant)
    ).scalar()
    return NO_FEE if found is None else _rule.decode(found)


def put_rule(connection: sa.Connection, tenant: str, rule: FeeRule, now: datetime) -> None:
    """From now on the tenant's sales pay this. What was sold before goes on as it was sold."""
    text = msgspec.json.encode(rule).decode()
    changed = connection.execute(
        sa.update(tenant_fees).where(tenant_fees.c.tenant_id == tenant).values(rule=text, changed_at=now)
    )
    if not changed.rowcount:
        connection.execute(sa.insert(tenant_fees).values(tenant_id=tenant, rule=text, changed_at=now))


def note(connection: sa.Connection, tenant: str, platform: str, seen: Sequence[FeeSeen]) -> None:
    """Write down fees that the platform's account got, or gave back. Nothing is asked of the database for
    none; hearing of one again changes nothing."""
    made = {
        (one.fee, one.given_back): {
            "provider_account_id": platform,
            "external_id": one.fee,
            "given_back": one.given_back,
            "tenant_id": tenant,
            "payer": one.payer,
            "charge": one.charge,
            "amount": one.amount,
            "currency": one.currency,
            "taken_month": month_of(one.taken_at),
            "month": month_of(one.stamp.at),
        }
        for one in sorted(seen, key=lambda each: each.stamp, reverse=True)
    }
    rows.insert(connection, platform_fees, [made[key] for key in sorted(made)], ignore=True)


def since(connection: sa.Connection, tenant: str, month: str) -> list[Got]:
    """By month and currency, from that month on, the oldest first.

    A fee counts in the month it was taken, and what was given back of it in the month that it was.
    """
    mine = (platform_fees.c.provider_account_id, platform_fees.c.external_id)
    steps = (
        sa.select(
            platform_fees,
            sa.func.row_number().over(partition_by=mine, order_by=platform_fees.c.given_back).label("step"),
            sa.func.lag(platform_fees.c.given_back, 1, 0)
            .over(partition_by=mine, order_by=platform_fees.c.given_back)
            .label("before"),
        )
        .where(platform_fees.c.tenant_id == tenant)
        .subquery()
    )
    account, currency = steps.c.provider_account_id, steps.c.currency
    taken = sa.select(
        account,
        steps.c.taken_month.label("month"),
        currency,
        steps.c.amount.label("taken"),
        sa.literal(0).label("back"),
    ).where(steps.c.step == 1)
    back = sa.select(
        account, steps.c.month, currency, sa.literal(0), (steps.c.given_back - steps.c.before)
    ).where(steps.c.given_back > 0)
    both = sa.union_all(taken, back).subquery()
    query = (
        sa.select(
            provider_accounts.c.live,
            both.c.month,
            both.c.currency,
            sa.func.sum(both.c.taken),
            sa.func.sum(both.c.back),
        )
        .join(provider_accounts, provider_accounts.c.id == both.c.provider_account_id)
        .where(both.c.month >= month)
        .group_by(provider_accounts.c.live, both.c.month, both.c.currency)
        .order_by(both.c.month, both.c.currency)
    )
    return [
        Got(bool(live), at, code, int(taken), int(given))
        for live, at, code, taken, given in connection.execute(query)
    ]
