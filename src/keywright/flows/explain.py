"""Explain: everything that made a license what it is, and whether it would become the same again.

Facts are read from what the inbox kept, as a replay reads them, and absorbed into an empty purchase: nothing
is written, and the provider is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from keywright.domain import override, rule
from keywright.domain.errors import Unreadable
from keywright.domain.facts import Alias, Fact, Ordered, Reading
from keywright.domain.grant import of_unit, worth
from keywright.domain.license import License, granted
from keywright.domain.plan import Plan
from keywright.domain.purchase import Purchase, absorb, merge, prices_of
from keywright.flows.context import Context
from keywright.flows.license_views import LicenseRow, rows_of, unknown_license
from keywright.flows.license_writes import clocks_of, is_as_written
from keywright.store import catalog, checkouts, inbox, licenses, purchases, timeline
from keywright.store.inbox import InboxItem
from keywright.store.purchases import StoredPurchase

_NOT_GRANTED = ("head", "events", "mac")


class EventSeen(msgspec.Struct, frozen=True):
    """One event of the purchase, and what it did to the license when it is absorbed in this place.

    `facts` are in words; `rules` say, fact by fact, why it was taken or not. `before` and `after` hold what
    differs; both are empty for an event that changed nothing.
    """

    id: str
    event: str
    type: str
    received_at: datetime
    occurred_at: datetime
    facts: list[str]
    rules: list[str]
    before: dict[str, Any]
    after: dict[str, Any]


class EntryExplained(msgspec.Struct, frozen=True):
    """A timeline entry with the rule behind it and the events that caused it, by our ids."""

    seq: int
    at: datetime
    kind: str
    detail: dict[str, Any]
    rule: str
    causes: list[str]


class Altered(msgspec.Struct, frozen=True):
    """A member of the license that a replay of all events would change."""

    member: str
    now: Any
    replayed: Any


class Explained(msgspec.Struct, frozen=True):
    """`arrival`: the events in order of arrival; `occurrence`: their ids in the order in which they happened.

    `altered`: what a replay of all events from nothing would change; empty for a healthy license, None where
    that cannot be told. `notes` say what is odd.
    """

    license: LicenseRow
    why: str
    arrival: list[EventSeen]
    occurrence: list[str]
    timeline: list[EntryExplained]
    altered: list[Altered] | None
    notes: list[str]


class _Told(msgspec.Struct, frozen=True):
    """An event with its facts; without any when it cannot be read."""

    item: InboxItem
    facts: tuple[Fact, ...]


def explain(context: Context, tenant: str, license_id: str) -> Explained:
    """Everything that made a license what it is. Raises NotFound."""
    now = context.clock.now()
    with context.database.read() as connection:
        held = licenses.find(connection, tenant, license_id)
        if held is None:
            raise unknown_license()
        row = rows_of(context, connection, [held])[0]
        entries = _entries(connection, held)
        stored = None
        if held.purchase_id is not None:
            stored = purchases.find(connection, tenant, held.purchase_id)
        events = _events(context, connection, stored)
        plans = _plans(context, connection, stored, events)
    why = rule.why(held, now)
    notes = []
    if not is_as_written(context, held):
        why = "Tampered: the row was altered outside the server, so it is not trusted."
        notes.append("Find what was altered with `keywright integrity`.")
    arrival, rebuilt = _walk(held, events, plans)
    altered = _altered(held, stored, events, rebuilt, plans, notes)
    return Explained(
        license=row,
        why=why,
        arrival=arrival,
        occurrence=[one.item.id for one in sorted(events, key=_occurred)],
        timeline=[_entry(entry, events) for entry in entries],
        altered=altered,
        notes=notes,
    )


# -- load -----------------------------------------------------------------------------------------------


def _entries(connection: sa.Connection, held: License) -> list[timeline.Entry]:
    found: list[timeline.Entry] = []
    while page := timeline.list_page(connection, held.tenant_id, held.id, after=len(found), limit=1000):
        found += page
    return found


def _events(context: Context, connection: sa.Connection, stored: StoredPurchase | None) -> list[_Told]:
    """The events of a purchase in order of arrival, each with its facts and the order it refers to."""
    channel = context.find_channel(stored.provider_account_id) if stored is not None else None
    if stored is None or channel is None:
        return []
    items = inbox.get_many(connection, purchases.events_of(connection, stored.id))
    names = {alias.external_id for alias in purchases.aliases_of(connection, stored.id) if _is_ours(alias)}
    orders = checkouts.find_many(connection, stored.tenant_id, sorted(names))
    found = []
    for item in sorted(items, key=lambda one: (one.received_at, one.id)):
        try:
            reading = channel.events.read(item.projected)
        except Unreadable:
            reading = Reading((), (), founds=False)
        order = orders.get(reading.reference or "")
        facts = reading.facts
        if order is not None:
            facts = (Ordered(order.reference, order.plan_id, order.price, order.quantity), *facts)
        found.append(_Told(item, facts))
    return found


def _is_ours(alias: Alias) -> bool:
    return alias.kind == "reference"


def _plans(
    context: Context, connection: sa.Connection, stored: StoredPurchase | None, events: Sequence[_Told]
) -> Mapping[str, Plan]:
    channel = context.find_channel(stored.provider_account_id) if stored is not None else None
    if stored is None or channel is None:
        return {}
    state = stored.state
    for fact in (fact for one in events for fact in one.facts):
        state = absorb(state, fact)
    return catalog.plans_by_price(connection, stored.tenant_id, channel.account.provider, prices_of(state))


def _occurred(one: _Told) -> tuple[datetime, datetime, str]:
    return (one.item.projected.occurred_at, one.item.received_at, one.item.id)


# -- absorb once more -----------------------------------------------------------------------------------


def _walk(
    held: License, events: Sequence[_Told], plans: Mapping[str, Plan]
) -> tuple[list[EventSeen], Purchase]:
    """Absorb the events into an empty purchase, one after the other, and note what each of them changed."""
    state, seen = Purchase(), []
    clocks: dict[str, Any] = {}
    for one in events:
        rules = []
        for fact in one.facts:
            after = absorb(state, fact)
            rules.append(rule.of_fact(fact, state, after))
            state = after
        now = _worth(held, state, plans)
        told = clocks_of(now) if now is not None else {}
        differing = [name for name, value in told.items() if clocks.get(name) != value]
        kept = one.item.projected
        seen.append(
            EventSeen(
                id=one.item.id,
                event=kept.dedupe_key,
                type=kept.type,
                received_at=one.item.received_at,
                occurred_at=kept.occurred_at,
                facts=[rule.told(fact) for fact in one.facts],
                rules=rules,
                before={name: clocks.get(name) for name in differing},
                after={name: told[name] for name in differing},
            )
        )
        clocks = told
    return seen, state


def _worth(held: License, state: Purchase, plans: Mapping[str, Plan]) -> License | None:
    """The license as this purchase makes it, with what staff decided; None where it makes none."""
    grant = next((one for one in worth(state, plans) if one.product_id == held.product_id), None)
    if grant is None or (grant.entitled_until is None and held.entitled_until is None):
        return None
    return granted(held, override.apply(of_unit(grant, held.unit), held.overrides))


_ORIGINS: Final = {
    "comp": "Staff gave it away",
    "trial": "Staff gave it out to be tried",
    "import": "Its key was brought along from elsewhere",
}


def _altered(
    held: License,
    stored: StoredPurchase | None,
    events: Sequence[_Told],
    rebuilt: Purchase,
    plans: Mapping[str, Plan],
    notes: list[str],
) -> list[Altered] | None:
    if stored is None:
        notes.append(f"{_ORIGINS.get(held.origin, 'Staff issued it')}; no payment is behind it.")
        return []
    if held.reason == "merged":
        notes.append("Its purchase is part of an older one, whose license stays.")
        return []
    if not events:
        notes.append("No event of its purchase can be read here: the account is not configured, or they came")
        notes[-1] += " before events were linked to purchases."
        return None
    if merge(rebuilt, stored.state) != rebuilt:
        notes.append("More is known of the purchase than its linked events say; older ones were not linked.")
    after = _worth(held, rebuilt, plans)
    if after is None:
        return [Altered("status", "a license", "none")]
    return [
        Altered(name, _plain(getattr(held, name)), _plain(getattr(after, name)))
        for name in held.__struct_fields__
        if name not in _NOT_GRANTED and getattr(held, name) != getattr(after, name)
    ]


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


# -- the timeline ---------------------------------------------------------------------------------------


def _entry(entry: timeline.Entry, events: Sequence[_Told]) -> EntryExplained:
    detail = msgspec.json.decode(entry.detail)
    after = detail.get("after")
    reason = detail.get("reason") or (after.get("reason", "") if isinstance(after, dict) else "")
    words = rule.of_change(entry.kind, reason=reason, by=str(detail.get("by", "")))
    causes = _causes(detail.get("event"), entry.at, events)
    return EntryExplained(entry.seq, entry.at, entry.kind, detail, words, causes)


def _causes(kind: str | None, at: datetime, events: Sequence[_Told]) -> list[str]:
    """The events behind an entry: those of its type that were applied at its moment. One that was applied
    again since has lost that moment: then the newest that had come by then."""
    if kind is None:
        return []
    alike = [one.item for one in events if one.item.projected.type == kind]
    for moment in ("processed_at", "received_at"):
        found = [item.id for item in alike if getattr(item, moment) == at]
        if found:
            return found
    return [item.id for item in alike if item.received_at <= at][-1:]
