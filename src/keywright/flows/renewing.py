"""Which older license a checkout is for, and what proves the right to it.

Anybody may type somebody else's e-mail address or firm. So an older license is touched only for whoever has
its key, is signed in as its holder, or is trusted by a token of the seller.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from keywright.domain import hmac_key, license_key
from keywright.domain.errors import Conflict, Invalid
from keywright.domain.facts import Renews
from keywright.domain.license import License
from keywright.domain.plan import Plan
from keywright.flows import firm_keys
from keywright.flows.context import Context
from keywright.flows.license_writes import is_as_written
from keywright.store import firms, licenses, portal_views

_RUNNING = ("ok", "paused")


class Proof(msgspec.Struct, frozen=True):
    """Who asks, beside what is asked. `people`: the customers that a portal session is signed in as;
    `trusted`: a token with scope `checkout` vouches for the firm, or the e-mail address, that is named."""

    people: tuple[str, ...] = ()
    trusted: bool = False


NO_PROOF = Proof()


class Renewing(msgspec.Struct, frozen=True):
    """What a checkout stores: the firm it is for, and the older license."""

    firm: str | None
    renews: Renews | None


def check(
    context: Context,
    plan: Plan,
    *,
    quantity: int,
    firm: str | None,
    email: str | None,
    renew_key: str | None,
    proof: Proof,
) -> Renewing:
    """What a purchase of this plan is for.

    Raises:
        Invalid: `FIRM_REQUIRED`, `FIRM_INVALID`, `RENEW_UNSUPPORTED`, `RENEW_KEY_UNKNOWN`,
            `RENEW_KEY_MISMATCH`, `QUANTITY_INVALID`, and `PROFILE_UNAVAILABLE` without `LICENSE_SECRET`.
        Conflict: `RENEW_REFUSED`, the older license was revoked, suspended or altered.
    """
    named = hmac_key.checked_firm(firm) if firm is not None else None
    if renew_key is not None and plan.terms.on_repurchase == "new":
        detail = "A purchase of this plan is always a new license: leave `renew_key` out."
        raise Invalid(detail, code="RENEW_UNSUPPORTED")
    older = None
    if plan.terms.on_repurchase != "new":
        with context.database.read() as connection:
            if renew_key is not None:
                older = _named(context, connection, plan, named, renew_key)
            else:
                older = _vouched(context, connection, plan, named, email, proof)
    if plan.terms.profile == "hmac":
        named = named if named is not None or older is None else older.firm
        _check_profile(context, named)
    if older is None:
        return Renewing(named, None)
    if plan.terms.quantity == "keys" and quantity != 1:
        raise Invalid("One key is renewed at a time: `quantity` must be 1.", code="QUANTITY_INVALID")
    how = "replace" if plan.terms.on_repurchase == "replace" else "extend"
    return Renewing(named, Renews(older.id, older.product_id, how))  # type: ignore[arg-type]  # one of two words


def _check_profile(context: Context, firm: str | None) -> None:
    if firm is None:
        detail = "This plan is bound to a firm: name it as `firm`, exactly as it is to be typed later."
        raise Invalid(detail, code="FIRM_REQUIRED")
    if context.firm_secrets is None:
        detail = "Keys for this plan cannot be made at the moment. The seller has to set LICENSE_SECRET."
        raise Invalid(detail, code="PROFILE_UNAVAILABLE")


def _named(
    context: Context, connection: sa.Connection, plan: Plan, firm: str | None, renew_key: str
) -> License:
    """The license with this key. Raises Invalid, Conflict."""
    held = find_by_key(context, connection, context.tenant.id, renew_key)
    if held is None:
        raise Invalid("`renew_key` is no key of a license.", code="RENEW_KEY_UNKNOWN")
    if not _fits(held, plan, firm):
        detail = "`renew_key` is of another product, plan or firm than what is bought."
        raise Invalid(detail, code="RENEW_KEY_MISMATCH")
    if held.standing not in _RUNNING or not is_as_written(context, held):
        detail = "This license cannot be renewed: please contact the seller."
        raise Conflict(detail, code="RENEW_REFUSED")
    return held


def _vouched(
    context: Context,
    connection: sa.Connection,
    plan: Plan,
    firm: str | None,
    email: str | None,
    proof: Proof,
) -> License | None:
    """The newest license that a portal session, or a token, gives the right to; None: there is none."""
    found: Sequence[License] = ()
    tenant = context.tenant.id
    if proof.people:
        found = firms.licenses_of_customers(connection, tenant, proof.people, plan.product_id)
    elif proof.trusted and plan.terms.profile == "hmac" and firm is not None:
        found = firms.licenses_of_firm(connection, tenant, firm, product_id=plan.product_id)
    elif proof.trusted and email is not None:
        people = [one.id for one in portal_views.find_people(connection, tenant, email)]
        found = firms.licenses_of_customers(connection, tenant, people, plan.product_id)
    fitting = [
        one
        for one in found
        if _fits(one, plan, firm) and one.standing in _RUNNING and is_as_written(context, one)
    ]
    return fitting[-1] if fitting else None


def _fits(held: License, plan: Plan, firm: str | None) -> bool:
    """Whether a purchase of this plan can be for this license. Time of one plan is no time of another."""
    if held.product_id != plan.product_id:
        return False
    if plan.terms.on_repurchase == "extend" and held.plan_id != plan.id:
        return False
    return plan.terms.profile != "hmac" or (held.firm is not None and firm in (None, held.firm))


def find_by_key(context: Context, connection: sa.Connection, tenant: str, text: str) -> License | None:
    """The license with this key, of whichever kind: typed by us, by the seller's own scheme, or HMAC."""
    presented = hmac_key.read(text)
    if presented is not None:
        answered = firm_keys.look_up(context, connection, presented)
        if answered.license_key_hash is None or answered.altered:
            return None
        return licenses.find_by_key_hash(connection, tenant, answered.license_key_hash)
    canonical = license_key.canonical(text)
    forms = (canonical,) if canonical is not None else context.schemes.forms(text)
    for form in forms:
        hashed = context.vault.blind("license-key-lookup", form)
        held = licenses.find_by_key_hash(connection, tenant, hashed)
        if held is not None:
            return held
    return None
