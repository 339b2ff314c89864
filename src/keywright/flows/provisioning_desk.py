"""Tenants that are being made, as the seller's staff see them: each step with what happened."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.flows import provisioning_waits
from keywright.flows.context import Context
from keywright.flows.provisioning import STEPS, StepName, Wish
from keywright.store import provisionings, tenant_ending
from keywright.store.provisionings import Provisioning

LARGEST_PAGE = 200
_OVER = ("done", "failed", "canceled")


class StepSeen(msgspec.Struct, frozen=True):
    """`status`: waiting, done or failed. `note`: what it did; `error`: the code of why it failed last."""

    name: str
    status: str
    note: str = ""
    error: str | None = None
    attempts: int = 0
    changed_at: datetime | None = None


class ProvisioningSeen(msgspec.Struct, frozen=True):
    """`tenant`: the one that was made, as soon as it is."""

    id: str
    status: str
    client_name: str
    email: str
    customer: str | None
    subscription: str | None
    tenant: str | None
    asked_by: str
    created_at: datetime
    changed_at: datetime
    steps: list[StepSeen]


def list_page(context: Context, *, before: datetime | None = None, limit: int = 50) -> list[ProvisioningSeen]:
    """Newest first, of those asked for before a moment. Their steps are left out. Raises Invalid."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise Invalid(f"`limit` must be 1 to {LARGEST_PAGE}.")
    with context.database.read() as connection:
        found = provisionings.list_page(connection, context.master.id, before=before, limit=limit)
    return [_seen(one, []) for one in found]


def show(context: Context, work: str) -> ProvisioningSeen:
    """With every step, also those to come. Raises NotFound."""
    with context.database.read() as connection:
        return _seen(_get(context, connection, work), steps_of(connection, work))


def steps_of(connection: sa.Connection, work: str) -> list[StepSeen]:
    """Every step of a work in order; one that was never begun waits."""
    known = provisionings.steps_of(connection, work)
    return [
        StepSeen(name, "waiting")
        if (one := known.get(name)) is None
        else StepSeen(name, one.status, one.note, one.error, one.attempts, one.changed_at)
        for name in STEPS
    ]


def begin_again(context: Context, work: str, step: str | None) -> None:
    """Before the engine takes it up again: from where it stopped, or from a step on, which is done once more.

    The tenant that is there stays; its person gets another link, the subscription is fetched anew.
    Raises NotFound, Invalid; Conflict (WORKFLOW_RUNNING; WORKFLOW_DONE where its tenant was shredded).
    """
    if step is not None and step not in STEPS:
        raise Invalid(f"A step is one of {', '.join(STEPS)}.")
    with context.database.write() as connection:
        made = _get(context, connection, work, lock=True)
        if tenant_ending.closed_of(connection, [made.customer_tenant_id]):
            detail = "Its tenant was shredded, and with it what was asked for. Ask for it anew."
            raise Conflict(detail, code="WORKFLOW_DONE")
        if step is not None and made.status not in _OVER:
            raise Conflict("It still runs. End it first, or wait.", code="WORKFLOW_RUNNING")
        if step is not None:
            provisionings.forget_steps(connection, work, _from(step))
        provisionings.change(connection, work, context.clock.now(), status="running")


def end(context: Context, work: str) -> None:
    """Somebody ended it: what waited for the tenant is applied as a purchase like any other."""
    with context.database.write() as connection:
        made = _get(context, connection, work, lock=True)
        if made.status == "done":
            return
        provisionings.change(connection, work, context.clock.now(), status="canceled")
        provisioning_waits.let_go(context, connection, made)


def _from(step: str) -> tuple[StepName, ...]:
    return STEPS[next(place for place, name in enumerate(STEPS) if name == step) :]


def _get(context: Context, connection: sa.Connection, work: str, *, lock: bool = False) -> Provisioning:
    made = provisionings.find(connection, context.master.id, work, lock=lock)
    if made is None:
        raise NotFound("There is no such work.", code="WORKFLOW_UNKNOWN")
    return made


def _seen(made: Provisioning, steps: list[StepSeen]) -> ProvisioningSeen:
    wish = msgspec.json.decode(made.wish, type=Wish)
    return ProvisioningSeen(
        id=made.id,
        status=made.status,
        client_name=wish.client_name,
        email=wish.email,
        customer=made.customer,
        subscription=made.subscription,
        tenant=made.customer_tenant_id,
        asked_by=made.asked_by,
        created_at=made.created_at,
        changed_at=made.changed_at,
        steps=steps,
    )
