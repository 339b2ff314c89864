"""People who work at a shop, and have signed in: through the flows, for by pages it would take a while."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from keywright.flows import staff, staff_secrets, staff_sessions
from keywright.flows.context import Context
from keywright.flows.staff_sessions import Signed

PASSWORD = "four words nobody says"

_hashed = cache(staff_secrets.hashed)


def hire(
    context: Context, email: str, role: str = "owner", tenant: str | None = None
) -> tuple[Signed, str, str]:
    """Somebody who has signed in, at the master tenant or this one. Returns him, his session's secret, and
    that of his app."""
    _, link = staff.create(context, tenant or context.master.id, email, role, "test")
    secret = link.rsplit("/", 1)[-1]
    begun = staff.begin_setup(context, secret, email, _hashed(PASSWORD), "Chrome on Linux")
    assert begun is not None
    signed = staff_sessions.find(context, begun, "setup")
    assert signed is not None
    totp = staff_sessions.pending_of(context, signed.session).totp
    step = int(datetime.now(UTC).timestamp() // 30) - 1  # the one before, so that the next is good to sign in
    done = staff.finish_setup(
        context, signed, code=staff_secrets.code_of(totp, step), answer="", name="Telephone"
    )
    assert done is not None
    return signed, done[0], totp
