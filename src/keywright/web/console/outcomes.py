"""What became of an event, in words: where it stands and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_GREETING: Final = "keywright.greeting"
_FETCHED: Final = "fetched."
_REASONS: Final[Mapping[str, str]] = {
    "NOT_BUILT": "not needed for licenses",
    "UNKNOWN_TYPE": "of a kind that licenses do not need",
    "WRONG_MODE": "test mode and live mode do not match",
    "WRONG_ACCOUNT": "about another account of the provider",
    "UNREADABLE": "it could not be read",
    "NOTHING_NEW": "it says nothing new",
    "CHECKOUT_UNKNOWN": "about a checkout that is not from here",
    "ORDER_UNKNOWN": "its order is not known here",
    "WAITING_FOR_PURCHASE": "waits for the purchase it belongs to",
    "PRICE_UNMAPPED": "its price leads to no plan: name the price in the catalog",
    "AMOUNT_MISMATCH": "another amount was paid than was ordered",
    "CLAIMED_ELSEWHERE": "another tenant sold it or took it in first: somebody has to look at it",
    "ASKING": "the provider is asked first",
    "FAILED": "it failed and is tried again",
}
_STATUSES: Final[Mapping[str, str]] = {
    "applied": "Applied: what it says is part of its purchase.",
    "accepted": "Accepted, and not applied yet",
    "parked": "Parked",
    "ignored": "Ignored",
    "failed": "Failed",
    "dead": "Given up",
}


def called(type_: str) -> str:
    """What an event is called: by its provider's word, but for our own tests and questions."""
    if type_.startswith(_FETCHED):
        return f"Asked for: {type_.removeprefix(_FETCHED).replace('_', ' ')}"
    return "Test of the webhook" if type_ == _GREETING else type_


def reason(type_: str, code: str) -> str:
    """Why an event stands where it does. An unknown code stays as it is."""
    return "our own test of the webhook" if type_ == _GREETING else _REASONS.get(code, code)


def outcome(type_: str, status: str, code: str, error: str) -> str:
    """What became of an event, in a sentence."""
    told = _STATUSES.get(status, status.capitalize())
    if status == "applied":
        return f"{told} But {_REASONS[code]}." if code in _REASONS else told
    why = [part for part in (reason(type_, code), error if error != code else "") if part]
    return f"{told}{': ' if why else ''}{', '.join(why)}."
