"""Notices: what customers are written about, owed once per occurrence.

What an event changed is owed in that event's transaction, by `owed`. Clocks run out without an event:
`owe_due` looks for those, on a schedule. The license is right at every moment without either.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec
import structlog

from keywright.domain.license import License, seats_at, status
from keywright.domain.notice import FRESH_FOR, Notice, cause_of_end, still_holds
from keywright.domain.plan import NoticeKind, Terms
from keywright.flows.context import Context
from keywright.ports import NoticeLetter
from keywright.store import announcements, notices
from keywright.store.announcements import Announcement
from keywright.store.letters import LetterSource
from keywright.store.notices import DueNotice, Wanted

log = structlog.get_logger(__name__)

PREFIX: Final = "notice."
_AT_ONCE = 500


def owed(
    context: Context, held: License, found: Iterable[Notice], batch: str, now: datetime
) -> list[Announcement]:
    """The rows that owe these notices. The caller inserts them in the transaction that writes `held`."""
    return [
        Announcement(
            id=context.new_id("ann"),
            tenant_id=held.tenant_id,
            kind=PREFIX + one.kind,
            occurrence=one.occurrence,
            subject_id=one.subject,
            license_id=held.id,
            batch=batch,
            created_at=now,
            detail=msgspec.json.encode(one.detail).decode(),
        )
        for one in found
    ]


def owe_due(context: Context) -> int:
    """Owe the reminders and ends that the clocks make due, once each. Returns how many are new.

    A look at every license, page by page, each page of what is due in a transaction of its own. Safe to
    repeat and to run twice at once. Of several reminders that are due together the nearest goes out.
    """
    now = context.clock.now()
    with context.database.read() as connection:
        wanted = [
            one
            for plan, tenant, terms in notices.list_terms(connection)
            for one in _wanted(plan, tenant, terms)
        ]
    made, after = 0, ""
    while True:
        with context.database.read() as connection:
            due = notices.list_due(connection, wanted, now, FRESH_FOR, after=after, limit=_AT_ONCE)
        if due:
            made += _owe(context, due, now)
            after = due[-1].license_id
        if len(due) < _AT_ONCE:
            break
    if made:
        log.info("notices_due", notices=made)
    return made


def _owe(context: Context, due: Iterable[DueNotice], now: datetime) -> int:
    batch = context.new_id("bat")
    rows = [
        Announcement(
            id=context.new_id("ann"),
            tenant_id=one.tenant_id,
            kind=one.kind,
            occurrence=one.occurrence,
            subject_id=one.license_id,
            license_id=one.license_id,
            batch=batch,
            created_at=now,
            detail=msgspec.json.encode({"clock": one.clock}).decode(),
        )
        for one in due
    ]
    with context.database.write() as connection:
        made = announcements.insert_counted(connection, rows)
        if made:
            context.followups.announce(connection, batch)
    return made


def _wanted(plan: str, tenant: str, terms: Terms) -> list[Wanted]:
    found = []
    reminders: tuple[tuple[NoticeKind, tuple[int, ...]], ...] = (
        ("grace_ending", terms.grace_reminders),
        ("trial_ending", terms.trial_reminders),
    )
    for kind, ahead in reminders:
        if kind in terms.notices:
            nearer = (*ahead[1:], 0)
            found += [Wanted(plan, tenant, PREFIX + kind, *pair) for pair in zip(ahead, nearer, strict=True)]
    if "expired" in terms.notices:
        found.append(Wanted(plan, tenant, f"{PREFIX}expired"))
    return found


def is_outdated(owed: Announcement, held: License, now: datetime) -> bool:
    """Whether a mail would tell what is no news any more: it waited for an address or the server."""
    if not owed.kind.startswith(PREFIX):
        return False
    kind, detail = _read(owed)
    # A license that stopped weeks ago still does not work, and nobody needs to be told.
    is_old = kind in ("payment_failed", "expired") and owed.created_at < now - FRESH_FOR
    return is_old or not still_holds(kind, detail, held, now)


def letter_of(context: Context, owed: Announcement, source: LetterSource) -> NoticeLetter:
    """What the letter of a notice says, of its license as it is now."""
    kind, detail = _read(owed)
    held, now = source.license, context.clock.now()
    pages = context.base_url
    ends = [clock for clock in (held.active_until, held.grace_until) if clock is not None]
    return NoticeLetter(
        kind=kind,
        seller=source.seller,
        product=source.product,
        plan=source.plan,
        key_last5=held.key_last5,
        seats=seats_at(held, now),
        works=status(held, now) in ("active", "grace"),
        entitled_until=held.entitled_until,
        stops_at=max(ends, default=None),
        cause=str(detail.get("cause") or cause_of_end(held, held)),
        detail=detail,
        manage_url=f"{pages}/portal",
        shop_url=f"{pages}/buy/{source.product_slug}",
        becomes_paid=held.purchase_id is not None,
    )


def _read(owed: Announcement) -> tuple[NoticeKind, dict[str, str | int]]:
    kind = msgspec.convert(owed.kind.removeprefix(PREFIX), NoticeKind)
    return kind, msgspec.json.decode(owed.detail, type=dict[str, str | int])
