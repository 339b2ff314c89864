"""Comparing a batch of what a provider lists with what is here: take it in, look, and roll it back; or not.

What was fetched from the provider has a new name each time. Of that only what tells something new is kept,
or the inbox would fill by itself, every hour.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain.errors import Invalid, NotFound
from keywright.domain.facts import Alias, Refetch
from keywright.domain.purchase import Purchase, settled_at
from keywright.flows import findings, intake
from keywright.flows.context import Channel, Context
from keywright.flows.findings import PARKED, Finding
from keywright.flows.fulfillment import Fulfillment, Outcome, waits_of
from keywright.flows.intake import Arrival, arrive
from keywright.flows.issuing import Changed
from keywright.store import reconciliations, refetches
from keywright.store.tenants import ProviderAccount

# An event leads to an object, and that one's event to another: a refund to its payment to its subscription.
_ROUNDS = 3
_THREADS = 4
_MOST_DUE = 10_000
_LONGEST_PAUSE = 0.1  # seconds
_TIMES = ("stamp", "since")
_NAMES = ("subscription", "session", "charge", "intent", "invoice", "reference")


class Came(msgspec.Struct, frozen=True):
    """Something a provider told. `again`: the inbox row of an event that could not be taken in before.

    `listed` False: we asked for it, because what was listed proves nothing by itself.
    """

    arrival: Arrival
    fetched: bool
    again: str | None = None
    listed: bool = True

    @property
    def key(self) -> str:
        return self.arrival.projected.dedupe_key

    @property
    def aliases(self) -> tuple[Alias, ...]:
        return self.arrival.reading.aliases if self.arrival.reading is not None else ()


class Compared(msgspec.Struct, frozen=True):
    """What came of a batch: how many events were not here, and how that shows."""

    missing: int
    findings: list[Finding]


class _Seen(msgspec.Struct, frozen=True):
    """What one pass over a batch did. `altered`: purchases that what was fetched told something new about."""

    told: list[tuple[Came, Outcome]]
    changes: list[Changed]
    wanted: frozenset[Refetch]
    links: dict[Alias, str]
    altered: frozenset[str]


class Comparison:
    """Compares batches of one account, and remembers what it asked the provider for."""

    def __init__(self, context: Context, channel: Channel, *, fix: bool) -> None:
        self._context = context
        self._channel = channel
        self._account = channel.account
        self._fix = fix
        self._answers: dict[Refetch, tuple[Came, ...]] = {}

    def compare(self, batch: Sequence[Came]) -> Compared:
        """Compare one batch, and with `fix` take it in. Raises ProviderUnavailable, Misconfigured."""
        whole = list(batch)
        seen = self._pass(whole, frozenset(), commit=False)
        asked: frozenset[Refetch] = frozenset()
        for _ in range(_ROUNDS):
            if not (wanted := seen.wanted - asked):
                break
            asked |= wanted
            if more := self._ask(sorted(wanted)):
                whole += more
                seen = self._pass(whole, frozenset(), commit=False)
        kept = [(one, outcome) for came, outcome in seen.told if (one := _worth_keeping(came, outcome, seen))]
        parked = [findings.of_parked(came.key, o.reason) for came, o in kept if _needs_somebody(o)]
        if self._fix and kept:
            answered = frozenset(one for one in asked if self._answers.get(one))
            seen = self._pass([came for came, _ in kept], answered, commit=True)
            kept = seen.told
        told = self._tell(kept, seen)
        return Compared(told.missing, told.findings + parked)

    def _tell(self, kept: Sequence[tuple[Came, Outcome]], seen: _Seen) -> Compared:
        """The findings: each license that changes, and each event that changes none."""
        now, found, missing = self._context.clock.now(), [], 0
        changed = set()
        for change in findings.folded(seen.changes):
            changed.add(change.after.purchase_id)
            name = _name_of(change.after.purchase_id, seen.links)
            found.append(findings.of_license(change, name, now, fixed=self._fix))
        for came, outcome in kept:
            parked = _needs_somebody(outcome)
            if not came.listed or outcome.outcome == "duplicate" or (came.fetched and parked):
                continue
            missing += 1
            if not parked and not any(seen.links.get(alias) in changed for alias in came.aliases):
                found.append(findings.of_event(came.key, outcome.reason, fixed=self._fix))
        return Compared(missing, found)

    def _pass(self, batch: Sequence[Came], answered: frozenset[Refetch], *, commit: bool) -> _Seen:
        """Take a batch in, once more when another process met one of its purchases first."""
        began = time.monotonic()
        try:
            return self._once(batch, answered, commit=commit)
        except sa.exc.IntegrityError:
            return self._once(batch, answered, commit=commit)
        except sa.exc.OperationalError as error:
            if not intake.is_conflict(error):
                raise
            return self._once(batch, answered, commit=commit)
        finally:
            if self._context.database.is_sqlite:
                # Another process that waits for the file only looks now and then whether it is free.
                time.sleep(min(time.monotonic() - began, _LONGEST_PAUSE))

    def _once(self, batch: Sequence[Came], answered: frozenset[Refetch], *, commit: bool) -> _Seen:
        """Events first, then what was fetched: only so can be told what that adds to them."""
        context, account, now = self._context, self._account, self._context.clock.now()
        sent, fetched = [c for c in batch if not c.fetched], [c for c in batch if c.fetched]
        aliases = [alias for came in batch for alias in came.aliases]
        passes: list[Fulfillment] = []
        with context.database.write() as connection:
            told = self._take(connection, sent, now, passes)
            links, before = reconciliations.states_of(connection, account.id, aliases)
            by_events = len(passes)
            told += self._take(connection, fetched, now, passes)
            led, after = links, before
            if fetched:
                led, after = reconciliations.states_of(connection, account.id, aliases)
            if commit:
                self._strike_off(connection, answered, now)
            else:
                # Everything was really done, and looked at; now it never happened.
                connection.rollback()
        altered = {id_ for id_, state in after.items() if _matter(before.get(id_)) != _matter(state)}
        altered |= {id_ for alias, id_ in led.items() if links.get(alias) != id_}
        altered |= {str(change.after.purchase_id) for change in _changes(passes[by_events:])}
        wanted = frozenset(wanted for one in passes for wanted in one.wanted)
        return _Seen(told, _changes(passes), wanted, led, frozenset(altered))

    def _take(
        self, connection: sa.Connection, batch: Sequence[Came], now: datetime, passes: list[Fulfillment]
    ) -> list[tuple[Came, Outcome]]:
        fresh = [came for came in batch if came.again is None]
        again = {came.again: came for came in batch if came.again is not None}
        arrivals = [came.arrival for came in fresh]
        outcomes = intake.admit(self._context, connection, arrivals, now, passes) if fresh else []
        told = list(zip(fresh, outcomes, strict=True))
        if again:
            tried = intake.retry(self._context, connection, self._account, sorted(again), now, passes=passes)
            told += [(came, tried[id_]) for id_, came in sorted(again.items())]
        return told

    def _strike_off(self, connection: sa.Connection, answered: frozenset[Refetch], now: datetime) -> None:
        """What was asked for is here: nobody has to ask again, and the events that waited for it are done."""
        if not answered:
            return
        due = refetches.list_due(connection, self._account.id, now, _MOST_DUE)
        mine = [one for one in due if one.wanted in answered]
        done = [one.wanted for one in mine if refetches.answered(connection, self._account.id, one)]
        if done:
            intake.answer_waiting(self._context, connection, self._account, waits_of(done), now)

    def _ask(self, wanted: Sequence[Refetch]) -> list[Came]:
        """What the provider says of these objects now, once a run."""
        new = [one for one in wanted if one not in self._answers]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="reconcile") as pool:
            self._answers |= zip(new, pool.map(self._fetch, new), strict=True)
        return [came for one in wanted for came in self._answers[one]]

    def _fetch(self, wanted: Refetch) -> tuple[Came, ...]:
        if self._channel.api is None:
            return ()
        now = self._context.clock.now()
        try:
            told = self._channel.api.fetch(wanted, look=not self._fix)
        except (NotFound, Invalid):
            return ()  # whoever asks again by the table `refetches` gives it up after a few tries
        arrivals = [arrive(self._channel, raw, now, fetched=True) for raw in told]
        return tuple(Came(one, fetched=True, listed=False) for one in arrivals if one.reading is not None)


def grouped(context: Context, account: ProviderAccount, gathered: Sequence[Came]) -> list[list[Came]]:
    """Batches in which nothing is parted that belongs to one purchase, by name or by what is stored."""
    aliases = [alias for came in gathered for alias in came.aliases]
    with context.database.read() as connection:
        links, _ = reconciliations.states_of(connection, account.id, aliases)
    leader: dict[object, object] = {}

    def lead(name: object) -> object:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for number, came in enumerate(gathered):
        for alias in came.aliases:
            leader[lead(links.get(alias, alias))] = lead(number)
            leader[lead(alias)] = lead(number)
    groups: dict[object, list[Came]] = {}
    for number, came in enumerate(gathered):
        groups.setdefault(lead(number), []).append(came)
    batches: list[list[Came]] = []
    for group in sorted(groups.values(), key=lambda one: min(_when(came) for came in one)):
        if not batches or len(batches[-1]) + len(group) > context.policy.batch:
            batches.append([])
        batches[-1] += sorted(group, key=_when)
    return batches


def _when(came: Came) -> tuple[datetime, str]:
    return came.arrival.projected.occurred_at, came.key


def _worth_keeping(came: Came, outcome: Outcome, seen: _Seen) -> Came | None:
    """An event always. What was fetched, when it tells something new; when it is parked for a person, under
    a name that it keeps, so that it is kept once."""
    if not came.fetched:
        return came
    if _needs_somebody(outcome):
        names = msgspec.json.encode(sorted(came.aliases))
        key = f"parked:{outcome.reason}:{hashlib.sha256(names).hexdigest()[:32]}"
        kept = msgspec.structs.replace(came.arrival.projected, dedupe_key=key)
        return msgspec.structs.replace(came, arrival=msgspec.structs.replace(came.arrival, projected=kept))
    news = outcome.outcome == "applied" and any(seen.links.get(a) in seen.altered for a in came.aliases)
    return came if news else None


def _changes(passes: Sequence[Fulfillment]) -> list[Changed]:
    return [change for one in passes for change in one.changes]


def _needs_somebody(outcome: Outcome) -> bool:
    return outcome.outcome == "parked" and outcome.reason in PARKED


def _matter(state: Purchase | None) -> Any:
    """What a purchase holds, less the times of looking: a newer look at the same thing is no news."""
    if state is None:
        return None
    # Written out, what a register leaves unsaid while its newest word says the same.
    periods = {key: msgspec.structs.replace(one, most=one.peak) for key, one in state.periods.items()}
    settled = {key: settled_at(state, one) for key, one in state.payments.items() if one.state == "paid"}
    whole = msgspec.structs.replace(state, periods=periods, settled=settled)
    return _timeless(msgspec.to_builtins(whole))


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _timeless(member) for name, member in value.items() if name not in _TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list | tuple) else value


def _name_of(purchase: str | None, links: Mapping[Alias, str]) -> str:
    """The name that the provider's own pages show of a purchase."""
    names = sorted(
        (_NAMES.index(alias.kind), alias.external_id) for alias, id_ in links.items() if id_ == purchase
    )
    return names[0][1] if names else str(purchase)
