"""Mails as staff see them: the list, and sending again what did not arrive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, get_args

import msgspec
import sqlalchemy as sa

from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.flows import operate
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.store import audit, mails
from keywright.store.mails import About, MailRow

STATUSES: Final = ("pending", "sent", "failed", "waiting", "outdated")
ABOUT: Final[tuple[About, ...]] = get_args(About)
AT_ONCE: Final = 500
"""So many are sent again by one act: the mail server is not to be buried."""

_WITH_KEY: Final = "license.issued"
_LONGEST: Final = 64


class Mail(msgspec.Struct, frozen=True):
    """`to`: the address, as far as we have it here: the customer's, or the operator's of an alarm.
    `again`: how it can be sent again, if it can."""

    id: str
    kind: str
    status: str
    to: str | None
    license: str | None
    key_last5: str | None
    created_at: datetime
    sent_at: datetime | None
    next_attempt_at: datetime | None
    attempts: int
    error: str | None
    detail: Mapping[str, Any]
    again: str


class MailPage(msgspec.Struct, frozen=True):
    items: list[Mail]
    next_cursor: str | None


def list_mails(
    context: Context, tenant: str, *, status: str = "", about: str = "", cursor: str = "", limit: int = 50
) -> MailPage:
    """Newest first. Raises Invalid for a filter or a cursor that is none."""
    if status and status not in STATUSES:
        raise Invalid(f"`status` must be one of {', '.join(STATUSES)}.")
    wanted = next((one for one in ABOUT if one == about), None)
    if wanted is None:
        raise Invalid(f"`about` must be one of {', '.join(filter(None, ABOUT))}.")
    if len(cursor) > _LONGEST:
        raise Invalid("`cursor` is none of ours.")
    with context.database.read() as connection:
        found = mails.list_page(
            connection, tenant, status=status, about=wanted, after=cursor, limit=limit + 1
        )
    items = [_shown(context, one) for one in found[:limit]]
    return MailPage(items, found[limit - 1].id if len(found) > limit else None)


def show(context: Context, tenant: str, id_: str) -> Mail:
    """Raises NotFound."""
    with context.database.read() as connection:
        found = mails.find(connection, tenant, id_)
    if found is None:
        raise NotFound("There is no such mail.")
    return _shown(context, found)


def count_failed(context: Context, tenant: str) -> int:
    """How many `send_failed_again` would send."""
    with context.database.read() as connection:
        return len(mails.list_failed(connection, tenant, AT_ONCE))


def send_again(context: Context, tenant: str, id_: str, act: Act) -> None:
    """Send a mail again: the same one, as long as it has not gone out; a new one with the key, if it has.

    Raises NotFound, and Conflict for a mail that cannot be sent again.
    """
    one = show(context, tenant, id_)
    if one.again == "new" and one.license is not None:
        operate.resend(context, tenant, one.license, act)
        with context.database.write() as connection:
            _note(context, connection, tenant, act, one.id, {"mail": one.kind})
        return
    if one.again == "same":
        with context.database.write() as connection:
            if _hand_over(context, connection, tenant, [one.id]):
                _note(context, connection, tenant, act, one.id, {"mail": one.kind})
                return
    raise Conflict(_WHY_NOT.get(one.status, "This mail cannot be sent again."))


def send_failed_again(context: Context, tenant: str, act: Act) -> int:
    """Send again what could not be delivered, the oldest first. Returns how many. Raises Conflict."""
    with context.database.write() as connection:
        made = _hand_over(context, connection, tenant, mails.list_failed(connection, tenant, AT_ONCE))
        if not made:
            raise Conflict("There is no mail that could not be delivered.")
        _note(context, connection, tenant, act, "several", {"mails": len(made)})
    return len(made)


_WHY_NOT: Final = {
    "waiting": "Nobody has told us an address yet. When somebody does, it goes out by itself.",
    "outdated": "What it told is not true any more, so it was never sent.",
    "sent": "It has gone out. A link in it works for a short time and once: the person asks for another.",
}


def _hand_over(context: Context, connection: sa.Connection, tenant: str, ids: list[str]) -> list[str]:
    batch = context.new_id("bat")
    made = mails.again(connection, tenant, ids, batch, context.clock.now())
    if made:
        context.followups.announce(connection, batch)
    return made


def _note(
    context: Context, connection: sa.Connection, tenant: str, act: Act, subject: str, told: dict[str, Any]
) -> None:
    why = {"why": act.reason} if act.reason else {}
    audit.append(connection, tenant, act.by, "mail.sent_again", subject, {**told, **why}, context.clock.now())


def _shown(context: Context, one: MailRow) -> Mail:
    is_alarm = one.kind.startswith("alarm.")
    return Mail(
        id=one.id,
        kind=one.kind,
        status=one.status,
        to=context.policy.alert_email if is_alarm else one.email,
        license=one.license_id,
        key_last5=one.key_last5,
        created_at=one.created_at,
        sent_at=one.sent_at,
        next_attempt_at=one.next_attempt_at,
        attempts=one.attempts,
        error=one.error,
        detail=msgspec.json.decode(one.detail, type=dict[str, Any]) if is_alarm else {},
        again=_how_again(one),
    )


def _how_again(one: MailRow) -> str:
    if one.status in mails.TRIED:
        return "same"
    return "new" if one.status == "sent" and one.kind == _WITH_KEY else ""
