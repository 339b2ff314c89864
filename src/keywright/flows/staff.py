"""Who works here: accounts, roles, and the one-time links with which people set themselves up.

The first person sets himself up with a link that `serve` prints while nobody is there. A link is used up when
the set-up is complete, second factor included; until then it can be opened again.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.email_address import folded, is_email_address
from keywright.domain.errors import Conflict, Forbidden, Invalid, NotFound
from keywright.domain.staff import IDLE, ROLES, is_role
from keywright.flows import staff_factors, staff_mails, staff_sessions, tenant_seats
from keywright.flows.context import Context
from keywright.flows.staff_sessions import Pending, Signed, hashed
from keywright.store import audit
from keywright.store import staff as people
from keywright.store import staff_sessions as sessions
from keywright.store.staff import Link, Staff
from keywright.store.staff_sessions import Session

LINK_LIVES: Final = timedelta(hours=24)


class Invitation(msgspec.Struct, frozen=True):
    """What a good link is for. `email` None: for the first person, who says it himself."""

    email: str | None
    role: str


class StaffRow(msgspec.Struct, frozen=True):
    """A person as listed. `state`: invited, active or closed."""

    id: str
    email: str
    role: str
    state: str
    created_at: datetime
    sessions: int


# -- links ----------------------------------------------------------------------------------------------


def first_link(context: Context) -> str | None:
    """The address at which the first person sets himself up; None when somebody is there already."""
    with context.database.read() as connection:
        if people.anybody_ready(connection, context.master.id):
            return None
    with context.database.write() as connection:
        return _new_link(context, connection, context.master.id, None)


def check(email: str, role: str) -> tuple[str, str]:
    """The address as it is kept, and the role. Raises Invalid for what is none."""
    _check_role(role)
    return _address(email), role


def create(
    context: Context, tenant: str, email: str, role: str, by: str, *, why: str | None = None
) -> tuple[Staff, str]:
    """Make an account, and the address at which the person sets it up. Made again for one who has not yet,
    and for one whose account was closed.

    Raises Invalid; Conflict when there is somebody with this address, or no license for one more.
    """
    address = _address(email)
    _check_role(role)
    with context.database.write() as connection:
        people.lock_tenant(connection, tenant)
        known = people.find_by_email(connection, tenant, address)
        if known is not None and known.ready_at is not None and known.ended_at is None:
            raise Conflict("There is somebody with this address already.", code="STAFF_KNOWN")
        if known is None or known.ended_at is not None:
            tenant_seats.check_room(context, connection, tenant)
        person = Staff(context.new_id("stf"), tenant, address, role, context.clock.now())
        person = _let_in(connection, known, person, by, why)
        return person, _new_link(context, connection, tenant, person.id)


def invite_first(context: Context, connection: sa.Connection, tenant: str, email: str, by: str) -> str | None:
    """Make the first owner of a new tenant and owe the mail that lets him in, in the caller's transaction.

    Done again it brings a new link. Returns the person's id; None when he, or another owner, has set himself
    up already: that one lets others in.
    Nobody asks whether there is a license for him: somebody has to buy it.
    """
    address = _address(email)
    people.lock_tenant(connection, tenant)
    known = people.find_by_email(connection, tenant, address)
    if known is not None and known.ready_at is not None and known.ended_at is None:
        return None
    if people.count_owners(connection, tenant):
        return None
    person = Staff(context.new_id("stf"), tenant, address, "owner", context.clock.now())
    person = _let_in(connection, known, person, by, None)
    link = _mailed_link(context, connection, person)
    staff_mails.owe(context, connection, person, "invited", link=link)
    return person.id


def _let_in(connection: sa.Connection, known: Staff | None, person: Staff, by: str, why: str | None) -> Staff:
    now = person.created_at
    if known is None:
        people.insert(connection, person)
    else:
        # Somebody who comes back begins anew, under the id that old timelines name.
        person = msgspec.structs.replace(known, role=person.role, ended_at=None, ready_at=None)
        people.change(connection, person)
    told = {"role": person.role, **({"why": why} if why else {})}
    audit.append(connection, person.tenant_id, by, "staff.created", person.id, told, now)
    return person


def renew_link(context: Context, tenant: str, staff_id: str, by: str) -> str:
    """A new set-up link for somebody who has lost what he signed in with. What he has goes on until it is
    used. Raises NotFound."""
    now = context.clock.now()
    with context.database.write() as connection:
        person = _get(connection, tenant, staff_id)
        audit.append(connection, tenant, by, "staff.link_made", person.id, {}, now)
        return _new_link(context, connection, tenant, person.id)


def find_id(context: Context, tenant: str, email: str) -> str:
    """The id of the person with this address. Raises NotFound."""
    with context.database.read() as connection:
        person = people.find_by_email(connection, tenant, folded(email.strip()))
    if person is None:
        raise _unknown()
    return person.id


def _new_link(context: Context, connection: sa.Connection, tenant: str, staff_id: str | None) -> str:
    now, secret = context.clock.now(), secrets.token_urlsafe(32)
    if staff_id is not None:
        people.void_links(connection, tenant, staff_id, now)
    link = Link(
        context.new_id("slk"), tenant, staff_id, hashed(context, "link", secret), now, now + LINK_LIVES
    )
    people.insert_link(connection, link, now)
    return f"{context.policy.base_url}/console/setup/{secret}"


def _mailed_link(context: Context, connection: sa.Connection, person: Staff) -> str:
    """A set-up link whose secret is made from its id, so that no row has to hold it until it is sent."""
    now, id_ = context.clock.now(), context.new_id("slk")
    people.void_links(connection, person.tenant_id, person.id, now)
    secret = hashed(context, "link", staff_mails.secret_of(context, id_))
    people.insert_link(connection, Link(id_, person.tenant_id, person.id, secret, now, now + LINK_LIVES), now)
    return id_


# -- set-up ---------------------------------------------------------------------------------------------


def open_link(context: Context, secret: str) -> Invitation | None:
    """What a link is for; None when it is no good. Uses nothing up."""
    with context.database.read() as connection:
        found = _good_link(context, connection, secret)
        if found is None:
            return None
        person = people.find(connection, found.tenant_id, found.staff_id) if found.staff_id else None
        first = person is None or not people.anybody_ready(connection, found.tenant_id)
    if person is None:
        return Invitation(None, "owner")
    return Invitation(None if first and person.role == "owner" else person.email, person.role)


def begin_setup(context: Context, secret: str, email: str, encoded: str, agent: str) -> str | None:
    """Begin the set-up with a link: the password is chosen (`encoded`: its hash), a second factor comes next.

    Returns the secret of a session for the set-up alone; None when the link is no good. Raises Invalid for
    the first person's address.
    """
    with context.database.write() as connection:
        link = _good_link(context, connection, secret)
        if link is None:
            return None
        person = people.find(connection, link.tenant_id, link.staff_id) if link.staff_id else None
        if person is None or (person.ready_at is None and _is_first(connection, link, person)):
            person = _first_person(context, connection, link, person, email)
        if person.ready_at is None:
            sessions.end(connection, person.tenant_id, staff_id=person.id)
        pending = staff_factors.fresh(Pending(password=encoded))
        return staff_sessions.start(
            context, connection, person, "setup", agent, pending=pending, link_id=link.id
        )


def _is_first(connection: sa.Connection, link: Link, person: Staff) -> bool:
    """Whether this link makes the first person, who may still change his mind about his address."""
    return person.role == "owner" and not people.anybody_ready(connection, link.tenant_id)


def _first_person(
    context: Context, connection: sa.Connection, link: Link, known: Staff | None, email: str
) -> Staff:
    address = _address(email)
    there = people.find_by_email(connection, link.tenant_id, address)
    if there is not None:
        people.tie_link(connection, link.id, there.id)
        owner = msgspec.structs.replace(there, role="owner", ended_at=None)
        people.change(connection, owner)
        return owner
    if known is not None:
        changed = msgspec.structs.replace(known, email=address)
        people.change(connection, changed)
        return changed
    person = Staff(context.new_id("stf"), link.tenant_id, address, "owner", context.clock.now())
    people.insert(connection, person)
    people.tie_link(connection, link.id, person.id)
    return person


def finish_setup(
    context: Context, signed: Signed, *, code: str, answer: str, name: str
) -> tuple[str, list[str]] | None:
    """Confirm the second factor and complete the set-up. Returns the secret of a session, and the recovery
    codes, which nobody can show again; None when the code or the answer is wrong.

    Raises Forbidden when the link was used meanwhile.
    """
    person, session = signed.staff, signed.session
    pending = staff_sessions.pending_of(context, session)
    factor = staff_factors.factor_of(context, person, pending, code=code, answer=answer, name=name)
    if factor is None:
        return None
    now = context.clock.now()
    with context.database.write() as connection:
        people.lock_tenant(connection, person.tenant_id)
        used = session.link_id is not None and people.use_link(connection, session.link_id, now)
        if not used or not pending.password:
            raise Forbidden("This set-up link is over. Ask for a new one.")
        known = _get(connection, person.tenant_id, person.id)
        ready = staff_factors.with_password(context, known, pending.password)
        ready = msgspec.structs.replace(ready, ready_at=known.ready_at or now)
        people.change(connection, ready)
        people.drop_factors(connection, person.tenant_id, person.id)
        people.insert_factors(connection, [factor])
        codes = staff_factors.make_recovery_codes(context, connection, ready)
        sessions.end(connection, person.tenant_id, staff_id=person.id)
        staff_mails.owe(context, connection, ready, "set_up")
        told = {"role": ready.role, "with": factor.kind}
        audit.append(connection, person.tenant_id, signed.actor, "staff.set_up", person.id, told, now)
        return staff_sessions.start(context, connection, ready, "full", session.agent), codes


def _good_link(context: Context, connection: sa.Connection, secret: str) -> Link | None:
    link = people.find_link(connection, hashed(context, "link", secret))
    if link is None or link.used_at is not None or link.expires_at <= context.clock.now():
        return None
    if link.staff_id is None:
        return None if people.anybody_ready(connection, link.tenant_id) else link
    person = people.find(connection, link.tenant_id, link.staff_id)
    return None if person is None or person.ended_at is not None else link


# -- who works here -------------------------------------------------------------------------------------


def list_staff(context: Context, tenant: str) -> list[StaffRow]:
    """Everybody, the oldest first."""
    with context.database.read() as connection:
        found = people.list_all(connection, tenant)
        signed = sessions.count_by_staff(connection, tenant, context.clock.now(), IDLE)
    return [
        StaffRow(one.id, one.email, one.role, _state(one), one.created_at, signed.get(one.id, 0))
        for one in found
    ]


def list_sessions(context: Context, person: Staff) -> list[Session]:
    """Where somebody is signed in, the newest first."""
    with context.database.read() as connection:
        return sessions.list_of(connection, person.tenant_id, person.id, context.clock.now(), IDLE)


def end_session(context: Context, signed: Signed, session_id: str) -> None:
    """End one of one's own. Raises NotFound."""
    person, now = signed.staff, context.clock.now()
    with context.database.write() as connection:
        known = sessions.list_of(connection, person.tenant_id, person.id, now, IDLE)
        if session_id not in {one.id for one in known}:
            raise NotFound("There is no such session of yours.")
        sessions.end(connection, person.tenant_id, session_id=session_id)
        audit.append(connection, person.tenant_id, signed.actor, "staff.session_ended", person.id, {}, now)


