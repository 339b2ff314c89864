"""Purchases and the aliases that lead to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import Alias
from keywright.domain.purchase import Purchase
from keywright.store import changes, rows, wall
from keywright.store.rows import certain, micros
from keywright.store.tables import inbox_purchases, purchase_aliases, purchases

_decode = msgspec.json.Decoder(Purchase).decode
_encode = msgspec.json.Encoder().encode
# What is left of a purchase that turned out to be part of another one. No other is stored without a fact.
_ABSORBED = Purchase()


class StoredPurchase(msgspec.Struct, frozen=True):
    """`customer_tenant_id`: the tenant it was bought for, which it gives so many `users`. `awaits`: the work
    that makes that tenant; until it is done the purchase's events wait."""

    id: str
    tenant_id: str
    provider_account_id: str
    customer_id: str | None
    state: Purchase
    created_at: datetime
    customer_tenant_id: str | None = None
    users: int | None = None
    awaits: str | None = None


class StoredAlias(msgspec.Struct, frozen=True):
    """`realm`: within which nobody else may have the name; None: it may be another's, too."""

    provider_account_id: str
    kind: str
    external_id: str
    tenant_id: str
    purchase_id: str
    realm: str | None = None


class Met(msgspec.Struct, frozen=True):
    """Where aliases lead: alias -> purchase id, and the purchases. `claimed`: those that this account has a
    claim to."""

    links: dict[Alias, str]
    found: dict[str, StoredPurchase]
    claimed: frozenset[Alias]


_NOTHING = Met({}, {}, frozenset())


def find_by_aliases(
    connection: sa.Connection, account: str, aliases: Sequence[Alias]
) -> tuple[dict[Alias, str], dict[str, StoredPurchase]]:
    """Where the aliases lead: alias -> purchase id, and the purchases, locked on PostgreSQL."""
    met = meet(connection, account, aliases)
    return met.links, met.found


def meet(connection: sa.Connection, account: str, aliases: Sequence[Alias]) -> Met:
    """As `find_by_aliases`, and which of them the account has a claim to."""
    if not aliases:
        return _NOTHING
    met = _follow(connection, account, aliases)
    if any(one.state == _ABSORBED for one in met.found.values()):
        # While this waited for its lock, another process found it to be part of an older purchase. The names
        # lead there by now, which a statement sees that begins now.
        met = _follow(connection, account, aliases)
    return met


def _follow(connection: sa.Connection, account: str, aliases: Sequence[Alias]) -> Met:
    source = rows.recordset(connection, "k", {"kind": "text", "external_id": "text"})
    lock = "" if connection.dialect.name == "sqlite" else " ORDER BY p.id FOR UPDATE OF p"
    text = rows.prepared(
        "SELECT a.kind, a.external_id, a.realm, p.id, p.tenant_id, p.customer_id, p.state, p.created_at,"  # noqa: S608  # our own names
        " p.customer_tenant_id, p.users, p.awaits"
        f" FROM {source} CROSS JOIN purchase_aliases a CROSS JOIN purchases p"
        " WHERE a.provider_account_id = :account AND a.kind = k.kind AND a.external_id = k.external_id"
        f" AND p.id = a.purchase_id{lock}"
    )
    links: dict[Alias, str] = {}
    found: dict[str, StoredPurchase] = {}
    claimed: set[Alias] = set()
    for kind, external, realm, id_, tenant, customer, state, created, *theirs in connection.execute(
        text, {"rows": _keys(aliases), "account": account}
    ):
        links[Alias(kind, external)] = id_
        if realm is not None:
            claimed.add(Alias(kind, external))
        if id_ not in found:
            found[id_] = StoredPurchase(
                id_, tenant, account, customer, _decode(state), certain(created), *theirs
            )
    return Met(links, found, frozenset(claimed))


def held_by_others(
    connection: sa.Connection, account: str, aliases: Sequence[Alias], realm: str
) -> frozenset[Alias]:
    """Which of the aliases another account has a claim to in this realm."""
    source = rows.recordset(connection, "k", {"kind": "text", "external_id": "text"})
    text = rows.prepared(
        f"SELECT a.kind, a.external_id FROM {source} CROSS JOIN purchase_aliases a"  # noqa: S608  # our own names
        " WHERE a.realm = :realm AND a.kind = k.kind AND a.external_id = k.external_id"
        " AND a.provider_account_id <> :account"
    )
    given = {"rows": _keys(aliases), "account": account, "realm": realm}
    with wall.lifted_on(connection):  # what another tenant holds is seen, and nothing else of it
        return frozenset(Alias(kind, external) for kind, external in connection.execute(text, given))


