"""What staff see in the console, and what an act would do before it is done.

The preview is no second copy of the rules: the act is really done, looked at, and rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from keywright.domain import license_key, rule
from keywright.domain.activation import Activation
from keywright.domain.email_address import folded, is_email_address
from keywright.domain.plan import FOREVER
from keywright.flows import bought
from keywright.flows.bought import Bought
from keywright.flows.context import Context
from keywright.flows.license_views import LicenseRow, rows_of, unknown_license
from keywright.flows.license_writes import is_as_written
from keywright.store import activations, console_views, customers, inbox, licenses, portal_views, timeline
from keywright.store import staff as people
from keywright.store.console_views import EventAbout
from keywright.store.engine import Database

MACHINES_SHOWN: Final = 100
TIMELINE_SHOWN: Final = 100
_LONGEST_QUERY: Final = 320
_LAST: Final = 5
_ORDER: Final = "KW-"
# A reference without its beginning. Those of a checkout here have sixteen; others may have brought their own.
_BARE: Final = re.compile(r"[0-9A-Z]{4,64}")


# -- search ---------------------------------------------------------------------------------------------


class Found(msgspec.Struct, frozen=True):
    """`event`: the id of an event that is called so."""

    licenses: list[LicenseRow]
    event: str | None = None


def search(context: Context, tenant: str, text: str) -> Found:
    """What is called so: id, key or its last five, e-mail, reference, provider's id, name of a machine."""
    typed = text.strip()
    if not typed or len(typed) > _LONGEST_QUERY or "\x00" in typed:
        return Found([])
    with context.database.read() as connection:
        ids = _licenses_called(context, connection, tenant, typed)
        held = [licenses.find(connection, tenant, id_) for id_ in ids]
        rows = rows_of(context, connection, [one for one in held if one is not None])
        event = inbox.find(connection, tenant, typed) if not rows else None
    return Found(rows, event.id if event is not None else None)


def _licenses_called(context: Context, connection: sa.Connection, tenant: str, typed: str) -> list[str]:
    if typed.startswith("lic_"):
        return [typed]
    key = license_key.canonical(typed)
    if key is not None:
        hashed = context.vault.blind("license-key-lookup", key)
        found = licenses.find_by_key_hash(connection, tenant, hashed)
        return [found.id] if found is not None else []
    if is_email_address(typed):
        people = portal_views.find_people(connection, tenant, folded(typed))
        page = portal_views.list_licenses(
            connection, tenant, [one.id for one in people], after=None, limit=50
        )
        return [one.id for one in page]
    ids = []
    if len(typed) == _LAST:
        ids = console_views.licenses_ending_in(connection, tenant, typed.upper())
    purchases = console_views.purchases_called(connection, tenant, _orders(typed))
    if purchases:
        ids += console_views.licenses_bought(connection, tenant, purchases)
    return ids or console_views.licenses_on_machine(connection, tenant, typed)


def _orders(typed: str) -> set[str]:
    """What an order may have been meant by: as typed, and as our references are written."""
    capital = typed.upper()
    named = {typed, capital} if capital.startswith(_ORDER) else {typed}
    bare = capital.removeprefix("KW").lstrip("-")
    return named | {_ORDER + bare} if _BARE.fullmatch(bare) else named


# -- one license ----------------------------------------------------------------------------------------


class Told(msgspec.Struct, frozen=True):
    """An entry of the timeline, with the rule behind it in words. `event`: our id of the one behind it."""

    seq: int
    at: datetime
    kind: str
    detail: dict[str, Any]
    rule: str
    event: str = ""


class Names(msgspec.Struct, frozen=True):
    """What people call what a timeline names by id. `actors`: by the names that stand on timelines. `plans`:
    the names of product and plan."""

    actors: dict[str, str] = {}
    plans: dict[str, tuple[str, str]] = {}
    machines: dict[str, str] = {}
    customers: dict[str, str] = {}


class MailSeen(msgspec.Struct, frozen=True):
    kind: str
    status: str
    at: datetime
    error: str | None


class Dossier(msgspec.Struct, frozen=True):
    """A license on one page. `why`: its status in a sentence. `entries`: the newest of its timeline first;
    `earlier`: how many more there are. `decided`: staff's decision in force, if any. `bought`: the purchase
    behind it; None where there is none. `names`: of what the timeline names by id."""

    row: LicenseRow
    why: str
    intact: bool
    ends: bool
    decided: str
    machines: list[Activation]
    entries: list[Told]
    earlier: int
    mails: list[MailSeen]
    names: Names
    bought: Bought | None


