"""A timeline as people read it: names in place of ids, words in place of codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from keywright.flows.console import Names, Told
from keywright.web.console.mail import title_of
from keywright.web.console.words import moment, value
from keywright.web.storefront.words import full_name, money

_TITLES: Final[Mapping[str, str]] = {
    "license.resent": "Mail sent again",
    "license.seats_changed": "Seats changed",
    "license.plan_changed": "Plan changed",
    "license.canceling": "Renewal canceled",
    "license.noted": "Note",
    "license.file_issued": "License file issued",
    "license.firm_named": "Firm named",
    "license.holder_erased": "Holder's data erased",
    "license.address_changed": "Address changed",
    "license.key_rotated": "New key",
    "license.changed": "Dates changed",
    "billing.asked": "Change asked of the provider",
    "billing.answered": "Answer of the provider",
    "activation.created": "Machine activated",
    "activation.released": "Machine freed",
    "mail.sent": "Mail sent",
    "mail.failed": "Mail undeliverable",
}
_LINES: Final[Mapping[str, str]] = {
    "plan": "Plan",
    "standing": "Standing",
    "reason": "Reason",
    "seats": "Seats",
    "seats_after": "Seats later",
    "seats_after_at": "Seats later from",
    "entitled_until": "Entitled until",
    "grace_until": "Grace until",
    "lost_until": "Taken back until",
    "canceling": "Will end",
    "trial": "On trial",
    "mail": "Mail",
    "activation": "Machine",
    "activations": "Machines",
    "released": "Machines freed",
    "from": "From",
    "to": "To",
    "act": "What",
    "checkout": "Order",
    "older": "Older license",
}
_STANDINGS: Final[Mapping[str, str]] = {
    "ok": "in order",
    "paused": "paused",
    "suspended": "suspended",
    "revoked": "revoked",
}
_ACTS: Final[Mapping[str, str]] = {
    "seats": "other seats",
    "cancel": "end the renewal",
    "resume": "renew after all",
    "refund": "give money back",
    "portal": "open the provider's own portal",
}
# Said already: who, why and by which event stand above.
_APART: Final = ("by", "why", "before", "after", "event", "currency")
# Ids that lead nowhere: for whoever searches a log, folded away.
_FOLDED: Final = ("announcement", "purchase", "key")


class Entry(msgspec.Struct, frozen=True):
    """An entry of the timeline as shown. `lines`: name, value, and where it leads. `event`: the id and the
    type of the event behind it. `ids`: what is folded away."""

    at: str
    title: str
    by: str
    why: str
    rule: str
    lines: list[tuple[str, str, str]]
    event: tuple[str, str]
    ids: list[tuple[str, str]]


def entry(told: Told, names: Names) -> Entry:
    """An entry in words. `names`: what people call what it names by id."""
    detail = told.detail
    lines = [*_changes(detail, names), *_rest(detail, names)]
    return Entry(
        at=moment(told.at),
        title=_title(told.kind),
        by=_actor(str(detail.get("by", "")), names),
        why=str(detail.get("why", "")),
        rule=told.rule,
        lines=[line for line in lines if line[1]],
        event=(told.event, str(detail.get("event", ""))),
        ids=list(_ids(detail)),
    )


def _title(kind: str) -> str:
    """`license.revoked`: Revoked. `activation.lapsed`: Machine lapsed."""
    if kind in _TITLES:
        return _TITLES[kind]
    about, _, what = kind.partition(".")
    subject = {"license": "", "activation": "machine "}.get(about, f"{about} ")
    return f"{subject}{what}".replace("_", " ").strip().capitalize()


def _actor(by: str, names: Names) -> str:
    """Who acted: an address or a name, and never an id."""
    if by in names.actors:
        return names.actors[by]
    kind = by.partition(" ")[0]
    unknown = {"staff": "staff", "customer": "the customer", "buyer": "the buyer", "token": "an API token"}
    return unknown.get(kind, by)


def _changes(detail: Mapping[str, Any], names: Names) -> Iterator[tuple[str, str, str]]:
    """What changed, before and after; of what was nothing before, what it is now."""
    before, after = detail.get("before"), detail.get("after")
    if not isinstance(after, dict):
        # An old key and a new one, by their last characters.
        if after is not None:
            yield "Key ends in", f"{value(before)} → {value(after)}", ""
        return
    known = before if isinstance(before, dict) else {}
    for name, new in after.items():
        old = known.get(name)
        if old == new or (new in (None, "", False) and old in (None, "", False)):
            continue
        then = _worded(name, new, names)
        told = f"{_worded(name, old, names)} → {then}" if old not in (None, "") else then
        # What is in order when it is made needs no line.
        if not (name == "standing" and not known and new == "ok"):
            yield _name(name), told, ""


def _rest(detail: Mapping[str, Any], names: Names) -> Iterator[tuple[str, str, str]]:
    for name, of in detail.items():
        if name in _APART or name in _FOLDED:
            continue
        if name == "older":
            for id_ in of if isinstance(of, list) else [of]:
                yield _name(name), str(id_), f"/console/licenses/{id_}"
        elif name == "amount" and isinstance(of, int) and detail.get("currency"):
            yield "Amount", money(of, str(detail["currency"])), ""
        else:
            yield _name(name), _worded(name, of, names), ""


def _name(name: str) -> str:
    return _LINES.get(name, name.replace("_", " ").capitalize())


def _worded(name: str, of: Any, names: Names) -> str:
    match name:
        case "plan":
            known = names.plans.get(str(of))
            return full_name(*known) if known is not None else "a plan that is gone"
        case "standing":
            return _STANDINGS.get(str(of), str(of))
        case "activation":
            return _machine(str(of), names)
        case "activations" | "released":
            return ", ".join(_machine(str(one), names) for one in of)
        case "from" | "to":
            if of is None:
                return "nobody"
            return names.customers.get(str(of)) or "a customer without an address"
        case "act":
            return _ACTS.get(str(of), str(of))
        case "mail":
            return title_of(str(of))
        case "reason" if of:
            return str(of)
    return value(of)


def _machine(id_: str, names: Names) -> str:
    return names.machines.get(id_, "a machine without a name")


def _ids(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in (*_FOLDED, "activation"):
        of = detail.get(name)
        if isinstance(of, str) and of:
            yield name.capitalize(), of
