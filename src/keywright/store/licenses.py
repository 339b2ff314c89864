"""Licenses: one row each, read in one query for a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain.activation import Activation
from keywright.domain.errors import Conflict
from keywright.domain.license import License
from keywright.domain.override import NO_OVERRIDES, Overrides
from keywright.domain.plan import Plan, Terms
from keywright.store import changes, rows
from keywright.store.catalog import decode_terms
from keywright.store.engine import Database
from keywright.store.rows import Instant, micros, moment
from keywright.store.tables import activations, customers, licenses, plans, products, tenants

_encode = msgspec.json.Encoder().encode
_decode_overrides = msgspec.json.Decoder(Overrides).decode

# A license's columns, as SQL text names them and in the order in which `from_row` reads them.
MEMBERS = tuple(field.name for field in msgspec.structs.fields(License))
_CLOCKS = tuple(
    MEMBERS.index(name)
    for name in (
        "entitled_until",
        "active_until",
        "grace_until",
        "lost_until",
        "created_at",
        "seats_after_at",
    )
)
_FLAGS = tuple(MEMBERS.index(name) for name in ("trial", "canceling", "past_due"))
_OVERRIDES = MEMBERS.index("overrides")
_MAC = MEMBERS.index("mac")
# What reading a value may raise that we never wrote: a text where a number was, a date beyond the calendar.
_NOT_OURS = (TypeError, ValueError, OverflowError, msgspec.MsgspecError)
_NO_TERMS = Terms()
_CREATED = MEMBERS.index("created_at")
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)
SELECTED = ", ".join(f"l.{name}" for name in MEMBERS)


class Found(msgspec.Struct, frozen=True):
    """All that a verdict needs, from one query."""

    license: License
    plan: Plan
    product: str
    activation: Activation | None


def from_row(found: Sequence[Any]) -> License:
    """From SQL text in the order of the License's own members: clocks are integers, flags may be too."""
    values = list(found[: len(MEMBERS)])
    try:
        for index in _CLOCKS:
            values[index] = moment(values[index])
        for index in _FLAGS:
            values[index] = bool(values[index])
        told = values[_OVERRIDES]
        values[_OVERRIDES] = NO_OVERRIDES if told == "{}" else _decode_overrides(told)
        values[_MAC].encode()
    except (*_NOT_OURS, AttributeError):
        return _illegible(found)
    return License(*values)


def _illegible(found: Sequence[Any]) -> License:
    """A row that holds what we never wrote: what can be read of it, without a MAC, so that it is not intact.

    One altered row must not end a list, an integrity check or the batch it is met in.
    """
    values = list(found[: len(MEMBERS)])
    for index in _CLOCKS:
        try:
            values[index] = moment(values[index])
        except _NOT_OURS:
            values[index] = None
    values[_CREATED] = values[_CREATED] or _UNKNOWN
    for index in _FLAGS:
        values[index] = bool(values[index])
    values[_OVERRIDES], values[_MAC] = NO_OVERRIDES, ""
    return License(*values)


def is_legible(held: License) -> bool:
    """Whether the row could be read whole. We write none without a MAC."""
    return held.mac != ""


def to_row(held: License) -> dict[str, Any]:
    return {
        "id": held.id,
        "tenant_id": held.tenant_id,
        "purchase_id": held.purchase_id,
        "product_id": held.product_id,
        "plan_id": held.plan_id,
        "unit": held.unit,
        "customer_id": held.customer_id,
        "key_hash": held.key_hash,
        "key_last5": held.key_last5,
        "key_sealed": held.key_sealed,
        "seats": held.seats,
        "entitled_until": micros(held.entitled_until),
        "active_until": micros(held.active_until),
        "grace_until": micros(held.grace_until),
        "lost_until": micros(held.lost_until),
        "standing": held.standing,
        "reason": held.reason,
        "trial": held.trial,
        "canceling": held.canceling,
        "past_due": held.past_due,
        "created_at": micros(held.created_at),
        "overrides": _encode(held.overrides).decode(),
        "firm": held.firm,
        "head": held.head,
        "events": held.events,
        "mac": held.mac,
        "seats_after": held.seats_after,
        "seats_after_at": micros(held.seats_after_at),
        "origin": held.origin,
        "hmac_sealed": held.hmac_sealed,
    }


