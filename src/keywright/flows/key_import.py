"""Keys that existed before us, taken over as they are: whoever holds one is answered as if it were of ours.

Some hundred lines at a time, each batch one transaction that is set-based and all or nothing. A key that is
here already is left alone: a run that was cut off is simply started again, and a second run changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from keywright.domain import hmac_key, license_key, override
from keywright.domain.activation import Activation
from keywright.domain.license import License, granted, seats_at
from keywright.domain.override import Overrides
from keywright.domain.plan import FOREVER, Plan
from keywright.flows import license_keys
from keywright.flows.context import Context
from keywright.flows.key_file import Bad, KeyFile, Line, count
from keywright.flows.license_keys import EXACT, Key
from keywright.flows.license_writes import blank, clocks_of, sealed
from keywright.flows.operate import Act, told_of
from keywright.flows.paid_for import nothing_paid
from keywright.store import (
    activations,
    audit,
    catalog,
    catalog_rows,
    customers,
    key_schemes,
    licenses,
    timeline,
)
from keywright.store.customers import Customer

BATCH: Final = 100
MOST_LISTED: Final = 1000
# Shorter ones can be found by trying, however few tries an address is given.
_GUESSABLE: Final = 12

Progress = Callable[[int, int], None]


class Problem(msgspec.Struct, frozen=True):
    """Why a line changed nothing. `refused`: it cannot be taken. `conflict`: the key is here and differs."""

    line: int
    kind: Literal["refused", "conflict"]
    reason: str


class Imported(msgspec.Struct, frozen=True):
    """What a file brought, or would bring. `problems` lists the first thousand of them."""

    dry_run: bool
    lines: int
    made: int
    unchanged: int
    refused: int
    conflicts: int
    machines: int
    short_keys: int
    problems: list[Problem]


class _Tally:
    """The report while it is counted."""

    def __init__(self) -> None:
        self.made = self.unchanged = self.machines = self.short = 0
        self.counts = {"refused": 0, "conflict": 0}
        self.problems: list[Problem] = []

    def refuse(self, line: int, reason: str) -> None:
        self._add(Problem(line, "refused", reason))

    def conflict(self, line: int, reason: str) -> None:
        self._add(Problem(line, "conflict", reason))

    def _add(self, problem: Problem) -> None:
        self.counts[problem.kind] += 1
        if len(self.problems) < MOST_LISTED:
            self.problems.append(problem)


class _Ready(msgspec.Struct, frozen=True):
    """A line, and what can be made of it without the database. `scheme` None: its key reads as ours.
    `asked`: the scheme its plan asks for."""

    line: Line
    scheme: str | None
    asked: str
    held: License
    entry: timeline.Entry
    machines: tuple[Activation, ...]


def import_keys(
    context: Context,
    tenant: str,
    path: Path,
    act: Act,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Take over the keys of a file. Nobody gets a mail: they have their keys.

    Args:
        path: CSV with the columns of `key_file`.
        progress: told the lines that are done, and how many there are.

    Raises:
        Invalid, TooLarge: the file cannot be read. Nothing of it was taken.
    """
    tally = _Tally()
    with KeyFile(path) as file:
        now = context.clock.now()
        # Read to its end first: a file that breaks off in a cell must not be half here.
        total, done = count(file.lines(now)), 0
        run = _Run(context, tenant, act, tally, dry_run=dry_run)
        with closing(file.lines(now)) as lines:
            while batch := list(islice(lines, BATCH)):
                run.take(batch)
                done += len(batch)
                if progress is not None:
                    progress(done, total)
        if tally.made and not dry_run:
            _audit(context, tenant, act, tally, file.digest())
    return Imported(
        dry_run=dry_run,
        lines=total,
        made=tally.made,
        unchanged=tally.unchanged,
        refused=tally.counts["refused"],
        conflicts=tally.counts["conflict"],
        machines=tally.machines,
        short_keys=tally.short,
        problems=tally.problems,
    )


