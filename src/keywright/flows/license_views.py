"""What staff see of licenses: rows, pages of them, the timeline, and how a license is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

import msgspec
import sqlalchemy as sa

from keywright.domain import license_key
from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.license import License, Origin, Status, seats_at, status
from keywright.flows import license_keys, stored_keys
from keywright.flows.context import Context
from keywright.flows.license_writes import is_as_written
from keywright.flows.licensing import shown
from keywright.store import customers, firms, license_views, licenses, timeline
from keywright.store.firms import KeyRow

FILTERS = ("email", "status", "plan", "product", "origin", "q")
LARGEST_PAGE = 200
# A status is a function of time and no column, so a page is filled by reading on; only so far in one go.
_MOST_READ = 5000


class CustomerShown(msgspec.Struct, frozen=True):
    id: str
    email: str | None


class LicenseRow(msgspec.Struct, frozen=True):
    """One license as staff see it. `entitled_until` None: it never ends, or nothing was ever granted.

    `origin`: `purchase`, or what staff issued it as. `seats_after`: how many seats remain from
    `seats_after_at` on, while more of them are paid for.
    """

    id: str
    product: str
    plan: str
    status: str
    seats: int
    customer: CustomerShown | None
    entitled_until: datetime | None
    grace_until: datetime | None
    key_last5: str
    activations: int
    reason: str
    firm: str | None
    created_at: datetime
    seats_after: int | None
    seats_after_at: datetime | None
    origin: str
    trial: bool


class LicensePage(msgspec.Struct, frozen=True):
    """`next_cursor` None: that was all. A page may be shorter than asked for and not be the last."""

    items: list[LicenseRow]
    next_cursor: str | None


class TimelineRow(msgspec.Struct, frozen=True):
    seq: int
    at: datetime
    kind: str
    detail: dict[str, Any]


class TimelinePage(msgspec.Struct, frozen=True):
    items: list[TimelineRow]
    next_cursor: str | None


class ActivationRow(msgspec.Struct, frozen=True):
    """A machine that holds a license. Its fingerprint is not known to us, only a keyed hash of it."""

    id: str
    license: str
    name: str | None
    activated_at: datetime


class ActivationPage(msgspec.Struct, frozen=True):
    items: list[ActivationRow]
    next_cursor: str | None


def check_limit(limit: int) -> None:
    """Raises Invalid."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise Invalid(f"`limit` must be 1 to {LARGEST_PAGE}.")


def unknown_license() -> NotFound:
    return NotFound("There is no such license.", code="LICENSE_UNKNOWN")


def show(context: Context, tenant: str, license_id: str) -> LicenseRow:
    """Raises NotFound."""
    with context.database.read() as connection:
        held = licenses.find(connection, tenant, license_id)
        if held is None:
            raise unknown_license()
        return rows_of(context, connection, [held])[0]


def list_licenses(
    context: Context, tenant: str, filters: Mapping[str, str], *, cursor: str | None = None, limit: int = 50
) -> LicensePage:
    """Newest first. Filters: email, status, plan (`pro` or `dashcaddy/pro`), product, origin, q.

    Raises Invalid for a filter, a status or a limit that is none.
    """
    check_limit(limit)
    wanted = _wanted(filters)
    at = wanted.pop("status", None)
    found: list[License] = []
    with context.database.read() as connection:
        read = 0
        while len(found) < limit and read < _MOST_READ:
            # One more than is wanted tells whether there is a next page.
            step = limit + 1 if at is None else LARGEST_PAGE
            page = licenses.list_page(connection, tenant, filters=wanted, after=cursor, limit=step)
            read += len(page)
            cursor = _take(page, found, at, context.clock.now(), limit)
            if cursor is None and len(page) < step:
                return LicensePage(rows_of(context, connection, found), None)
            cursor = cursor or page[-1].id
        return LicensePage(rows_of(context, connection, found), cursor)


def _take(
    page: Sequence[License], found: list[License], at: str | None, now: datetime, limit: int
) -> str | None:
    """Move what has the status into `found`. Returns where it stopped; None when it took the whole page."""
    for position, held in enumerate(page):
        if at is None or status(held, now) == at:
            found.append(held)
            if len(found) == limit and position < len(page) - 1:
                return held.id
    return None


def _wanted(filters: Mapping[str, str]) -> dict[str, str]:
    if unknown := sorted(set(filters) - set(FILTERS)):
        raise Invalid(f"There is no filter `{unknown[0]}`; there are {', '.join(FILTERS)}.")
    wanted = dict(filters)
    if wanted.get("status", "active") not in get_args(Status):
        raise Invalid(f"`status` must be one of {', '.join(get_args(Status))}.")
    if wanted.get("origin", "staff") not in get_args(Origin):
        raise Invalid(f"`origin` must be one of {', '.join(get_args(Origin))}.")
    product, slash, plan = wanted.get("plan", "").partition("/")
    if slash:
        if wanted.get("product", product) != product:
            raise Invalid("`plan` and `product` name different products.")
        wanted |= {"product": product, "plan": plan}
    return wanted


