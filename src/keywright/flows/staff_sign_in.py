"""Signing in to the console: password, then a second factor.

Nobody learns which accounts there are: an unknown one is checked against a hash that no password has, and is
refused in the same words. Where a passkey, a code or a link failed is told, because by then one has proved
to know the password.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.email_address import folded
from keywright.flows import staff_factors, staff_mails, staff_secrets, staff_sessions
from keywright.flows.context import Context
from keywright.flows.staff_sessions import Signed, Tries
from keywright.store import audit
from keywright.store import staff as people
from keywright.store import staff_sessions as sessions
from keywright.store.staff import Staff

log = structlog.get_logger(__name__)


class Known(msgspec.Struct, frozen=True):
    """Whom a sign-in is about, and the hash to check the password with. `person` None: nobody we know."""

    person: Staff | None
    encoded: str
    tries: Tries

    def __repr__(self) -> str:
        return "Known(...)"


# -- password -------------------------------------------------------------------------------------------


def look_up(context: Context, email: str, place: str, at: str = "") -> Known:
    """Count the try, and find whom it is about.

    Args:
        place: the caller's address.
        at: the slug of the tenant where the person works; empty: the master tenant, else where the address
            is known first. One who works for several says it.

    Raises TooMany.
    """
    address, at = folded(email.strip()), at.strip().lower()
    tries = _tries_at(context, address, at, place)
    staff_sessions.count_try(context, tries)
    with context.database.read() as connection:
        person = people.find_anywhere(connection, address, at)
    if person is None:
        return Known(None, _nobodys_hash(context), tries)
    return Known(person, password_hash(context, person), tries)


def _tries_at(context: Context, address: str, at: str, place: str) -> Tries:
    """By what was typed and not by whom it found: so a count tells nobody who works where."""
    return staff_sessions.tries_for(context, f"{address}\n{at or context.master.slug}", place)


def _forget_guesses(context: Context, connection: sa.Connection, signed: Signed, place: str) -> None:
    """Those at this account alone: whoever has one of the same address elsewhere may not clear others'."""
    person, doors = signed.staff, [signed.tenant.slug]
    first = people.find_anywhere(connection, person.email, "")
    if first is not None and first.id == person.id:
        doors.append("")
    for at in doors:
        guessed = _tries_at(context, person.email, at, place)
        sessions.forget_tries(connection, guessed.account, context.clock.now())


def _nobodys_hash(context: Context) -> str:
    """A hash that no password has, by way of the vault: somebody's comes from there, too."""
    tenant, place = context.master.id, ("staff-password", "nobody")
    sealed = context.vault.seal(tenant, *place, staff_secrets.nobodys_hash())
    return context.vault.unseal(tenant, *place, sealed)


def password_hash(context: Context, person: Staff) -> str:
    """The hash to check a person's password with."""
    if person.password_sealed is None:
        return staff_secrets.nobodys_hash()
    return context.vault.unseal(person.tenant_id, "staff-password", person.id, person.password_sealed)


def refuse(known: Known) -> None:
    """Note a wrong password. The same for whoever is unknown; no address reaches the log."""
    log.warning("staff_sign_in_refused", account=known.tries.account[:12])


def ask_second(context: Context, known: Known, agent: str) -> str | None:
    """The password was right: begin a session that is asked for a second factor. Returns its secret."""
    if known.person is None:
        return None
    with context.database.write() as connection:
        staff_sessions.take_back(connection, known.tries)
        return staff_sessions.start(context, connection, known.person, "second", agent)


# -- second factor --------------------------------------------------------------------------------------


def finish(context: Context, signed: Signed, place: str, *, code: str, answer: str) -> str | None:
    """Check the second factor. Returns the secret of a new session; None when it was wrong.

    Raises TooMany.
    """
    person = signed.staff
    # Apart from the passwords that anybody may guess: whoever has come this far is not kept out by them.
    tries = staff_sessions.tries_for(context, f"second {person.id}", place)
    staff_sessions.count_try(context, tries)
    challenge = staff_sessions.pending_of(context, signed.session).challenge
    now = context.clock.now()
    with context.database.write() as connection:
        kind = staff_factors.check(context, connection, person, challenge, code=code, answer=answer)
        if kind is None:
            sessions.keep(connection, signed.session.id, None)  # a question is asked once
            told = {"with": "passkey" if answer else "code"}
            audit.append(
                connection, person.tenant_id, signed.actor, "staff.second_factor_failed", person.id, told, now
            )
            return None
        if sessions.end(connection, person.tenant_id, session_id=signed.session.id) != 1:
            return None  # another request was faster
        staff_sessions.forget(context, connection, tries)
        _forget_guesses(context, connection, signed, place)
        if kind == "recovery":
            staff_mails.owe(context, connection, person, "code_used")
        told = {"with": kind}
        audit.append(connection, person.tenant_id, signed.actor, "staff.signed_in", person.id, told, now)
        return staff_sessions.start(context, connection, person, "full", signed.session.agent)


# -- once more ------------------------------------------------------------------------------------------


def known_again(context: Context, signed: Signed, place: str) -> Known:
    """For somebody who is signed in and proves to be himself. Counts the try. Raises TooMany."""
    # Apart from the passwords that anybody may guess at the door, as above.
    tries = staff_sessions.tries_for(context, f"again {signed.staff.id}", place)
    staff_sessions.count_try(context, tries)
    return Known(signed.staff, password_hash(context, signed.staff), tries)


def prove_again(
    context: Context, signed: Signed, known: Known, right: bool, *, code: str, answer: str
) -> bool:
    """`right`: the password was. Checks the second factor, too, and notes the proof in the session."""
    person, now = signed.staff, context.clock.now()
    challenge = staff_sessions.pending_of(context, signed.session).challenge
    with context.database.write() as connection:
        kind = None
        if right:
            kind = staff_factors.check(context, connection, person, challenge, code=code, answer=answer)
        if kind is None:
            sessions.keep(connection, signed.session.id, None)
            told = {"with": "password" if not right else "passkey" if answer else "code"}
            audit.append(
                connection, person.tenant_id, signed.actor, "staff.proof_failed", person.id, told, now
            )
            return False
        sessions.prove(connection, signed.session.id, now)
        staff_sessions.forget(context, connection, known.tries)
        if kind == "recovery":
            staff_mails.owe(context, connection, person, "code_used")
        told = {"with": kind}
        audit.append(connection, person.tenant_id, signed.actor, "staff.proved", person.id, told, now)
    return True


def sign_out(context: Context, signed: Signed) -> None:
    """End the session one is in."""
    person, now = signed.staff, context.clock.now()
    with context.database.write() as connection:
        sessions.end(connection, person.tenant_id, session_id=signed.session.id)
        audit.append(connection, person.tenant_id, signed.actor, "staff.signed_out", person.id, {}, now)
