"""Issuing: what purchases are worth becomes license rows, timeline entries and owed mails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain.grant import Grant, of_unit
from keywright.domain.license import License, change_of, granted
from keywright.domain.notice import notices_of
from keywright.domain.override import apply
from keywright.domain.purchase import Purchase
from keywright.flows import notices
from keywright.flows.context import Context
from keywright.flows.license_writes import blank, clocks_of, resealed, sealed
from keywright.store import announcements, licenses, timeline
from keywright.store.announcements import Announcement


class Changed(msgspec.Struct, frozen=True):
    """A license that a pass made or changed, and what kind of change it was."""

    before: License | None
    after: License
    kind: str


class Granted(msgspec.Struct, frozen=True):
    """A purchase of the pass, as far as its licenses need to know it. `superseded`: it is part of another."""

    purchase_id: str
    customer_id: str | None
    firm: str | None
    event: str
    superseded: bool
    was: Purchase
    now: Purchase


class Issuing:
    """Collects the licenses of a pass and writes them together. `changes` and `owes` tell what came of it."""

    def __init__(
        self, context: Context, connection: sa.Connection, tenant: str, now: datetime, batch: str
    ) -> None:
        self.context = context
        self.connection = connection
        self.tenant = tenant
        self.now = now
        self.batch = batch
        self.changes: list[Changed] = []
        self.owes = False
        self._made: list[License] = []
        self._changed: list[License] = []
        self._entries: list[timeline.Entry] = []
        self._owed: list[Announcement] = []

    def issue(self, purchase: Granted, grants: Sequence[Grant], held: Sequence[License]) -> None:
        """Bring the licenses of one purchase to what it is worth."""
        mine = {(one.product_id, one.unit): one for one in held}
        for grant, unit in _units(grants, mine):
            known = mine.pop((grant.product_id, unit), None)
            if known is None and _is_to_issue(grant, unit, self.now):
                self._tell(purchase, None, self._issue(purchase, grant, unit), grant)
            elif known is not None:
                self._tell(purchase, known, self._regrant(purchase, known, grant), grant)
        # What no grant speaks of: a license beside the older purchase's own, or one whose price is gone.
        for one in mine.values():
            if purchase.superseded:
                self._supersede(one)
            elif one.purchase_id != purchase.purchase_id:
                self._changed.append(resealed(self.context, one, moved(one, purchase.purchase_id)))

    def written(self) -> dict[str, License]:
        """The licenses that this pass made or changed, as their rows are now, by id."""
        return {one.id: one for one in (*self._made, *self._changed)}

    def write(self) -> None:
        """Write everything that was collected."""
        licenses.insert(self.connection, self._made)
        licenses.update(self.connection, self._changed)
        timeline.insert(self.connection, self._entries)
        owed = [self._letter(one) for one in self._made] + self._owed
        announcements.insert(self.connection, owed)
        self.owes = bool(owed)

    def _tell(self, purchase: Granted, before: License | None, after: License, grant: Grant) -> None:
        """Owe the notices of what is news in this."""
        found = notices_of(before, after, purchase.was, purchase.now, grant.plan.terms, self.now)
        if found:
            self._owed += notices.owed(self.context, after, found, self.batch, self.now)

    def _issue(self, purchase: Granted, grant: Grant, unit: int) -> License:
        one, _ = blank(self.context, self.tenant, grant.plan, self.now)
        one = msgspec.structs.replace(
            one,
            purchase_id=purchase.purchase_id,
            unit=unit,
            customer_id=purchase.customer_id,
            firm=purchase.firm,
        )
        one = granted(one, grant)
        detail = {"event": purchase.event, "purchase": purchase.purchase_id, "after": clocks_of(one)}
        one, entry = timeline.append(one, "license.issued", detail, self.now)
        one = sealed(self.context, one)
        self._made.append(one)
        self._note(None, one, entry)
        return one

    def _regrant(self, purchase: Granted, known: License, grant: Grant) -> License:
        after = granted(moved(known, purchase.purchase_id), apply(grant, known.overrides))
        if after is known:
            return known
        detail = {"event": purchase.event, "before": clocks_of(known), "after": clocks_of(after)}
        after, entry = timeline.append(after, change_of(known, after), detail, self.now)
        after = resealed(self.context, known, after)
        self._changed.append(after)
        self._note(known, after, entry)
        return after

    def _supersede(self, one: License) -> None:
        """Two purchases turned out to be one: the younger's license of the same product ends."""
        after = msgspec.structs.replace(one, standing="revoked", reason="merged")
        after, entry = timeline.append(after, "license.revoked", {"reason": "merged"}, self.now)
        after = resealed(self.context, one, after)
        self._changed.append(after)
        self._note(one, after, entry)

    def _note(self, before: License | None, after: License, entry: timeline.Entry) -> None:
        self._entries.append(entry)
        self.changes.append(Changed(before, after, entry.kind))

    def _letter(self, made: License) -> Announcement:
        """A new license owes its key to the customer."""
        return Announcement(
            id=self.context.new_id("ann"),
            tenant_id=made.tenant_id,
            kind="license.issued",
            occurrence="first",
            subject_id=made.id,
            license_id=made.id,
            batch=self.batch,
            created_at=self.now,
        )


def moved(held: License, purchase_id: str) -> License:
    """The license as one of this purchase."""
    if held.purchase_id == purchase_id:
        return held
    return msgspec.structs.replace(held, purchase_id=purchase_id)


def _units(grants: Sequence[Grant], held: Mapping[tuple[str, int], License]) -> list[tuple[Grant, int]]:
    """Each grant with each of its numbered units. A unit that is no longer bought ends, highest first."""
    pairs = []
    for grant in grants:
        known = [unit + 1 for product, unit in held if product == grant.product_id]
        paid_for = [step.units for step in grant.leaving]
        units = range(max([grant.units, *known, *paid_for]))
        pairs += [(of_unit(grant, unit), unit) for unit in units]
    return pairs


def _is_to_issue(grant: Grant, unit: int, now: datetime) -> bool:
    """Whether a unit that nobody holds is given out. One that is not bought any more only while it runs."""
    until = grant.entitled_until
    return until is not None and (unit < grant.units or (grant.standing != "revoked" and now < until))
