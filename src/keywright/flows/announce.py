"""Announce: send the mails a batch owes, then write down what became of them.

Marked after sending, under a message id that stays the same: after a crash a mail may go out twice, and shows
that it is the same mail; it is never lost.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain import device
from keywright.domain.email_address import is_erased
from keywright.domain.errors import MailDelayed, MailRefused, NotFound
from keywright.domain.license import License, seats_at
from keywright.domain.look import Look
from keywright.flows import (
    alarms,
    firm_keys,
    letter_looks,
    license_keys,
    notices,
    portal_address,
    portal_sign_in,
    staff_mails,
)
from keywright.flows.context import Context
from keywright.flows.intake import name_of
from keywright.flows.license_writes import resealed
from keywright.ports import Letter, LicenseLetter, Mail
from keywright.store import announcements, letters, licenses, portal_links, timeline
from keywright.store.announcements import Announcement
from keywright.store.letters import LetterSource
from keywright.store.rows import micros

log = structlog.get_logger(__name__)

ATTEMPTS = 12
AT_ONCE = 64
_PORTAL = (portal_sign_in.KIND, *portal_links.ADDRESS_KINDS)
STRANDED_AFTER = timedelta(minutes=10)
_MARK_WITHIN = 30.0  # seconds of sending; what a crash could double stays small when the mail server is slow
_STRANDED_LIMIT = 1000
_PAUSES = (0.1, 0.3, 1.0, 3.0, None)  # seconds before marking is tried again


class _Result(msgspec.Struct, frozen=True):
    """What became of one announcement. `domain`: of the address, the only part of it that may be told.

    `outdated`: it is not true any more, or no news, and was not sent.
    """

    status: Literal["sent", "failed", "delayed", "waiting", "outdated"]
    error: str | None = None
    domain: str | None = None


def send_due(context: Context, batch: str) -> float | None:
    """Send what the batch owes and is due, and mark it.

    Safe to repeat and to run twice at once: whatever is marked is not marked again.

    Returns:
        Seconds of real time until the next attempt is due, or None when the batch owes nothing more.
    """
    while True:
        with context.database.read() as connection:
            owed = announcements.pending(connection, batch)
        now = context.clock.now()
        due = [one for one in owed if _due_at(one) <= now]
        if not due:
            break
        while due:
            tried, results = _send(context, due[:AT_ONCE])
            _mark(context, batch, tried, results)
            due = due[len(tried) :]
    if not owed:
        return None
    return max(0.0, (min(map(_due_at, owed)) - now).total_seconds())


def resend(context: Context, connection: sa.Connection, held: License) -> None:
    """Owe the customer the license mail once more, in the caller's transaction."""
    batch = context.new_id("bat")
    owed = Announcement(
        id=context.new_id("ann"),
        tenant_id=held.tenant_id,
        kind="license.issued",
        occurrence=context.new_id("occ"),
        subject_id=held.id,
        license_id=held.id,
        batch=batch,
        created_at=context.clock.now(),
    )
    announcements.insert(connection, [owed])
    context.followups.announce(connection, batch)


def owe_stranded(context: Context) -> list[str]:
    """Batches to look at again: an attempt is due, or nobody ever tried and its workflow must be gone."""
    now = context.clock.now()
    with context.database.read() as connection:
        return announcements.stranded(connection, now, now - STRANDED_AFTER, _STRANDED_LIMIT)


def take_up(context: Context) -> None:
    """Have everything that is owed and was never tried looked at soon, whoever was to do it.

    For a database that was just filled from another one: what was under way there stayed behind.
    """
    now = context.clock.now()
    with context.database.write() as connection:
        for batch in announcements.stranded(connection, now, now, _STRANDED_LIMIT):
            context.followups.announce(connection, batch)


def backoff(attempts: int) -> timedelta:
    """How long to wait after the given number of attempts: 30 s, doubling, at most 2 h."""
    return min(timedelta(seconds=30 * 2 ** (attempts - 1)), timedelta(hours=2))


def _due_at(owed: Announcement) -> datetime:
    return owed.next_attempt_at or owed.created_at


# -- send -----------------------------------------------------------------------------------------------


def _send(context: Context, due: Sequence[Announcement]) -> tuple[list[Announcement], dict[str, _Result]]:
    """Try the announcements in turn until it takes too long. Returns those tried and what became of them."""
    with context.database.read() as connection:
        known = letters.sources(connection, due)
        worn = letter_looks.of(connection, due)
    results: dict[str, _Result] = {}
    tried = []
    started = time.monotonic()
    for owed in due:
        context.traffic.give_way()
        source = known.get(owed.license_id or "")
        look = letter_looks.spoken(worn[owed.tenant_id], owed, source)
        results[owed.id] = _send_of(context, owed, source, look)
        tried.append(owed)
        if time.monotonic() - started > _MARK_WITHIN:
            break
    _warn(due[0].batch, results)
    return tried, results


