"""The rules in words: what a fact says, which rule a change came from, and why a license is what it is now.

For people who ask "why?". Nothing is decided here: `purchase.py`, `period.py`, `grant.py`, `license.py` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from keywright.domain.facts import (
    CheckoutSeen,
    DisputeSeen,
    Fact,
    HolderSeen,
    Ordered,
    PaymentLinked,
    PaymentSeen,
    RefundPart,
    RefundSeen,
    SubscriptionSeen,
)
from keywright.domain.license import License, status
from keywright.domain.money import written
from keywright.domain.plan import FOREVER
from keywright.domain.purchase import Purchase

_NO_NAMES: Final[Mapping[str, str]] = {}
_OF_CHANGES: Final[Mapping[str, str]] = {
    "license.issued": "A purchase that grants something for the first time makes a license.",
    "license.renewed": "The end is the latest end of a period that counts, with what later purchases added.",
    "license.replaced": "A newer purchase took its place, as the plan says.",
    "license.renewal_undone": "A newer purchase was given back or is disputed; what there was holds.",
    "license.firm_named": "Staff named the firm that the license is for.",
    "license.hmac_key_changed": "Staff changed the firm's secret; its keys are made anew.",
    "license.refunded": "A payment that was given back in full stops counting.",
    "license.plan_changed": "Another price of the same product: same license, same key, the new plan.",
    "license.seats_changed": "The newest snapshot says how many are bought; fewer begin when paid time ends.",
    "license.canceling": "A cancellation ends the renewal, not the time that was paid.",
    "license.paused": "A provider's pause takes effect when the paid time is over.",
    "license.reinstated": "What had stopped the license is over.",
    "license.changed": "Clocks follow what is known of the periods; nothing was granted or taken.",
    "license.extended": "Staff raise a floor under the paid time; time paid beyond it stays.",
    "license.transferred": "The newest transfer says who holds the license.",
    "license.imported": "The key was there before us; its line in the file says what it is worth.",
    "license.noted": "Staff wrote this down; it changes nothing.",
    "license.address_changed": "The customer corrected the address; its owner confirmed it.",
    "license.holder_erased": "The customer had name and address erased. The license runs on.",
    "license.resent": "The license mail was sent again.",
    "license.key_rotated": "Staff made a new key; the old one is dead at once.",
    "license.file_issued": "A file ends with the plan's longest time offline, or with the license.",
    "billing.asked": "The provider was asked for a change; its events bring the effect.",
    "billing.answered": "What the provider answered.",
    "activation.created": "A machine was bound to the license.",
    "activation.released": "A machine was freed.",
    "activation.rebound": "Enough signals agree: it is the machine that was bound, under a new fingerprint.",
    "activation.lapsed": "A floating seat returns by itself when its lease ends.",
    "activation.reclaimed": "A machine that was silent for longer than the plan allows gives way.",
    "activation.checked_out": "The seat is held for days without contact, as the plan allows.",
    "mail.sent": "The mail server took the mail.",
    "mail.failed": "The mail could not be delivered.",
}
_OF_REASONS: Final[Mapping[str, str]] = {
    "merged": "Two purchases turned out to be one; the older license stays.",
    "replaced": "A newer purchase took its place, as the plan says.",
    "fewer keys": "Fewer keys are bought; the highest numbers end first.",
    "removed": "The line was taken out of the subscription.",
    "refunded": "A payment that was given back in full stops counting.",
    "disputed": "An open dispute suspends, where the plan says so.",
    "dispute lost": "A payment that was lost in a dispute stops counting.",
    "paused": "A provider's pause takes effect when the paid time is over.",
}
# Not by strftime, which speaks the language of the machine.
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_BY_STAFF: Final = "A decision of staff stands above what was paid, until a later one."
_OF_ACTS: Final[Mapping[str, str]] = {
    "license.suspended": _BY_STAFF,
    "license.revoked": _BY_STAFF,
    "license.reinstated": _BY_STAFF,
    "license.issued": "Staff made it; what they wrote holds, and no payment is behind it.",
    "license.seats_changed": "Staff give seats on top of those that are bought.",
    "license.resent": "Staff had the license mail sent again.",
    "billing.asked": "Staff asked the provider for a change; its events bring the effect.",
}
_OF_CUSTOMERS: Final[Mapping[str, str]] = {
    "license.resent": "The customer had the license mail sent again.",
    "billing.asked": "The customer asked the provider for a change; its events bring the effect.",
    "activation.released": "The customer freed a machine.",
}
_OF_BUYERS: Final[Mapping[str, str]] = {
    "license.resent": "The buyer had the license mail sent again, from the page of the order.",
}


def of_change(kind: str, *, reason: str = "", by: str = "") -> str:
    """The rule behind a timeline entry.

    Args:
        kind: the entry's kind.
        reason: the license's reason after it.
        by: who acted, as timelines name actors; empty where an event did it.
    """
    acts = _acts_of(by)
    if kind in acts:
        return acts[kind]
    if kind in ("license.suspended", "license.revoked") and reason in _OF_REASONS:
        return _OF_REASONS[reason]
    if kind == "license.changed" and reason in _OF_REASONS:
        return _OF_REASONS[reason]
    return _OF_CHANGES.get(kind, "")


def _acts_of(by: str) -> Mapping[str, str]:
    """What is said of the acts of this actor. Whoever is neither customer nor buyer is staff."""
    if not by:
        return {}
    if by.startswith("customer "):
        return _OF_CUSTOMERS
    return _OF_BUYERS if by == "buyer" else _OF_ACTS


def of_fact(fact: Fact, before: Purchase, after: Purchase) -> str:
    """The rule by which a fact was taken, or by which what was known before stays."""
    taken = after is not before
    match fact:
        case SubscriptionSeen() if taken and after.subscription is not fact:
            return "An older snapshot tells of its own period only; the newer one stays."
        case SubscriptionSeen():
            new = "The newest snapshot of a subscription wins."
            old = "An older snapshot never replaces a newer one, and nothing comes after the end."
        case PaymentSeen():
            new = "A payment counts once it is paid."
            old = "A payment that is paid stays paid: what takes money back is a refund or a dispute."
        case RefundSeen() | RefundPart():
            new = "A refund takes back the payment it names once nothing of it is left."
            old = "This refund was known in the same or a newer state."
        case DisputeSeen():
            new = "The newest state of a dispute wins."
            old = "This dispute was known in the same or a newer state."
        case PaymentLinked():
            new, old = "Refunds that name only the intent find their payment by this.", "This was known."
        case Ordered():
            new, old = "What our checkout sold under this reference never changes.", "This was known."
        case CheckoutSeen():
            new, old = "A checkout that is paid stays paid.", "This was known in the same or a newer state."
        case HolderSeen():
            new, old = "The newest word on the buyer wins.", "The buyer was known, or known better."
    return new if taken else old


def told(fact: Fact, names: Mapping[str, str] = _NO_NAMES) -> str:
    """A fact in one line. No address: who the customer is stands on the license.

    `names`: what to say instead of a price's id at the provider.
    """
    match fact:
        case SubscriptionSeen():
            items = ", ".join(
                f"{item.quantity} x {names.get(item.price, item.price)}{_until(item.ends_at)}"
                for item in fact.items
            )
            ending = ", will not renew" if fact.canceling else ""
            return f"subscription {fact.status}: {items}{ending}"
        case PaymentSeen():
            lines = ", ".join(
                f"{names.get(line.price, line.price)}{_until(line.ends_at)}"
                for line in fact.lines
                if not line.prorated
            )
            return f"payment {fact.payment} {fact.state}: {_money(fact)}" + (f" for {lines}" if lines else "")
        case RefundSeen():
            return f"refund of {fact.charge}: {_money(fact)}" + (", all of it" if fact.full else " so far")
        case RefundPart():
            return f"refund {fact.refund} {fact.state}: {_money(fact)}"
        case DisputeSeen():
            return f"dispute {fact.dispute} {fact.state}: {_money(fact)}"
        case PaymentLinked():
            return f"intent {fact.intent} paid {fact.payment}"
        case Ordered():
            return f"order {fact.reference}: {fact.quantity} x {names.get(fact.price, fact.price)}"
        case CheckoutSeen():
            return f"checkout {fact.session} {fact.state}"
        case HolderSeen():
            known = ", an e-mail address" if fact.email is not None else ""
            return f"buyer {fact.customer or 'without a name at the provider'}{known}"


def _money(fact: PaymentSeen | RefundSeen | RefundPart | DisputeSeen) -> str:
    return written(fact.amount, fact.currency)


def _until(moment: datetime | None) -> str:
    return "" if moment is None else f" until {_at(moment)}"


def why(held: License, now: datetime) -> str:
    """Why the license is what it is at `now`, in one sentence."""
    match status(held, now):
        case "revoked":
            return _why_revoked(held)
        case "suspended":
            return _why_suspended(held)
        case "pending":
            return "Pending: nothing was paid for it yet."
        case "active":
            return _why_active(held, now)
        case "grace":
            return (
                f"In grace: the paid time ended on {_day(held.entitled_until)} and a renewal is expected;"
                f" it runs on until {_day(held.grace_until)}."
            )
        case "expired":
            after = {
                "ended": " and the subscription is over",
                "removed": " and its line is not part of the subscription any more",
            }.get(held.reason, " and was not renewed")
            return f"Expired: its time ended on {_day(held.entitled_until)}{after}."


def _why_active(held: License, now: datetime) -> str:
    until = held.entitled_until
    if until == FOREVER:
        return "Active: it never ends."
    if until is not None and until <= now:
        return (
            f"Active: the paid time ended on {_day(until)}, and the renewal is given until"
            f" {_day(held.active_until)} to be collected."
        )
    if held.overrides.floor is not None and held.overrides.floor == until:
        return f"Active: staff let it run until {_day(until)}."
    basis = "on trial" if held.trial else ("paid" if held.origin == "purchase" else "it runs")
    follows = ""
    if held.canceling or held.reason == "ended":
        follows = ", and it will not renew"
    elif held.past_due:
        follows = ", though the newest payment failed"
    elif _renews(held) and not held.trial:
        follows = ", renews then"
    return f"Active: {basis} until {_day(until)}{follows}."


def _renews(held: License) -> bool:
    """Whether a renewal is expected: only then is there time beyond the paid one to collect it in."""
    until, later = held.entitled_until, (held.active_until, held.grace_until)
    return until is not None and any(end is not None and end > until for end in later)


def _why_suspended(held: License) -> str:
    if held.reason.endswith("by staff"):
        return "Suspended: staff decided so."
    if held.standing == "paused" or held.reason == "paused":
        return "Suspended: the provider paused the subscription, and no paid time is left."
    return f"Suspended: {_lower(_OF_REASONS.get(held.reason, held.reason or 'no reason is known.'))}"


def _why_revoked(held: License) -> str:
    if held.reason.endswith("by staff"):
        return "Revoked: staff ended it."
    known = _OF_REASONS.get(held.reason, "No time that counts is left.")
    return f"Revoked: {_lower(known)}"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _at(moment: datetime | None) -> str:
    if moment is None:
        return "-"
    return "the end of time" if moment == FOREVER else moment.strftime("%Y-%m-%d %H:%M UTC")


def _day(moment: datetime | None) -> str:
    """The day, as sentences name it: 21 December 2026."""
    if moment is None or moment == FOREVER:
        return _at(moment)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
