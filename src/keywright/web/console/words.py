"""What staff read: statuses, clocks, acts and what they mean, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from keywright.delivery.wording import day
from keywright.domain.activation import Activation
from keywright.domain.plan import FOREVER
from keywright.flows.license_views import CustomerShown, LicenseRow
from keywright.store.staff import Factor
from keywright.store.staff_sessions import Session
from keywright.web.storefront.words import full_name

ROLES: Final[Mapping[str, str]] = {
    "owner": "Owner: may do everything, and lets people in and out",
    "admin": "Admin: may do everything but let people in and out, and handle credentials",
    "support": "Support: may help customers, not revoke or replay",
    "read-only": "Read-only: sees licenses, events, catalog and keys, changes nothing",
}
DONE: Final[Mapping[str, str]] = {
    "added": "The second factor was added. A mail about it is on its way to you.",
    "removed": "The second factor was removed. A mail about it is on its way to you.",
    "password": "Your password was changed. All your other sessions have ended.",
    "ended": "The session has ended.",
    "suspend": "The license is suspended.",
    "reinstate": "The license is reinstated.",
    "revoke": "The license is revoked.",
    "extend": "The license was extended.",
    "transfer": "The license was transferred. The mail with the key is on its way to the new holder.",
    "resend": "The mail with the key is on its way.",
    "rotate-key": "The license has a new key. It is on its way to the holder; the old one is dead.",
    "free": "The machine is free.",
    "seats": "The seats were changed.",
    "note": "The note stands on the timeline.",
    "firm": "The firm of the license is named. Where its plan has HMAC keys, a new one is on its way.",
    "replayed": "The event was applied again.",
    "role": "The role was changed.",
    "closed": "The account was closed.",
    "signed-out": "All sessions of this person have ended.",
}
BADGES: Final[Mapping[str, str]] = {
    "active": "",
    "applied": "",
    "sent": "",
    "grace": "wait",
    "pending": "wait",
    "parked": "wait",
    "accepted": "wait",
    "waiting": "wait",
    "invited": "wait",
    "ignored": "still",
    "expired": "still",
    "closed": "still",
    "outdated": "still",
}
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
NAMES: Final[Mapping[str, str]] = {
    "status": "Status",
    "seats": "Seats",
    "entitled_until": "Entitled until",
    "grace_until": "Grace until",
    "customer": "Holder",
    "activations": "Machines",
    "key_last5": "Key ends in",
    "reason": "Reason",
    "firm": "Firm",
}


class Deed(msgspec.Struct, frozen=True):
    """An act on a license: its button, what it means, and what else its form asks for."""

    title: str
    meaning: str
    asks: str = ""


DEEDS: Final[Mapping[str, Deed]] = {
    "suspend": Deed(
        "Suspend",
        "The program stops with its next question, offline when its lease ends. Reinstating brings it back.",
    ),
    "reinstate": Deed(
        "Reinstate",
        "Lifts what staff decided, and a provider's pause or dispute that is known now. What is paid counts.",
    ),
    "revoke": Deed("Revoke", "Ends the license for good, whatever is paid, until staff reinstate it."),
    "extend": Deed(
        "Extend", "The license runs at least so much longer. Paid time beyond it stays.", asks="days"
    ),
    "transfer": Deed(
        "Transfer",
        "Gives the license to another person, who gets the mail with the key. The key stays the same, and "
        "the former holder knows it: give it a new one afterwards where that matters.",
        asks="email",
    ),
    "resend": Deed("Send the key again", "Mails the key once more, to the holder's address."),
    "rotate-key": Deed(
        "New key",
        "Makes a new key and mails it to the holder. The old one is dead at once; machines stay.",
    ),
    "free": Deed(
        "Free this machine",
        "Takes the license off the machine, so that another one can take its place. The program there may go "
        "on until its lease ends.",
        asks="machine",
    ),
    "seats": Deed(
        "Give seats",
        "Seats from you: on top of those that are paid for, or all of them where nothing was. Fewer cut "
        "nobody off: new machines are refused until the count fits.",
        asks="seats",
    ),
    "note": Deed("Write a note", "Puts your words on the timeline, and changes nothing.", asks="note"),
    "firm": Deed(
        "Name the firm",
        "For a license whose keys are checked on the customer's own premises: the firm, exactly as its "
        "installation is called. It gets a new HMAC key by mail; that of another firm is good for nothing.",
        asks="firm",
    ),
}


class Row(msgspec.Struct, frozen=True):
    """A license in a list."""

    id: str
    title: str
    slugs: str
    status: str
    badge: str
    holder: str
    seats: str
    until: str
    last5: str


def badge(status: str) -> str:
    """The style of a status: good, waiting, at rest, or bad."""
    return BADGES.get(status, "bad")


def title(one: LicenseRow, names: Mapping[tuple[str, str], tuple[str, str]]) -> str:
    """What the license is for, as the shop calls it. `names`: of products and plans, by their slugs."""
    known = names.get((one.product, one.plan))
    return full_name(*known) if known is not None else f"{one.product}/{one.plan}"


def row(one: LicenseRow, names: Mapping[tuple[str, str], tuple[str, str]]) -> Row:
    holder = one.customer.email if one.customer is not None and one.customer.email else "Nobody yet"
    return Row(
        id=one.id,
        title=title(one, names),
        slugs=f"{one.product}/{one.plan}",
        status=one.status.capitalize(),
        badge=badge(one.status),
        holder=holder,
        seats=f"{one.activations:,} of {one.seats:,}",
        until=until(one),
        last5=one.key_last5,
    )


def until(one: LicenseRow) -> str:
    """When it ends, in a table."""
    if one.entitled_until is None:
        return "Nothing granted" if one.status == "pending" else "No end"
    return short(one.entitled_until)


def facts(one: LicenseRow) -> list[tuple[str, str]]:
    """Clocks, seats and names: one line each."""
    shown = [
        ("Holder", one.customer.email or "No address yet" if one.customer is not None else "Nobody yet"),
        ("Entitled until", until(one)),
        ("Grace until", short(one.grace_until) if one.grace_until is not None else "None"),
        ("Seats", f"{one.seats:,}"),
        ("Machines", f"{one.activations:,}"),
        ("Key ends in", one.key_last5),
        ("Since", short(one.created_at)),
    ]
    if one.seats_after is not None and one.seats_after_at is not None:
        shown.insert(4, ("Seats later", f"{one.seats_after:,} from {short(one.seats_after_at)} on"))
    if one.firm is not None:
        shown.insert(1, ("Firm", one.firm))
    return shown


def value(of: Any) -> str:
    """A value of a preview, or of a timeline's detail, in words."""
    match of:
        case None | "":
            return "None"
        case datetime():
            return moment(of)
        case CustomerShown():
            return of.email or of.id
        case bool():
            return "Yes" if of else "No"
        case str() if _ISO.fullmatch(of):
            return f"{of[:10]} {of[11:16]} UTC"
        case "never":
            return "No end"
        case list() | tuple():
            return ", ".join(map(value, of)) or "None"
        case dict():
            return ", ".join(f"{key} {value(inner)}" for key, inner in of.items()) or "None"
        case _:
            return str(of)


