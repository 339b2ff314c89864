"""What staff do to licenses. Each act is one transaction: the decision, its effect, and who did it and why.

A decision is a fact like any other: it is folded into the license's overrides and applied on what was paid,
so reinstating restores what is paid now, whatever happened meanwhile. A license that staff issued has nothing
paid under it; its overrides say all: seats, and the day until which it runs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from keywright.domain import hmac_key, override
from keywright.domain.card_numbers import redact
from keywright.domain.email_address import is_email_address
from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.license import License, granted
from keywright.domain.override import Decision, Overrides
from keywright.domain.plan import FOREVER, Plan, later_by
from keywright.flows import announce, firm_keys, license_keys
from keywright.flows.context import Context
from keywright.flows.firm_keys import FirmKeys
from keywright.flows.license_views import LicenseRow, rows_of, unknown_license
from keywright.flows.license_writes import blank, clocks_of, record, sealed, with_new_key
from keywright.flows.paid_for import nothing_paid, paid_for
from keywright.store import (
    activations,
    catalog,
    customers,
    key_schemes,
    license_views,
    licenses,
    purchases,
    timeline,
)
from keywright.store.catalog import Offer
from keywright.store.customers import Customer
from keywright.store.purchases import StoredPurchase

_MOST_SEATS = 2**31 - 1
_MOST_DAYS = 36500
_LONGEST_TEXT = 500
_USUAL_TRIAL = 14 * 86400


class Act(msgspec.Struct, frozen=True):
    """Who acts, and why. Both land on the timeline, which outlives customers: no personal data."""

    by: str
    reason: str | None = None


class Order(msgspec.Struct, frozen=True):
    """A license that staff want. Without `until` and `days`: the plan's own term, without a fixed one no end.

    `kind`: paid elsewhere (`staff`), given away (`comp`), or to be tried: then it ends without grace, after
    the plan's trial or 14 days, and a customer gets one for each product, unless `again`.
    """

    plan: str
    email: str
    seats: int | None = None
    until: datetime | None = None
    firm: str | None = None
    kind: Literal["staff", "comp", "trial"] = "staff"
    days: int | None = None
    again: bool = False


class _Opened(msgspec.Struct, frozen=True):
    """A license while an act works on it, with what was paid for it. Locked."""

    held: License
    plan: Plan
    purchase: StoredPurchase | None


# -- acts -----------------------------------------------------------------------------------------------


def issue(context: Context, tenant: str, order: Order, act: Act) -> tuple[LicenseRow, str]:
    """Make a license without a payment. Returns it with its key, and owes the customer the license mail.

    Raises NotFound for a plan that is not on sale, Invalid for seats, an end or an e-mail that are none and
    for a plan for firms without one, and Conflict for a second trial.
    """
    now = context.clock.now()
    email = _email(order.email)
    firm = hmac_key.checked_firm(order.firm) if order.firm is not None else None
    with context.database.write() as connection:
        offer = _offer(connection, tenant, order.plan)
        maker = _maker(context, connection, offer.plan, firm, now)
        seats = _seats(order.seats, offer.plan)
        until = _end(order, offer.plan, now)
        held, kept = blank(context, tenant, offer.plan, now)
        holder = _holder(context, connection, tenant, email, now)
        is_trial = order.kind == "trial"
        if is_trial and not order.again and licenses.has_trial(connection, tenant, email, held.product_id):
            raise Conflict("This customer has tried this product already.", code="TRIAL_USED")
        overrides = Overrides(floor=until, seats=seats)
        held = msgspec.structs.replace(
            held, customer_id=holder.id, firm=firm, origin=order.kind, overrides=overrides
        )
        held = granted(held, override.apply(nothing_paid(offer.plan, trial=is_trial), overrides))
        held, _ = maker.keyed(held, offer.plan)
        told = told_of(act, origin=order.kind, after=clocks_of(held))
        held, entry = timeline.append(held, "license.issued", told, now)
        held = sealed(context, held)
        licenses.insert(connection, [held])
        maker.write()
        timeline.insert(connection, [entry])
        announce.resend(context, connection, held)
        key = license_keys.printed(offer.product.key_prefix, kept)
        return _row(context, connection, held), key


def _maker(
    context: Context, connection: sa.Connection, plan: Plan, firm: str | None, now: datetime
) -> FirmKeys:
    """What makes the license's HMAC key, where its plan has them."""
    if plan.terms.profile == "hmac":
        if firm is None:
            raise Invalid("This plan is bound to a firm: name it.", code="FIRM_REQUIRED")
        firm_keys.needed_secrets(context)
    return FirmKeys(context, connection, now)


