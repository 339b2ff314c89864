"""Add licenses: a tenant's own staff change how many users it has paid for, at the seller's provider.

The subscription is the seller's, and so is what is written down about the change. Nothing of the effect is
written here: the provider's event brings it, and sets the number.

Whoever uses this page counts users, and the provider counts units of `seats_per_unit` users each. It is users
that come in here, and units that go out.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.purchase import prices_of
from keywright.flows import billing, tenant_seats
from keywright.flows.billing import Accepted
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.ports import Preview
from keywright.store import catalog, purchases, tenant_customers
from keywright.store.tenant_customers import Theirs


class SeatsSeen(msgspec.Struct, frozen=True):
    """`licensed`: for how many users it is licensed; None: nobody counts them. `allowed`: how many it may
    have now, which is more while seats that were given up are paid for. `used`: how many there are.
    `quantity`: what its subscription says, in users; None: there is none that could be changed here. `each`:
    they are sold so many at a time."""

    licensed: int | None
    allowed: int | None
    used: int
    quantity: int | None
    each: int = 1


class _Line(msgspec.Struct, frozen=True):
    """What gives the tenant its users: a license of it, and how many users one unit stands for."""

    seller: str
    license: str
    users: int
    each: int


def show(context: Context, tenant: str) -> SeatsSeen:
    """How a tenant stands."""
    with context.database.read() as connection:
        told = tenant_customers.seats(connection, tenant)
        allowed = tenant_seats.seats_of(context, connection, tenant).licensed
        theirs = tenant_customers.list_theirs(connection, tenant)
        line = _line(context, connection, theirs[0]) if len(theirs) == 1 else None
    if line is None:
        return SeatsSeen(told.licensed, allowed, told.used, None)
    return SeatsSeen(told.licensed, allowed, told.used, line.users, line.each)


def preview(context: Context, tenant: str, users: int) -> Preview:
    """What so many users would cost.

    Raises NotFound, Conflict; Invalid (QUANTITY_INVALID) for users that no number of units makes; and as
    `billing.preview_seats`.
    """
    line = _find(context, tenant)
    return billing.preview_seats(context.of(line.seller), line.seller, line.license, _units(line, users))


def change(context: Context, tenant: str, act: Act, users: int, expected: int, key: str) -> Accepted:
    """Have so many users from now on. `expected`: the preview's `due_now`. Fewer than there are people is
    allowed: nobody is sent away, and nobody new is let in until the number fits.

    Raises as `preview`; Conflict (PREVIEW_CHANGED).
    """
    line = _find(context, tenant)
    return billing.change_seats(
        context.of(line.seller),
        line.seller,
        line.license,
        act,
        _units(line, users),
        expected=expected,
        key=key,
    )


def _units(line: _Line, users: int) -> int:
    units, rest = divmod(users, line.each)
    if rest:
        detail = f"Users are sold {line.each} at a time: {units * line.each} or {(units + 1) * line.each}."
        raise Invalid(detail, code="QUANTITY_INVALID")
    return units


def _find(context: Context, tenant: str) -> _Line:
    with context.database.read() as connection:
        found = tenant_customers.list_theirs(connection, tenant)
        line = _line(context, connection, found[0]) if len(found) == 1 else None
    if not found:
        raise NotFound("No subscription gives this tenant its users.", code="SEATS_NOT_BOUGHT")
    if line is None:
        detail = "Several things give this tenant its users. The seller changes them at the provider."
        raise Conflict(detail, code="SEATS_IN_SEVERAL")
    return line


def _line(context: Context, connection: sa.Connection, one: Theirs) -> _Line | None:
    """The only line of a purchase that gives users; None where it is not known, or there are several."""
    stored = purchases.find(connection, one.seller, one.purchase, lock=False)
    channel = context.find_channel(stored.provider_account_id) if stored is not None else None
    if stored is None or channel is None or stored.state.subscription is None:
        return None
    prices = prices_of(stored.state)
    plans = catalog.plans_by_price(connection, one.seller, channel.account.provider, prices)
    giving = [
        plans[item.price]
        for item in stored.state.subscription.items
        if item.quantity and item.price in plans and plans[item.price].terms.quantity == "seats"
    ]
    if len(giving) != 1:
        return None
    held = tenant_customers.license_of(connection, one.purchase, giving[0].product_id)
    return _Line(one.seller, held, one.users, giving[0].terms.seats_per_unit) if held is not None else None
