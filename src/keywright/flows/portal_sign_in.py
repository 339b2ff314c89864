"""How a customer gets into the portal: a link by mail, good once, for ten minutes, in the browser that asked.

Nobody learns here which addresses we know: whoever asks is told the same, and the mail tells the rest. A link
and a session belong to an address as it was: a provider lets a buyer change his without asking the new one's
owner, and a session that followed the change would show that owner's licenses.
"""

from __future__ import annotations

import hmac
import math
import secrets
from datetime import timedelta
from typing import Final, Literal

import msgspec
import structlog

from keywright.domain.email_address import folded, is_email_address
from keywright.domain.look import Look
from keywright.flows import letter_looks
from keywright.flows.context import Context
from keywright.ports import Letter, PortalLetter
from keywright.store import announcements, portal_links, portal_views
from keywright.store.announcements import Announcement
from keywright.store.portal_links import Link, Session

log = structlog.get_logger(__name__)

KIND: Final = "portal.link"
LINK_LIVES: Final = timedelta(minutes=10)
SESSION_LIVES: Final = timedelta(minutes=30)
MOST_AN_HOUR: Final = 5
"""Mails to one address: an address that somebody else types again and again is not flooded."""

Standing = Literal["good", "elsewhere", "over"]
"""Of a link: it can be used here; only in the browser that asked; it was used, is too old, or is none."""


class Visitor(msgspec.Struct, frozen=True):
    """Who is signed in. `people`: the ids of all customers with this address."""

    tenant_id: str
    customer_id: str
    email: str
    people: tuple[str, ...]


# -- ask ------------------------------------------------------------------------------------------------


def ask(context: Context, email: str, browser: str, language: str | None = None) -> None:
    """Owe the mail with the link, if this is the address of somebody who holds a license.

    `language`: what the browser reads, for a customer whose language we do not know.
    Returns nothing whatever becomes of it, so that no caller can tell. The mail goes to the address as we
    know it, not as it was typed.
    """
    typed = email.strip()
    if not is_email_address(typed):
        return
    tenant = context.tenant.id
    with context.database.read() as connection:
        people = portal_views.find_people(connection, tenant, typed)
        if not people or not portal_views.has_license(connection, tenant, [one.id for one in people]):
            return
    _owe_link(context, people[0].id, folded(typed), browser, language)


def _owe_link(context: Context, customer_id: str, asked_for: str, browser: str, language: str | None) -> None:
    tenant, now = context.tenant.id, context.clock.now()
    with context.database.write() as connection:
        # Locked, so that links asked for at the same moment are counted one after the other.
        address = portal_views.find_customer(connection, tenant, customer_id, lock=True)
        if address is None or folded(address) != asked_for:
            return
        email_hash = _email_hash(context, address)
        since = now - timedelta(hours=1)
        if portal_links.count_asked(connection, tenant, email_hash, since) >= MOST_AN_HOUR:
            log.warning("portal_links_refused", customer=customer_id)
            return
        id_ = context.new_id("plk")
        link = Link(
            id=id_,
            tenant_id=tenant,
            customer_id=customer_id,
            email_hash=email_hash,
            hash=blind(context, "link", secret_of(context, id_)),
            browser_hash=blind(context, "browser", browser),
            created_at=now,
            expires_at=now + LINK_LIVES,
        )
        portal_links.sweep(connection, now)
        portal_links.insert_link(connection, link)
        batch = context.new_id("bat")
        owed = Announcement(
            id=context.new_id("ann"),
            tenant_id=tenant,
            kind=KIND,
            occurrence="1",
            subject_id=id_,
            license_id=None,
            batch=batch,
            created_at=now,
            detail=letter_looks.detail_of(connection, tenant, customer_id, guess=language),
        )
        announcements.insert(connection, [owed])
        context.followups.announce(connection, batch)


# -- the mail -------------------------------------------------------------------------------------------


def address_of(context: Context, link_id: str) -> str | None:
    """To whom the mail of a link goes; None when it would bring a link that is no good any more."""
    with context.database.read() as connection:
        link = portal_links.find_link(connection, link_id)
        if link is None or link.used_at is not None or link.expires_at <= context.clock.now():
            return None
        address = portal_views.find_customer(connection, link.tenant_id, link.customer_id)
    return address if _is_still(context, address, link.email_hash) else None


