"""What was compared with the providers, and what was found; and what a comparison has to look up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import Alias
from keywright.domain.purchase import Purchase
from keywright.store import rows
from keywright.store.tables import licenses, provider_accounts, purchase_aliases, reconciliations

# Of one account. Hourly runs make nine thousand rows a year, and almost all of them found nothing.
_KEPT = 1000
_decode = msgspec.json.Decoder(Purchase).decode


class Reconciliation(msgspec.Struct, frozen=True):
    """One run for one account. `finished_at` None: it runs, or it was killed. `findings`: JSON."""

    id: str
    tenant_id: str
    provider_account_id: str
    since_at: datetime
    started_at: datetime
    finished_at: datetime | None = None
    fixed: bool = False
    looked_at: int = 0
    found: int = 0
    findings: str = "[]"
    error: str | None = None


class Known(msgspec.Struct, frozen=True):
    """What became of an event that is in the inbox."""

    id: str
    status: str
    reason: str | None


def insert(connection: sa.Connection, run: Reconciliation) -> None:
    """A run that has just begun. The oldest ones of the account make room for it."""
    connection.execute(sa.insert(reconciliations).values(msgspec.structs.asdict(run)))
    mine = reconciliations.c.provider_account_id == run.provider_account_id
    oldest = (
        sa.select(reconciliations.c.id)
        .where(mine)
        .order_by(reconciliations.c.id.desc())
        .limit(1)
        .offset(_KEPT)
        .scalar_subquery()
    )
    connection.execute(sa.delete(reconciliations).where(mine, reconciliations.c.id <= oldest))


def update(connection: sa.Connection, run: Reconciliation) -> None:
    """How far it has come, or how it ended."""
    changes = msgspec.structs.asdict(run)
    connection.execute(sa.update(reconciliations).where(reconciliations.c.id == run.id).values(changes))


def list_page(
    connection: sa.Connection, tenant: str, *, account: str | None, after: str | None, limit: int
) -> list[Reconciliation]:
    """Newest first."""
    query = sa.select(reconciliations).where(reconciliations.c.tenant_id == tenant)
    if account is not None:
        query = query.where(reconciliations.c.provider_account_id == account)
    if after is not None:
        query = query.where(reconciliations.c.id < after)
    query = query.order_by(reconciliations.c.id.desc()).limit(limit)
    return [Reconciliation(**found) for found in connection.execute(query).mappings()]


def find(connection: sa.Connection, tenant: str, id_: str) -> Reconciliation | None:
    query = sa.select(reconciliations).where(
        reconciliations.c.tenant_id == tenant, reconciliations.c.id == id_
    )
    found = connection.execute(query).mappings().first()
    return None if found is None else Reconciliation(**found)


def compared_until(connection: sa.Connection, account: str) -> datetime | None:
    """Up to when this account's events are known to be here; None: it was never compared."""
    query = sa.select(provider_accounts.c.reconciled_until).where(provider_accounts.c.id == account)
    found: datetime | None = connection.execute(query).scalar_one_or_none()
    return found


def move_on(connection: sa.Connection, account: str, until: datetime) -> None:
    """Events up to then are here. Never moves back: two runs may end in either order."""
    until_known = provider_accounts.c.reconciled_until
    connection.execute(
        sa.update(provider_accounts)
        .where(provider_accounts.c.id == account, sa.or_(until_known.is_(None), until_known < until))
        .values(reconciled_until=until)
    )


def known_events(connection: sa.Connection, account: str, keys: Sequence[str]) -> dict[str, Known]:
    """Those of these dedupe keys that are in the inbox."""
    if not keys:
        return {}
    source = rows.recordset(connection, "k", {"key": "text"})
    text = sa.text(
        f"SELECT i.dedupe_key, i.id, i.status, i.reason FROM {source} CROSS JOIN inbox i"  # noqa: S608  # our own names
        " WHERE i.provider_account_id = :account AND i.dedupe_key = k.key"
    )
    asked = rows.json_of([{"key": key} for key in sorted(set(keys))])
    found = connection.execute(text, {"rows": asked, "account": account})
    return {key: Known(id_, status, reason) for key, id_, status, reason in found}


def states_of(
    connection: sa.Connection, account: str, aliases: Sequence[Alias]
) -> tuple[dict[Alias, str], dict[str, Purchase]]:
    """Where the aliases lead, without a lock: alias -> purchase id, and purchase id -> its registers."""
    if not aliases:
        return {}, {}
    source = rows.recordset(connection, "k", {"kind": "text", "external_id": "text"})
    text = sa.text(
        f"SELECT a.kind, a.external_id, p.id, p.state FROM {source} CROSS JOIN purchase_aliases a"  # noqa: S608  # our own names
        " CROSS JOIN purchases p WHERE a.provider_account_id = :account AND a.kind = k.kind"
        " AND a.external_id = k.external_id AND p.id = a.purchase_id"
    )
    keys = rows.json_of([{"kind": a.kind, "external_id": a.external_id} for a in sorted(set(aliases))])
    links: dict[Alias, str] = {}
    states: dict[str, Purchase] = {}
    for kind, external, id_, state in connection.execute(text, {"rows": keys, "account": account}):
        links[Alias(kind, external)] = id_
        if id_ not in states:
            states[id_] = _decode(state)
    return links, states


class Running(msgspec.Struct, frozen=True):
    """A license that runs on a subscription, by the provider's name of it."""

    subscription: str
    license: str
    purchase: str


def running_on(connection: sa.Connection, account: str, now: datetime, limit: int) -> list[Running]:
    """Licenses that run at `now` because of a subscription of this account; the oldest `limit` of them."""
    names, held = purchase_aliases, licenses
    query = (
        sa.select(names.c.external_id, held.c.id, held.c.purchase_id)
        .join(held, held.c.purchase_id == names.c.purchase_id)
        .where(names.c.provider_account_id == account, names.c.kind == "subscription")
        .where(held.c.standing != "revoked", sa.func.coalesce(held.c.grace_until, held.c.active_until) > now)
        .order_by(held.c.id)
        .limit(limit)
    )
    return [Running(*found) for found in connection.execute(query)]
