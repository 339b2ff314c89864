"""Binding licenses to machines: many at once, in one transaction, and never one too many.

Activations that arrive together are served together. Each by itself would wait for its own turn at the
writers' gate behind the intake's batches, and pay for its own commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain import activation as rules
from keywright.domain.activation import Activation
from keywright.domain.card_numbers import redact
from keywright.domain.license import License, seats_at
from keywright.domain.verdict import is_valid
from keywright.flows import licensing
from keywright.flows.context import Context
from keywright.flows.license_writes import resealed
from keywright.flows.licensing import Asked, Verdict
from keywright.store import activations, licenses, timeline
from keywright.store.licenses import Found


def activate(context: Context, asked: Asked) -> Verdict:
    """Bind a license to a machine. Idempotent per license and fingerprint; the limit holds in any race."""
    (answer,) = activate_many(context, [asked])
    if isinstance(answer, Exception):
        raise answer
    return answer


def activate_many(context: Context, several: Sequence[Asked]) -> list[Verdict | Exception]:
    """The same for many at once. What fails is tried again one by one, so that it fails alone."""
    try:
        return list(_in_one_transaction(context, several))
    except Exception as error:  # noqa: BLE001  # every caller must get an answer of its own
        if len(several) == 1:
            return [error]
    return [answer for asked in several for answer in activate_many(context, [asked])]


def _in_one_transaction(context: Context, several: Sequence[Asked]) -> list[Verdict]:
    keys = sorted({asked.key_hash for asked in several if asked.key_hash is not None})
    if not keys:
        return [licensing.not_found(context, asked) for asked in several]
    with context.database.write() as connection:
        found = licenses.lock_many(connection, keys)
        held = [one.license.id for one in found.values()]
        machines = activations.held_by(connection, held)
        now = context.clock.now()
        admissions = _Admissions(context, connection, found, machines, now)
        answers = [admissions.answer(asked) for asked in several]
        admissions.write()
        return answers


class _Admissions:
    """One transaction's activations. What an earlier one changed, the later ones see."""

    def __init__(
        self,
        context: Context,
        connection: sa.Connection,
        found: dict[str, Found],
        machines: dict[str, dict[str, Activation]],
        now: datetime,
    ) -> None:
        self._context = context
        self._connection = connection
        self._found = found
        self._machines = machines
        self._now = now
        self._changed: dict[str, License] = {}
        self._made: dict[str, tuple[Activation, activations.Lease | None]] = {}
        self._renewed: dict[str, activations.Lease] = {}
        self._entries: list[timeline.Entry] = []

    def answer(self, asked: Asked) -> Verdict:
        found = self._found.get(asked.key_hash or "")
        if found is None:
            return licensing.not_found(self._context, asked)
        machines = self._machines.setdefault(found.license.id, {})
        bound = machines.get(asked.fingerprint_hash or "")
        found = msgspec.structs.replace(found, activation=bound)
        code = licensing.judge_asked(self._context, asked, found, self._now)
        if code == "NOT_ACTIVATED":
            return self._admit(asked, found, machines)
        if bound is None or not is_valid(code):
            return licensing.verdict_of(asked, found, code, bound, None, self._now)
        lease, kept = licensing.new_lease(self._context, asked, found, bound, code, self._now)
        if kept is not None and bound.id not in self._made:
            self._renewed[bound.id] = kept
        return licensing.verdict_of(asked, found, code, bound, lease, self._now)

    def _admit(self, asked: Asked, found: Found, machines: dict[str, Activation]) -> Verdict:
        held = found.license
        admission = rules.admit(
            held,
            found.plan,
            active=len(machines),
            released=self._released(found, len(machines)),
            now=self._now,
        )
        if admission in ("TOO_MANY_ACTIVATIONS", "MOVES_EXHAUSTED"):
            return licensing.verdict_of(asked, found, admission, None, None, self._now)
        detail: dict[str, Any] = {}
        if admission == "replace_oldest":
            detail["replaced"] = self._replace_oldest(machines)
        made = Activation(
            id=self._context.new_id("act"),
            license_id=held.id,
            tenant_id=held.tenant_id,
            fingerprint_hash=asked.fingerprint_hash or "",
            name=redact(asked.ask.name) if asked.ask.name is not None else None,
            activated_at=self._now,
            last_seen_at=self._now,
        )
        machines[made.fingerprint_hash] = made
        found = msgspec.structs.replace(found, activation=made)
        code = licensing.judge_asked(self._context, asked, found, self._now)
        lease, kept = licensing.new_lease(self._context, asked, found, made, code, self._now)
        self._made[made.id] = (made, kept)
        self._record(asked, found, {"activation": made.id, **detail})
        return licensing.verdict_of(asked, found, code, made, lease, self._now)

    def _released(self, found: Found, active: int) -> int:
        """Machines freed within the plan's period. Asked only where the rule looks at it."""
        limit = found.plan.terms.machines(seats_at(found.license, self._now))
        if limit is None or active < limit or found.plan.terms.over_limit == "refuse":
            return 0
        since = self._now - timedelta(seconds=found.plan.terms.moves_period)
        return activations.count_released(self._connection, found.license.id, since)

    def _replace_oldest(self, machines: dict[str, Activation]) -> str:
        oldest = min(machines.values(), key=lambda one: (one.last_seen_at or one.activated_at, one.id))
        del machines[oldest.fingerprint_hash]
        if self._made.pop(oldest.id, None) is None:
            activations.release(self._connection, oldest.id, self._now)
        self._renewed.pop(oldest.id, None)
        return oldest.id

    def _record(self, asked: Asked, found: Found, detail: dict[str, Any]) -> None:
        after, entry = timeline.append(found.license, "activation.created", detail, self._now)
        after = resealed(self._context, found.license, after)
        self._changed[after.id] = after
        self._entries.append(entry)
        self._found[asked.key_hash or ""] = msgspec.structs.replace(found, license=after, activation=None)

    def write(self) -> None:
        """In the order every writer keeps: license, activation, timeline."""
        licenses.update(self._connection, list(self._changed.values()))
        activations.insert(self._connection, list(self._made.values()))
        activations.renew_leases(self._connection, list(self._renewed.values()))
        timeline.insert(self._connection, self._entries)
