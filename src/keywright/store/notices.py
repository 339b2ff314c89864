"""Which licenses somebody should be written about because of their clocks alone: reminders, and ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.store import rows
from keywright.store.catalog import decode_terms
from keywright.store.rows import micros
from keywright.store.tables import plans


class Wanted(msgspec.Struct, frozen=True):
    """What one plan wants to be looked for. `kind` is the announcement's.

    `ahead`: so many seconds before the clock. `nearer`: the plan's next reminder, or 0: when that one is due
    as well, it goes out alone.
    """

    plan_id: str
    tenant_id: str
    kind: str
    ahead: int = 0
    nearer: int = 0


class DueNotice(msgspec.Struct, frozen=True):
    """A license and what it should be told. `clock`: in seconds since 1970, what the notice is about."""

    license_id: str
    tenant_id: str
    kind: str
    clock: str
    occurrence: str


# One look over the table for all kinds: a license is in one of these states at a time. There is no index on
# the clocks, because every payment would have to move its entry.
_CLOCK = (
    "CAST(CASE k.kind WHEN 'notice.grace_ending' THEN l.grace_until ELSE l.entitled_until END"
    " / 1000000 AS TEXT)"
)
_DUE = """
SELECT l.id, l.tenant_id, k.kind, {clock}, k.ahead
 FROM licenses l CROSS JOIN {source}
 WHERE l.id > :after AND l.unit = 0 AND l.standing = 'ok' AND l.lost_until IS NULL
  AND l.entitled_until < :horizon AND (l.grace_until > :past OR l.active_until > :past)
  AND k.plan_id = l.plan_id AND k.tenant_id = l.tenant_id
  AND (
   (k.kind = 'notice.trial_ending' AND l.trial AND NOT l.canceling AND l.entitled_until > :now
    AND l.entitled_until - k.ahead * 1000000 <= :now AND l.entitled_until - k.nearer * 1000000 > :now
    AND l.entitled_until - k.ahead * 1000000 > l.created_at)
   OR (k.kind = 'notice.grace_ending' AND l.active_until <= :now AND l.grace_until > :now
    AND l.grace_until - k.ahead * 1000000 <= :now AND l.grace_until - k.nearer * 1000000 > :now
    AND l.grace_until - k.ahead * 1000000 > l.active_until)
   OR (k.kind = 'notice.expired' AND l.active_until <= :now AND l.grace_until <= :now
    AND (l.grace_until > l.created_at OR l.active_until > l.created_at))
  )
  AND NOT EXISTS (SELECT 1 FROM announcements a WHERE a.subject_id = l.id AND a.kind = k.kind
   AND a.occurrence = {clock} || CASE k.kind WHEN 'notice.expired' THEN '' ELSE '-' || k.ahead END)
 ORDER BY l.id LIMIT :limit
"""


def list_terms(connection: sa.Connection) -> list[tuple[str, str, Terms]]:
    """Every plan with its tenant and terms, the retired too: licenses stand on them."""
    query = sa.select(plans.c.id, plans.c.tenant_id, plans.c.terms).order_by(plans.c.id)
    return [(id_, tenant, decode_terms(terms)) for id_, tenant, terms in connection.execute(query)]


def list_due(
    connection: sa.Connection,
    wanted: Sequence[Wanted],
    now: datetime,
    fresh_for: timedelta,
    *,
    after: str,
    limit: int,
) -> list[DueNotice]:
    """What is due and was never announced, in order of license id beyond `after`; at most one a license.

    An end that lies further back than `fresh_for` is no news.
    """
    if not wanted:
        return []
    columns = dict.fromkeys(("plan_id", "tenant_id", "kind"), "text")
    source = rows.recordset(connection, "k", {**columns, "ahead": "bigint", "nearer": "bigint"})
    horizon = now + timedelta(seconds=max(one.ahead for one in wanted))
    found = connection.execute(
        sa.text(_DUE.format(source=source, clock=_CLOCK)),
        {
            "rows": rows.json_of([msgspec.structs.asdict(one) for one in wanted]),
            "now": micros(now),
            "horizon": (micros(horizon) or 0) + 1,
            "past": micros(now - fresh_for),
            "after": after,
            "limit": limit,
        },
    )
    return [
        DueNotice(id_, tenant, kind, clock, clock if kind == "notice.expired" else f"{clock}-{ahead}")
        for id_, tenant, kind, clock, ahead in found
    ]