class ShownMachine(msgspec.Struct, frozen=True):
    id: str
    name: str
    since: str
    seen: str


def machine(one: Activation) -> ShownMachine:
    seen = one.last_seen_at or one.activated_at
    return ShownMachine(one.id, one.name or "Machine without a name", moment(one.activated_at), moment(seen))


class ShownFactor(msgspec.Struct, frozen=True):
    id: str
    kind: str
    name: str
    added: str
    used: str


def factor(one: Factor) -> ShownFactor:
    kind = "Passkey" if one.kind == "passkey" else "Authenticator app"
    used = moment(one.used_at) if one.used_at is not None else "Never"
    return ShownFactor(one.id, kind, one.name, moment(one.created_at), used)


class ShownSession(msgspec.Struct, frozen=True):
    id: str
    agent: str
    since: str
    seen: str
    here: bool


def session(one: Session, here: str, now: datetime) -> ShownSession:
    idle = now - one.seen_at
    seen = "Now" if idle < timedelta(minutes=2) else f"{idle // timedelta(minutes=1)} minutes ago"
    return ShownSession(one.id, one.agent, moment(one.created_at), seen, one.id == here)


def moment(at: datetime | None) -> str:
    """`2026-11-21 03:50 UTC`: what can be read, sorted and compared with a log."""
    if at is None:
        return "Never"
    return "No end" if at == FOREVER else f"{at:%Y-%m-%d %H:%M} UTC"


def short(at: datetime) -> str:
    return day(at).partition(",")[0]
