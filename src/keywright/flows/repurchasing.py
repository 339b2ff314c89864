"""Buying again, in the transaction that writes the newer purchase: the older license is extended, or ends.

Each purchase acts once on a license, whatever is delivered again: it is kept there by the reference of its
checkout, and the license's timeline is asked before it is put in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain import override
from keywright.domain.facts import Renews
from keywright.domain.grant import Grant
from keywright.domain.license import License, change_of, granted
from keywright.domain.plan import Plan
from keywright.domain.purchase import Purchase
from keywright.domain.repurchase import Renewal, renewal_of
from keywright.flows import alarms
from keywright.flows.context import Context
from keywright.flows.firm_keys import FirmKeys
from keywright.flows.license_writes import clocks_of, is_as_written, resealed
from keywright.flows.paid_for import paid_for
from keywright.store import firms, licenses, purchases, timeline

log = structlog.get_logger(__name__)

_MOST_NAMED = 5


class Wish(msgspec.Struct, frozen=True):
    """A purchase that was made for an older license, and what its line of that product is worth."""

    reference: str
    renews: Renews
    event: str
    purchase_id: str
    state: Purchase
    grant: Grant


class Renewed(msgspec.Struct, frozen=True):
    """An older license as it is now. `news`: its customer needs its keys; `counts`: time was added."""

    before: License
    after: License
    entry: timeline.Entry
    news: bool
    counts: bool


def wish_of(purchase_id: str, event: str, state: Purchase, grant: Grant, unit: int) -> Wish | None:
    """What the first unit of a purchase's line does to an older license; None: nothing."""
    ordered = state.ordered
    if unit != 0 or ordered is None or ordered.renews is None:
        return None
    if ordered.renews.product != grant.product_id:
        return None
    return Wish(ordered.reference, ordered.renews, event, purchase_id, state, grant)


class Repurchasing:
    """What one pass does to older licenses."""

    def __init__(
        self, context: Context, connection: sa.Connection, tenant: str, now: datetime, firm_keys: FirmKeys
    ) -> None:
        self._context = context
        self._connection = connection
        self._tenant = tenant
        self._now = now
        self._firm_keys = firm_keys

    def renew(self, wish: Wish, latest: License | None, base: Grant | None) -> Renewed | None:
        """Let a purchase act on the license that it was made for. None: it changes nothing.

        Args:
            wish: the purchase.
            latest: the license as this pass has made it by now; None: it has not touched it.
            base: what the license's own purchase is worth by now, if this pass knows.
        """
        renewal = renewal_of(wish.reference, wish.renews.how, wish.state, wish.grant)
        if renewal is None:
            return None
        held = latest
        if held is None:
            held = licenses.find(self._connection, self._tenant, wish.renews.license, lock=True)
        if held is None or held.product_id != wish.grant.product_id:
            self._trouble(wish, "there is no such license of this product")
            return None
        known = next((one for one in held.overrides.renewals if one.reference == wish.reference), None)
        if renewal == known or (known is None and renewal.until is None):
            return None
        if not is_as_written(self._context, held):
            self._trouble(wish, "the license was altered outside the server")
            return None
        if known is None and timeline.tells_of(self._connection, held.id, wish.reference):
            self._trouble(wish, "the timeline says that it was done, and the license was put back")
            return None
        plan, _, _ = licenses.plan_and_product(self._connection, held)
        return self._write(wish, held, renewal, known, base or self._base(held, plan))

    def _base(self, held: License, plan: Plan) -> Grant:
        # Not locked: whoever changes that purchase needs this license next, and finds it as we leave it.
        stored = None
        if held.purchase_id is not None:
            stored = purchases.find(self._connection, self._tenant, held.purchase_id, lock=False)
        return paid_for(self._connection, held, plan, stored)

    def _write(
        self, wish: Wish, held: License, renewal: Renewal, known: Renewal | None, base: Grant
    ) -> Renewed:
        overrides = override.over(override.renew(held.overrides, renewal), base)
        after = granted(msgspec.structs.replace(held, overrides=overrides), override.apply(base, overrides))
        after, news = self._firm_keys.keyed(after)
        detail: dict[str, Any] = {
            "event": wish.event,
            "purchase": wish.purchase_id,
            "reference": wish.reference,
            "how": renewal.how,
            "before": clocks_of(held),
            "after": clocks_of(after),
        }
        kind = _kind(held, after, renewal, known)
        after, entry = timeline.append(after, kind, detail, self._now)
        return Renewed(held, resealed(self._context, held, after), entry, news, kind == "license.renewed")

    def _trouble(self, wish: Wish, why: str) -> None:
        """Somebody paid for what cannot be done: a person has to look at it."""
        log.error("renewal_refused", license=wish.renews.license, reference=wish.reference, why=why)
        detail = {"license": wish.renews.license, "purchase": wish.purchase_id, "why": why}
        alarms.raise_alarm(self._context, self._connection, "renewal_refused", wish.reference, detail)

    def older(self, made: License) -> list[str]:
        """Ids of older licenses that a new one might have been meant for: of the same firm, or customer, and
        product. Staff hear of them where nobody proved to own one."""
        if made.firm is not None:
            found = firms.licenses_of_firm(
                self._connection, self._tenant, made.firm, product_id=made.product_id
            )
        elif made.customer_id is not None:
            found = firms.licenses_of_customers(
                self._connection, self._tenant, [made.customer_id], made.product_id
            )
        else:
            return []
        return [
            one.id
            for one in found
            if one.standing != "revoked" and one.id != made.id and one.purchase_id != made.purchase_id
        ][-_MOST_NAMED:]

    def tell_staff(self, made: License, older: list[str]) -> None:
        """One purchase may have been meant for another license than the new one that it made."""
        detail = {"license": made.id, "older": ", ".join(older), "purchase": made.purchase_id}
        alarms.raise_alarm(self._context, self._connection, "repurchase_unproven", made.id, detail)


def _kind(held: License, after: License, renewal: Renewal, known: Renewal | None) -> str:
    counted = known is not None and known.until is not None
    if renewal.until is None:
        return "license.renewal_undone"
    if renewal.how == "replace":
        return change_of(held, after) if counted else "license.replaced"
    return change_of(held, after) if counted else "license.renewed"
