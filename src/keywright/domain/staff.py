"""Staff: roles, what each may do, and which passwords will do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal, get_args

Role = Literal["owner", "admin", "support", "read-only"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

Deed = Literal["look", "help", "decide", "govern"]
"""`look`: see licenses and events. `help`: what a customer asks for, all of which can be taken back.
`decide`: revoke, replay, change catalog and signing keys, read the audit, see who works here. `govern`: let
people and programs in and out, and type a provider's credentials."""

Kind = Literal["totp", "passkey", "recovery"]

_MAY: Final[Mapping[Role, frozenset[Deed]]] = {
    "read-only": frozenset({"look"}),
    "support": frozenset({"look", "help"}),
    "admin": frozenset({"look", "help", "decide"}),
    "owner": frozenset({"look", "help", "decide", "govern"}),
}

IDLE: Final = timedelta(minutes=30)
LONGEST: Final = timedelta(hours=12)
PROVEN_FOR: Final = timedelta(minutes=10)
"""A session ends when idle for so long, or so old; and for so long a proof of oneself lets one change what
one signs in with (OWASP ASVS 5.0, 7.3 and 7.5.1)."""

SHORTEST_ALONE: Final = 15
SHORTEST: Final = 8
LONGEST_PASSWORD: Final = 200
"""Characters of a password: alone, and beside a second factor (NIST SP 800-63B-4, 3.1.1.2)."""

_FEWEST_DIFFERENT: Final = 4
# What every list of stolen passwords begins with, of those that are long enough. Compared without digits and
# signs at their ends, so that `password123!` is in it.
_COMMON: Final = frozenset(
    """
    password passwort passw0rd p@ssword p@ssw0rd iloveyou princess sunshine football baseball superman batman
    trustno whatever starwars computer michelle internet changeme letmein welcome qwertyuiop qwertyui qwerty
    asdfghjkl asdfghjk zxcvbnm abcdefgh abcdefghi abcdefghij administrator dragon monkey shadow master secret
    license licenses keywright keywrite console support testtest
    """.split()  # noqa: SIM905  # a list of so many strings would be forty lines
)
_RUNS: Final = ("0123456789012345678901234567890", "9876543210987654321098765432109")


def is_role(text: str) -> bool:
    return text in ROLES


def may(role: str, deed: Deed) -> bool:
    """Whether somebody with this role may do this. A role that is none of ours may nothing."""
    return any(deed in deeds for known, deeds in _MAY.items() if known == role)


def least_role(deed: Deed) -> Role:
    """The lowest role that may do this."""
    return next(role for role in reversed(ROLES) if deed in _MAY[role])


def password_problem(password: str, email: str, *, alone: bool) -> str | None:
    """What is wrong with a new password, as a sentence; None when it will do.

    Args:
        password: as it was typed; blanks and every script are welcome, no kind of character is demanded.
        email: whose it is to be.
        alone: nothing else is asked for at sign-in.
    """
    shortest = SHORTEST_ALONE if alone else SHORTEST
    if len(password) < shortest:
        return f"The password needs at least {shortest} characters."
    if len(password) > LONGEST_PASSWORD:
        return f"The password may have at most {LONGEST_PASSWORD} characters."
    plain = password.casefold()
    if len(set(plain)) < _FEWEST_DIFFERENT or any(plain in run for run in _RUNS):
        return "The password is too easy to guess: it repeats itself, or counts."
    name = email.partition("@")[0].casefold()
    kernel = plain.strip("0123456789!?.,;:-_#*+$%& ")
    if kernel in _COMMON or plain in _COMMON or kernel in (name, email.casefold()):
        return "The password is too easy to guess: choose a few words that do not belong together."
    return None
