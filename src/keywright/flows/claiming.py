"""What the holder of a claim token is shown: the licenses that a checkout brought, with their keys."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import Alias
from keywright.domain.license import License, seats_at
from keywright.domain.license import status as license_status
from keywright.domain.plan import FOREVER, Terms
from keywright.flows import firm_keys, license_keys
from keywright.flows.context import Context
from keywright.store import catalog, checkouts, licenses, purchases
from keywright.store.checkouts import Checkout

_MOST_CLAIMED: Final = 1000


class ClaimedLicense(msgspec.Struct, frozen=True, omit_defaults=True):
    """`plan` is "product/plan". `hmac_key`: for a firm's license, in ten groups of five.

    `entitled_until`: how long it is paid for; None: for ever, or not yet known. `renews`: another payment is
    due then.
    """

    id: str
    key: str
    plan: str
    status: str
    seats: int
    hmac_key: str | None = None
    entitled_until: datetime | None = None
    renews: bool = False


def claimed(context: Context, checkout: Checkout, now: datetime) -> tuple[tuple[ClaimedLicense, ...], bool]:
    """The licenses with their keys, and whether there are more."""
    with context.database.read() as connection:
        # One more than is shown tells whether there are more.
        held = held_by(connection, checkout, limit=_MOST_CLAIMED + 1)
        more = len(held) > _MOST_CLAIMED
        held = held[:_MOST_CLAIMED]
        prefixes = catalog.prefixes(connection, {one.product_id for one in held})
        plans = {one.plan_id: one for one in held}
        named = {id_: _plan_of(connection, one) for id_, one in plans.items()}
    held.sort(key=lambda one: (one.product_id, one.unit))
    shown = tuple(
        ClaimedLicense(
            id=one.id,
            key=license_keys.printed(
                prefixes[one.product_id],
                context.vault.unseal(one.tenant_id, "license-key", one.id, one.key_sealed),
            ),
            plan=named[one.plan_id][0],
            status=license_status(one, now),
            seats=seats_at(one, now),
            hmac_key=key.short if (key := firm_keys.opened(context, one)) is not None else None,
            entitled_until=None if one.entitled_until == FOREVER else one.entitled_until,
            renews=named[one.plan_id][1].term == "subscription" and not one.canceling,
        )
        for one in held
    )
    return shown, more


def held_by(connection: sa.Connection, checkout: Checkout, *, limit: int) -> list[License]:
    """The licenses of a checkout's purchase, or the older one whose time it paid for."""
    # Through the alias: a purchase that was merged into another one takes its aliases along.
    alias = Alias("reference", checkout.reference)
    links, _ = purchases.find_by_aliases(connection, checkout.provider_account_id, [alias])
    if alias not in links:
        return []
    wanted = {"purchase": links[alias]}
    found = licenses.list_page(connection, checkout.tenant_id, filters=wanted, after=None, limit=limit)
    renews = checkouts.renews_of(checkout)
    if renews is not None and renews.how == "extend" and len(found) < limit:
        older = licenses.find(connection, checkout.tenant_id, renews.license)
        if older is not None and _is_renewed(older, checkout):
            found.append(older)
    return found


def _is_renewed(held: License, checkout: Checkout) -> bool:
    """Whether what was paid for this checkout has reached the older license."""
    return any(one.reference == checkout.reference and one.until for one in held.overrides.renewals)


def _plan_of(connection: sa.Connection, held: License) -> tuple[str, Terms]:
    """What a plan is called, and its terms."""
    plan, product, _ = licenses.plan_and_product(connection, held)
    return f"{product}/{plan.slug}", plan.terms