def insert(connection: sa.Connection, held: Sequence[License]) -> None:
    rows.insert(connection, licenses, [to_row(one) for one in sorted(held, key=lambda h: h.id)])
    changes.note(connection, (id_ for one in held for id_ in (one.id, one.purchase_id)))


def update(connection: sa.Connection, held: Sequence[License]) -> None:
    changes.note(connection, (id_ for one in held for id_ in (one.id, one.purchase_id)))
    changed = [to_row(one) for one in sorted(held, key=lambda h: h.id)]
    for row in changed:
        del row["created_at"], row["tenant_id"], row["product_id"], row["unit"]
    rows.update(connection, licenses, changed)


def of_purchases(connection: sa.Connection, purchases: Sequence[str]) -> dict[str, list[License]]:
    """The licenses of each purchase, by product and unit, locked on PostgreSQL."""
    if not purchases:
        return {}
    source = rows.recordset(connection, "k", {"id": "text"})
    lock = "" if connection.dialect.name == "sqlite" else " ORDER BY l.id FOR UPDATE OF l"
    text = rows.prepared(
        f"SELECT {SELECTED} FROM {source} CROSS JOIN licenses l WHERE l.purchase_id = k.id{lock}"  # noqa: S608  # our own names
    )
    found: dict[str, list[License]] = {}
    for row in connection.execute(text, {"rows": rows.json_of([{"id": p} for p in purchases])}):
        held = from_row(row)
        found.setdefault(held.purchase_id or "", []).append(held)
    for several in found.values():
        several.sort(key=lambda held: (held.product_id, held.unit))
    return found


_FOR_VERDICT = (
    f"SELECT {SELECTED}, p.slug, p.name, p.version, p.terms, pr.slug, a.id, a.name, a.activated_at, a.lease,"  # noqa: S608  # our own names
    " a.lease_until, a.lease_mark, a.last_seen_at, a.seat_until, a.out_until, {fingerprint}"
    " FROM {source}licenses l"
    # Outer joins: a license that was led to no plan is still there, and altered.
    " LEFT JOIN plans p ON p.id = l.plan_id LEFT JOIN products pr ON pr.id = l.product_id"
    " LEFT JOIN activations a ON a.license_id = l.id AND a.fingerprint_hash = {fingerprint}"
    " AND a.released_at IS NULL WHERE l.key_hash = {key}"
)
_ONE = sa.text(_FOR_VERDICT.format(source="", key=":key_hash", fingerprint="CAST(:fp_hash AS TEXT)"))


def find_for_verdict(connection: sa.Connection, key_hash: str, fingerprint_hash: str | None) -> Found | None:
    """The license with this key, its plan, and its activation on this machine. One query."""
    row = connection.execute(_ONE, {"key_hash": key_hash, "fp_hash": fingerprint_hash}).first()
    return None if row is None else found_from_row(row)


def look_up(database: Database, key_hash: str, fingerprint_hash: str | None) -> Found | None:
    """The same outside a transaction: the read of every validate call."""
    row = database.first(_ONE, {"key_hash": key_hash, "fp_hash": fingerprint_hash})
    return None if row is None else found_from_row(row)


def find_many_for_verdict(
    connection: sa.Connection, questions: Sequence[tuple[str, str | None]]
) -> dict[tuple[str, str | None], Found]:
    """The same for many questions at once: PostgreSQL answers them in one round trip."""
    source = rows.recordset(connection, "k", {"key_hash": "text", "fingerprint_hash": "text"})
    asked = [{"key_hash": key, "fingerprint_hash": fingerprint} for key, fingerprint in questions]
    answers: dict[tuple[str, str | None], Found] = {}
    for row in connection.execute(_many(source), {"rows": rows.json_of(asked)}):
        found = found_from_row(row)
        answers[(found.license.key_hash, row[-1])] = found
    return answers


@lru_cache(maxsize=4)
def _many(source: str) -> sa.TextClause:
    asked = {"key": "k.key_hash", "fingerprint": "k.fingerprint_hash"}
    return sa.text(_FOR_VERDICT.format(source=f"{source} CROSS JOIN ", **asked))


