"""What customers do for themselves: see their licenses, free a machine, end a renewal, get the key again.

Every act is first asked whether the license is the visitor's; somebody else's is as unknown as none. All land
on the license's timeline, under the id of the customer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain import activation as rules
from keywright.domain.activation import Activation
from keywright.domain.errors import Conflict, NotFound
from keywright.domain.license import License, Status, seats_at, status
from keywright.flows import billing, firm_keys, license_files, operate
from keywright.flows.context import Context
from keywright.flows.license_files import FileMade
from keywright.flows.license_views import unknown_license
from keywright.flows.license_writes import can_record, is_as_written, record
from keywright.flows.operate import Act
from keywright.flows.portal_sign_in import Visitor
from keywright.ports import Preview
from keywright.store import activations, licenses, portal_views
from keywright.store.portal_views import Deal, HeldPlan

PAGE: Final = 20
MACHINES_SHOWN: Final = 50
_RUNNING: Final = ("active", "grace")
_OVER: Final = ("ended", "abandoned")


class HeldLicense(msgspec.Struct, frozen=True):
    """A license as its holder sees it.

    `machines`: at most fifty of `bound`, the longest silent first. `room` None: any number of machines.
    `moves_left` None: machines may be freed as often as one likes. `renews`: it will be, as far as we know;
    `can_stop`, `can_resume`: there is a renewal to end, or one that was ended. `can_manage`: the provider may
    have a page for the payment. `quantity`: how many are subscribed to, where that can be changed.
    `intact`: the row is as we wrote it.
    """

    license: License
    plan: HeldPlan | None
    status: Status
    seats: int
    room: int | None
    bound: int
    machines: tuple[Activation, ...]
    moves_left: int | None
    renews: bool
    can_stop: bool
    can_resume: bool
    can_manage: bool
    intact: bool
    quantity: int | None = None


class HeldPage(msgspec.Struct, frozen=True):
    """`after` None: that was all; else where the next page begins."""

    items: tuple[HeldLicense, ...]
    after: str | None


# -- see ------------------------------------------------------------------------------------------------


def list_held(context: Context, visitor: Visitor, *, after: str | None = None) -> HeldPage:
    """The visitor's licenses, newest first."""
    now = context.clock.now()
    with context.database.read() as connection:
        found = portal_views.list_licenses(
            connection, visitor.tenant_id, visitor.people, after=after, limit=PAGE + 1
        )
        page = found[:PAGE]
        ids = [one.id for one in page]
        plans = portal_views.plans_of(connection, [one.plan_id for one in page])
        bought = [one.purchase_id for one in page if one.purchase_id is not None]
        deals = portal_views.deals_of(connection, bought)
        machines = portal_views.machines_of(connection, ids, most=MACHINES_SHOWN)
        bound = licenses.count_machines(connection, ids)
        items = tuple(
            _held(
                context,
                one,
                plans.get(one.plan_id),
                deals.get(one.purchase_id or ""),
                tuple(machines.get(one.id, ())),
                bound.get(one.id, 0),
                _moves_left(connection, one, plans.get(one.plan_id), now),
                now,
            )
            for one in page
        )
    return HeldPage(items, page[-1].id if len(found) > PAGE else None)


def _held(
    context: Context,
    held: License,
    plan: HeldPlan | None,
    deal: Deal | None,
    machines: tuple[Activation, ...],
    bound: int,
    moves_left: int | None,
    now: datetime,
) -> HeldLicense:
    seats, at = seats_at(held, now), status(held, now)
    channel = context.find_channel(deal.account) if deal is not None else None
    reachable = channel is not None and channel.billing is not None
    # Only what the provider still has can be ended, or taken up again: PayPal ends for good.
    running = at in _RUNNING and deal is not None and deal.subscription not in (None, *_OVER)
    return HeldLicense(
        license=held,
        plan=plan,
        status=at,
        seats=seats,
        room=plan.plan.terms.machines(seats) if plan is not None else seats,
        bound=bound,
        machines=machines,
        moves_left=moves_left,
        renews=running and not held.canceling,
        can_stop=running and reachable and not held.canceling,
        can_resume=running and reachable and held.canceling,
        can_manage=reachable,
        intact=is_as_written(context, held),
        quantity=deal.quantity if deal is not None and running and reachable and not held.canceling else None,
    )


def _moves_left(connection: sa.Connection, held: License, plan: HeldPlan | None, now: datetime) -> int | None:
    if plan is None or plan.plan.terms.moves is None:
        return None
    since = now - timedelta(seconds=plan.plan.terms.moves_period)
    return max(0, plan.plan.terms.moves - activations.count_released(connection, held.id, since))


def get_held(context: Context, visitor: Visitor, license_id: str) -> HeldLicense:
    """One license of the visitor's, without its machines. Raises NotFound."""
    now = context.clock.now()
    with context.database.read() as connection:
        held = _mine(connection, visitor, license_id)
        plan = portal_views.plans_of(connection, [held.plan_id]).get(held.plan_id)
        deals = portal_views.deals_of(connection, [held.purchase_id] if held.purchase_id else [])
        bound = licenses.count_machines(connection, [held.id]).get(held.id, 0)
    return _held(context, held, plan, deals.get(held.purchase_id or ""), (), bound, None, now)


