"""Who is signed in to the console: sessions, what they remember, and how often somebody was wrong.

A session is 256 random bits in a cookie; we keep a keyed hash. It ends when it is idle for half an hour, or
twelve hours old, and each sign-in makes a new one.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from keywright.domain.errors import TooMany
from keywright.domain.staff import IDLE, LONGEST, PROVEN_FOR
from keywright.flows.context import Context
from keywright.store import staff as people
from keywright.store import staff_sessions as sessions
from keywright.store.staff import Staff
from keywright.store.staff_sessions import Session
from keywright.store.tenants import Tenant

Stage = Literal["setup", "second", "full"]

ACCOUNT_TRIES: Final = 10
PLACE_TRIES: Final = 100
TRIES_WITHIN: Final = timedelta(hours=1)
"""So often may one be wrong for one account, and from one address of the network, known or not."""

_LIVES: Final[dict[str, timedelta]] = {
    "setup": timedelta(minutes=30),
    "second": timedelta(minutes=10),
    "full": LONGEST,
}
_TOUCH_EVERY: Final = timedelta(minutes=1)
_LONGEST_AGENT: Final = 60


class Pending(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a session remembers until the next page: `challenge` for a passkey, `totp` a secret that no code
    has confirmed yet, `password` the hash of one that counts when the set-up is complete."""

    challenge: str = ""
    totp: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return "Pending(...)"


class Signed(msgspec.Struct, frozen=True):
    """Somebody with a session, and for whom he works."""

    staff: Staff
    session: Session
    tenant: Tenant

    @property
    def actor(self) -> str:
        """Who acts, for timelines and the audit."""
        return f"staff {self.staff.id}"


DOOR: Final = "/console/sign-in"


def door_of(tenant: Tenant) -> str:
    """Where a tenant's staff come in, even if another tenant knew somebody's address first."""
    return DOOR if tenant.is_master else f"{DOOR}?at={tenant.slug}"


# -- sessions -------------------------------------------------------------------------------------------


def start(
    context: Context,
    connection: sa.Connection,
    person: Staff,
    stage: Stage,
    agent: str,
    *,
    pending: Pending | None = None,
    link_id: str | None = None,
) -> str:
    """Begin a session in the caller's transaction. Returns its secret, for the cookie and nowhere else."""
    secret, now = secrets.token_urlsafe(32), context.clock.now()
    id_ = context.new_id("sss")
    session = Session(
        id=id_,
        tenant_id=person.tenant_id,
        staff_id=person.id,
        hash=hashed(context, "session", secret),
        stage=stage,
        agent=agent[:_LONGEST_AGENT],
        created_at=now,
        seen_at=now,
        proved_at=now,
        expires_at=now + _LIVES[stage],
        pending=_sealed(context, person.tenant_id, id_, pending),
        link_id=link_id,
    )
    sessions.insert(connection, session, now)
    return secret


def find(context: Context, secret: str, stage: Stage = "full") -> Signed | None:
    """Who holds this session, if it is at this stage. Notes that it was used, once a minute."""
    now = context.clock.now()
    with context.database.read() as connection:
        session = sessions.find(connection, hashed(context, "session", secret), now, IDLE)
        if session is None or session.stage != stage:
            return None
        person = people.find(connection, session.tenant_id, session.staff_id)
    if person is None or person.ended_at is not None:
        return None
    if stage == "full" and now - session.seen_at >= _TOUCH_EVERY:
        with context.database.write() as connection:
            sessions.touch(connection, session.id, now)
    return Signed(person, session, context.of(person.tenant_id).tenant)


def is_proven(context: Context, signed: Signed) -> bool:
    """Whether the person has proved to be himself not long ago."""
    return context.clock.now() - signed.session.proved_at < PROVEN_FOR


def leave(context: Context, signed: Signed) -> None:
    """End the session one is in."""
    with context.database.write() as connection:
        sessions.end(connection, signed.staff.tenant_id, session_id=signed.session.id)


def pending_of(context: Context, session: Session) -> Pending:
    if session.pending is None:
        return Pending()
    text = context.vault.unseal(session.tenant_id, "staff-pending", session.id, session.pending)
    return msgspec.json.decode(text, type=Pending)


def keep(context: Context, session: Session, pending: Pending | None) -> None:
    """Remember until the next page."""
    with context.database.write() as connection:
        sessions.keep(connection, session.id, _sealed(context, session.tenant_id, session.id, pending))


def _sealed(context: Context, tenant: str, session_id: str, pending: Pending | None) -> str | None:
    if pending is None:
        return None
    return context.vault.seal(tenant, "staff-pending", session_id, msgspec.json.encode(pending).decode())


# -- tries ----------------------------------------------------------------------------------------------


class Tries(msgspec.Struct, frozen=True):
    """The two names that a try counts for, both hashed: an account that may not exist, and an address."""

    account: str
    place: str


def tries_for(context: Context, who: str, place: str) -> Tries:
    """`who`: a folded e-mail address, or what is tried by whom. `place`: the caller's address."""
    return Tries(hashed(context, "tries of", who), hashed(context, "tries from", place))


def count_try(context: Context, tries: Tries) -> None:
    """Count a try as wrong, before it is known what it is: of fifty at once only ten go on.

    Raises TooMany, and then counts nothing.
    """
    now = context.clock.now()
    limits = ((tries.account, ACCOUNT_TRIES), (tries.place, PLACE_TRIES))
    with context.database.read() as connection:
        # Whoever is stopped costs no write.
        if any(sessions.tries_of(connection, name, now, TRIES_WITHIN) >= most for name, most in limits):
            raise _too_many()
    with context.database.write() as connection:
        for name, most in limits:
            if sessions.count_try(connection, name, now, TRIES_WITHIN) > most:
                raise _too_many()


def take_back(connection: sa.Connection, tries: Tries) -> None:
    """This one was right. Those before it stay: a right password does not clear wrong codes."""
    for name in (tries.account, tries.place):
        sessions.take_back_try(connection, name)


def forget(context: Context, connection: sa.Connection, tries: Tries) -> None:
    """Somebody is in: what was wrong before is forgotten for the account, and stays for the address."""
    sessions.forget_tries(connection, tries.account, context.clock.now())
    sessions.take_back_try(connection, tries.place)


def _too_many() -> TooMany:
    told = "Too many attempts that were wrong. Please wait an hour, or ask an owner for a new set-up link."
    return TooMany(told, retry_after=int(TRIES_WITHIN.total_seconds()))


# -- hashes ---------------------------------------------------------------------------------------------


def form_check(context: Context, cookie: str) -> str:
    """What a form of ours carries beside this cookie; nobody else can make it, or read it."""
    return hashed(context, "form", cookie)


def hashed(context: Context, what: str, *texts: str) -> str:
    return context.vault.blind("staff", "\n".join((what, *texts)))
