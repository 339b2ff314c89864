"""Names of buyers from which everything about them can be told: whoever is asked needs no memory of them.

Spread over their range, as real ids are: numbers that only grow would make every index insert an append.
"""

from datetime import UTC, datetime

_DIGITS = 9
_RANGE = 1 << (4 * _DIGITS)
_STEP = 0x9E3779B97  # odd, so that no two numbers below the range meet


def name_of(number: int) -> str:
    """Nine hexadecimal digits, different for each number below 2**36."""
    return f"{number * _STEP % _RANGE:0{_DIGITS}x}"


def email_of(name: str) -> str:
    """The buyer's address."""
    return f"buyer-{name}@example.com"


def stamp(at: int, fraction: str = "") -> str:
    """Unix seconds in the form in which both providers write times."""
    return datetime.fromtimestamp(at, UTC).strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z")