def dossier(context: Context, tenant: str, license_id: str) -> Dossier:
    """Everything about a license. Raises NotFound."""
    with context.database.read() as connection:
        held = licenses.find(connection, tenant, license_id)
        if held is None:
            raise unknown_license()
        row = rows_of(context, connection, [held])[0]
        machines = activations.list_of(connection, tenant, held.id)
        skipped = max(0, held.events - TIMELINE_SHOWN)
        entries = timeline.list_page(connection, tenant, held.id, after=skipped, limit=TIMELINE_SHOWN)
        mails = console_views.mails_of(connection, tenant, held.id)
        behind = None
        if held.purchase_id is not None:
            behind = bought.read(connection, tenant, held.purchase_id)
        events = behind.events if behind is not None else []
        told = [_told(entry, events) for entry in reversed(entries)]
        names = _names(connection, tenant, told, held.customer_id)
    intact = is_as_written(context, held)
    why = rule.why(held, context.clock.now())
    decision = held.overrides.decision
    return Dossier(
        row=row,
        why=why if intact else "Tampered: the row was altered outside the server, so it is not trusted.",
        intact=intact,
        ends=held.entitled_until != FOREVER,
        decided=decision.kind if decision is not None else "",
        machines=machines[:MACHINES_SHOWN],
        entries=told,
        earlier=skipped,
        mails=[MailSeen(*one) for one in mails],
        names=names,
        bought=behind,
    )


def names_of_plans(
    context: Context, tenant: str, rows: Sequence[LicenseRow]
) -> dict[tuple[str, str], tuple[str, str]]:
    """Slugs of product and plan -> their names, for these licenses."""
    with context.database.read() as connection:
        slugs = {(one.product, one.plan) for one in rows}
        return console_views.names_of_slugs(connection, tenant, slugs)


def _names(connection: sa.Connection, tenant: str, told: Sequence[Told], holder: str | None) -> Names:
    """The names of all that these entries name by id: a query for each kind, however many there are."""
    plans, machines, tokens, persons = set[str](), set[str](), set[str](), {holder} if holder else set[str]()
    for one in told:
        detail = one.detail
        for clocks in (detail, detail.get("before"), detail.get("after")):
            if isinstance(clocks, dict) and isinstance(clocks.get("plan"), str):
                plans.add(clocks["plan"])
        of = [detail.get("activation"), *(detail.get("activations") or []), *(detail.get("released") or [])]
        machines |= {id_ for id_ in of if isinstance(id_, str)}
        kind, _, id_ = str(detail.get("by", "")).partition(" ")
        if kind == "token":
            tokens.add(id_)
        persons |= {str(detail[name]) for name in ("from", "to") if detail.get(name)}
        if kind == "customer":
            persons.add(id_)
    known = customers.get_many(connection, sorted(persons))
    addresses = {id_: one.email or "" for id_, one in known.items() if one.tenant_id == tenant}
    actors = {f"staff {one.id}": one.email for one in people.list_all(connection, tenant)}
    named = console_views.token_names(connection, tenant, tokens)
    actors |= {f"token {id_}": f"API token {name}" for id_, name in named.items()}
    actors |= {f"customer {id_}": address or "the customer" for id_, address in addresses.items()}
    return Names(
        actors=actors,
        plans=console_views.plan_names(connection, tenant, plans),
        machines=console_views.machine_names(connection, tenant, machines),
        customers=addresses,
    )


def _told(entry: timeline.Entry, events: Sequence[EventAbout]) -> Told:
    detail = msgspec.json.decode(entry.detail)
    after = detail.get("after")
    reason = detail.get("reason") or (after.get("reason", "") if isinstance(after, dict) else "")
    words = rule.of_change(entry.kind, reason=reason, by=str(detail.get("by", "")))
    kind = detail.get("event")
    event = bought.cause(kind, entry.at, events) if kind else ""
    return Told(entry.seq, entry.at, entry.kind, detail, words, event)


# -- preview --------------------------------------------------------------------------------------------


class Rehearsal(Database):
    """A database whose writes are really done, and then never happened."""

    def __init__(self, of: Database) -> None:
        self.__dict__.update(of.__dict__)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One write transaction that is rolled back at its end."""
        with super().write() as connection:
            yield connection
            connection.rollback()


class Preview(msgspec.Struct, frozen=True):
    """What an act would change: name, before, after."""

    changes: list[tuple[str, Any, Any]]
    after: LicenseRow


_COMPARED: Final = (
    *("status", "seats", "entitled_until", "grace_until", "customer", "firm", "activations", "key_last5"),
    "reason",
)


def rehearse(context: Context, tenant: str, license_id: str, act: Callable[[Context], LicenseRow]) -> Preview:
    """Do an act on a license, look at what it changed, and take it back. Raises what the act raises."""
    with context.database.read() as connection:
        held = licenses.find(connection, tenant, license_id)
        if held is None:
            raise unknown_license()
        before = rows_of(context, connection, [held])[0]
    after = act(replace(context, database=Rehearsal(context.database)))
    return Preview(_differences(before, after), after)


def _differences(before: LicenseRow, after: LicenseRow) -> list[tuple[str, Any, Any]]:
    names: Sequence[str] = _COMPARED
    return [
        (name, getattr(before, name), getattr(after, name))
        for name in names
        if getattr(before, name) != getattr(after, name)
    ]
