"""Mails to staff about their own account: whoever did not do it himself must hear of it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from keywright.domain.look import Look
from keywright.flows.context import Context
from keywright.flows.staff_sessions import door_of, hashed
from keywright.ports import Letter, PortalLetter
from keywright.store import announcements
from keywright.store import staff as people
from keywright.store.announcements import Announcement
from keywright.store.staff import Staff

PREFIX: Final = "staff."

_INVITED: Final = "invited"
What = Literal[
    "invited", "set_up", "password_changed", "factor_added", "factor_removed", "codes_made", "code_used"
]


def owe(
    context: Context, connection: sa.Connection, person: Staff, what: What, name: str = "", *, link: str = ""
) -> None:
    """Owe a mail to the person, in the caller's transaction. `name`: of the factor it is about; `link`: the
    id of the set-up link that it brings."""
    batch = context.new_id("bat")
    detail = {member: value for member, value in (("factor", name), ("link", link)) if value}
    owed = Announcement(
        id=context.new_id("ann"),
        tenant_id=person.tenant_id,
        kind=f"{PREFIX}{what}",
        occurrence=context.new_id("occ"),
        subject_id=person.id,
        license_id=None,
        batch=batch,
        created_at=context.clock.now(),
        detail=msgspec.json.encode(detail).decode(),
    )
    announcements.insert(connection, [owed])
    context.followups.announce(connection, batch)


def address_of(context: Context, owed: Announcement) -> str | None:
    """To whom such a mail goes; None when the person is not there any more."""
    with context.database.read() as connection:
        person = people.find(connection, owed.tenant_id, owed.subject_id)
    return None if person is None else person.email


def secret_of(context: Context, link: str) -> str:
    """The secret of a set-up link that is mailed: made from its id with a key of ours, and stored nowhere."""
    return hashed(context, "mailed link", link)


def letter_of(context: Context, owed: Announcement, look: Look) -> Letter:
    detail = msgspec.json.decode(owed.detail, type=dict[str, str])
    if owed.kind == f"{PREFIX}{_INVITED}":
        url = f"{context.policy.base_url}/console/setup/{secret_of(context, detail['link'])}"
        return context.letters.staff_invited(PortalLetter(context.tenant.name, url, 0), look)
    kind = f"staff_{owed.kind.removeprefix(PREFIX)}"
    told = {"when": owed.created_at, **detail}
    door = f"{context.policy.base_url}{door_of(context.tenant)}"
    return context.letters.alarm(kind, owed.subject_id, told, context.tenant.name, look, door=door)