def letter_of(context: Context, link_id: str, look: Look) -> Letter:
    """The letter with the link. Its secret is made from the id with a key of ours, and stored nowhere."""
    with context.database.read() as connection:
        link = portal_links.find_link(connection, link_id)
    left = link.expires_at - context.clock.now() if link is not None else timedelta(0)
    return context.letters.portal_link(
        PortalLetter(
            seller=context.tenant.name,
            url=f"{context.base_url}/portal/link/{secret_of(context, link_id)}",
            minutes=max(1, math.ceil(left.total_seconds() / 60)),
        ),
        look,
    )


# -- in and out -----------------------------------------------------------------------------------------


def look_at_link(context: Context, secret: str, browser: str) -> Standing:
    """What a link is good for in this browser. Uses nothing up: mail scanners look at links, too."""
    hashed = blind(context, "link", secret)
    with context.database.read() as connection:
        link = portal_links.find_link_by_hash(connection, context.tenant.id, hashed)
    return _standing(context, link, browser)


def enter(context: Context, secret: str, browser: str) -> tuple[Standing, str]:
    """Use a link up. Returns what it was good for, and the secret of the session, empty when it was not."""
    tenant, now = context.tenant.id, context.clock.now()
    with context.database.write() as connection:
        link = portal_links.find_link_by_hash(connection, tenant, blind(context, "link", secret))
        standing = _standing(context, link, browser)
        if link is None or standing != "good":
            return standing, ""
        address = portal_views.find_customer(connection, tenant, link.customer_id)
        if not _is_still(context, address, link.email_hash):
            return "over", ""
        if not portal_links.use_link(connection, link.id, now):
            return "over", ""
        made = secrets.token_urlsafe(32)
        session = Session(
            id=context.new_id("pss"),
            tenant_id=tenant,
            customer_id=link.customer_id,
            email_hash=link.email_hash,
            hash=blind(context, "session", made),
            created_at=now,
            expires_at=now + SESSION_LIVES,
        )
        portal_links.sweep(connection, now)
        portal_links.insert_session(connection, session)
    return "good", made


def find_visitor(context: Context, session: str) -> Visitor | None:
    """Who holds this session, while it lasts and the address is what it was."""
    tenant = context.tenant.id
    with context.database.read() as connection:
        hashed = blind(context, "session", session)
        found = portal_links.find_session(connection, tenant, hashed, context.clock.now())
        if found is None:
            return None
        address = portal_views.find_customer(connection, tenant, found.customer_id)
        if address is None or not _is_still(context, address, found.email_hash):
            return None
        people = portal_views.find_people(connection, tenant, address)
    return Visitor(tenant, found.customer_id, address, tuple(one.id for one in people))


def leave(context: Context, session: str) -> None:
    """End a session."""
    with context.database.write() as connection:
        portal_links.end_session(connection, context.tenant.id, blind(context, "session", session))


def form_check(context: Context, cookie: str) -> str:
    """What a form of ours carries beside this cookie; nobody else can make it, or read it."""
    return blind(context, "form", cookie)


# -- hashes ---------------------------------------------------------------------------------------------


def _standing(context: Context, link: Link | None, browser: str) -> Standing:
    if link is None or link.used_at is not None or link.expires_at <= context.clock.now():
        return "over"
    same = hmac.compare_digest(link.browser_hash, blind(context, "browser", browser))
    return "good" if same else "elsewhere"


def _is_still(context: Context, address: str | None, email_hash: str) -> bool:
    return address is not None and hmac.compare_digest(_email_hash(context, address), email_hash)


def secret_of(context: Context, link_id: str) -> str:
    """The secret of a link, 256 bits. The mail is written later, perhaps by another process: it is made
    again there from the id, so that no row has to hold it."""
    return blind(context, "secret", link_id)


def _email_hash(context: Context, address: str) -> str:
    return blind(context, "email", folded(address))


def blind(context: Context, what: str, text: str) -> str:
    """The keyed hash of something of the portal's: for no two purposes is it the same."""
    return context.vault.blind("portal", f"{what}\n{text}")
