"""What a person of the staff signs in with: adding and removing factors, recovery codes, the password.

A factor is checked and used up in one transaction, so that no code is good twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.flows import staff_mails, staff_passkeys, staff_secrets, staff_sessions
from keywright.flows.context import Context
from keywright.flows.staff_passkeys import Passkey
from keywright.flows.staff_sessions import Pending, Signed, hashed
from keywright.store import audit
from keywright.store import staff as people
from keywright.store import staff_sessions as sessions
from keywright.store.staff import Factor, Staff

phone_time = time.time
"""Phones know the real time alone: a sandbox whose clock was turned must still take their codes."""

_MOST: Final = 10
_LONGEST_NAME: Final = 60
_SECONDS: Final = ("totp", "passkey")


class Adding(msgspec.Struct, frozen=True):
    """What the page that adds a factor shows. `address`: what the QR code says. `question`: for the browser's
    authenticator, None where there can be none."""

    secret: str
    address: str
    question: dict[str, Any] | None

    def __repr__(self) -> str:
        return "Adding(...)"


# -- check ----------------------------------------------------------------------------------------------


def check(
    context: Context, connection: sa.Connection, person: Staff, challenge: str, *, code: str, answer: str
) -> str | None:
    """Check a code, a recovery code or a passkey's answer, and use it up. Returns its kind; None: wrong."""
    known = people.list_factors(connection, person.tenant_id, person.id)
    if answer:
        return _check_passkey(context, connection, known, challenge, answer)
    now = context.clock.now()
    recovery = staff_secrets.recovery_text(code)
    if recovery is not None:
        found = hashed(context, "recovery", person.id, recovery)
        used = people.use_recovery(connection, person.tenant_id, person.id, found, now)
        return "recovery" if used else None
    for factor in known:
        if factor.kind == "totp":
            step = staff_secrets.find_step(_open(context, factor), code, phone_time())
            if step is not None:
                return "totp" if people.advance(connection, factor.id, step, now) else None
    return None


def _check_passkey(
    context: Context, connection: sa.Connection, known: Sequence[Factor], challenge: str, answer: str
) -> str | None:
    site = staff_passkeys.site_of(context.policy.base_url)
    named = staff_passkeys.credential_of(answer)
    if site is None or named is None or not challenge:
        return None
    found = hashed(context, "passkey", named)
    factor = next((one for one in known if one.kind == "passkey" and one.hash == found), None)
    if factor is None:
        return None
    passkey = msgspec.json.decode(_open(context, factor), type=Passkey)
    count = staff_passkeys.proven(site, challenge, answer, passkey, factor.counter)
    if count is None:
        return None
    now = context.clock.now()
    return "passkey" if people.count_signature(connection, factor.id, factor.counter, count, now) else None


def question_for(context: Context, signed: Signed) -> dict[str, Any] | None:
    """What to ask the browser's authenticator, None when the person has no passkey. Each question is asked
    once: it is remembered until an answer comes, right or wrong."""
    site = staff_passkeys.site_of(context.policy.base_url)
    with context.database.read() as connection:
        known = people.list_factors(connection, signed.staff.tenant_id, signed.staff.id)
    passkeys = _passkeys(context, known)
    if site is None or not passkeys:
        return None
    pending = staff_sessions.pending_of(context, signed.session)
    challenge = pending.challenge
    if not challenge:
        challenge = staff_passkeys.new_challenge()
        kept = msgspec.structs.replace(pending, challenge=challenge)
        staff_sessions.keep(context, signed.session, kept)
    return staff_passkeys.ask_question(site, challenge, passkeys)


# -- add ------------------------------------------------------------------------------------------------


def begin_adding(context: Context, signed: Signed) -> None:
    """Think of a new secret for an app, and of a question for a passkey."""
    pending = staff_sessions.pending_of(context, signed.session)
    staff_sessions.keep(context, signed.session, fresh(pending))


def fresh(pending: Pending) -> Pending:
    return msgspec.structs.replace(
        pending, totp=staff_secrets.new_totp_secret(), challenge=staff_passkeys.new_challenge()
    )


def adding(context: Context, signed: Signed) -> Adding | None:
    """What to show; None when nothing was begun."""
    pending, person = staff_sessions.pending_of(context, signed.session), signed.staff
    if not pending.totp:
        return None
    with context.database.read() as connection:
        known = _passkeys(context, people.list_factors(connection, person.tenant_id, person.id))
    site, seller = staff_passkeys.site_of(context.policy.base_url), signed.tenant.name
    question = None
    if site is not None:
        question = staff_passkeys.make_question(
            site,
            pending.challenge,
            staff_id=person.id,
            email=person.email,
            seller=seller,
            known=known,
        )
    address = staff_secrets.totp_address(pending.totp, person.email, f"{seller} console")
    return Adding(pending.totp, address, question)


def factor_of(
    context: Context, person: Staff, pending: Pending, *, code: str, answer: str, name: str
) -> Factor | None:
    """The new factor that a code or an answer has confirmed; None when it has not."""
    id_, now = context.new_id("fac"), context.clock.now()
    called = _name(name, "Passkey" if answer else "Authenticator app")
    if answer:
        site = staff_passkeys.site_of(context.policy.base_url)
        made = staff_passkeys.made(site, pending.challenge, answer) if site and pending.challenge else None
        if made is None:
            return None
        passkey, count = made
        sealed = _seal(context, person, id_, msgspec.json.encode(passkey).decode())
        found = hashed(context, "passkey", passkey.credential)
        return Factor(id_, person.tenant_id, person.id, "passkey", called, now, found, sealed, count)
    step = staff_secrets.find_step(pending.totp, code, phone_time()) if pending.totp else None
    if step is None:
        return None
    sealed = _seal(context, person, id_, pending.totp)
    return Factor(id_, person.tenant_id, person.id, "totp", called, now, None, sealed, step)