def found_from_row(row: Sequence[Any]) -> Found:
    held = from_row(row)
    n = len(MEMBERS)
    slug, name, version, terms, product = row[n : n + 5]
    activation = None
    if row[n + 5] is not None:
        activation = _activation(held, row[n + 5 :])
    try:
        plan = _plan(held.plan_id, held.product_id, slug, name, version, terms)
        if product is not None:
            return Found(held, plan, product, activation)
    except _NOT_OURS:
        pass
    nowhere = Plan(held.plan_id, held.product_id, slug or "", name or "", version or 0, _NO_TERMS)
    return Found(msgspec.structs.replace(held, mac=""), nowhere, product or "", activation)


@lru_cache(maxsize=2048)
def _plan(id_: str, product: str, slug: str, name: str, version: int, terms: str) -> Plan:
    """The same few plans come with every license that is read."""
    return Plan(id_, product, slug, name, version, decode_terms(terms))


def _activation(held: License, row: Sequence[Any]) -> Activation:
    try:
        activated_at, lease_until = moment(row[2]) or held.created_at, moment(row[4])
        last_seen_at, seat_until, out_until = moment(row[6]), moment(row[7]), moment(row[8])
    except _NOT_OURS:
        # And with it the lease: a fresh one is made.
        activated_at, lease_until, last_seen_at = held.created_at, None, None
        seat_until, out_until = None, None
    return Activation(
        id=row[0],
        license_id=held.id,
        tenant_id=held.tenant_id,
        fingerprint_hash=row[9],
        name=row[1],
        activated_at=activated_at,
        lease=row[3],
        lease_until=lease_until,
        lease_mark=row[5],
        last_seen_at=last_seen_at,
        seat_until=seat_until,
        out_until=out_until,
    )


def lock_many(connection: sa.Connection, key_hashes: Sequence[str]) -> dict[str, Found]:
    """The licenses with these keys, without activations, held until the transaction ends. By key hash."""
    if connection.dialect.name != "sqlite":
        # Sorted by id, as every writer locks them: the other order would deadlock with the intake.
        held = sa.select(licenses.c.id).where(licenses.c.key_hash.in_(key_hashes)).order_by(licenses.c.id)
        connection.execute(held.with_for_update())
    found = find_many_for_verdict(connection, [(key_hash, None) for key_hash in key_hashes])
    return {key_hash: one for (key_hash, _), one in found.items()}


def lock(connection: sa.Connection, key_hash: str, fingerprint_hash: str | None) -> Found | None:
    """As `find_for_verdict`, holding the license row until the transaction ends."""
    if connection.dialect.name != "sqlite":
        held = sa.select(licenses.c.id).where(licenses.c.key_hash == key_hash).with_for_update()
        connection.execute(held)
    return find_for_verdict(connection, key_hash, fingerprint_hash)