def _audit(context: Context, tenant: str, act: Act, tally: _Tally, digest: str) -> None:
    """The licenses have it on their timelines, each; here stands that it was one file, and which."""
    detail = told_of(act, sha256=digest, made=tally.made, machines=tally.machines, **tally.counts)
    with context.database.write() as connection:
        audit.append(
            connection, tenant, detail.pop("by"), "keys.imported", "keys", detail, context.clock.now()
        )


class _Run:
    """One import. Knows the plans, and which keys the file had already."""

    def __init__(self, context: Context, tenant: str, act: Act, tally: _Tally, *, dry_run: bool) -> None:
        self._context = context
        self._tenant = tenant
        self._act = act
        self._tally = tally
        self._dry_run = dry_run
        self._lines: dict[bytes, int] = {}
        with context.database.read() as connection:
            # Retired ones as well: people hold what is not sold any more.
            offers = catalog.list_offers(connection, tenant, retired=True)
        self._plans = {f"{offer.product.slug}/{offer.plan.slug}": offer.plan for offer in offers}

    def take(self, batch: Sequence[Line | Bad]) -> None:
        """Compare a batch with what is here, and write what is new."""
        now = self._context.clock.now()
        # Sealing and hashing are most of the work, and need no transaction.
        ready = {one.held.key_hash: one for one in self._ready(batch, now)}
        if self._dry_run:
            with self._context.database.read() as connection:
                self._new(connection, ready)
            return
        with self._context.database.write() as connection:
            # Two imports at once would each find a key missing, and one of them fail on the other's.
            catalog_rows.lock_tenant(connection, self._tenant)
            new = self._new(connection, ready)
            self._write(connection, new, now)
        if any(one.scheme is not None for one in new):
            self._context.schemes.learn(self._context.database)

    # -- make -------------------------------------------------------------------------------------------

    def _ready(self, batch: Sequence[Line | Bad], now: datetime) -> Iterator[_Ready]:
        for line in batch:
            if isinstance(line, Bad):
                self._tally.refuse(line.number, line.reason)
                continue
            made = self._make(line, now)
            if isinstance(made, str):
                self._tally.refuse(line.number, made)
            else:
                yield made

    def _make(self, line: Line, now: datetime) -> _Ready | str:
        """What the line becomes, or why it cannot."""
        plan = self._plans.get(line.plan)
        if plan is None:
            return "there is no such plan; it is written product/plan"
        if plan.terms.profile == "hmac":
            return "a plan of the hmac profile makes its own keys"
        if line.until is None and plan.terms.term == "subscription":
            return "until is empty, and a subscription has no end of its own: write a date or never"
        if license_key.canonical(line.key) is None and hmac_key.read(line.key) is not None:
            # Whoever types it is answered about the license of that HMAC key, or not at all.
            return "key reads as an HMAC key, and would never be found as this one"
        scheme = plan.terms.key_scheme or EXACT
        key = license_keys.brought(self._context.schemes, scheme, line.key)
        if key is None:
            return license_keys.unfit(scheme)
        earlier = self._lines.setdefault(blake2b(key.form.encode(), digest_size=16).digest(), line.number)
        if earlier != line.number:
            return f"the same key as in line {earlier}"
        held = self._license(line, plan, key, now)
        machines = tuple(self._machines(line, held, now))
        detail = told_of(self._act, after=clocks_of(held), activations=[one.id for one in machines])
        held, entry = timeline.append(held, "license.imported", detail, now)
        mine = scheme if key.is_foreign else None
        return _Ready(line, mine, scheme, sealed(self._context, held), entry, machines)

    def _license(self, line: Line, plan: Plan, key: Key, now: datetime) -> License:
        begun = line.issued_at or now
        until = line.until if line.until is not None else plan.terms.term_end(begun)
        seats = line.seats if line.seats is not None else plan.terms.seats_per_unit
        # One that is over begins now: nobody is to be told today that it ended last week.
        held, _ = blank(self._context, self._tenant, plan, now if until <= now else begun, key=key)
        held = msgspec.structs.replace(
            held, firm=line.firm, origin="import", overrides=Overrides(floor=until, seats=seats)
        )
        return granted(held, override.apply(nothing_paid(plan), held.overrides))

    def _machines(self, line: Line, held: License, now: datetime) -> Iterator[Activation]:
        for text in line.fingerprints:
            yield Activation(
                id=self._context.new_id("act"),
                license_id=held.id,
                tenant_id=held.tenant_id,
                fingerprint_hash=self._context.vault.blind("fingerprint", text),
                name=None,
                activated_at=now,
                last_seen_at=now,
            )

    # -- compare ----------------------------------------------------------------------------------------

    def _new(self, connection: sa.Connection, ready: Mapping[str, _Ready]) -> list[_Ready]:
        """Those whose key is not here yet. Counts the others."""
        known = {one.key_hash: one for one in licenses.of_keys(connection, list(ready))}
        replaced = key_schemes.replaced(connection, list(ready))
        holders = customers.get_many(connection, sorted({one.customer_id or "" for one in known.values()}))
        new = []
        for key_hash, one in ready.items():
            held = known.get(key_hash)
            owner, license_id = replaced.get(key_hash, (held.tenant_id if held else self._tenant, ""))
            if owner != self._tenant:
                # In the words for what is no key: whose keys there are is nobody else's business.
                self._tally.refuse(one.line.number, license_keys.unfit(one.asked))
                continue
            self._tally.short += len(one.line.key) < _GUESSABLE
            if license_id:
                self._tally.conflict(one.line.number, f"this key was replaced by a new one of {license_id}")
            elif held is None:
                new.append(one)
            elif differences := self._differences(one, held, holders.get(held.customer_id or "")):
                said = "; ".join(differences)
                self._tally.conflict(
                    one.line.number, f"the key is here as {held.id} and was not changed: {said}"
                )
            else:
                self._tally.unchanged += 1
        self._tally.made += len(new)
        self._tally.machines += sum(len(one.machines) for one in new)
        return new

    def _differences(self, one: _Ready, held: License, holder: Customer | None) -> list[str]:
        email = (holder.email or "") if holder is not None else ""
        pairs = [
            (
                "plan",
                one.line.plan,
                next((p for p, plan in self._plans.items() if plan.id == held.plan_id), "?"),
            ),
            ("seats", one.held.seats, seats_at(held, self._context.clock.now())),
            ("firm", one.line.firm, held.firm),
        ]
        # An end that follows from when the import ran is no wish of the file's.
        if one.line.until is not None or one.line.issued_at is not None:
            pairs.append(("until", _day(one.held.entitled_until), _day(held.entitled_until)))
        told = [f"{name} is {here}, and {there} in the file" for name, there, here in pairs if there != here]
        # An address is not repeated: reports are kept and sent around.
        return told + (["email is another one"] if (one.line.email or "").lower() != email.lower() else [])

    # -- write ------------------------------------------------------------------------------------------

    def _write(self, connection: sa.Connection, new: Sequence[_Ready], now: datetime) -> None:
        if not new:
            return
        holders = self._holders(connection, [one.line for one in new], now)
        # No MAC and no entry names the customer, who may be known only now.
        made = [
            msgspec.structs.replace(one.held, customer_id=holders.get(one.line.email or "")) for one in new
        ]
        licenses.insert(connection, made)
        activations.insert(connection, [(machine, None) for one in new for machine in one.machines])
        timeline.insert(connection, [one.entry for one in new])
        for scheme in sorted({one.scheme for one in new if one.scheme is not None}):
            key_schemes.use(connection, self._tenant, scheme, now)

    def _holders(self, connection: sa.Connection, lines: Sequence[Line], now: datetime) -> dict[str, str]:
        """E-mail -> customer id; customers that nobody knew are made."""
        told = {line.email: line.name for line in reversed(lines) if line.email is not None}
        known = customers.find_by_emails(connection, self._tenant, list(told))
        made = {
            email: Customer(self._context.new_id("cus"), self._tenant, email, name, now)
            for email, name in told.items()
            if email not in known
        }
        customers.insert(connection, list(made.values()), None)
        return {email: one.id for email, one in {**known, **made}.items()}


def _day(clock: datetime | None) -> Any:
    return "never" if clock == FOREVER else clock and clock.isoformat().removesuffix("+00:00")
