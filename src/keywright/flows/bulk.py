"""One act on many licenses: those that a filter finds, page by page, each in its own transaction.

A page that is cut off is asked for again: what is already so is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal, get_args

import msgspec

from keywright.domain.errors import Invalid, Refused
from keywright.flows import license_views, operate
from keywright.flows.context import Context
from keywright.flows.license_views import LicenseRow
from keywright.flows.operate import Act

Kind = Literal["suspend", "reinstate", "revoke", "extend", "resend", "note"]

# What a license is already needs no second decision: its timeline would tell of acts that changed nothing.
_ALREADY: Final = {"suspend": "suspended", "revoke": "revoked"}


class Wish(msgspec.Struct, frozen=True):
    """What is to be done to each. `until` belongs to `extend`; a number of days would add up when a page is
    asked for again."""

    act: str
    until: datetime | None = None


class Done(msgspec.Struct, frozen=True):
    """What became of one license. `error`: the code of a refusal; nothing was changed then."""

    license: str
    before: str
    after: str | None
    error: str | None = None


class BulkPage(msgspec.Struct, frozen=True):
    """One page of an act on many. `next_cursor` None: that was all. In a dry run nothing was changed."""

    dry_run: bool
    items: list[Done]
    changed: int
    unchanged: int
    failed: int
    next_cursor: str | None


def act_on_page(
    context: Context,
    tenant: str,
    filters: Mapping[str, str],
    wish: Wish,
    act: Act,
    *,
    dry_run: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> BulkPage:
    """Do it to the licenses of one page, newest first.

    Raises Invalid for an act, a filter or a limit that is none, or without any filter: everything is not what
    somebody means who says nothing.
    """
    do = _do(context, tenant, wish, act)
    if not filters:
        raise Invalid(f"Give at least one filter: {', '.join(license_views.FILTERS)}.")
    page = license_views.list_licenses(context, tenant, filters, cursor=cursor, limit=limit)
    items: list[Done] = []
    unchanged = 0
    for row in page.items:
        if _ALREADY.get(wish.act) == row.status or _reaches(row, wish):
            unchanged += 1
        elif dry_run:
            items.append(Done(row.id, row.status, None))
        else:
            items.append(_try(do, row))
    failed = sum(1 for one in items if one.error is not None)
    return BulkPage(dry_run, items, len(items) - failed, unchanged, failed, page.next_cursor)


def _do(context: Context, tenant: str, wish: Wish, act: Act) -> Callable[[str], LicenseRow]:
    """The act on one license by its id. Raises Invalid."""
    if wish.act not in get_args(Kind):
        raise Invalid(f"`act` must be one of {', '.join(get_args(Kind))}.")
    if (wish.act == "extend") != (wish.until is not None):
        raise Invalid("`extend` needs `until`, and nothing else has one.")
    match wish.act:
        case "suspend" | "reinstate" | "revoke" as kind:
            return lambda id_: operate.decide(context, tenant, id_, act, kind)
        case "extend":
            return lambda id_: operate.extend(context, tenant, id_, act, until=wish.until)
        case "resend":
            return lambda id_: operate.resend(context, tenant, id_, act)
        case _:
            return lambda id_: operate.note(context, tenant, id_, act)


def _reaches(row: LicenseRow, wish: Wish) -> bool:
    """Whether a license runs as long as it is to be extended to."""
    if wish.until is None or row.status == "pending":
        return False
    return row.entitled_until is None or row.entitled_until >= wish.until


def _try(do: Callable[[str], LicenseRow], row: LicenseRow) -> Done:
    try:
        return Done(row.id, row.status, do(row.id).status)
    except Refused as refused:
        return Done(row.id, row.status, None, refused.code)