def find(connection: sa.Connection, tenant: str, license_id: str, *, lock: bool = False) -> License | None:
    """The license; with `lock`, held until the transaction ends."""
    query = every().where(licenses.c.tenant_id == tenant, licenses.c.id == license_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else from_row(row)


def find_by_key_hash(connection: sa.Connection, tenant: str, key_hash: str) -> License | None:
    query = every().where(licenses.c.tenant_id == tenant, licenses.c.key_hash == key_hash)
    row = connection.execute(query).first()
    return None if row is None else from_row(row)


def of_keys(connection: sa.Connection, key_hashes: Sequence[str]) -> list[License]:
    """The licenses with these keys, of whatever tenant."""
    return [from_row(row) for row in connection.execute(every().where(licenses.c.key_hash.in_(key_hashes)))]


def has_trial(connection: sa.Connection, tenant: str, email: str, product_id: str) -> bool:
    """Whether staff gave this person one of this product to be tried."""
    query = (
        sa.select(licenses.c.id)
        .join(customers, customers.c.id == licenses.c.customer_id)
        .where(
            customers.c.tenant_id == tenant,
            sa.func.lower(customers.c.email) == email.lower(),
            licenses.c.product_id == product_id,
            licenses.c.origin == "trial",
        )
    )
    return connection.execute(query.limit(1)).first() is not None


def first_known(connection: sa.Connection, key_hashes: Sequence[str]) -> str | None:
    """The first of these key hashes that a license has."""
    query = sa.select(licenses.c.key_hash).where(licenses.c.key_hash.in_(key_hashes))
    known = set(connection.execute(query).scalars())
    return next((one for one in key_hashes if one in known), None)


def is_key_of(connection: sa.Connection, tenant: str, key_hash: str) -> bool:
    """Whether a license of this tenant has the key."""
    query = sa.select(licenses.c.id).where(licenses.c.tenant_id == tenant, licenses.c.key_hash == key_hash)
    return connection.execute(query).first() is not None


def list_page(
    connection: sa.Connection, tenant: str, *, filters: dict[str, str], after: str | None, limit: int
) -> list[License]:
    """Newest first. `filters`: email, plan (slug), product (slug), purchase, origin, q (id, e-mail or
    last five)."""
    query = every().where(licenses.c.tenant_id == tenant).order_by(licenses.c.id.desc()).limit(limit)
    joined = licenses.outerjoin(customers, customers.c.id == licenses.c.customer_id)
    joined = joined.outerjoin(plans, plans.c.id == licenses.c.plan_id)
    query = query.select_from(joined.outerjoin(products, products.c.id == licenses.c.product_id))
    for name, value in filters.items():
        query = query.where(_filter(name, value))
    if after is not None:
        query = query.where(licenses.c.id < after)
    return [from_row(row) for row in connection.execute(query)]


def list_strays(connection: sa.Connection) -> list[str]:
    """The ids of licenses whose tenant does not exist: they are on nobody's pages."""
    query = sa.select(licenses.c.id).where(licenses.c.tenant_id.not_in(sa.select(tenants.c.id)))
    return [str(id_) for id_ in connection.execute(query.order_by(licenses.c.id)).scalars()]


def _filter(name: str, value: str) -> sa.ColumnElement[bool]:
    match name:
        case "email":
            return sa.func.lower(customers.c.email) == value.lower()
        case "plan":
            return plans.c.slug == value
        case "product":
            return products.c.slug == value
        case "purchase":
            return licenses.c.purchase_id == value
        case "origin":
            return licenses.c.origin == value
        case _:
            return sa.or_(
                licenses.c.id == value,
                licenses.c.key_last5.in_((value, value.upper())),
                sa.func.lower(customers.c.email) == value.lower(),
            )


def plan_and_product(connection: sa.Connection, held: License) -> tuple[Plan, str, str]:
    """The plan, the product's slug and its name. Raises Conflict where the license leads to none."""
    query = (
        sa.select(
            plans.c.slug, plans.c.name, plans.c.version, plans.c.terms, products.c.slug, products.c.name
        )
        .join(products, products.c.id == plans.c.product_id)
        .where(plans.c.id == held.plan_id, plans.c.tenant_id == held.tenant_id)
    )
    row = connection.execute(query).first()
    if row is None:
        detail = "The license names a plan that does not exist: it was altered outside the server."
        raise Conflict(detail, code="TAMPERED")
    slug, name, version, terms, product, product_name = row
    plan = Plan(held.plan_id, held.product_id, slug, name, version, decode_terms(terms))
    return plan, product, product_name


def count_machines(connection: sa.Connection, held: Sequence[str]) -> dict[str, int]:
    query = (
        sa.select(activations.c.license_id, sa.func.count())
        .where(activations.c.license_id.in_(held), activations.c.released_at.is_(None))
        .group_by(activations.c.license_id)
    )
    return {license_id: count for license_id, count in connection.execute(query)}  # noqa: C416  # rows, not pairs


def counts(connection: sa.Connection, now: datetime) -> dict[str, int]:
    """Licenses by what they are now, over all tenants, for metrics: `license.status` told in SQL."""
    held = licenses.c
    paid = held.active_until.is_not(None) & (held.active_until > now)
    state = sa.case(
        (held.standing == "revoked", sa.literal("revoked")),
        (held.lost_until.is_not(None) & (held.lost_until > now) & ~paid, sa.literal("revoked")),
        ((held.standing == "suspended") | ((held.standing == "paused") & ~paid), sa.literal("suspended")),
        (held.active_until.is_(None), sa.literal("pending")),
        (paid, sa.literal("active")),
        (held.grace_until > now, sa.literal("grace")),
        else_=sa.literal("expired"),
    ).label("state")
    query = sa.select(state, sa.func.count()).group_by("state")
    return {state: count for state, count in connection.execute(query)}  # noqa: C416  # as above


def every() -> sa.Select[Any]:
    """The members as they are stored, for `from_row`: a clock that is none must not end the query."""
    columns = [licenses.c[name] for name in MEMBERS]
    return sa.select(
        *(sa.type_coerce(c, sa.BigInteger) if isinstance(c.type, Instant) else c for c in columns)
    )
