"""How a license is written: under a key of its own, under its MAC, and with an entry on its timeline."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain.errors import KeywrightError
from keywright.domain.license import License, is_intact, row_mac
from keywright.domain.plan import FOREVER, Plan
from keywright.flows import firm_keys, license_keys
from keywright.flows.context import Context
from keywright.flows.license_keys import Key
from keywright.store import licenses, timeline


def blank(
    context: Context, tenant: str, plan: Plan, now: datetime, *, key: Key | None = None
) -> tuple[License, str]:
    """A license that grants nothing yet, neither written nor sealed, and its key as the vault keeps it.

    `key`: the one it gets; without it a new one.
    """
    held = License(
        id=context.new_id("lic"),
        tenant_id=tenant,
        purchase_id=None,
        product_id=plan.product_id,
        plan_id=plan.id,
        unit=0,
        customer_id=None,
        key_hash="",
        key_last5="",
        key_sealed="",
        seats=0,
        entitled_until=None,
        active_until=None,
        grace_until=None,
        lost_until=None,
        standing="ok",
        reason="",
        trial=False,
        canceling=False,
        past_due=False,
        created_at=now,
    )
    key = key or license_keys.fresh(context.schemes, plan.terms)
    return with_key(context, held, key), key.kept


def with_new_key(context: Context, held: License, plan: Plan) -> tuple[License, str]:
    """The license under a new key, and that key as the vault keeps it: `license_keys.printed` shows it."""
    key = license_keys.fresh(context.schemes, plan.terms)
    return with_key(context, held, key), key.kept


def with_key(context: Context, held: License, key: Key) -> License:
    """The license under this key."""
    return msgspec.structs.replace(
        held,
        key_hash=context.vault.blind("license-key-lookup", key.form),
        key_last5=key.last5,
        key_sealed=context.vault.seal(held.tenant_id, "license-key", held.id, key.kept),
    )


def sealed(context: Context, held: License) -> License:
    """The license with the MAC that its row must carry."""
    return msgspec.structs.replace(held, mac=row_mac(held, context.vault.row_key(held.tenant_id)))


def is_as_written(context: Context, held: License) -> bool:
    """Whether the row is as we wrote it."""
    key = _row_key(context, held)
    return key is not None and is_intact(held, key)


def can_record(context: Context, held: License) -> bool:
    """Whether an entry can be written: not to a row that was led to no tenant, or cannot be read whole."""
    return licenses.is_legible(held) and _row_key(context, held) is not None


def _row_key(context: Context, held: License) -> bytes | None:
    try:
        return context.vault.row_key(held.tenant_id)
    except KeywrightError:  # no tenant of that name has keys
        return None


def resealed(context: Context, before: License, after: License) -> License:
    """`after` with its MAC, if `before` was as we wrote it.

    A row that was altered by hand stays what it is, TAMPERED: no webhook and no mail may make it good again.
    """
    if not is_as_written(context, before):
        return msgspec.structs.replace(after, mac=before.mac)
    return sealed(context, after)


def record(
    context: Context,
    connection: sa.Connection,
    before: License,
    after: License,
    kind: str,
    *,
    detail: dict[str, Any],
    now: datetime,
) -> License:
    """Write a changed license with the entry that says so, in the caller's transaction.

    `before` and `after` may be the same: then the entry is all that is new. Returns the license as written.
    """
    if after.hmac_sealed is not None and is_as_written(context, before):
        after = firm_keys.follow(context, connection, after, now)
    after, entry = timeline.append(after, kind, detail, now)
    after = resealed(context, before, after)
    licenses.update(connection, [after])
    timeline.insert(connection, [entry])
    return after


def clocks_of(held: License) -> dict[str, Any]:
    """What a timeline entry shows of a license: no key, no person."""
    step: dict[str, Any] = {}
    if held.seats_after is not None:
        step = {"seats_after": held.seats_after, "seats_after_at": _shown(held.seats_after_at)}
    return {
        "plan": held.plan_id,
        "seats": held.seats,
        "standing": held.standing,
        "reason": held.reason,
        "entitled_until": _shown(held.entitled_until),
        "grace_until": _shown(held.grace_until),
        "lost_until": _shown(held.lost_until),
        "canceling": held.canceling,
        "trial": held.trial,
        **step,
    }


def _shown(clock: datetime | None) -> str | None:
    if clock is None:
        return None
    return "never" if clock == FOREVER else clock.strftime("%Y-%m-%dT%H:%M:%SZ")