def add(context: Context, signed: Signed, *, code: str, answer: str, name: str) -> bool:
    """Add what was begun, and tell the person by mail. False when the code or the answer is wrong.

    Raises Conflict when there are too many, Invalid for a name.
    """
    person, now = signed.staff, context.clock.now()
    pending = staff_sessions.pending_of(context, signed.session)
    factor = factor_of(context, person, pending, code=code, answer=answer, name=name)
    with context.database.write() as connection:
        if answer:
            sessions.keep(connection, signed.session.id, None)  # a question is asked once
        if factor is None:
            return False
        known = people.list_factors(connection, person.tenant_id, person.id)
        if sum(one.kind in _SECONDS for one in known) >= _MOST:
            raise Conflict(f"More than {_MOST} are too many: remove one first.")
        if factor.hash is not None and any(one.hash == factor.hash for one in known):
            raise Conflict("This passkey is known already.")
        people.insert_factors(connection, [factor])
        sessions.keep(connection, signed.session.id, None)
        staff_mails.owe(context, connection, person, "factor_added", factor.name)
        told = {"kind": factor.kind}
        audit.append(connection, person.tenant_id, signed.actor, "staff.factor_added", person.id, told, now)
    return True


# -- remove, renew --------------------------------------------------------------------------------------


def list_factors(context: Context, person: Staff) -> list[Factor]:
    with context.database.read() as connection:
        return people.list_factors(connection, person.tenant_id, person.id)


def remove(context: Context, signed: Signed, factor_id: str) -> None:
    """Remove a second factor. Raises NotFound, and Conflict for the last one."""
    person, now = signed.staff, context.clock.now()
    with context.database.write() as connection:
        people.find(connection, person.tenant_id, person.id, lock=True)
        known = [
            one
            for one in people.list_factors(connection, person.tenant_id, person.id)
            if one.kind in _SECONDS
        ]
        gone = next((one for one in known if one.id == factor_id), None)
        if gone is None:
            raise NotFound("You have no such second factor.")
        if len(known) == 1:
            raise Conflict("This is your last second factor. Add another one first.")
        people.drop_factors(connection, person.tenant_id, person.id, factor_id=gone.id)
        staff_mails.owe(context, connection, person, "factor_removed", gone.name)
        told = {"kind": gone.kind}
        audit.append(connection, person.tenant_id, signed.actor, "staff.factor_removed", person.id, told, now)


def make_recovery_codes(context: Context, connection: sa.Connection, person: Staff) -> list[str]:
    """Ten new codes instead of the old ones, in the caller's transaction. Shown once: hashes are kept."""
    codes = staff_secrets.new_recovery_codes()
    now = context.clock.now()
    people.drop_factors(connection, person.tenant_id, person.id, kind="recovery")
    made = [
        Factor(
            context.new_id("fac"),
            person.tenant_id,
            person.id,
            "recovery",
            "Recovery code",
            now,
            hashed(context, "recovery", person.id, code.replace("-", "")),
        )
        for code in codes
    ]
    people.insert_factors(connection, made)
    return codes


def renew_recovery_codes(context: Context, signed: Signed) -> list[str]:
    """The old codes are over. Tells the person by mail."""
    person = signed.staff
    with context.database.write() as connection:
        codes = make_recovery_codes(context, connection, person)
        staff_mails.owe(context, connection, person, "codes_made")
        now = context.clock.now()
        audit.append(connection, person.tenant_id, signed.actor, "staff.codes_made", person.id, {}, now)
    return codes


def change_password(context: Context, signed: Signed, encoded: str) -> None:
    """`encoded`: the new one's hash. Every other session of the person ends, and he is told by mail."""
    person, now = signed.staff, context.clock.now()
    with context.database.write() as connection:
        known = people.find(connection, person.tenant_id, person.id, lock=True)
        if known is None:
            raise NotFound("There is no such person any more.")
        people.change(connection, with_password(context, known, encoded))
        sessions.end(connection, person.tenant_id, staff_id=person.id, besides=signed.session.id)
        staff_mails.owe(context, connection, person, "password_changed")
        audit.append(connection, person.tenant_id, signed.actor, "staff.password_changed", person.id, {}, now)


def with_password(context: Context, person: Staff, encoded: str) -> Staff:
    sealed = context.vault.seal(person.tenant_id, "staff-password", person.id, encoded)
    return msgspec.structs.replace(person, password_sealed=sealed, password_at=context.clock.now())


# -- sealing --------------------------------------------------------------------------------------------


def _seal(context: Context, person: Staff, factor_id: str, text: str) -> str:
    return context.vault.seal(person.tenant_id, "staff-factor", factor_id, text)


def _open(context: Context, factor: Factor) -> str:
    return context.vault.unseal(factor.tenant_id, "staff-factor", factor.id, factor.sealed or "")


def _passkeys(context: Context, known: Sequence[Factor]) -> list[Passkey]:
    return [msgspec.json.decode(_open(context, one), type=Passkey) for one in known if one.kind == "passkey"]


def _name(typed: str, otherwise: str) -> str:
    name = typed.strip() or otherwise
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise Invalid(f"A name has at most {_LONGEST_NAME} printable characters.")
    return name