def _warn(batch: str, results: Mapping[str, _Result]) -> None:
    """One line for the mails that did not go out: a mail server that is down would say the same of each."""
    errors = [one.error for one in results.values() if one.status in ("delayed", "failed")]
    if errors:
        log.warning("mails_not_sent", batch=batch, mails=len(errors), error=errors[0])


def _send_of(context: Context, owed: Announcement, source: LetterSource | None, look: Look) -> _Result:
    """Try one for its tenant. Nothing goes out for one that is being shredded, and its neighbors' mails do:
    a batch may be of several tenants."""
    try:
        own = context.of(owed.tenant_id)
    except NotFound:
        return _Result("outdated")
    return _send_one(own, owed, source, look)


def _send_one(context: Context, owed: Announcement, source: LetterSource | None, look: Look) -> _Result:
    to = _address(context, owed, source)
    if is_erased(to) or (to is None and owed.kind in _PORTAL):
        return _Result("outdated")
    if not to:
        return _Result("waiting") if owed.license_id else _Result("failed", "NO_ALERT_EMAIL")
    domain = to.rpartition("@")[2]
    try:
        if source is not None and notices.is_outdated(owed, source.license, context.clock.now()):
            return _Result("outdated")
        written = _letter(context, owed, source, look)
        named = message_id(context, owed.id)
        context.mailer.send(Mail(to, written.subject, written.text, written.html, named, written.logo))
    except MailRefused as error:
        return _Result("failed", f"{error.code}: {error.detail}", domain)
    except MailDelayed as error:
        return _last_or_delayed(owed, f"{error.code}: {error.detail}", domain)
    except Exception as error:  # noqa: BLE001  # one broken row must not hold up its neighbors' mails
        return _broken(owed, error, domain)
    return _Result("sent", domain=domain)


def _address(context: Context, owed: Announcement, source: LetterSource | None) -> str | None:
    """To whom it goes, as far as is known."""
    if owed.kind == portal_sign_in.KIND:
        return portal_sign_in.address_of(context, owed.subject_id)
    if owed.kind in portal_links.ADDRESS_KINDS:
        return portal_address.address_of(context, owed)
    if owed.kind.startswith(staff_mails.PREFIX):
        return staff_mails.address_of(context, owed)
    if owed.license_id is None:
        return context.policy.alert_email
    return source.email if source is not None else None


def _broken(owed: Announcement, error: Exception, domain: str) -> _Result:
    log.error("letter_failed", announcement=owed.id, kind=owed.kind, error=name_of(error))
    return _last_or_delayed(owed, name_of(error), domain)


def _last_or_delayed(owed: Announcement, error: str, domain: str) -> _Result:
    return _Result("failed" if owed.attempts + 1 >= ATTEMPTS else "delayed", error, domain)


def _letter(context: Context, owed: Announcement, source: LetterSource | None, look: Look) -> Letter:
    if owed.kind.startswith("alarm."):
        detail = msgspec.json.decode(owed.detail, type=dict[str, Any])
        kind, seller = owed.kind.removeprefix("alarm."), context.tenant.name
        return context.letters.alarm(kind, owed.subject_id, detail, seller, look)
    if owed.kind == portal_sign_in.KIND:
        return portal_sign_in.letter_of(context, owed.subject_id, look)
    if owed.kind in portal_links.ADDRESS_KINDS:
        return portal_address.letter_of(context, owed, look)
    if owed.kind.startswith(staff_mails.PREFIX):
        return staff_mails.letter_of(context, owed, look)
    if owed.kind == "license.issued" and source is not None:
        return context.letters.license_issued(_license_letter(context, source), look)
    if owed.kind.startswith(notices.PREFIX) and source is not None:
        return context.letters.notice(notices.letter_of(context, owed, source), look)
    raise MailRefused("there is no letter of this kind")


