"""Connected accounts: provider accounts that the platform's keys speak for, and how they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from keywright.store import rows
from keywright.store.connect_tables import connected_accounts
from keywright.store.rows import micros
from keywright.store.tables import checkouts, provider_accounts, purchase_aliases
from keywright.store.tenants import ProviderAccount
from keywright.store.vault_tables import closed_tenants

_STANDING: Final = {
    **dict.fromkeys(("provider_account_id", "due", "disabled_reason"), "text"),
    **dict.fromkeys(("charges", "payouts", "submitted"), "boolean"),
    "seen_at": "bigint",
}
_SKEW: Final = timedelta(minutes=5)
_due = msgspec.json.Decoder(tuple[str, ...])


class Connected(msgspec.Struct, frozen=True):
    """A connected account as we know it. `due`: what the provider still asks for, in its own names."""

    account: ProviderAccount
    charges: bool
    payouts: bool
    submitted: bool
    due: tuple[str, ...]
    disabled_reason: str | None
    seen_at: datetime
    left_at: datetime | None
    started_at: datetime

    @property
    def sells(self) -> bool:
        """Whether it may take payments now."""
        return self.left_at is None and self.submitted and self.charges


class Told(msgspec.Struct, frozen=True):
    """What the provider said of one account at a moment."""

    account: str
    charges: bool
    payouts: bool
    submitted: bool
    due: tuple[str, ...]
    disabled_reason: str | None
    seen_at: datetime


def find(connection: sa.Connection, tenant: str, provider: str) -> Connected | None:
    """The tenant's connected account, of the newest mode, or None."""
    found = list_of(connection, tenant)
    return next((one for one in found if one.account.provider == provider), None)


def get(connection: sa.Connection, account: str) -> Connected | None:
    """The connected account of this id, or None."""
    query = _every().where(provider_accounts.c.id == account)
    found = connection.execute(query).mappings().first()
    return None if found is None else _connected(found)


def _every() -> sa.Select[Any]:
    return sa.select(connected_accounts, provider_accounts).join(
        provider_accounts, provider_accounts.c.id == connected_accounts.c.provider_account_id
    )


def list_of(connection: sa.Connection, tenant: str) -> list[Connected]:
    """The connected accounts of a tenant, the latest first."""
    query = (
        _every()
        .where(provider_accounts.c.tenant_id == tenant, provider_accounts.c.connected_by.is_not(None))
        .order_by(connected_accounts.c.started_at.desc(), provider_accounts.c.id)
    )
    return [_connected(row) for row in connection.execute(query).mappings()]


def _connected(row: sa.RowMapping) -> Connected:
    return Connected(
        ProviderAccount(
            row[provider_accounts.c.id],
            row[provider_accounts.c.tenant_id],
            row["provider"],
            row["live"],
            row["external_id"],
            row["connected_by"],
        ),
        row["charges"],
        row["payouts"],
        row["submitted"],
        _due.decode(row["due"]),
        row["disabled_reason"],
        row["seen_at"],
        row["left_at"],
        row["started_at"],
    )


def closed_name(external: sa.ColumnElement[str | None] | str) -> sa.ColumnElement[str]:
    """What an account is called once its tenant was shredded: another tenant may connect it then."""
    return sa.literal("closed:") + provider_accounts.c.id + ":" + external


def id_of(connection: sa.Connection, platform: str, external: str) -> str | None:
    """Our id of the account that this platform account knows by this name; also of one whose tenant was
    shredded, where it is no other's by now."""
    named = provider_accounts.c.external_id
    query = sa.select(provider_accounts.c.id).where(
        provider_accounts.c.connected_by == platform,
        sa.or_(named == external, named == closed_name(external)),
    )
    # Of several that were shredded any will do: none of them hears of anything.
    return connection.execute(query.order_by((named == external).desc()).limit(1)).scalar()


