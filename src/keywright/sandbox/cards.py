"""Stripe's published test cards, and what each of them does.

A number is looked at once and dropped: what stays is a `Card`, which knows brand, last four digits and
behavior, so nothing in the sandbox ever holds a card number.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class Decline(msgspec.Struct, frozen=True):
    """Why a payment is refused: Stripe's error code, the issuer's decline code, words for the buyer."""

    code: str
    decline_code: str | None
    message: str


class Card(msgspec.Struct, frozen=True):
    """A payment method as the sandbox remembers it."""

    payment_method: str
    kind: str = "card"  # card | us_bank_account
    brand: str = "visa"
    last4: str = "4242"
    decline: Decline | None = None
    challenge: bool = False


class CardBehavior(msgspec.Struct, frozen=True):
    """What a test card does: its brand, why it is refused if it is, and whether it asks for 3-D Secure."""

    brand: str
    decline: Decline | None = None
    challenge: bool = False


GENERIC_DECLINE = Decline("card_declined", "generic_decline", "Your card was declined.")
INSUFFICIENT_FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
AUTHENTICATION_FAILED = Decline(
    "payment_intent_authentication_failure",
    None,
    "We are unable to authenticate your payment method. Please choose a different payment method and try "
    "again.",
)
DEBIT_FAILED = Decline("payment_method_provider_decline", None, "The bank refused the debit.")
NOT_A_TEST_CARD = Decline(
    "card_declined",
    "test_mode_live_card",
    "Your card was declined. This is a sandbox: it takes Stripe's test cards and no other.",
)

TEST_CARDS: dict[str, CardBehavior] = {
    "4242424242424242": CardBehavior("visa"),
    "4000056655665556": CardBehavior("visa"),
    "5555555555554444": CardBehavior("mastercard"),
    "378282246310005": CardBehavior("amex"),
    "4000002500003155": CardBehavior("visa", challenge=True),
    "4000000000000002": CardBehavior("visa", GENERIC_DECLINE),
    "4000000000009995": CardBehavior("visa", INSUFFICIENT_FUNDS),
    "4000000000000341": CardBehavior("visa", GENERIC_DECLINE),
    "4000000000000069": CardBehavior(
        "visa", Decline("expired_card", "expired_card", "Your card has expired.")
    ),
    "4000000000000127": CardBehavior(
        "visa", Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.")
    ),
    "4000000000000119": CardBehavior(
        "visa",
        Decline(
            "processing_error",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
    ),
}


def read_card(number: str, payment_method: str) -> Card | Decline:
    """Turn a typed card number into what the sandbox keeps of it, or into why it cannot be a card.

    `payment_method` is the id the card gets. Blanks and dashes in the number are ignored.
    """
    digits = "".join(number.split()).replace("-", "")
    if not digits.isascii() or not digits.isdecimal() or not 12 <= len(digits) <= 19 or not _luhn(digits):
        return Decline("incorrect_number", None, "Your card number is incorrect.")
    behavior = TEST_CARDS.get(digits, CardBehavior("unknown", NOT_A_TEST_CARD))
    return Card(
        payment_method=payment_method,
        brand=behavior.brand,
        last4=digits[-4:],
        decline=behavior.decline,
        challenge=behavior.challenge,
    )


def _luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def expiry_problem(typed: str, now: datetime) -> Decline | None:
    """Why `MM/YY` or `MM/YYYY` cannot be the expiry of a card at `now`; None when it can. Kept nowhere."""
    month, _, year = "".join(typed.split()).partition("/")
    if not (month.isdecimal() and year.isdecimal() and len(month) <= 2 and len(year) in {2, 4}):
        return Decline("invalid_expiry_month", None, "Your card's expiration date is incomplete.")
    full_year = int(year) + (2000 if len(year) == 2 else 0)
    if not 1 <= int(month) <= 12:
        return Decline("invalid_expiry_month", None, "Your card's expiration month is invalid.")
    if (full_year, int(month)) < (now.year, now.month):
        return Decline("invalid_expiry_year", None, "Your card's expiration year is in the past.")
    return None


def code_problem(typed: str) -> Decline | None:
    """Why this cannot be a security code; None when it can. Kept nowhere."""
    if typed.isdecimal() and len(typed) in {3, 4}:
        return None
    return Decline("invalid_cvc", None, "Your card's security code is incomplete.")
