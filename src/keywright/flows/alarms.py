"""Alarms: what the operator must hear of, by mail, each once."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.flows.context import Context
from keywright.store import announcements, wall
from keywright.store.announcements import Announcement


def raise_alarm(
    context: Context,
    connection: sa.Connection,
    kind: str,
    subject: str,
    detail: dict[str, Any],
    *,
    occurrence: str = "first",
) -> None:
    """Owe the operator one mail about `subject`, in the caller's transaction. Nothing without an address.

    `occurrence`: which time it is, of what can happen to the same subject again.
    """
    if context.policy.alert_email is None:
        return
    batch = context.new_id("bat")
    owed = Announcement(
        id=context.new_id("ann"),
        tenant_id=context.master.id,
        kind=f"alarm.{kind}",
        occurrence=occurrence,
        subject_id=subject,
        license_id=None,
        batch=batch,
        created_at=context.clock.now(),
        detail=msgspec.json.encode(detail).decode(),
    )
    with wall.lifted_on(connection):  # the operator's mail is the master tenant's, whoever it is about
        announcements.insert(connection, [owed])
        context.followups.announce(connection, batch)