def owners_by_names(connection: sa.Connection, platform: str, names: Sequence[tuple[str, str]]) -> list[str]:
    """Whose a purchase, or a checkout, of these names is among the accounts connected to this one: tenants'
    that are there, before those that were shredded."""
    mine = provider_accounts.c.connected_by == platform
    is_closed = provider_accounts.c.tenant_id.in_(sa.select(closed_tenants.c.tenant_id))
    account = sa.select(provider_accounts.c.id, sa.case((is_closed, 1), else_=0).label("closed"))
    known = account.join(
        purchase_aliases, purchase_aliases.c.provider_account_id == provider_accounts.c.id
    ).where(mine, sa.tuple_(purchase_aliases.c.kind, purchase_aliases.c.external_id).in_(names))
    ordered = account.join(checkouts, checkouts.c.provider_account_id == provider_accounts.c.id).where(
        mine, checkouts.c.reference.in_([external.partition(".")[0] for _, external in names])
    )
    return list(connection.execute(known.union(ordered).order_by("closed", "id")).scalars())


def any_of(connection: sa.Connection, platform: str) -> bool:
    """Whether any account is connected to this one, or was until its tenant was shredded."""
    query = sa.select(provider_accounts.c.id).where(provider_accounts.c.connected_by == platform).limit(1)
    return connection.execute(query).scalar() is not None


def begin(
    connection: sa.Connection, account: ProviderAccount, external: str, platform: str, now: datetime
) -> ProviderAccount:
    """Connected from now on under this name. It may do nothing until the provider says so."""
    mine = provider_accounts.c.id == account.id
    connection.execute(
        sa.update(provider_accounts).where(mine).values(external_id=external, connected_by=platform)
    )
    connection.execute(
        sa.delete(connected_accounts).where(connected_accounts.c.provider_account_id == account.id)
    )
    connection.execute(
        sa.insert(connected_accounts).values(
            provider_account_id=account.id,
            tenant_id=account.tenant_id,
            # Providers tell times in seconds of a clock of their own.
            seen_at=now - _SKEW,
            started_at=now,
        )
    )
    return msgspec.structs.replace(account, external_id=external, connected_by=platform)


def tell(connection: sa.Connection, told: Sequence[Told]) -> set[str]:
    """Write what the provider said, where nothing later was heard. Returns the accounts it is news of.

    An account that left stays so: only a new connection brings it back.
    """
    if not told:
        return set()
    source = rows.recordset(connection, "r", _STANDING)
    changes = ", ".join(f"{name} = r.{name}" for name in _STANDING if name != "provider_account_id")
    text = sa.text(
        f"UPDATE connected_accounts SET {changes} FROM {source}"  # noqa: S608  # our own names
        " WHERE connected_accounts.provider_account_id = r.provider_account_id"
        " AND connected_accounts.seen_at <= r.seen_at AND connected_accounts.left_at IS NULL"
        " RETURNING connected_accounts.provider_account_id"
    )
    newest: dict[str, Mapping[str, object]] = {}
    for one in sorted(told, key=lambda each: each.seen_at):
        newest[one.account] = {
            "provider_account_id": one.account,
            "charges": one.charges,
            "payouts": one.payouts,
            "submitted": one.submitted,
            "due": msgspec.json.encode(one.due).decode(),
            "disabled_reason": one.disabled_reason,
            "seen_at": micros(one.seen_at),
        }
    made = [newest[name] for name in sorted(newest)]
    return set(connection.execute(text, {"rows": rows.json_of(made)}).scalars())


def leave(connection: sa.Connection, account: str, at: datetime) -> bool:
    """The account is disconnected. False when it was before, or was connected anew since."""
    changed = connection.execute(
        sa.update(connected_accounts)
        .where(
            connected_accounts.c.provider_account_id == account,
            connected_accounts.c.left_at.is_(None),
            connected_accounts.c.started_at <= at + _SKEW,
        )
        .values(left_at=at, charges=False, payouts=False)
    )
    return bool(changed.rowcount)
