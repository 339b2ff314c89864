"""Activations: which machine holds which license."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
import sqlalchemy as sa

from keywright.domain.activation import Activation
from keywright.store import rows
from keywright.store.machine_tables import machine_signals
from keywright.store.rows import micros
from keywright.store.tables import activations, licenses

Ending = Literal["lapsed", "returned", "reclaimed"]


class Lease(msgspec.Struct, frozen=True):
    """A lease to hand out again until `until`, as long as `mark` names what it was made from."""

    activation_id: str
    token: str
    until: datetime
    mark: str


def insert(connection: sa.Connection, made: Sequence[tuple[Activation, Lease | None]]) -> None:
    rows.insert(
        connection,
        activations,
        [
            {
                "id": one.id,
                "tenant_id": one.tenant_id,
                "license_id": one.license_id,
                "fingerprint_hash": one.fingerprint_hash,
                "name": one.name,
                "activated_at": micros(one.activated_at),
                "last_seen_at": micros(one.activated_at),
                "lease": lease.token if lease is not None else None,
                "lease_until": micros(lease.until) if lease is not None else None,
                "lease_mark": lease.mark if lease is not None else None,
                "seat_until": micros(one.seat_until),
                "out_until": micros(one.out_until),
            }
            for one, lease in sorted(made, key=lambda pair: pair[0].id)
        ],
    )


def held_by(connection: sa.Connection, license_ids: Sequence[str]) -> dict[str, dict[str, Activation]]:
    """The machines that hold each license now, by fingerprint hash.

    Call it inside the transaction that admits the next one, after locking the licenses.
    """
    query = sa.select(
        activations.c.id,
        activations.c.license_id,
        activations.c.tenant_id,
        activations.c.fingerprint_hash,
        activations.c.name,
        activations.c.activated_at,
        activations.c.last_seen_at,
        activations.c.seat_until,
        activations.c.out_until,
    ).where(activations.c.license_id.in_(license_ids), activations.c.released_at.is_(None))
    machines: dict[str, dict[str, Activation]] = {}
    for r in connection.execute(query).mappings():
        machines.setdefault(r["license_id"], {})[r["fingerprint_hash"]] = Activation(**r)
    return machines


def count_released(connection: sa.Connection, license_id: str, since: datetime) -> int:
    """How many machines were freed since then, less those whose end was no move."""
    query = sa.select(sa.func.count()).where(
        activations.c.license_id == license_id,
        activations.c.released_at > since,
        activations.c.ended_by.is_(None),
    )
    return int(connection.execute(query).scalar_one())


def release(connection: sa.Connection, activation_id: str, now: datetime) -> bool:
    """Free the machine. False when it was free already."""
    return release_many(connection, [activation_id], now) == 1


def release_many(
    connection: sa.Connection, several: Sequence[str], now: datetime, *, by: Ending | None = None
) -> int:
    """Free these machines, and forget their signals. `by`: what ended them, where it was no move.

    Returns how many were not free already.
    """
    if not several:
        return 0
    connection.execute(sa.delete(machine_signals).where(machine_signals.c.activation_id.in_(several)))
    result = connection.execute(
        sa.update(activations)
        .where(activations.c.id.in_(several), activations.c.released_at.is_(None))
        .values(released_at=now, lease=None, lease_until=None, lease_mark=None, ended_by=by)
    )
    return result.rowcount


def hold(connection: sa.Connection, held: Sequence[Activation]) -> None:
    """Write the ends of seats. Only for machines whose license the caller has locked."""
    rows.update(
        connection,
        activations,
        [
            {"id": one.id, "seat_until": micros(one.seat_until), "out_until": micros(one.out_until)}
            for one in sorted(held, key=lambda one: one.id)
        ],
    )


def rebind(connection: sa.Connection, changed: Sequence[Activation]) -> None:
    """Write new fingerprints of machines. Only where the caller has locked the license."""
    rows.update(
        connection,
        activations,
        [
            {
                "id": one.id,
                "fingerprint_hash": one.fingerprint_hash,
                "name": one.name,
                "last_seen_at": micros(one.last_seen_at),
            }
            for one in sorted(changed, key=lambda one: one.id)
        ],
    )


def list_ended(connection: sa.Connection, now: datetime, limit: int) -> dict[str, list[str]]:
    """Machines whose seat has an end that is over: key hash of the license -> their ids."""
    query = (
        sa.select(licenses.c.key_hash, activations.c.id)
        .join(licenses, licenses.c.id == activations.c.license_id)
        .where(
            activations.c.released_at.is_(None),
            activations.c.seat_until.is_not(None),
            activations.c.seat_until <= now,
        )
        .limit(limit)
    )
    found: dict[str, list[str]] = {}
    for key_hash, id_ in connection.execute(query):
        found.setdefault(key_hash, []).append(id_)
    return found


def renew_leases(connection: sa.Connection, leases: Sequence[Lease]) -> None:
    rows.update(
        connection,
        activations,
        [
            {
                "id": one.activation_id,
                "lease": one.token,
                "lease_until": micros(one.until),
                "lease_mark": one.mark,
            }
            for one in sorted(leases, key=lambda one: one.activation_id)
        ],
    )


def seen(connection: sa.Connection, sightings: Sequence[tuple[str, datetime]]) -> None:
    """Write last-seen times gathered from many validations."""
    rows.update(
        connection,
        activations,
        [{"id": id_, "last_seen_at": micros(at)} for id_, at in sorted(sightings)],
    )


def list_of(connection: sa.Connection, tenant: str, license_id: str) -> list[Activation]:
    query = (
        sa.select(activations)
        .where(
            activations.c.tenant_id == tenant,
            activations.c.license_id == license_id,
            activations.c.released_at.is_(None),
        )
        .order_by(activations.c.id)
    )
    return [
        Activation(
            id=r["id"],
            license_id=r["license_id"],
            tenant_id=r["tenant_id"],
            fingerprint_hash=r["fingerprint_hash"],
            name=r["name"],
            activated_at=r["activated_at"],
        )
        for r in connection.execute(query).mappings()
    ]


def find(connection: sa.Connection, tenant: str, activation_id: str) -> str | None:
    """The license id of an activation that is held."""
    query = sa.select(activations.c.license_id).where(
        activations.c.tenant_id == tenant,
        activations.c.id == activation_id,
        activations.c.released_at.is_(None),
    )
    return connection.execute(query).scalar()
