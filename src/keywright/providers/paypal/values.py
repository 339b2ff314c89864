"""PayPal's values: times, amounts, references, states."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, TypeGuard

from keywright.domain.facts import DisputeSeen, PaymentState, Stamp
from keywright.domain.money import iso_exponent
from keywright.providers.paypal import shapes

PAID: Final = frozenset({"completed", "partially_refunded", "refunded", "reversed"})
"""States of a payment that went through, whatever became of it since. In lower case: PayPal writes both."""
PENDING: Final = frozenset({"pending"})
PAYMENT_RANKS: Final[Mapping[PaymentState, int]] = {"pending": 0, "failed": 1, "paid": 2}
"""Which of two answers of one second is taken: the one further along."""

DISPUTE_RANKS: Final[Mapping[str, int]] = {"inquiry": 0, "open": 1, "over": 2, "won": 3, "lost": 4}

_REFERENCE: Final = re.compile(r"KW-[0-9A-Z]{4,64}")
_NO_CURRENCY: Final = "XXX"


def ranked(stamp: Stamp, above: int) -> Stamp:
    """The stamp of a fact that stands above others of the same second."""
    return Stamp(stamp.at, stamp.rank + above, stamp.digest)


def reversal(
    stamp: Stamp, charge: str, state: Literal["won", "lost"], amount: int, currency: str
) -> DisputeSeen:
    """The bank took a payment back, or gave it back: a dispute of its own name beside the case about it.

    No refund: a won case must not undo a refund that the seller gave beside it. The case ranks above, because
    a payment is marked as reversed before its case ends.
    """
    own = ranked(stamp, DISPUTE_RANKS["open" if state == "lost" else state])
    return DisputeSeen(own, f"reversal-{charge}", state, amount, currency, charge=charge)


def is_reference(text: str | None) -> TypeGuard[str]:
    """Whether this is a reference of ours: anything else in that place is somebody else's bookkeeping."""
    return text is not None and _REFERENCE.fullmatch(text) is not None


def reference_in(text: str | None) -> str | None:
    """A reference of ours, or None."""
    return text if is_reference(text) else None


def amount_of(money: shapes.Money | None) -> tuple[int, str]:
    """Minor units, made positive, and the currency. Refunds are negative in the first API alone."""
    if money is None:
        return 0, _NO_CURRENCY
    text = money.value if money.value is not None else money.total
    currency = (money.currency_code or money.currency or _NO_CURRENCY).upper()
    return abs(minor(text or "0", currency)), currency


def minor(text: str, currency: str) -> int:
    """A decimal string of PayPal's in ISO 4217 minor units, rounded half away from zero."""
    scaled = Decimal(text).scaleb(iso_exponent(currency))
    rounded = int(abs(scaled) + Decimal("0.5"))
    return rounded if scaled >= 0 else -rounded


_FRACTION: Final = re.compile(r"\.(\d{1,6})\d*")


def moment(text: str | None) -> datetime | None:
    """A time of PayPal's, aware, in UTC; None for one that cannot be."""
    if not text:
        return None
    try:
        read = datetime.fromisoformat(_FRACTION.sub(lambda found: f".{found[1]:0<6}", text))
        return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def shifted(began: datetime, frequency: shapes.Frequency, cycles: int) -> datetime | None:
    """`began` and so many billing cycles; a month without that day ends on its last one."""
    count, unit = max(frequency.interval_count, 1) * cycles, frequency.interval_unit.upper()
    try:
        if unit in ("DAY", "WEEK"):
            return began + timedelta(days=count * (7 if unit == "WEEK" else 1))
        months = began.year * 12 + began.month - 1 + count * {"MONTH": 1, "YEAR": 12}[unit]
        year, month = divmod(months, 12)
        day = min(began.day, calendar.monthrange(year, month + 1)[1])
        return began.replace(year=year, month=month + 1, day=day)
    except (KeyError, ValueError, OverflowError):
        return None
