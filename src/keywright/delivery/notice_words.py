"""What each notice says: a subject, a heading, what happened, what to do, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from keywright.delivery.wording import day, line
from keywright.domain.money import iso_exponent
from keywright.domain.plan import FOREVER, NoticeKind
from keywright.ports import NoticeLetter


class Words(msgspec.Struct, frozen=True):
    """`action` names the link to `url`; "" where there is nothing to click."""

    subject: str
    heading: str
    paragraphs: tuple[str, ...]
    action: str = ""
    url: str = ""


def words_of(told: NoticeLetter) -> Words:
    """The words of a notice. Only names from the seller's catalog, numbers and dates are filled in."""
    return _WORDS[told.kind](told, line(told.product))


def facts_of(told: NoticeLetter) -> list[tuple[str, str]]:
    """The rows below the words: which license it is."""
    return [
        ("Product", line(told.product)),
        ("Plan", line(told.plan)),
        ("Seats", str(told.seats)),
        ("Key", f"ends in {told.key_last5}"),
        ("Valid", _validity(told)),
    ]


def _validity(told: NoticeLetter) -> str:
    if told.entitled_until == FOREVER and told.works:
        return "does not expire"
    # What comes after the paid time is told only to those who need it.
    end = told.stops_at if told.kind in ("payment_failed", "grace_ending") else told.entitled_until
    return f"until {day(end)}" if end is not None and told.works else "not at present"


def _payment_failed(told: NoticeLetter, product: str) -> Words:
    asked = _money(told.detail)
    failed = (
        f"The payment of {asked} for {product} did not go through."
        if asked
        else (f"The last payment for {product} did not go through.")
    )
    if told.works:
        until = _until(told)
        effect = f"Your license works on until {until}. If the payment arrives before then, nothing changes."
    else:
        effect = "Your license does not work at the moment. It works again as soon as the payment arrives."
    return Words(
        f"Payment for {product} failed",
        f"A payment for {product} failed",
        (failed, effect, "Please look whether your payment method is still good, or choose another one."),
        "Check your payment method",
        told.manage_url,
    )


def _grace_ending(told: NoticeLetter, product: str) -> Words:
    return Words(
        f"Your {product} license stops on {_until(told, short=True)}",
        f"Your {product} license is about to stop",
        (
            f"The payment for {product} has not arrived. Your license still works, until {_until(told)}.",
            "After that it stops, and works again as soon as the payment arrives. The key stays the same.",
        ),
        "Check your payment method",
        told.manage_url,
    )


def _trial_ending(told: NoticeLetter, product: str) -> Words:
    if not told.becomes_paid:
        return Words(
            f"Your {product} trial ends on {_until(told, short=True, paid=True)}",
            f"Your trial of {product} is about to end",
            (f"Your trial ends on {_until(told, paid=True)}. Nothing is charged. To go on, get a license.",),
            f"Get {product}",
            told.shop_url,
        )
    return Words(
        f"Your {product} trial ends on {_until(told, short=True, paid=True)}",
        f"Your trial of {product} is about to end",
        (
            f"Your trial ends on {_until(told, paid=True)}. Then the paid subscription begins.",
            "If you want to go on, there is nothing to do. If not, cancel before then: nothing is charged.",
        ),
        "See your subscription",
        told.manage_url,
    )


_ENDS: Final[Mapping[str, str]] = {
    "trial": "Your trial of {product} is over, and with it your license.",
    "canceled": "Your subscription to {product} was canceled, and the time that was paid for is over."
    " Thank you for having used {product}.",
    "unpaid": "The payment for the next period of {product} has not arrived, and your license has stopped.",
    "over": "The time that you bought {product} for is over, and your license has ended.",
}


def _expired(told: NoticeLetter, product: str) -> Words:
    happened = _ENDS.get(told.cause, _ENDS["over"]).format(product=product)
    if told.cause == "unpaid":
        return Words(
            f"Your {product} license has stopped",
            f"Your {product} license has stopped",
            (happened, "It works again as soon as the payment arrives. The key stays the same."),
            "Check your payment method",
            told.manage_url,
        )
    return Words(
        f"Your {product} license has ended",
        f"Your {product} license has ended",
        (happened, "If you would like to go on, or come back one day, you are welcome."),
        f"Get {product}",
        told.shop_url,
    )


def _renewed(told: NoticeLetter, product: str) -> Words:
    paid = _money(told.detail)
    thanks = f"Your payment of {paid} has arrived." if paid else "Your payment has arrived."
    return Words(
        f"Your {product} license was renewed",
        f"Your {product} license was renewed",
        (f"{thanks} Your license runs until {_until(told, paid=True)}. There is nothing to do.",),
        "See your subscription",
        told.manage_url,
    )


def _seats_changed(told: NoticeLetter, product: str) -> Words:
    before, seats = int(told.detail.get("before", told.seats)), int(told.detail.get("seats", told.seats))
    begins = told.detail.get("from")
    if begins is None:
        happened = f"Your {product} license now has {_seats(seats)} instead of {before}."
    else:
        when = day(datetime.fromtimestamp(int(begins), UTC))
        happened = (
            f"From {when} on, your {product} license will have {_seats(seats)}. Until then it has {before}."
        )
    after = "There is nothing to do: the new seats can be used now."
    if seats < before:
        after = "Machines that run go on. A new one is admitted when the number of machines fits the seats."
    return Words(
        f"Your {product} license: {_seats(seats)}",
        f"Your {product} license: {_seats(seats)}",
        (happened, after),
        "See your subscription",
        told.manage_url,
    )


def _refunded(told: NoticeLetter, product: str) -> Words:
    before = int(told.detail.get("before", 0))
    back = int(told.detail.get("amount", 0)) - before
    currency = str(told.detail.get("currency", ""))
    happened = f"We have given you {_amount(back, currency)} back for {product}."
    if before:
        total = _amount(back + before, currency)
        happened = f"We have given you another {_amount(back, currency)} back for {product}: {total} in all."
    arrives = "How long it takes until you see it is up to your bank; a week is usual."
    effect = "Your license works on." if told.works else "Your license is not valid any more."
    return Words(
        f"Your refund for {product}",
        f"Your refund for {product}",
        (f"{happened} {arrives}", effect),
    )


_WORDS: Final[Mapping[NoticeKind, Callable[[NoticeLetter, str], Words]]] = {
    "payment_failed": _payment_failed,
    "grace_ending": _grace_ending,
    "trial_ending": _trial_ending,
    "expired": _expired,
    "renewed": _renewed,
    "seats_changed": _seats_changed,
    "refunded": _refunded,
}


def _until(told: NoticeLetter, *, short: bool = False, paid: bool = False) -> str:
    """The day the license stops, or, with `paid`, the end of its period."""
    moment = told.entitled_until if paid else told.stops_at
    if moment is None or moment == FOREVER:
        return "further notice"
    return day(moment).partition(",")[0] if short else day(moment)


def _seats(count: int) -> str:
    return "1 seat" if count == 1 else f"{count} seats"


def _money(detail: Mapping[str, str | int]) -> str:
    if "currency" not in detail or not int(detail.get("amount", 0)):
        return ""
    return _amount(int(detail["amount"]), str(detail["currency"]))


def _amount(amount: int, currency: str) -> str:
    """Money for people: `1,234.50 EUR`, with the decimals that the currency has."""
    places = iso_exponent(currency)
    return f"{amount / 10**places:,.{places}f} {currency}"