def rows_of(context: Context, connection: sa.Connection, held: Sequence[License]) -> list[LicenseRow]:
    """The licenses as staff see them, in three queries however many there are."""
    if not held:
        return []
    now = context.clock.now()
    named = license_views.names(connection, [one.plan_id for one in held])
    holders = customers.get_many(connection, sorted({one.customer_id for one in held if one.customer_id}))
    machines = licenses.count_machines(connection, [one.id for one in held])
    rows = []
    for one in held:
        stepping = one.seats_after_at is not None and now < one.seats_after_at
        holder = holders.get(one.customer_id or "")
        product, plan = named.get(one.plan_id, ("", ""))  # altered by hand: it leads to no plan
        rows.append(
            LicenseRow(
                id=one.id,
                product=product,
                plan=plan,
                status=status(one, now),
                seats=seats_at(one, now),
                customer=CustomerShown(holder.id, holder.email) if holder is not None else None,
                entitled_until=shown(one.entitled_until),
                grace_until=shown(one.grace_until),
                key_last5=one.key_last5,
                activations=machines.get(one.id, 0),
                reason=one.reason,
                firm=one.firm,
                created_at=one.created_at,
                seats_after=one.seats_after if stepping else None,
                seats_after_at=shown(one.seats_after_at) if stepping else None,
                origin=one.origin,
                trial=one.trial,
            )
        )
    return rows


def resolve(context: Context, tenant: str, text: str) -> str:
    """The id of the license with this id, key or e-mail.

    Raises NotFound, and Conflict when an e-mail has several.
    """
    with context.database.read() as connection:
        forms = license_keys.forms(context.schemes, text)
        hashes = [context.vault.blind("license-key-lookup", form) for form in forms]
        known = licenses.first_known(connection, hashes) if hashes else None
        if text.startswith("lic_"):
            found = licenses.find(connection, tenant, text)
        elif known is not None or license_key.canonical(text) is not None:
            found = licenses.find_by_key_hash(connection, tenant, known or hashes[0])
        else:
            page = licenses.list_page(connection, tenant, filters={"email": text}, after=None, limit=10)
            if len(page) > 1:
                several = ", ".join(one.id for one in page)
                raise Conflict(f"Several licenses have this e-mail: {several}.", code="LICENSE_AMBIGUOUS")
            found = page[0] if page else None
    if found is None:
        raise unknown_license()
    return found.id


def timeline_of(
    context: Context, tenant: str, license_id: str, *, cursor: str | None = None, limit: int = 100
) -> TimelinePage:
    """What happened to a license, the newest last. Raises NotFound, Invalid."""
    check_limit(limit)
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise Invalid("`cursor` is none of ours.")
    with context.database.read() as connection:
        if licenses.find(connection, tenant, license_id) is None:
            raise unknown_license()
        page = timeline.list_page(connection, tenant, license_id, after=int(cursor or "0"), limit=limit + 1)
    items = [TimelineRow(e.seq, e.at, e.kind, msgspec.json.decode(e.detail)) for e in page[:limit]]
    return TimelinePage(items, str(items[-1].seq) if len(page) > limit else None)


def list_machines(
    context: Context,
    tenant: str,
    *,
    license_id: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> ActivationPage:
    """The machines that hold licenses now, newest first. Raises NotFound, Invalid."""
    check_limit(limit)
    with context.database.read() as connection:
        if license_id is not None and licenses.find(connection, tenant, license_id) is None:
            raise unknown_license()
        held = license_views.list_activations(
            connection, tenant, license_id=license_id, after=cursor, limit=limit + 1
        )
    rows = [ActivationRow(a.id, a.license_id, a.name, a.activated_at) for a in held[:limit]]
    return ActivationPage(rows, rows[-1].id if len(held) > limit else None)


class Damage(msgspec.Struct, frozen=True):
    """A license that is not as we wrote it. `entry`: the first timeline entry that does not follow.

    `key`: which stored key does not open, or is not the one it is found by: `license`, `hmac`.
    """

    license: str
    row_altered: bool
    entry: int | None
    key: str | None = None


class Checked(msgspec.Struct, frozen=True):
    """One page of an integrity check. `next_cursor` None: that was all."""

    damaged: list[Damage]
    checked: int
    next_cursor: str | None


def check_integrity(context: Context, tenant: str, *, cursor: str | None = None) -> Checked:
    """Check the rows and the timelines of one page of licenses; the master tenant's first page also tells of
    those that were led to a tenant that does not exist."""
    found: list[Damage] = []
    with context.database.read() as connection:
        if cursor is None and tenant == context.master.id:
            found += [Damage(id_, True, None) for id_ in licenses.list_strays(connection)]
        page = licenses.list_page(connection, tenant, filters={}, after=cursor, limit=LARGEST_PAGE)
        keys = firms.keys_of(connection, [held.id for held in page])
        suspects = [
            held.id for held in page if _damage(context, connection, held, keys.get(held.id, ())) is not None
        ]
    for id_ in suspects:
        # Row and timeline were read at two moments, and a writer may have come between: look again at one.
        with context.database.write() as connection:
            held = licenses.find(connection, tenant, id_, lock=True)
            rows = firms.keys_of(connection, [id_]).get(id_, ())
            damage = _damage(context, connection, held, rows) if held is not None else None
        if damage is not None:
            found.append(damage)
    return Checked(found, len(page), page[-1].id if len(page) == LARGEST_PAGE else None)


def _damage(
    context: Context, connection: sa.Connection, held: License, rows: Sequence[KeyRow]
) -> Damage | None:
    entries: list[timeline.Entry] = []
    while step := timeline.list_page(connection, held.tenant_id, held.id, after=len(entries), limit=1000):
        entries += step
    altered, entry = not is_as_written(context, held), timeline.first_break(entries, held.head)
    key = stored_keys.first_broken(context, held, rows)
    whole = not altered and entry is None and key is None
    return None if whole else Damage(held.id, altered, entry, key)