def end_sessions_of(context: Context, signed: Signed, staff_id: str) -> None:
    """Sign somebody out everywhere. Raises NotFound."""
    tenant, now = signed.staff.tenant_id, context.clock.now()
    with context.database.write() as connection:
        person = _get(connection, tenant, staff_id)
        ended = sessions.end(connection, tenant, staff_id=person.id, besides=signed.session.id)
        told = {"ended": ended}
        audit.append(connection, tenant, signed.actor, "staff.session_ended", person.id, told, now)


def change_role(context: Context, tenant: str, staff_id: str, role: str, by: str) -> None:
    """Takes effect with the next page. Raises Invalid, NotFound, and Conflict for the last owner."""
    _check_role(role)
    now = context.clock.now()
    with context.database.write() as connection:
        people.lock_tenant(connection, tenant)
        person = _get(connection, tenant, staff_id)
        _keep_an_owner(connection, person, stays=role == "owner")
        people.change(connection, msgspec.structs.replace(person, role=role))
        told = {"before": person.role, "after": role}
        audit.append(connection, tenant, by, "staff.role_changed", person.id, told, now)


def close(context: Context, tenant: str, staff_id: str, by: str) -> None:
    """Close an account with its sessions, factors and links. Raises NotFound; Conflict for the last owner."""
    now = context.clock.now()
    with context.database.write() as connection:
        people.lock_tenant(connection, tenant)
        person = _get(connection, tenant, staff_id)
        _keep_an_owner(connection, person, stays=False)
        people.change(connection, msgspec.structs.replace(person, ended_at=now, password_sealed=None))
        people.drop_factors(connection, tenant, person.id)
        people.void_links(connection, tenant, person.id, now)
        sessions.end(connection, tenant, staff_id=person.id)
        audit.append(connection, tenant, by, "staff.closed", person.id, {}, now)


def _keep_an_owner(connection: sa.Connection, person: Staff, *, stays: bool) -> None:
    is_one = person.role == "owner" and person.ready_at is not None and person.ended_at is None
    if is_one and not stays and people.count_owners(connection, person.tenant_id) == 1:
        raise Conflict("This is the last owner. Make somebody else an owner first.", code="LAST_OWNER")


def _get(connection: sa.Connection, tenant: str, staff_id: str) -> Staff:
    person = people.find(connection, tenant, staff_id, lock=True)
    if person is None or person.ended_at is not None:
        raise _unknown()
    return person


def _unknown() -> NotFound:
    return NotFound("There is nobody like this here.", code="STAFF_UNKNOWN")


def _state(person: Staff) -> str:
    if person.ended_at is not None:
        return "closed"
    return "active" if person.ready_at is not None else "invited"


def _address(email: str) -> str:
    address = folded(email.strip())
    if not is_email_address(address):
        raise Invalid("This is not an e-mail address.")
    return address


def _check_role(role: str) -> None:
    if not is_role(role):
        raise Invalid(f"A role is one of {', '.join(ROLES)}.")