def extend(
    context: Context,
    tenant: str,
    license_id: str,
    act: Act,
    *,
    until: datetime | None = None,
    days: int | None = None,
) -> LicenseRow:
    """Let a license run at least until a day, or so many days longer than now. Paid time beyond it stays.

    Raises NotFound, Invalid, and Conflict when the license never ends.
    """
    if (until is None) == (days is None):
        raise Invalid("Give either `until` or `days`.")
    now = context.clock.now()
    with context.database.write() as connection:
        opened = _open(connection, tenant, license_id)
        end = opened.held.entitled_until
        if end == FOREVER:
            raise Conflict("This license never ends.", code="NEVER_ENDS")
        if days is not None:
            until = later_by(max(end, now) if end is not None else now, checked_days(days) * 86400)
        overrides = override.extend(opened.held.overrides, _future(until or now, now))
        return _override(context, connection, opened, overrides, "license.extended", act)


def decide(
    context: Context,
    tenant: str,
    license_id: str,
    act: Act,
    kind: Literal["suspend", "reinstate", "revoke"],
) -> LicenseRow:
    """Suspend, reinstate or revoke. The newest decision wins; a revocation is final until reinstated.

    Raises NotFound.
    """
    named = {"suspend": "suspended", "reinstate": "reinstated", "revoke": "revoked"}[kind]
    with context.database.write() as connection:
        opened = _open(connection, tenant, license_id)
        known = opened.held.overrides
        decision = Decision(kind, _after(known, context.clock.now()), act.by)
        overrides = override.decide(known, decision)
        return _override(context, connection, opened, overrides, f"license.{named}", act)


def transfer(
    context: Context, tenant: str, license_id: str, act: Act, *, email: str, keep_machines: bool = False
) -> LicenseRow:
    """Give a license to another customer, who gets the license mail. The machines are freed unless kept.

    The key stays the same, and the former holder knows it: `rotate_key` where that matters.

    Raises NotFound, Invalid.
    """
    address = _email(email)
    now = context.clock.now()
    with context.database.write() as connection:
        held = _open(connection, tenant, license_id).held
        holder = _holder(context, connection, tenant, address, now)
        released = []
        if not keep_machines:
            released = [one.id for one in activations.list_of(connection, tenant, held.id)]
            for id_ in released:
                activations.release(connection, id_, now)
        after = msgspec.structs.replace(held, customer_id=holder.id)
        told = {"from": held.customer_id, "to": holder.id, "released": released}
        after = _write(context, connection, held, after, "license.transferred", told_of(act, **told))
        announce.resend(context, connection, after)
        return _row(context, connection, after)


def give_seats(context: Context, tenant: str, license_id: str, act: Act, seats: int) -> LicenseRow:
    """Have staff give so many seats: on top of those that are bought, or all of them where nothing was.

    A number and no difference, so that repeating it changes nothing. Raises NotFound, Invalid.
    """
    with context.database.write() as connection:
        opened = _open(connection, tenant, license_id)
        fewest = 0 if opened.held.purchase_id is not None else 1
        if not fewest <= seats <= _MOST_SEATS:
            raise Invalid(f"`seats` must be {fewest} to {_MOST_SEATS}.")
        overrides = msgspec.structs.replace(opened.held.overrides, seats=seats)
        return _override(context, connection, opened, overrides, "license.seats_changed", act)


def note(context: Context, tenant: str, license_id: str, act: Act) -> LicenseRow:
    """Write the act's reason on the timeline, and change nothing. Raises NotFound, Invalid."""
    if text_of("note", act.reason) is None:
        raise Invalid("`note` must not be empty.")
    with context.database.write() as connection:
        held = _open(connection, tenant, license_id).held
        after = _write(context, connection, held, held, "license.noted", told_of(act))
        return _row(context, connection, after)


def resend(context: Context, tenant: str, license_id: str, act: Act) -> LicenseRow:
    """Owe the customer the license mail once more. Raises NotFound."""
    with context.database.write() as connection:
        held = _open(connection, tenant, license_id).held
        after = _write(context, connection, held, held, "license.resent", told_of(act))
        announce.resend(context, connection, after)
        return _row(context, connection, after)


def rotate_key(context: Context, tenant: str, license_id: str, act: Act) -> tuple[LicenseRow, str]:
    """A new key; the old one is dead at once. Machines stay. Owes the mail. Returns the new key.

    Raises NotFound.
    """
    with context.database.write() as connection:
        opened = _open(connection, tenant, license_id)
        held = opened.held
        after, kept = with_new_key(context, held, opened.plan)
        told = {"before": held.key_last5, "after": after.key_last5}
        after = _write(context, connection, held, after, "license.key_rotated", told_of(act, **told))
        key_schemes.replace(connection, tenant, held.id, held.key_hash, context.clock.now())
        announce.resend(context, connection, after)
        prefix = catalog.prefixes(connection, [held.product_id])[held.product_id]
        return _row(context, connection, after), license_keys.printed(prefix, kept)


