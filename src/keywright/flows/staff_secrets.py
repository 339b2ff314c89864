"""What staff prove themselves with: password hashes, codes of authenticator apps, recovery codes.

Only computation: no database, so that whoever calls it chooses the thread it runs in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1
"""Argon2id with OWASP's smallest parameters: 18 ms here. One at a time, or signing in would be a way
to stop the server."""

STEP_SECONDS: Final = 30
CODE_DIGITS: Final = 6
STEPS_BESIDE: Final = 1
"""RFC 6238: a code is good in its own half minute and in those beside it, for clocks that differ."""

RECOVERY_CODES: Final = 10
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUPS, _GROUP = 5, 5  # 125 bits: too many to guess, so a fast hash will do

_hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)


def hashed(password: str) -> str:
    """The password's hash, with its own salt and parameters in it. Takes long, on purpose."""
    return _hasher.hash(_plain(password))


def is_right(encoded: str, password: str) -> bool:
    """Whether this password has this hash. Takes as long for a wrong one."""
    try:
        return _hasher.verify(encoded, _plain(password))
    except (VerificationError, InvalidHashError):
        return False


def nobodys_hash() -> str:
    """A hash that no password has. Checked for whoever is unknown, so that it takes as long."""
    salt, digest = (base64.b64encode(secrets.token_bytes(n)).decode().rstrip("=") for n in (16, 32))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"


def _plain(password: str) -> str:
    # The same password typed on two systems may arrive in two spellings (NIST SP 800-63B-4, 3.1.1.2).
    return unicodedata.normalize("NFKC", password)


# -- authenticator apps ---------------------------------------------------------------------------------


def new_totp_secret() -> str:
    """160 random bits in base32, as authenticator apps take them."""
    return pyotp.random_base32()


def totp_address(secret: str, account: str, issuer: str) -> str:
    """What the QR code says to the app."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)


def code_of(secret: str, step: int, *, digits: int = CODE_DIGITS, digest: Any = hashlib.sha1) -> str:
    """The code of a time step (RFC 6238). By default with SHA-1 and six digits: what every app computes."""
    return pyotp.TOTP(secret, digits=digits, digest=digest, interval=STEP_SECONDS).generate_otp(step)


def find_step(secret: str, code: str, at: float) -> int | None:
    """The time step with this code, among that of the moment (seconds since 1970) and its neighbors."""
    typed = "".join(code.split())
    if len(typed) != CODE_DIGITS or not (typed.isascii() and typed.isdigit()):
        return None
    found = None
    now = int(at // STEP_SECONDS)
    for step in range(now - STEPS_BESIDE, now + STEPS_BESIDE + 1):
        if hmac.compare_digest(code_of(secret, step).encode(), typed.encode()):
            found = step
    return found


# -- recovery codes -------------------------------------------------------------------------------------


def new_recovery_codes() -> list[str]:
    """Ten codes for the day on which phone and passkey are lost."""
    return ["-".join(_group()) for _ in range(RECOVERY_CODES)]


def _group() -> Iterator[str]:
    for _ in range(_GROUPS):
        yield "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP))


def recovery_text(typed: str) -> str | None:
    """A recovery code as it is hashed, whatever dashes and blanks it was typed with; None when it is none."""
    text = "".join(typed.replace("-", " ").split()).upper()
    text = text.replace("I", "1").replace("L", "1").replace("O", "0")
    if len(text) != _GROUPS * _GROUP or not text.isascii() or set(text) - set(_ALPHABET):
        return None
    return text
