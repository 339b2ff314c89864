"""Mails to staff about their own account: whoever did not do it himself must hear of it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from keywright.domain.look import Look
from keywright.flows.context import Context
from keywright.ports import Letter
from keywright.store import announcements
from keywright.store import staff as people
from keywright.store.announcements import Announcement
from keywright.store.staff import Staff

PREFIX: Final = "staff."

What = Literal["set_up", "password_changed", "factor_added", "factor_removed", "codes_made", "code_used"]


def owe(context: Context, connection: sa.Connection, person: Staff, what: What, name: str = "") -> None:
    """Owe a mail to the person, in the caller's transaction. `name`: of the factor it is about."""
    batch = context.new_id("bat")
    detail = {"factor": name} if name else {}
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


def letter_of(context: Context, owed: Announcement, look: Look) -> Letter:
    detail = msgspec.json.decode(owed.detail, type=dict[str, str])
    kind = f"staff_{owed.kind.removeprefix(PREFIX)}"
    told = {"when": owed.created_at, **detail}
    return context.letters.alarm(kind, owed.subject_id, told, context.master.name, look)