def is_renewing(context: Context, visitor: Visitor) -> bool:
    """Whether the visitor is still charged for anything, as far as we know."""
    after: str | None = None
    while True:
        page = list_held(context, visitor, after=after)
        if any(one.renews for one in page.items):
            return True
        if page.after is None:
            return False
        after = page.after


# -- act ------------------------------------------------------------------------------------------------


def free_machine(context: Context, visitor: Visitor, license_id: str, activation_id: str) -> None:
    """Take the license off a machine, as the program on it could.

    Raises:
        NotFound: not the visitor's license, or no machine of it.
        Conflict: `MOVES_EXHAUSTED`, by the plan's rule.
    """
    unknown = NotFound("There is no such machine.", code="ACTIVATION_UNKNOWN")
    with context.database.write() as connection:
        held = _mine(connection, visitor, license_id, lock=True)
        if activations.find(connection, visitor.tenant_id, activation_id) != held.id:
            raise unknown
        plan, _, _ = licenses.plan_and_product(connection, held)
        now = context.clock.now()
        since = now - timedelta(seconds=plan.terms.moves_period)
        if not rules.may_release(plan, released=activations.count_released(connection, held.id, since)):
            detail = "No more machines can be freed for now: the moves of this license are used up."
            raise Conflict(detail, code="MOVES_EXHAUSTED")
        if not activations.release(connection, activation_id, now):
            raise unknown
        if can_record(context, held):
            told = {"by": _act(visitor).by, "activation": activation_id}
            record(context, connection, held, held, "activation.released", detail=told, now=now)


def preview_seats(context: Context, visitor: Visitor, license_id: str, quantity: int) -> Preview:
    """What so many would cost. Raises NotFound, and as `billing.preview_seats`."""
    _check_mine(context, visitor, license_id)
    return billing.preview_seats(context, visitor.tenant_id, license_id, quantity)


def change_seats(
    context: Context, visitor: Visitor, license_id: str, quantity: int, expected: int, key: str
) -> str | None:
    """Have so many from now on, for no more than `expected`. Returns where the visitor has to agree.

    Raises NotFound, and as `billing.change_seats`.
    """
    _check_mine(context, visitor, license_id)
    done = billing.change_seats(
        context, visitor.tenant_id, license_id, _act(visitor), quantity, expected=expected, key=key
    )
    return done.approval_url


def license_file(context: Context, visitor: Visitor, license_id: str, activation_id: str | None) -> FileMade:
    """A license file for one of the machines; None: one that is bound to none.

    Raises NotFound, and as `license_files.make_held`.
    """
    with context.database.read() as connection:
        held = _mine(connection, visitor, license_id)
        machine = None
        if activation_id is not None:
            if activations.find(connection, visitor.tenant_id, activation_id) != held.id:
                raise NotFound("There is no such machine.", code="ACTIVATION_UNKNOWN")
            bound = activations.held_by(connection, [held.id]).get(held.id, {})
            machine = next((hashed for hashed, one in bound.items() if one.id == activation_id), None)
            if machine is None:
                raise NotFound("There is no such machine.", code="ACTIVATION_UNKNOWN")
    return license_files.make_held(context, held, machine)


def hmac_key(context: Context, visitor: Visitor, license_id: str) -> tuple[str, str]:
    """The firm of a license, and its HMAC key. Raises NotFound, also with code `NO_HMAC_KEY`."""
    with context.database.read() as connection:
        held = _mine(connection, visitor, license_id)
    known = firm_keys.opened(context, held) if is_as_written(context, held) else None
    if known is None or held.firm is None:
        raise NotFound("This license has no HMAC key.", code="NO_HMAC_KEY")
    return held.firm, known.short


def send_key(context: Context, visitor: Visitor, license_id: str) -> None:
    """Owe the mail with the key once more. Raises NotFound."""
    _check_mine(context, visitor, license_id)
    operate.resend(context, visitor.tenant_id, license_id, _act(visitor))


def stop_renewal(context: Context, visitor: Visitor, license_id: str) -> None:
    """Do not renew. Raises NotFound, and as `billing.cancel`."""
    _check_mine(context, visitor, license_id)
    billing.cancel(context, visitor.tenant_id, license_id, _act(visitor))


def renew_after_all(context: Context, visitor: Visitor, license_id: str) -> None:
    """Take the renewal up again. Raises NotFound, and as `billing.resume`."""
    _check_mine(context, visitor, license_id)
    billing.resume(context, visitor.tenant_id, license_id, _act(visitor))


def payment_page(context: Context, visitor: Visitor, license_id: str) -> str:
    """The address of the provider's page for card and invoices. Raises NotFound, and as `billing.portal`."""
    _check_mine(context, visitor, license_id)
    back = f"{context.base_url}/portal/licenses"
    return billing.portal(context, visitor.tenant_id, license_id, _act(visitor), back).url


def _check_mine(context: Context, visitor: Visitor, license_id: str) -> None:
    with context.database.read() as connection:
        _mine(connection, visitor, license_id)


def _mine(connection: sa.Connection, visitor: Visitor, license_id: str, *, lock: bool = False) -> License:
    held = licenses.find(connection, visitor.tenant_id, license_id, lock=lock)
    if held is None or held.customer_id not in visitor.people:
        raise unknown_license()
    return held


def _act(visitor: Visitor) -> Act:
    """Who acts. The id alone: a timeline outlives the person."""
    return Act(f"customer {visitor.customer_id}")
