"""Bought from inside the program: the license is activated for the machine that the checkout was opened on.

The activation is made by the machine's keyed hash, in the transaction that makes the license, and once: who
frees the machine later does not get it back with the next renewal. Its lease is made when the program asks
with its fingerprint, which is never stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain import activation as rules
from keywright.domain import seat
from keywright.domain.activation import Activation
from keywright.domain.license import License, status
from keywright.domain.plan import Plan
from keywright.flows.context import Context
from keywright.flows.license_writes import can_record, resealed
from keywright.store import activations, checkouts, licenses, timeline
from keywright.store.checkouts import Checkout


class Wish(msgspec.Struct, frozen=True):
    """A checkout for a device, with the licenses of its purchase as they are written."""

    order: Checkout
    licenses: tuple[License, ...]


def is_due(order: Checkout) -> bool:
    """Whether a license of this checkout has a machine to be activated for."""
    return order.device_hash is not None and order.device_bound_at is None


def bind_due(
    context: Context,
    connection: sa.Connection,
    orders: Mapping[str, Checkout],
    held: Mapping[str, Sequence[License]],
    written: Mapping[str, License],
    plans: Mapping[str, Plan],
    now: datetime,
) -> None:
    """See to the machines that checkouts named, after a pass of fulfillment.

    Args:
        context: of the seller.
        connection: in the transaction of the pass.
        orders: purchase id -> its checkout.
        held: purchase id -> its licenses before the pass.
        written: license id -> license, for those that the pass wrote.
        plans: those that the pass met.
        now: the time of the pass.
    """
    wishes = []
    for purchase, order in orders.items():
        if is_due(order):
            known = [written.get(one.id, one) for one in held.get(purchase, ())]
            renews = checkouts.renews_of(order)
            older = renews.license if renews is not None and renews.how == "extend" else None
            made = [one for one in written.values() if one.purchase_id == purchase or one.id == older]
            wishes.append(Wish(order, tuple({one.id: one for one in (*known, *made)}.values())))
    if wishes:
        bind(context, connection, wishes, {plan.id: plan for plan in plans.values()}, now)


def bind(
    context: Context,
    connection: sa.Connection,
    wishes: Sequence[Wish],
    plans: Mapping[str, Plan],
    now: datetime,
) -> None:
    """Activate the first license of each purchase that is good now, if its limit allows one machine more.

    Where it does not, the program learns that when it activates itself. `plans` by id.
    """
    chosen = {}
    for wish in wishes:
        good = [one for one in wish.licenses if status(one, now) in ("active", "grace")]
        if good:
            chosen[wish.order.reference] = min(good, key=lambda one: (one.product_id, one.unit))
    machines = activations.held_by(connection, sorted(one.id for one in chosen.values()))
    made: list[Activation] = []
    changed: dict[str, License] = {}
    entries: list[timeline.Entry] = []
    for wish in wishes:
        found = chosen.get(wish.order.reference)
        if found is None:
            continue
        held = changed.get(found.id, found)
        plan = plans.get(held.plan_id)
        one = _admitted(context, wish.order, held, plan, machines.setdefault(held.id, {}), now)
        if one is None:
            continue
        made.append(one)
        machines[held.id][one.fingerprint_hash] = one
        detail = {"activation": one.id, "checkout": wish.order.reference}
        after, entry = timeline.append(held, "activation.created", detail, now)
        changed[held.id] = resealed(context, held, after)
        entries.append(entry)
    licenses.update(connection, list(changed.values()))
    activations.insert(connection, [(one, None) for one in made])
    timeline.insert(connection, entries)
    checkouts.bound(connection, sorted(chosen), now)


def _admitted(
    context: Context,
    order: Checkout,
    held: License,
    plan: Plan | None,
    machines: dict[str, Activation],
    now: datetime,
) -> Activation | None:
    """The activation that fits, or None. No machine that holds the license is put out for it."""
    hashed = order.device_hash or ""
    if plan is None or hashed in machines or not can_record(context, held):
        return None
    if rules.admit(held, plan, active=len(machines), released=0, now=now) != "admit":
        return None
    made = Activation(
        id=context.new_id("act"),
        license_id=held.id,
        tenant_id=held.tenant_id,
        fingerprint_hash=hashed,
        name=order.device_name,
        activated_at=now,
        last_seen_at=now,
    )
    if not plan.terms.floating:
        return made
    # No lease was given out yet: the seat waits for the program as long as one would last.
    return msgspec.structs.replace(made, seat_until=seat.reach(held, plan, made, now))