def release_activation(context: Context, tenant: str, activation_id: str, act: Act) -> LicenseRow:
    """Free a machine. Staff are not bound by the plan's moves. Raises NotFound."""
    unknown = NotFound("There is no such activation.", code="ACTIVATION_UNKNOWN")
    with context.database.write() as connection:
        license_id = activations.find(connection, tenant, activation_id)
        if license_id is None:
            raise unknown
        held = _open(connection, tenant, license_id).held
        if not activations.release(connection, activation_id, context.clock.now()):
            raise unknown
        told = told_of(act, activation=activation_id)
        after = _write(context, connection, held, held, "activation.released", told)
        return _row(context, connection, after)


# -- load and write -------------------------------------------------------------------------------------


def _open(connection: sa.Connection, tenant: str, license_id: str) -> _Opened:
    """The license and its purchase, locked in that order by every writer: purchase, then license."""
    for _ in range(3):
        known, purchase_id = license_views.purchase_of(connection, tenant, license_id)
        stored = purchases.find(connection, tenant, purchase_id) if purchase_id is not None else None
        held = licenses.find(connection, tenant, license_id, lock=True) if known else None
        if held is None:
            raise unknown_license()
        if held.purchase_id == purchase_id:
            plan, _, _ = licenses.plan_and_product(connection, held)
            return _Opened(held, plan, stored)
    raise Conflict("The license was changed meanwhile. Please try again.")


def _override(
    context: Context, connection: sa.Connection, opened: _Opened, overrides: Overrides, kind: str, act: Act
) -> LicenseRow:
    held = opened.held
    base = paid_for(connection, held, opened.plan, opened.purchase)
    overrides = override.over(overrides, base)
    grant = override.apply(base, overrides)
    after = granted(msgspec.structs.replace(held, overrides=overrides), grant)
    told = told_of(act, before=clocks_of(held), after=clocks_of(after))
    return _row(context, connection, _write(context, connection, held, after, kind, told))


def _after(known: Overrides, now: datetime) -> datetime:
    """The moment of a decision. Whoever decides sees what was decided before, whatever the clocks say."""
    earlier = [one.at for one in (known.decision, *known.behind) if one is not None]
    return max([now, *(at + timedelta(microseconds=1) for at in earlier)])


def _write(
    context: Context,
    connection: sa.Connection,
    before: License,
    after: License,
    kind: str,
    told: dict[str, Any],
) -> License:
    return record(context, connection, before, after, kind, detail=told, now=context.clock.now())


def _row(context: Context, connection: sa.Connection, held: License) -> LicenseRow:
    return rows_of(context, connection, [held])[0]


# -- what was asked for ---------------------------------------------------------------------------------


def _offer(connection: sa.Connection, tenant: str, path: str) -> Offer:
    product, _, plan = path.partition("/")
    offer = catalog.find_offer(connection, tenant, product, plan)
    if offer is None:
        raise NotFound("There is no such plan; it is written `product/plan`.", code="PLAN_UNKNOWN")
    return offer


def _holder(context: Context, connection: sa.Connection, tenant: str, email: str, now: datetime) -> Customer:
    found = customers.find_by_email(connection, tenant, email)
    if found is None:
        found = Customer(context.new_id("cus"), tenant, email, None, now)
        customers.insert(connection, [found], None)
    return found


def _email(text: str) -> str:
    address = text.strip()
    if not is_email_address(address):
        raise Invalid("`email` must be an e-mail address.")
    return address


def _seats(wanted: int | None, plan: Plan) -> int:
    seats = plan.terms.seats_per_unit if wanted is None else wanted
    if not 1 <= seats <= _MOST_SEATS:
        raise Invalid(f"`seats` must be 1 to {_MOST_SEATS}.")
    return seats


def _end(order: Order, plan: Plan, now: datetime) -> datetime:
    if order.until is not None and order.days is not None:
        raise Invalid("Give either `until` or `days`.")
    if order.until is not None:
        return _future(order.until, now)
    if order.days is not None:
        return later_by(now, checked_days(order.days) * 86400)
    if order.kind == "trial":
        return later_by(now, plan.terms.trial or _USUAL_TRIAL)
    return plan.terms.term_end(now)


def checked_days(days: int) -> int:
    """Raises Invalid."""
    if not 1 <= days <= _MOST_DAYS:
        raise Invalid(f"`days` must be 1 to {_MOST_DAYS}.")
    return days


def _future(until: datetime, now: datetime) -> datetime:
    if until.tzinfo is None:
        raise Invalid("`until` needs a time zone.")
    if until <= now:
        raise Invalid("`until` must be in the future.")
    return min(until.astimezone(UTC), FOREVER)


def text_of(name: str, text: str | None) -> str | None:
    """What somebody wrote, trimmed; None when it is nothing. Raises Invalid."""
    if text is None or not text.strip():
        return None
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise Invalid(f"`{name}` must be at most {_LONGEST_TEXT} printable characters.")
    return redact(text.strip())


def told_of(act: Act, **more: Any) -> dict[str, Any]:
    """A timeline entry's detail: who, why, and what it was about."""
    reason = text_of("reason", act.reason)
    return {"by": act.by, **({"why": reason} if reason is not None else {}), **more}
