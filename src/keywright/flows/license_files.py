"""License files: what a program runs on for weeks without asking. A signed snapshot of the license, recorded.

A file cannot be taken back as a lease can, so it ends with the plan's longest offline time or with the
license's last valid moment, whichever is first, and it is bound to an activated machine unless the plan
lets it travel. What ended earlier is on the list of what was revoked (`flows/revocations.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from keywright.domain import fingerprint, license_file, license_token, seat
from keywright.domain.activation import Activation
from keywright.domain.errors import Conflict, Invalid
from keywright.domain.license import License, seats_at
from keywright.domain.plan import FOREVER, later_by
from keywright.domain.verdict import DETAIL, Code, is_valid, last_valid
from keywright.flows.context import Context
from keywright.flows.license_writes import record
from keywright.flows.licensing import Ask, Asked, Verdict, judge_asked, not_found, verdict_of
from keywright.store import license_files, licenses
from keywright.store.license_files import LicenseFile
from keywright.store.licenses import Found

MOST_DAYS: Final = 3660
# After its end. A program may fetch a file every day, and its rows must not grow for ever.
_KEPT_FOR: Final = timedelta(days=30)


class FileAsk(Ask, frozen=True):
    """`days`: for how long, at the most; None: for as long as the plan lets a file live."""

    days: int | None = None


class FileMade(msgspec.Struct, frozen=True):
    """`token` is what `file` holds between its two lines."""

    file: str
    token: str
    expires_at: datetime


def check_days(days: int | None) -> None:
    """Raises Invalid."""
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise Invalid(f"`days` must be 1 to {MOST_DAYS}.", code="DAYS_INVALID")


def make(context: Context, asked: Asked, days: int | None = None) -> FileMade | Verdict:
    """A license file, or the verdict that refuses it. One transaction: the file, its row, the timeline.

    Raises Invalid; Conflict where the plan's entitlements and limits do not fit into a file.
    """
    check_days(days)
    if asked.key_hash is None:
        return not_found(context, asked)
    # What signs a file must hold for as long as the file: not a key that was revoked a moment ago.
    context.signer.refresh()
    with context.database.write() as connection:
        found = licenses.lock(connection, asked.key_hash, asked.fingerprint_hash)
        if found is None:
            return not_found(context, asked)
        now = context.clock.now()
        code = _judge(context, asked, found, now)
        if not is_valid(code):
            return verdict_of(asked, found, code, found.activation, None, now)
        # Without a machine only a portable file comes this far, which is bound to none.
        machine = asked.ask.fingerprint
        mid = "" if machine is None else fingerprint.mid(found.product, machine)
        return _write(context, connection, found, code, days, now, mid)


def make_held(context: Context, held: License, machine_hash: str | None) -> FileMade:
    """A license file for whoever holds a license, without its key: for one of its machines, or portable.

    The fingerprint is not known here, but the machine's own lease says what a file for it is bound to.

    Args:
        machine_hash: the fingerprint hash of the machine; None: a file that is bound to none.

    Raises:
        Conflict: `NO_FILE` where the license is not good now or the plan lets no file travel,
            `MACHINE_NOT_HEARD` where the machine has no lease that is still good, `FILE_TOO_LARGE`.
    """
    context.signer.refresh()
    asked = Asked(Ask(""), held.key_hash, machine_hash)
    with context.database.write() as connection:
        found = licenses.lock(connection, held.key_hash, machine_hash)
        if found is None or found.license.id != held.id:
            raise Conflict("The license was changed meanwhile. Please try again.", code="NO_FILE")
        now = context.clock.now()
        code = _judge(context, asked, found, now)
        if not is_valid(code):
            raise Conflict(DETAIL[code][1], code="NO_FILE")
        mid = "" if found.activation is None else _told_mid(context, found, found.activation)
        return _write(context, connection, found, code, None, now, mid)


def _told_mid(context: Context, found: Found, bound: Activation) -> str:
    """What the machine's newest lease says it is bound to. Raises Conflict."""
    tenant, unheard = found.license.tenant_id, "The machine has to be heard of first."
    try:
        told = license_token.open_signed(
            bound.lease or "", typ="lease+jwt", keys=context.signer.verifiers(tenant, "lease+jwt")
        )
    except license_token.TokenRefused as error:
        raise Conflict(unheard, code="MACHINE_NOT_HEARD") from error
    mid = told.get("mid")
    if told.get("sub") != found.license.id or not isinstance(mid, str):
        raise Conflict(unheard, code="MACHINE_NOT_HEARD")
    return mid