def _license_letter(context: Context, source: LetterSource) -> LicenseLetter:
    held = source.license
    seats = seats_at(held, context.clock.now())
    kept = context.vault.unseal(held.tenant_id, "license-key", held.id, held.key_sealed)
    firm_key = firm_keys.opened(context, held)
    return LicenseLetter(
        seller=source.seller,
        product=source.product,
        plan=source.plan,
        key=license_keys.printed(source.key_prefix, kept),
        seats=seats,
        machines=source.terms.machines(seats),
        valid_until=held.entitled_until,
        renews=source.terms.term == "subscription" and held.purchase_id is not None and not held.canceling,
        trial=held.trial,
        device=None if source.device is None else device.shown_name(source.device),
        manage_url=f"{context.base_url}/portal",
        hmac_key=None if firm_key is None else firm_key.short,
        hmac_last_day=None if firm_key is None else firm_key.body.last_date,
    )


def message_id(context: Context, announcement: str) -> str:
    """What a mail is called on its way, from its own id."""
    host = urlsplit(context.policy.base_url).hostname or "localhost"
    # RFC 5322 3.6.4: an IPv6 address stands in brackets.
    return f"<{announcement}@[{host}]>" if ":" in host else f"<{announcement}@{host}>"


# -- mark -----------------------------------------------------------------------------------------------


def _mark(context: Context, batch: str, tried: Sequence[Announcement], results: dict[str, _Result]) -> None:
    """Write what became of the mails, in one transaction.

    Tried again on a deadlock: the mails are out, and an error here would send them once more.
    """
    for pause in _PAUSES:
        try:
            with context.database.write() as connection:
                _write(context, connection, batch, tried, results)
        except sa.exc.OperationalError:
            if pause is None:
                raise
            time.sleep(pause)
        else:
            return


def _write(
    context: Context,
    connection: sa.Connection,
    batch: str,
    tried: Sequence[Announcement],
    results: Mapping[str, _Result],
) -> None:
    now = context.clock.now()
    held = letters.lock(connection, tried)
    told = _told_meanwhile(connection, tried, results, held)
    still = {a.id for a in announcements.pending(connection, batch)}
    entries: list[timeline.Entry] = []
    changes = []
    changed: dict[str, License] = {}
    for owed in tried:
        if owed.id not in still or owed.id in told:
            continue  # another run was first; or the address is known now, and the next round sends it
        result = results[owed.id]
        changes.append(_change(owed, result, now))
        one = held.get(owed.license_id or "")
        if one is not None and result.status in ("sent", "failed"):
            after, entry = _tell(context, one, owed, result, now)
            held[after.id] = changed[after.id] = after
            entries.append(entry)
        if result.status == "failed":
            _alarm(context, connection, owed, result)
    licenses.update(connection, list(changed.values()))
    timeline.insert(connection, entries)
    announcements.settle(connection, changes)


def _told_meanwhile(
    connection: sa.Connection,
    tried: Sequence[Announcement],
    results: Mapping[str, _Result],
    held: Mapping[str, License],
) -> set[str]:
    """Of the mails that have no address: those whose customer's address was learned while we were sending.

    The customers stay locked, so that whoever learns an address after this finds the mail waiting.
    """
    waiting = {
        owed.id: one.customer_id or ""
        for owed in tried
        if results[owed.id].status == "waiting" and (one := held.get(owed.license_id or "")) is not None
    }
    addresses = letters.lock_addresses(connection, sorted(waiting.values()))
    return {id_ for id_, customer in waiting.items() if addresses.get(customer)}


def _change(owed: Announcement, result: _Result, now: datetime) -> dict[str, Any]:
    delayed = result.status == "delayed"
    attempts = owed.attempts + (result.status not in ("waiting", "outdated"))
    return {
        "id": owed.id,
        "status": "pending" if delayed else result.status,
        "attempts": attempts,
        "next_attempt_at": micros(now + backoff(attempts)) if delayed else None,
        "sent_at": micros(now) if result.status == "sent" else None,
        "error": result.error,
    }


def _tell(
    context: Context, held: License, owed: Announcement, result: _Result, now: datetime
) -> tuple[License, timeline.Entry]:
    """The timeline entry of a mail. It names the announcement, not the address."""
    detail: dict[str, Any] = {"mail": owed.kind, "announcement": owed.id}
    if result.error is not None:
        detail["error"] = result.error
    after, entry = timeline.append(held, f"mail.{result.status}", detail, now)
    return resealed(context, held, after), entry


def _alarm(context: Context, connection: sa.Connection, owed: Announcement, result: _Result) -> None:
    """Tell the operator, except about an alarm: that one would not arrive either."""
    if owed.kind.startswith("alarm."):
        log.error("alarm_undeliverable", announcement=owed.id, error=result.error)
        return
    detail = {"mail": owed.kind, "license": owed.license_id, "domain": result.domain, "error": result.error}
    alarms.raise_alarm(context, connection, "mail_undeliverable", owed.id, detail)
