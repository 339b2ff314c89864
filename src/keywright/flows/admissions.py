"""One transaction's decisions on machines: who is admitted, who gives way, whose seat has returned.

What an earlier one changed, the later ones of the same transaction see. `activating.py` opens it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain import activation as rules
from keywright.domain import machine, seat
from keywright.domain.activation import Activation
from keywright.domain.card_numbers import redact
from keywright.domain.errors import Invalid
from keywright.domain.license import License, seats_at
from keywright.domain.machine import Likeness, Signals
from keywright.domain.plan import later_by
from keywright.domain.verdict import is_valid
from keywright.flows import licensing
from keywright.flows.context import Context
from keywright.flows.license_writes import is_as_written, resealed
from keywright.flows.licensing import Asked, Match, Verdict
from keywright.store import activations, licenses, machines, timeline
from keywright.store.licenses import Found
from keywright.store.machines import Known, Rebound

_DAY = 86400


class _Written(msgspec.Struct):
    """What is to be written, by the id of its row."""

    licenses: dict[str, License] = {}
    made: dict[str, tuple[Activation, activations.Lease | None]] = {}
    followed: dict[str, Activation] = {}
    held: dict[str, Activation] = {}
    leases: dict[str, activations.Lease] = {}
    known: dict[str, Known] = {}
    rebinds: list[Rebound] = []
    entries: list[timeline.Entry] = []

    def drop(self, activation: str) -> bool:
        """Forget a machine. True when it was made here: then there is no row to be freed."""
        for rows in (self.followed, self.held, self.leases, self.known):
            rows.pop(activation, None)
        return self.made.pop(activation, None) is not None


class Admissions:
    """Asked in turn by `activate` and `keep`, then written once."""

    def __init__(
        self,
        context: Context,
        connection: sa.Connection,
        found: dict[str, Found],
        now: datetime,
    ) -> None:
        """`found`: the locked licenses, by key hash."""
        self._context = context
        self._connection = connection
        self._found = found
        self._now = now
        self._machines = activations.held_by(connection, [one.license.id for one in found.values()])
        self._alike: dict[str, list[tuple[str, Signals]]] = {}
        self._rebound: Mapping[str, int] = {}
        self._swept: set[str] = set()
        self._written = _Written()

    def prepare(self, several: Sequence[Asked]) -> None:
        """Read what signals may tell of machines that nobody knows by their fingerprint: two queries."""
        strangers = []
        for asked in several:
            found = self._found.get(asked.key_hash or "")
            if found is not None and asked.signals and not self._bound(asked, found):
                shown = licensing.blinded(self._context, found, asked.signals)
                strangers.append((found, shown))
        if not strangers:
            return
        self._alike = machines.list_alike(
            self._connection, [(found.license.id, shown) for found, shown in strangers]
        )
        self._rebound = count_rebinds(
            self._connection, [found for found, _ in strangers if found.license.id in self._alike], self._now
        )

    def _bound(self, asked: Asked, found: Found) -> Activation | None:
        return self._machines.get(found.license.id, {}).get(asked.fingerprint_hash or "")

    # -- the two questions --------------------------------------------------------------------------------

    def activate(self, asked: Asked) -> Verdict | Exception:
        """Bind the license to the machine, or say why not."""
        found = self._open(asked)
        if found is None:
            return licensing.not_found(self._context, asked)
        code = licensing.judge_asked(self._context, asked, found, self._now)
        if code != "NOT_ACTIVATED" and not is_valid(code):
            return licensing.verdict_of(asked, found, code, found.activation, None, self._now)
        refusal = _refusal_of_checkout(asked, found)
        if refusal is not None:
            return refusal
        if found.activation is not None:
            return self._grant(asked, found, found.activation, asked.ask.checkout_days)
        days = asked.ask.checkout_days
        return self._follow(asked, found, days) or self._admit(asked, found, days)

    def keep(self, asked: Asked) -> Verdict:
        """What a validation left to a writer: a floating seat to hold longer, a machine that changed."""
        found = self._open(asked)
        if found is None:
            return licensing.not_found(self._context, asked)
        code = licensing.judge_asked(self._context, asked, found, self._now)
        if found.activation is not None and is_valid(code):
            return self._grant(asked, found, found.activation)
        followed = self._follow(asked, found) if code == "NOT_ACTIVATED" else None
        return followed or licensing.verdict_of(asked, found, code, found.activation, None, self._now)

    def sweep(self, key_hash: str) -> None:
        """Write that floating seats of this license have returned."""
        found = self._found[key_hash]
        if found.plan.terms.floating:
            self._release_lapsed(found)
            return
        # The plan's seats do not float any more: an end that is over means nothing.
        for one in self._machines.get(found.license.id, {}).values():
            if one.seat_until is not None and one.seat_until <= self._now:
                self._written.held[one.id] = msgspec.structs.replace(one, seat_until=None)

    def _open(self, asked: Asked) -> Found | None:
        """The license with the machine that asks, if it is bound; floating seats that ended are free."""
        found = self._found.get(asked.key_hash or "")
        if found is None:
            return None
        if found.plan.terms.floating:
            self._release_lapsed(found)
            found = self._found[asked.key_hash or ""]
        return msgspec.structs.replace(found, activation=self._bound(asked, found))

    # -- machines that come ---------------------------------------------------------------------------------

    def _admit(self, asked: Asked, found: Found, days: int | None) -> Verdict:
        held = found.license
        bound = self._machines.setdefault(held.id, {})
        limit = found.plan.terms.machines(seats_at(held, self._now))
        self._reclaim(found, limit)
        admission = rules.admit(
            held,
            found.plan,
            active=len(bound),
            released=self._released(found, limit),
            now=self._now,
            out=sum(seat.is_out(one, self._now) for one in bound.values()),
        )
        if admission in ("TOO_MANY_ACTIVATIONS", "MOVES_EXHAUSTED"):
            return licensing.verdict_of(asked, found, admission, None, None, self._now)
        detail: dict[str, Any] = {}
        if admission == "replace_oldest":
            detail["replaced"] = self._replace_oldest(bound)
        made = Activation(
            id=self._context.new_id("act"),
            license_id=held.id,
            tenant_id=held.tenant_id,
            fingerprint_hash=asked.fingerprint_hash or "",
            name=redact(asked.ask.name) if asked.ask.name is not None else None,
            activated_at=self._now,
            last_seen_at=self._now,
            # Where seats float, `_grant` writes the real end.
            seat_until=self._now if found.plan.terms.floating else None,
        )
        self._written.made[made.id] = (made, None)
        self._record(asked.key_hash or "", "activation.created", {"activation": made.id, **detail})
        return self._grant(asked, self._found[asked.key_hash or ""], made, days)

    def _follow(self, asked: Asked, found: Found, days: int | None = None) -> Verdict | None:
        """Bind the activation of a machine that changed to its new fingerprint; None: it is another one."""
        alike = self._closest(asked, found)
        if alike is None:
            return None
        before, likeness = alike
        name = redact(asked.ask.name) if asked.ask.name is not None else before.name
        after = msgspec.structs.replace(
            before, fingerprint_hash=asked.fingerprint_hash or "", name=name, last_seen_at=self._now
        )
        del self._machines[after.license_id][before.fingerprint_hash]
        self._written.followed[after.id] = after
        id_ = self._context.new_id("reb")
        self._written.rebinds.append(Rebound(id_, after.tenant_id, after.license_id, after.id, self._now))
        self._rebound = {**self._rebound, after.license_id: self._rebound.get(after.license_id, 0) + 1}
        # The names of what changed, for whoever asks why; never what it was.
        told = {"activation": after.id, "agreed": likeness.agreed, "changed": likeness.changed}
        self._record(asked.key_hash or "", "activation.rebound", told)
        return self._grant(asked, self._found[asked.key_hash or ""], after, days, match="close")

    def _closest(self, asked: Asked, found: Found) -> tuple[Activation, Likeness] | None:
        alike = self._alike.get(found.license.id)
        if not alike or asked.signals is None:
            return None
        if not rules.may_rebind(found.plan, rebound=self._rebound.get(found.license.id, 0)):
            return None
        bound = {one.id: one for one in self._machines.get(found.license.id, {}).values()}
        shown = licensing.blinded(self._context, found, asked.signals)
        best = machine.closest(shown, [(id_, known) for id_, known in alike if id_ in bound])
        return None if best is None else (bound[best[0]], best[1])

    def _grant(
        self, asked: Asked, found: Found, bound: Activation, days: int | None = None, match: Match = "exact"
    ) -> Verdict:
        """Hold the seat as long as a lease may last now, or for the `days` of a check-out, and give it."""
        bound = self._hold(found, bound, days)
        found = self._found[asked.key_hash or ""]
        self._machines.setdefault(bound.license_id, {})[bound.fingerprint_hash] = bound
        found = msgspec.structs.replace(found, activation=bound)
        code = licensing.judge_asked(self._context, asked, found, self._now)
        lease, kept = licensing.new_lease(self._context, asked, found, bound, code, self._now)
        if bound.id in self._written.made:
            self._written.made[bound.id] = (bound, kept)
        elif kept is not None:
            self._written.leases[bound.id] = kept
        if asked.signals:
            shown = licensing.blinded(self._context, found, asked.signals)
            self._written.known[bound.id] = licensing.known_as(bound, shown)
        return licensing.verdict_of(asked, found, code, bound, lease, self._now, match)

    def _hold(self, found: Found, bound: Activation, days: int | None) -> Activation:
        """The machine with the end of its seat moved on: never before that of a lease that is given out."""
        out = bound.out_until
        if days is not None:
            out = max(out or self._now, later_by(self._now, days * _DAY))
        held = msgspec.structs.replace(bound, out_until=out)
        if found.plan.terms.floating:
            ends = seat.reach(found.license, found.plan, held, self._now)
            held = msgspec.structs.replace(held, seat_until=max(ends, seat.until(bound, found.plan) or ends))
        if held != bound:
            self._written.held[held.id] = held
        if out != bound.out_until and out is not None:
            told = {"activation": held.id, "until": out.strftime("%Y-%m-%dT%H:%M:%SZ")}
            self._record(found.license.key_hash, "activation.checked_out", told)
        return held

    # -- machines that go -----------------------------------------------------------------------------------

    def _released(self, found: Found, limit: int | None) -> int:
        """Machines freed within the plan's period. Asked only where the rule looks at it."""
        active = len(self._machines.get(found.license.id, {}))
        if limit is None or active < limit or found.plan.terms.over_limit == "refuse":
            return 0
        since = self._now - timedelta(seconds=found.plan.terms.moves_period)
        return activations.count_released(self._connection, found.license.id, since)

    def _replace_oldest(self, bound: dict[str, Activation]) -> str | None:
        oldest = seat.oldest(bound.values(), self._now)
        if oldest is None:  # the rule has counted one
            return None
        del bound[oldest.fingerprint_hash]
        if not self._written.drop(oldest.id):
            activations.release(self._connection, oldest.id, self._now)
        return oldest.id

    def _release_lapsed(self, found: Found) -> None:
        """Free the floating seats whose end is over; a row that was altered by hand is left as it is."""
        held = found.license
        if held.id in self._swept or not is_as_written(self._context, held):
            return
        self._swept.add(held.id)
        bound = self._machines.get(held.id, {}).values()
        lapsed = [one for one in bound if seat.is_lapsed(one, found.plan, self._now)]
        self._free(found, lapsed, "lapsed")

    def _reclaim(self, found: Found, limit: int | None) -> None:
        bound = self._machines.get(found.license.id, {}).values()
        self._free(found, seat.giving_way(bound, found.plan, limit, self._now), "reclaimed")

    def _free(self, found: Found, ended: Sequence[Activation], ending: activations.Ending) -> None:
        if not ended:
            return
        for one in ended:
            del self._machines[one.license_id][one.fingerprint_hash]
            self._written.drop(one.id)
        ids = sorted(one.id for one in ended)
        activations.release_many(self._connection, ids, self._now, by=ending)
        self._record(found.license.key_hash, f"activation.{ending}", {"activations": ids})

    # -- write ----------------------------------------------------------------------------------------------

    def _record(self, key_hash: str, kind: str, detail: dict[str, Any]) -> None:
        found = self._found[key_hash]
        after, entry = timeline.append(found.license, kind, detail, self._now)
        after = resealed(self._context, found.license, after)
        self._written.licenses[after.id] = after
        self._written.entries.append(entry)
        self._found[key_hash] = msgspec.structs.replace(found, license=after, activation=None)

    def write(self) -> None:
        """In the order every writer keeps: license, activation, timeline."""
        written, connection = self._written, self._connection
        # What was made here is written as it is now.
        followed, held = (
            [one for one in rows.values() if one.id not in written.made]
            for rows in (written.followed, written.held)
        )
        licenses.update(connection, list(written.licenses.values()))
        activations.rebind(connection, followed)
        activations.insert(connection, list(written.made.values()))
        activations.hold(connection, held)
        activations.renew_leases(connection, list(written.leases.values()))
        machines.keep(connection, list(written.known.values()))
        machines.write_rebinds(connection, written.rebinds)
        timeline.insert(connection, written.entries)


def _refusal_of_checkout(asked: Asked, found: Found) -> Exception | None:
    days, longest = asked.ask.checkout_days, found.plan.terms.checkout // _DAY
    if days is None or days <= longest:
        return None
    detail = f"This plan lets a machine be checked out for at most {longest} days."
    if not longest:
        detail = "This plan lets no machine be checked out."
    return Invalid(detail, code="CHECKOUT_REFUSED")


def count_rebinds(connection: sa.Connection, several: Sequence[Found], now: datetime) -> dict[str, int]:
    """License id -> how often it followed a machine within its plan's period."""
    since = {found.license.id: now - timedelta(seconds=found.plan.terms.rebinds_period) for found in several}
    return machines.count_rebinds(connection, since)