def _judge(context: Context, asked: Asked, found: Found, now: datetime) -> Code:
    code = judge_asked(context, asked, found, now)
    if not is_valid(code):
        return code
    portable = found.plan.terms.portable_file and asked.fingerprint_hash is None
    if found.activation is None and not portable:
        return "NOT_ACTIVATED"
    if found.activation is not None and seat.is_lapsed(found.activation, found.plan, now):
        return "NOT_ACTIVATED"
    return code


def _write(
    context: Context,
    connection: sa.Connection,
    found: Found,
    code: Code,
    days: int | None,
    now: datetime,
    mid: str,
) -> FileMade:
    held, bound = found.license, found.activation
    id_ = context.new_id("fil")
    second = now.replace(microsecond=0)
    until = _end(found, days, now).replace(microsecond=0)
    status: Literal["grace", "active"] = "grace" if code == "GRACE" else "active"
    claims = license_token.file_claims(
        iss=context.issuer(held.tenant_id),
        sub=held.id,
        aud=found.product,
        iat=_seconds(second),
        nbf=_seconds(second),
        exp=_seconds(until),
        jti=id_,
        plan=found.plan.slug,
        seats=_seats_until(held, now, until),
        entitlements=found.plan.terms.entitlements,
        limits=found.plan.terms.limits,
        status=status,
        firm=held.firm,
        off=found.plan.terms.offline_file,
        entitled_until=_clock(held.entitled_until),
        grace_until=_clock(held.grace_until),
        mid=mid if bound is not None else None,
    )
    token = context.signer.sign(held.tenant_id, "lic+jwt", claims)
    file = _wrapped(token)
    kid = license_token.key_id(token)
    activation = bound.id if bound is not None else None
    license_files.forget(connection, held.id, now - _KEPT_FOR)
    license_files.insert(
        connection, LicenseFile(id_, held.tenant_id, held.id, activation, kid, second, until)
    )
    detail = {"file": id_, "activation": activation, "until": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
    record(context, connection, held, held, "license.file_issued", detail=detail, now=now)
    return FileMade(file, token, until)


def _wrapped(token: str) -> str:
    try:
        return license_file.wrap(token)
    except ValueError:
        detail = "The plan's entitlements and limits do not fit into a license file."
        raise Conflict(detail, code="FILE_TOO_LARGE") from None


def _end(found: Found, days: int | None, now: datetime) -> datetime:
    """When the file ends. The license is valid at every moment until then, as far as is known now."""
    longest = found.plan.terms.offline_file
    wanted = longest if days is None else min(days * 86400, longest)
    ends = [later_by(now, wanted), last_valid(found.license, now)]
    # A floating seat goes to somebody else by itself.
    held = seat.until(found.activation, found.plan) if found.activation is not None else None
    return min([*ends, held] if held is not None else ends)


def _seats_until(held: License, now: datetime, until: datetime) -> int:
    """The seats that there are for as long as the file lives: fewer ones may begin before it ends."""
    return min(seats_at(held, now), seats_at(held, until - timedelta(seconds=1)))


def _clock(moment: datetime | None) -> int | None:
    return None if moment is None or moment == FOREVER else _seconds(moment)


def _seconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp())
