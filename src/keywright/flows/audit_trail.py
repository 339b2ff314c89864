"""The audit as staff read it: filtered, page by page, and whole, to be kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import msgspec

from keywright.domain.errors import Invalid
from keywright.flows.context import Context
from keywright.store import audit
from keywright.store import staff as people

PAGE: Final = 50
_AT_ONCE: Final = 1000
_LONGEST: Final = 200


class Wanted(msgspec.Struct, frozen=True):
    """Which entries. Empty: any. `act`: `token` finds `token.created` too. `since` and `until`: whole days in
    UTC, written 2027-05-31, both within."""

    actor: str = ""
    act: str = ""
    subject: str = ""
    since: str = ""
    until: str = ""


class Line(msgspec.Struct, frozen=True):
    """An entry. `who` and `whom`: the address of the person behind actor and subject, where it is one of
    staff. `hash`: what the next entry is chained to."""

    seq: int
    at: datetime
    actor: str
    who: str
    act: str
    subject: str
    whom: str
    detail: dict[str, Any]
    hash: str


class TrailPage(msgspec.Struct, frozen=True):
    """`earlier`: where the next page begins; None: there is none."""

    lines: list[Line]
    earlier: int | None


def read(context: Context, tenant: str, wanted: Wanted, before: str = "") -> TrailPage:
    """The newest that are wanted; with `before`, those older than that entry. Raises Invalid."""
    if before and not (before.isascii() and before.isdigit() and len(before) <= 18):
        raise Invalid("There is no such page.")
    lines = _read(context, tenant, wanted, int(before) if before else None, PAGE + 1)
    return TrailPage(lines[:PAGE], lines[PAGE - 1].seq if len(lines) > PAGE else None)


def all_lines(context: Context, tenant: str, wanted: Wanted) -> Iterator[list[Line]]:
    """Everything that is wanted, the newest first, a thousand at a time. Raises Invalid, at the first."""
    before: int | None = None
    while True:
        lines = _read(context, tenant, wanted, before, _AT_ONCE)
        yield lines
        if len(lines) < _AT_ONCE:
            return
        before = lines[-1].seq


def _read(context: Context, tenant: str, wanted: Wanted, before: int | None, limit: int) -> list[Line]:
    named = {"actor": wanted.actor, "act": wanted.act, "subject": wanted.subject}
    filters = {name: value for name, value in named.items() if value}
    if any(len(value) > _LONGEST for value in named.values()):
        raise Invalid(f"A filter has at most {_LONGEST} characters.")
    since, until = _day(wanted.since), _day(wanted.until)
    with context.database.read() as connection:
        colleagues = {one.id: one.email for one in people.list_all(connection, tenant)}
        # Whoever knows an address needs no id: it leads to both sides of an entry alike.
        ids = {email: id_ for id_, email in colleagues.items()}
        if wanted.actor in ids:
            filters["actor"] = f"staff {ids[wanted.actor]}"
        if wanted.subject in ids:
            filters["subject"] = ids[wanted.subject]
        found = audit.list_page(
            connection,
            tenant,
            filters=filters,
            before=before,
            limit=limit,
            since=since,
            until=until + timedelta(days=1) if until is not None else None,
        )
    return [_line(one, colleagues) for one in found]


def _line(entry: audit.Entry, colleagues: dict[str, str]) -> Line:
    return Line(
        seq=entry.seq,
        at=entry.at,
        actor=entry.actor,
        who=colleagues.get(entry.actor.removeprefix("staff "), ""),
        act=entry.act,
        subject=entry.subject,
        whom=colleagues.get(entry.subject, ""),
        detail=msgspec.json.decode(entry.detail),
        hash=entry.hash,
    )


def _day(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = date.fromisoformat(text)
        # The last day there is has none after it.
        return datetime.combine(min(found, date(9999, 12, 30)), time(), UTC)
    except ValueError:
        raise Invalid("A day is written like 2027-05-31.") from None