def _keys(aliases: Sequence[Alias]) -> str:
    return rows.json_of([{"kind": a.kind, "external_id": a.external_id} for a in aliases])


def find(connection: sa.Connection, tenant: str, id_: str, *, lock: bool = True) -> StoredPurchase | None:
    """The purchase; with `lock`, held until the transaction ends."""
    query = sa.select(purchases).where(purchases.c.tenant_id == tenant, purchases.c.id == id_)
    found = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if found is None:
        return None
    return StoredPurchase(
        found["id"],
        found["tenant_id"],
        found["provider_account_id"],
        found["customer_id"],
        _decode(found["state"]),
        found["created_at"],
        found["customer_tenant_id"],
        found["users"],
        found["awaits"],
    )


def insert(connection: sa.Connection, stored: Sequence[StoredPurchase]) -> None:
    rows.insert(
        connection,
        purchases,
        [
            {
                "id": p.id,
                "tenant_id": p.tenant_id,
                "provider_account_id": p.provider_account_id,
                "customer_id": p.customer_id,
                "state": _encode(p.state).decode(),
                "created_at": micros(p.created_at),
                "updated_at": micros(p.created_at),
                "customer_tenant_id": p.customer_tenant_id,
                "users": p.users,
                "awaits": p.awaits,
            }
            for p in sorted(stored, key=lambda p: p.id)
        ],
    )


def update(connection: sa.Connection, stored: Sequence[StoredPurchase], now: datetime) -> None:
    rows.update(
        connection,
        purchases,
        [
            {
                "id": p.id,
                "customer_id": p.customer_id,
                "state": _encode(p.state).decode(),
                "updated_at": micros(now),
                "customer_tenant_id": p.customer_tenant_id,
                "users": p.users,
            }
            for p in sorted(stored, key=lambda p: p.id)
        ],
    )


def insert_aliases(connection: sa.Connection, aliases: Sequence[StoredAlias]) -> None:
    """A conflict means that another process met the same purchase first, for this tenant or for another one:
    the caller starts over."""
    ordered = sorted(aliases, key=lambda a: (a.provider_account_id, a.kind, a.external_id))
    rows.insert(connection, purchase_aliases, [msgspec.structs.asdict(a) for a in ordered])


def lead(connection: sa.Connection, younger: Sequence[str], older: str) -> None:
    """Lead the names and events of younger purchases to the older one, which they turned out to be."""
    if younger:
        for table in (purchase_aliases, inbox_purchases):
            theirs = table.c.purchase_id.in_(younger)
            connection.execute(sa.update(table).where(theirs).values(purchase_id=older))
        changes.note(connection, (*younger, older))


def link_events(connection: sa.Connection, tenant: str, links: Mapping[str, tuple[str, str | None]]) -> None:
    """Remember which purchase each event was about: event -> (purchase, the money it spoke of)."""
    rows.insert(
        connection,
        inbox_purchases,
        [
            {"inbox_id": event, "tenant_id": tenant, "purchase_id": id_, "transaction_id": money}
            for event, (id_, money) in sorted(links.items())
        ],
        ignore=True,
    )


def let_go(connection: sa.Connection, tenant: str) -> None:
    """Have no name be claimed by this tenant any more: it ends, and others may go on with its accounts."""
    mine = sa.and_(purchase_aliases.c.tenant_id == tenant, purchase_aliases.c.realm.is_not(None))
    connection.execute(sa.update(purchase_aliases).where(mine).values(realm=None))


def aliases_of(connection: sa.Connection, purchase: str) -> list[Alias]:
    """Every name of a purchase."""
    query = sa.select(purchase_aliases).where(purchase_aliases.c.purchase_id == purchase)
    return [Alias(r["kind"], r["external_id"]) for r in connection.execute(query).mappings()]


def events_of(connection: sa.Connection, purchase: str) -> list[str]:
    """The inbox ids of all events that were about a purchase, in order of arrival."""
    query = sa.select(inbox_purchases.c.inbox_id).where(inbox_purchases.c.purchase_id == purchase)
    return sorted(connection.execute(query).scalars())
