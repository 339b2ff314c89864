"""Issuing: what purchases are worth becomes license rows, timeline entries and owed mails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import Alias
from keywright.domain.grant import Grant, of_unit
from keywright.domain.license import License, change_of, granted
from keywright.domain.notice import notices_of
from keywright.domain.override import apply, over
from keywright.domain.purchase import Purchase
from keywright.flows import alarms, firm_keys, notices
from keywright.flows.context import Context
from keywright.flows.firm_keys import FirmKeys
from keywright.flows.license_writes import blank, clocks_of, is_as_written, resealed, sealed
from keywright.flows.repurchasing import Repurchasing, Wish, wish_of
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


class Bringing(Protocol):
    """An import, while it issues: nobody is told of what is only brought along."""

    def know(self, names: Mapping[Alias, str]) -> None:
        """Which purchase each name of the pass leads to."""
        ...

    def bring(self, made: License, grant: Grant) -> License:
        """The license with what it had elsewhere: its key, its counts, its dates."""
        ...

    def mark(self) -> Mapping[str, str]:
        """What the timeline says of it besides."""
        ...


class Issuing:
    """Collects the licenses of a pass and writes them together. `changes` and `owes` tell what came of it."""

    def __init__(
        self,
        context: Context,
        connection: sa.Connection,
        tenant: str,
        now: datetime,
        batch: str,
        bringing: Bringing | None = None,
    ) -> None:
        self.context = context
        self.connection = connection
        self.tenant = tenant
        self.now = now
        self.batch = batch
        self._bringing = bringing
        self.changes: list[Changed] = []
        self.owes = False
        self._made: dict[str, License] = {}
        self._changed: dict[str, License] = {}
        self._bases: dict[str, Grant] = {}
        self._wishes: list[Wish] = []
        self._firm_keys = FirmKeys(context, connection, now)
        self._repurchasing = Repurchasing(context, connection, tenant, now, self._firm_keys)
        self._entries: list[timeline.Entry] = []
        self._owed: list[Announcement] = []

    def issue(self, purchase: Granted, grants: Sequence[Grant], held: Sequence[License]) -> None:
        """Bring the licenses of one purchase to what it is worth."""
        mine = {(one.product_id, one.unit): one for one in held}
        for grant, unit in _units(grants, mine):
            known = mine.pop((grant.product_id, unit), None)
            wish = wish_of(purchase.purchase_id, purchase.event, purchase.now, grant, unit)
            if wish is not None and (known is None or wish.renews.how == "replace"):
                self._wishes.append(wish)
            if known is None and wish is not None and wish.renews.how == "extend":
                continue  # its time belongs to the older license
            if known is None and _is_to_issue(grant, unit, self.now):
                self._tell(purchase, None, self._issue(purchase, grant, unit), grant)
            elif known is not None:
                self._tell(purchase, known, self._regrant(purchase, known, grant), grant)
        # What no grant speaks of: a license beside the older purchase's own, or one whose price is gone.
        for one in mine.values():
            if purchase.superseded:
                self._supersede(one)
            elif one.purchase_id != purchase.purchase_id:
                self._changed[one.id] = resealed(self.context, one, moved(one, purchase.purchase_id))

    def written(self) -> dict[str, License]:
        """The licenses that this pass made or changed, as their rows are now, by id."""
        return {**self._made, **self._changed}

    def write(self) -> None:
        """Write everything that was collected."""
        for wish in self._wishes:
            self._renew(wish)
        licenses.insert(self.connection, list(self._made.values()))
        licenses.update(self.connection, list(self._changed.values()))
        self._firm_keys.write()
        timeline.insert(self.connection, self._entries, quiet=self._bringing is not None)
        if self._bringing is not None:
            return
        owed = [self._letter(one, "first") for one in self._made.values()] + self._owed
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
        if self._bringing is not None:
            one = self._bringing.bring(one, grant)
        one = self._keyed(one, grant)
        detail = {"event": purchase.event, "purchase": purchase.purchase_id, "after": clocks_of(one)}
        if self._bringing is not None:
            detail |= self._bringing.mark()
        if (
            unit == 0
            and grant.plan.terms.on_repurchase != "new"
            and wish_of(purchase.purchase_id, purchase.event, purchase.now, grant, unit) is None
            and (older := self._repurchasing.older(one))
        ):
            detail["older"] = older
            self._repurchasing.tell_staff(one, older)
        one, entry = timeline.append(one, "license.issued", detail, self.now)
        one = sealed(self.context, one)
        self._made[one.id] = one
        self._bases[one.id] = grant
        self._note(None, one, entry)
        return one

    def _regrant(self, purchase: Granted, known: License, grant: Grant) -> License:
        self._bases[known.id] = grant
        held = moved(known, purchase.purchase_id)
        overrides = over(known.overrides, grant)
        if overrides is not known.overrides:
            held = msgspec.structs.replace(held, overrides=overrides)
        after = granted(held, apply(grant, overrides))
        if after is known:
            return known
        if grant.plan.terms.profile == "hmac" and is_as_written(self.context, known):
            after, news = self._firm_keys.keyed(after, grant.plan)
            if news:
                self._owed.append(self._letter(after, firm_keys.occurrence_of(after)))
        detail = {"event": purchase.event, "before": clocks_of(known), "after": clocks_of(after)}
        after, entry = timeline.append(after, change_of(known, after), detail, self.now)
        after = resealed(self.context, known, after)
        self._changed[after.id] = after
        self._note(known, after, entry)
        return after

    def _supersede(self, one: License) -> None:
        """Two purchases turned out to be one: the younger's license of the same product ends."""
        after = msgspec.structs.replace(one, standing="revoked", reason="merged")
        after, entry = timeline.append(after, "license.revoked", {"reason": "merged"}, self.now)
        after = resealed(self.context, one, after)
        self._changed[after.id] = after
        self._note(one, after, entry)

    def _keyed(self, made: License, grant: Grant) -> License:
        """A new license with its HMAC key, where its plan has them. Staff hear when it cannot have one."""
        if grant.plan.terms.profile != "hmac":
            return made
        made, _ = self._firm_keys.keyed(made, grant.plan)
        if made.hmac_sealed is None:
            why = "no firm was named" if made.firm is None else "LICENSE_SECRET or a code is missing"
            detail = {"license": made.id, "purchase": made.purchase_id, "why": why}
            alarms.raise_alarm(self.context, self.connection, "hmac_key_missing", made.id, detail)
        return made

    def _renew(self, wish: Wish) -> None:
        """Let a purchase act on the older license that it was made for."""
        id_ = wish.renews.license
        latest = self._changed.get(id_) or self._made.get(id_)
        renewed = self._repurchasing.renew(wish, latest, self._bases.get(id_))
        if renewed is None:
            return
        (self._made if id_ in self._made else self._changed)[id_] = renewed.after
        self._note(renewed.before, renewed.after, renewed.entry)
        if renewed.counts:
            self._owed.append(self._letter(renewed.after, f"renewed {wish.reference}"))
        elif renewed.news:
            self._owed.append(self._letter(renewed.after, firm_keys.occurrence_of(renewed.after)))

    def _note(self, before: License | None, after: License, entry: timeline.Entry) -> None:
        self._entries.append(entry)
        self.changes.append(Changed(before, after, entry.kind))

    def _letter(self, made: License, occurrence: str) -> Announcement:
        """A license owes its keys to the customer: when it is new, renewed, or has a new HMAC key."""
        return Announcement(
            id=self.context.new_id("ann"),
            tenant_id=made.tenant_id,
            kind="license.issued",
            occurrence=occurrence,
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
