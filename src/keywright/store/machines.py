"""Signals of machines, each under a keyed hash, and how often a license followed one that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain.machine import ANCHORS, Signals
from keywright.store import rows
from keywright.store.machine_tables import machine_signals, rebinds
from keywright.store.rows import micros
from keywright.store.tables import activations

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(dict[str, str]).decode


class Known(msgspec.Struct, frozen=True):
    """The signals of one machine that holds a license, as they are stored."""

    activation_id: str
    tenant_id: str
    license_id: str
    signals: Signals


class Rebound(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    license_id: str
    activation_id: str
    at: datetime


def keep(connection: sa.Connection, shown: Sequence[Known]) -> None:
    """Write signals over what is known of these machines, where they hold their license and differ."""
    if not shown:
        return
    names = {"activation_id": "text", "tenant_id": "text", "license_id": "text"}
    names |= {"machine": "text", "board": "text", "signals": "text"}
    listed, source = ", ".join(names), rows.recordset(connection, "r", names)
    picked = ", ".join(f"r.{name}" for name in names)
    text = (
        f"INSERT INTO machine_signals ({listed}) SELECT {picked} FROM {source} CROSS JOIN activations a"  # noqa: S608  # our own names
        " WHERE a.id = r.activation_id AND a.released_at IS NULL ON CONFLICT (activation_id) DO UPDATE SET"
        " machine = excluded.machine, board = excluded.board, signals = excluded.signals"
        " WHERE machine_signals.signals <> excluded.signals"
    )
    made = [_row(one) for one in sorted(shown, key=lambda one: one.activation_id)]
    connection.execute(sa.text(text), {"rows": rows.json_of(made)})


def _row(one: Known) -> dict[str, str | None]:
    return {
        "activation_id": one.activation_id,
        "tenant_id": one.tenant_id,
        "license_id": one.license_id,
        **{name: one.signals.get(name) for name in ANCHORS},
        "signals": _encode(one.signals).decode(),
    }


def list_alike(
    connection: sa.Connection, asked: Sequence[tuple[str, Signals]]
) -> dict[str, list[tuple[str, Signals]]]:
    """License id -> activation id and signals of the machines that could be one of those asked for.

    `asked`: license id and signals. Only those with an anchor in common are read, the longest silent first.
    """
    conditions = [
        sa.and_(machine_signals.c.license_id == license_id, machine_signals.c[name] == signals[name])
        for license_id, signals in asked
        for name in ANCHORS
        if name in signals
    ]
    if not conditions:
        return {}
    query = (
        sa.select(machine_signals.c.license_id, machine_signals.c.activation_id, machine_signals.c.signals)
        .join(activations, activations.c.id == machine_signals.c.activation_id)
        .where(sa.or_(*conditions), activations.c.released_at.is_(None))
        .order_by(activations.c.last_seen_at, activations.c.id)
    )
    found: dict[str, list[tuple[str, Signals]]] = {}
    for license_id, activation_id, signals in connection.execute(query):
        try:
            found.setdefault(license_id, []).append((activation_id, _decode(signals)))
        except msgspec.MsgspecError:  # altered by hand: then it is like no other
            continue
    return found


def write_rebinds(connection: sa.Connection, made: Sequence[Rebound]) -> None:
    rows.insert(
        connection,
        rebinds,
        [
            {
                "id": one.id,
                "tenant_id": one.tenant_id,
                "license_id": one.license_id,
                "activation_id": one.activation_id,
                "at": micros(one.at),
            }
            for one in sorted(made, key=lambda one: one.id)
        ],
    )


def count_rebinds(connection: sa.Connection, since: Mapping[str, datetime]) -> dict[str, int]:
    """License id -> how often it followed a machine since the moment given for it."""
    conditions = [
        sa.and_(rebinds.c.license_id == license_id, rebinds.c.at > moment)
        for license_id, moment in since.items()
    ]
    if not conditions:
        return {}
    query = sa.select(rebinds.c.license_id, sa.func.count()).where(sa.or_(*conditions))
    counted = connection.execute(query.group_by(rebinds.c.license_id))
    return {license_id: count for license_id, count in counted}  # noqa: C416  # rows, not pairs
