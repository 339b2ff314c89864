"""What a customer reads about his licenses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from keywright.delivery.wording import day
from keywright.domain import seat
from keywright.domain.activation import Activation
from keywright.domain.errors import KeywrightError
from keywright.domain.license import License
from keywright.domain.plan import FOREVER
from keywright.flows.portal import HeldLicense
from keywright.web.storefront.words import label

DONE: Final[Mapping[str, str]] = {
    "freed": "The machine is free. Another one can take its place now.",
    "sent": "The key is on its way to your address.",
    "stopped": "We have asked the payment provider not to renew. It shows here within a minute.",
    "seats": "We have told the payment provider. The new number shows here by itself, within a minute.",
    "address": "Your address is changed. Sign in with the new one from now on.",
    "resumed": "We have asked the payment provider to renew again. It shows here within a minute.",
}
ARRIVED: Final = "We have told the payment provider. The new number is here now."
_BADGES: Final = {"active": "", "grace": "wait", "pending": "wait"}
_LABELS: Final = {
    "active": "Active",
    "grace": "Payment is late",
    "expired": "Expired",
    "suspended": "Stopped for now",
    "revoked": "Ended",
    "pending": "Waiting for the payment",
}


class ShownMachine(msgspec.Struct, frozen=True):
    """`state`: of a seat that floats, or a machine that is checked out."""

    id: str
    name: str
    seen: str
    state: str = ""


class ShownLicense(msgspec.Struct, frozen=True):
    """`badge`: the style of `label`. `facts`: name and value, one row each. `stop`: what it means not to
    renew. `fixed`: why the number of seats cannot be changed. `awaited`: the number that was asked for and is
    not here yet; 0: none."""

    id: str
    title: str
    badge: str
    label: str
    sentence: str
    facts: list[tuple[str, str]]
    machines: list[ShownMachine]
    unlisted: int
    moves: str
    can_free: bool
    can_stop: bool
    can_resume: bool
    can_manage: bool
    stop: str
    limits: list[str]
    can_add: bool
    can_file: bool
    portable: bool
    has_hmac: bool
    fixed: str
    awaited: int


def shown(held: HeldLicense, seller: str, now: datetime, awaited: int = 0) -> ShownLicense:
    """As its holder reads it. `awaited`: the number that he has just asked for, 0 for none."""
    one, plan = held.license, held.plan
    waits = awaited if held.quantity not in (None, awaited) else 0
    named = "License" if plan is None else _name(plan.product, plan.plan.name)
    sentence = _sentence(held, seller, now)
    label = _LABELS[held.status]
    if not held.intact:
        label, sentence = (
            "Needs a look",
            f"Something is wrong with this license here. Please write to {seller}.",
        )
    return ShownLicense(
        id=one.id,
        title=named,
        badge=_BADGES.get(held.status, "bad") if held.intact else "bad",
        label=label,
        sentence=sentence,
        facts=_facts(held, now, waits),
        machines=[_machine(machine, held, now) for machine in held.machines],
        unlisted=held.bound - len(held.machines),
        moves=_moves(held),
        can_free=held.moves_left != 0,
        can_stop=held.can_stop,
        can_resume=held.can_resume,
        can_manage=held.can_manage,
        stop=_stop(held),
        limits=_limits(held),
        can_add=held.quantity is not None and held.intact,
        can_file=held.status in ("active", "grace") and held.intact,
        portable=held.plan is not None and held.plan.plan.terms.portable_file,
        has_hmac=held.intact and one.hmac_sealed is not None,
        fixed=_fixed(held),
        awaited=waits,
    )


def _name(product: str, plan: str) -> str:
    # Sellers name plans "Pro" and "DashCaddy Pro" alike.
    return plan if plan.startswith(product) else f"{product} {plan}"


def _sentence(held: HeldLicense, seller: str, now: datetime) -> str:
    one = held.license
    match held.status:
        case "active":
            return _active(held, now)
        case "grace":
            return f"It works until {_day(one.grace_until)}. With a payment until then it goes on."
        case "expired":
            return f"It worked until {_day(one.grace_until or one.active_until)}."
        case "suspended":
            return f"If you do not know why, write to {seller}."
        case "revoked":
            return f"It does not work any more. If you do not know why, write to {seller}."
        case _:
            return "It begins to work when the payment has arrived."


def _active(held: HeldLicense, now: datetime) -> str:
    one = held.license
    if one.entitled_until == FOREVER:
        return "It does not expire."
    until = _day(one.entitled_until)
    if one.canceling:
        return f"It works until {until}, and is not renewed."
    if not held.renews:
        return f"It works until {until}."
    if one.past_due:
        return "A payment has failed. The payment provider tries again; please look at how you pay."
    if one.entitled_until is not None and one.entitled_until <= now:
        return "It is being renewed."
    return f"Trial until {until}, then it is paid for." if one.trial else f"Renews on {until}."


def _fixed(held: HeldLicense) -> str:
    """Why there is nothing to change the number with, where somebody might look for it."""
    if not held.license.canceling or held.status not in ("active", "grace") or not held.intact:
        return ""
    if held.can_resume:
        return (
            "The number of seats cannot be changed now, because this is not renewed. Renew after all first."
        )
    return "The number of seats cannot be changed any more, because this is not renewed. For more, buy again."


def _facts(held: HeldLicense, now: datetime, awaited: int) -> list[tuple[str, str]]:
    one = held.license
    seats = _seats(one, held.seats, now)
    if awaited and held.plan is not None:
        each = 1 if held.plan.plan.terms.quantity == "keys" else held.plan.plan.terms.seats_per_unit
        keys = " keys" if held.plan.plan.terms.quantity == "keys" else ""
        seats += f"; {awaited * each:,}{keys} asked for"
    facts = [("Key", f"ends in {one.key_last5}"), ("Seats", seats)]
    room = "any number" if held.room is None else f"{held.room:,}"
    facts.append(("Machines", f"{held.bound:,} of {room}"))
    facts.append(("Yours since", day(one.created_at).partition(",")[0]))
    return facts


def _seats(one: License, seats: int, now: datetime) -> str:
    if one.seats_after is not None and one.seats_after_at is not None and now < one.seats_after_at:
        return f"{seats:,}; {one.seats_after:,} from {day(one.seats_after_at)} on"
    return f"{seats:,}"


def _stop(held: HeldLicense) -> str:
    """What it means not to renew. Providers differ: at some of them a renewal that was ended is gone."""
    one, terms = held.license, held.plan.plan.terms if held.plan is not None else None
    until = "" if one.entitled_until in (None, FOREVER) else f" until {_day(one.entitled_until)}"
    if one.trial or (terms is not None and terms.on_cancel == "now"):
        told = f"The license works{until}, or stops at once where the payment provider ends it at once."
    else:
        told = f"What you paid for stays{until}. After that the license stops."
    if terms is not None and terms.quantity == "keys":
        told += " This is for all keys that were bought together."
    return f"{told} Not every payment provider can take this back."


def _moves(held: HeldLicense) -> str:
    if held.moves_left is None or held.plan is None:
        return ""
    days = held.plan.plan.terms.moves_period // 86400
    span = f"{days} day{'' if days == 1 else 's'}" if days else "the period"
    return f"You can free {held.moves_left} more within {span}."


def _limits(held: HeldLicense) -> list[str]:
    """What the plan grants, one short line each."""
    if held.plan is None:
        return []
    terms = held.plan.plan.terms
    told = [f"Up to {limit:,} {label(name)}" for name, limit in sorted(terms.limits.items())]
    return told + [f"Includes {label(name)}" for name in terms.entitlements]


def _machine(machine: Activation, held: HeldLicense, now: datetime) -> ShownMachine:
    seen = machine.last_seen_at or machine.activated_at
    state = _seat(machine, held, now)
    return ShownMachine(machine.id, machine.name or "Machine without a name", day(seen), state)


def _seat(machine: Activation, held: HeldLicense, now: datetime) -> str:
    if seat.is_out(machine, now):
        return f"Checked out until {_day(machine.out_until)}: it may be without a network until then"
    until = seat.until(machine, held.plan.plan) if held.plan is not None else None
    if until is None:
        return ""
    # A floating seat that lapsed is nobody's, though nobody has written so yet.
    return f"Its seat returns by itself on {day(until)}" if until > now else "Its seat has returned"


def _day(moment: datetime | None) -> str:
    return day(moment) if moment is not None else "now"


# -- refusals -------------------------------------------------------------------------------------------

_OVER: Final = "The subscription is over. To go on, buy again in the store."
_INSTEAD: Final[Mapping[tuple[str, str], str]] = {
    ("manage", "UNSUPPORTED_BY_PROVIDER"): "The payment provider has no page for this purchase. To change "
    "how you pay, or for an invoice, write to {seller}.",
    ("stop", "UNSUPPORTED_BY_PROVIDER"): "The payment provider does not let us end this renewal. End it on "
    "the provider's own page, or write to {seller}.",
    ("seats", "UNSUPPORTED_BY_PROVIDER"): "The payment provider cannot change the number of this "
    "subscription. Buy another one in the store, or write to {seller}.",
    ("resume", "UNSUPPORTED_BY_PROVIDER"): "The payment provider cannot take this renewal up again. The "
    "license works until its end; to go on after it, buy again in the store.",
}
_ALWAYS: Final[Mapping[str, str]] = {
    "MOVES_EXHAUSTED": "No more machines can be freed for now. Wait a while, or write to {seller}.",
    "NO_PURCHASE": "This license was given to you without a payment, so there is none to manage. Questions? "
    "Write to {seller}.",
    "NOT_A_SUBSCRIPTION": "This license was paid for once. Nothing renews by itself.",
    "SUBSCRIPTION_OVER": _OVER,
    "PURCHASE_MERGED": "This purchase is part of an older one. Look at the other license on this page.",
    "PREVIEW_CHANGED": "The price has changed meanwhile. Look at it again before you agree.",
    "NO_FILE": "There is no file for this at the moment: the license must work, and the machine must have "
    "its seat.",
    "MACHINE_NOT_HEARD": "Start the program on this machine once, with a network. Then the file can be made.",
    "FILE_TOO_LARGE": "This plan grants more than fits into a file. Write to {seller}.",
    "EMAIL_INVALID": "This is no e-mail address that we can write to. Please look at it again.",
    "EMAIL_SAME": "This is your address already.",
    "LINK_OVER": "This link is no good any more. Ask for a new one.",
    "STILL_RENEWS": "A subscription still renews. End it first, with “Do not renew”: without your data "
    "nobody could end it for you.",
    "NOT_CONFIRMED": "Nothing was erased: the words were not typed as they are written.",
    "QUANTITY_INVALID": "Please enter a whole number, 1 or more.",
    "PROVIDER_UNAVAILABLE": "The payment provider does not answer. Please try again in a minute.",
}


def refusal(doing: str, error: KeywrightError, seller: str) -> str:
    """Why an act was refused and what to do instead, for a customer: details are written for sellers."""
    told = _INSTEAD.get((doing, error.code)) or _ALWAYS.get(error.code)
    return (told or "That did not work. Please try again, or write to {seller}.").replace("{seller}", seller)
