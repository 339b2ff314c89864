"""A customer corrects his address: the new one counts when its owner has opened a link that was sent to it.

The link works once, for ten minutes, in the session that asked for it. The old address is told, so that
somebody else's change does not go unnoticed. Between asking and confirming the new address is kept sealed.
"""

from __future__ import annotations

import hmac
import math
import secrets
from datetime import timedelta
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.email_address import folded, is_email_address, is_erased
from keywright.domain.errors import Conflict, Invalid, KeywrightError, TooMany
from keywright.domain.look import Look
from keywright.flows import letter_looks
from keywright.flows.context import Context
from keywright.flows.license_writes import can_record, record
from keywright.flows.portal_sign_in import LINK_LIVES, SESSION_LIVES, Visitor, blind
from keywright.ports import Letter, PortalLetter
from keywright.store import announcements, customers, licenses, personal_data, portal_links
from keywright.store.announcements import Announcement
from keywright.store.portal_links import Link, Session

ASKED, MOVED = portal_links.ADDRESS_KINDS
MOST_AN_HOUR: Final = 5
_VAULT: Final = "portal-address"


def ask(context: Context, visitor: Visitor, email: str, session: str) -> None:
    """Owe a mail with a link to the new address. Whether somebody else has it is told to nobody.

    Raises:
        Invalid: `EMAIL_INVALID`.
        Conflict: `EMAIL_SAME`.
        TooMany.
    """
    address = email.strip()
    if not is_email_address(address) or is_erased(address):
        raise Invalid("This is no e-mail address that we can write to.", code="EMAIL_INVALID")
    if address == visitor.email:
        raise Conflict("This is your address already.", code="EMAIL_SAME")
    now, id_ = context.clock.now(), context.new_id("plk")
    # Another name than for signing in: one kind of link is no good for the other.
    email_hash = blind(context, "address-of", folded(visitor.email))
    link = Link(
        id=id_,
        tenant_id=visitor.tenant_id,
        customer_id=visitor.customer_id,
        email_hash=email_hash,
        hash=blind(context, "address", _secret(context, id_)),
        browser_hash=blind(context, "session", session),
        created_at=now,
        expires_at=now + LINK_LIVES,
    )
    with context.database.write() as connection:
        since = now - timedelta(hours=1)
        if portal_links.count_asked(connection, visitor.tenant_id, email_hash, since) >= MOST_AN_HOUR:
            raise TooMany("Too many new addresses within an hour. Please wait.", retry_after=3600)
        portal_links.sweep(connection, now)
        portal_links.insert_link(connection, link)
        _owe(context, connection, ASKED, visitor, id_, address)


def confirm(context: Context, visitor: Visitor, secret: str, session: str) -> str:
    """Make the new address the customer's, for all that is his. Returns the secret of a new session.

    Every other session and link of his ends, for they were given to the old address.

    Raises:
        Conflict: `LINK_OVER` when it was used, is too old, is of another session, or is none.
    """
    over = Conflict("This link is no good any more.", code="LINK_OVER")
    tenant, now = visitor.tenant_id, context.clock.now()
    with context.database.write() as connection:
        link = portal_links.find_link_by_hash(connection, tenant, blind(context, "address", secret))
        if link is None or not _is_good(context, link, visitor, session):
            raise over
        address = _address_in(context, connection, link.id)
        if address is None or not portal_links.use_link(connection, link.id, now):
            raise over
        customers.move(connection, visitor.people, address, now)
        for license_id in personal_data.licenses_of(connection, tenant, visitor.people):
            held = licenses.find(connection, tenant, license_id, lock=True)
            if held is not None and can_record(context, held):
                told = {"by": f"customer {visitor.customer_id}"}
                record(context, connection, held, held, "license.address_changed", detail=told, now=now)
        portal_links.end_sessions_of(connection, visitor.people)
        _owe(context, connection, MOVED, visitor, link.id, visitor.email)
        return _sign_in(context, connection, visitor, address)


def is_good(context: Context, visitor: Visitor, secret: str, session: str) -> bool:
    """Whether the link works in this session. Uses nothing up: mail scanners look at links, too."""
    with context.database.read() as connection:
        link = portal_links.find_link_by_hash(
            connection, visitor.tenant_id, blind(context, "address", secret)
        )
    return link is not None and _is_good(context, link, visitor, session)


def _is_good(context: Context, link: Link, visitor: Visitor, session: str) -> bool:
    same = hmac.compare_digest(link.browser_hash, blind(context, "session", session))
    unused = link.used_at is None and link.expires_at > context.clock.now()
    return same and unused and link.customer_id == visitor.customer_id


def _sign_in(context: Context, connection: sa.Connection, visitor: Visitor, address: str) -> str:
    now, made = context.clock.now(), secrets.token_urlsafe(32)
    session = Session(
        id=context.new_id("pss"),
        tenant_id=visitor.tenant_id,
        customer_id=visitor.customer_id,
        email_hash=blind(context, "email", folded(address)),
        hash=blind(context, "session", made),
        created_at=now,
        expires_at=now + SESSION_LIVES,
    )
    portal_links.insert_session(connection, session)
    return made


# -- the mails ------------------------------------------------------------------------------------------


def address_of(context: Context, owed: Announcement) -> str | None:
    """To whom such a mail goes; None when it has become pointless."""
    if owed.kind == ASKED:
        with context.database.read() as connection:
            link = portal_links.find_link(connection, owed.subject_id)
        if link is None or link.used_at is not None or link.expires_at <= context.clock.now():
            return None
    return _opened(context, owed.tenant_id, owed.subject_id, owed.detail)


def letter_of(context: Context, owed: Announcement, look: Look) -> Letter:
    seller, base = context.tenant.name, context.base_url
    if owed.kind == MOVED:
        return context.letters.address_moved(PortalLetter(seller, f"{base}/portal", 0), look)
    left = owed.created_at + LINK_LIVES - context.clock.now()
    url = f"{base}/portal/address/{_secret(context, owed.subject_id)}"
    return context.letters.address_link(
        PortalLetter(seller, url, max(1, math.ceil(left.total_seconds() / 60))), look
    )


def _owe(
    context: Context, connection: sa.Connection, kind: str, visitor: Visitor, subject: str, address: str
) -> None:
    batch, tenant = context.new_id("bat"), visitor.tenant_id
    sealed = context.vault.seal(tenant, _VAULT, subject, address)
    owed = Announcement(
        id=context.new_id("ann"),
        tenant_id=tenant,
        kind=kind,
        occurrence="1",
        subject_id=subject,
        license_id=None,
        batch=batch,
        created_at=context.clock.now(),
        detail=letter_looks.detail_of(connection, tenant, visitor.customer_id, sealed=sealed),
    )
    announcements.insert(connection, [owed])
    context.followups.announce(connection, batch)


def _address_in(context: Context, connection: sa.Connection, link_id: str) -> str | None:
    found = announcements.find_detail(connection, ASKED, link_id)
    return None if found is None else _opened(context, found[0], link_id, found[1])


def _opened(context: Context, tenant: str, subject: str, detail: str) -> str | None:
    sealed = msgspec.json.decode(detail).get("sealed")
    try:
        return context.vault.unseal(tenant, _VAULT, subject, sealed) if isinstance(sealed, str) else None
    except KeywrightError:
        return None


def _secret(context: Context, link_id: str) -> str:
    """The secret of a link, made from its id as those for signing in are, and unlike any of them."""
    return blind(context, "address-secret", link_id)
