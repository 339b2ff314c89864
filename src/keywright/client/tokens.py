"""Signed tokens: JWS compact (RFC 7515) under Ed25519 (RFC 8037), verified strictly and from the first
principles.

Libraries that look at the signature alone take tokens with repeated members, foreign types or negative
seats. Every rule stands here, fails closed, and names itself in `TokenRefused.reason`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from . import strict_json

LICENSE = "lic+jwt"
LEASE = "lease+jwt"
KEY_SET = "keys+jwt"
REVOCATIONS = "crl+jwt"

LONGEST = 8192
LONGEST_LIST = 8 * 1024 * 1024  # a revocation list names every revoked license
SKEW = 60  # seconds that a clock may differ from the server's

_ALGORITHMS = (
    "EdDSA",
    "Ed25519",
)  # RFC 9864 renames the one that every library knows; both mean the pinned key
_HEADER = {"alg", "kid", "typ"}
_LATEST = 253_402_300_799  # end of the year 9999
_MOST = 2**31 - 1
_MID = re.compile(r"[A-Za-z0-9_-]{22}")
_FINGERPRINT = re.compile(r"[ -~]{8,256}")


class TokenRefused(ValueError):
    """The token does not count. `reason` is a stable word, `claim` the claim at fault if one is."""

    def __init__(self, reason: str, claim: str | None = None) -> None:
        super().__init__(reason if claim is None else f"{reason}: {claim}")
        self.reason = reason
        self.claim = claim


class PublicKey:
    """One pinned Ed25519 key."""

    def __init__(self, x: str) -> None:
        """`x` as a JWK has it: 32 bytes in unpadded base64url.

        Raises:
            ValueError: anything else.
        """
        try:
            raw = unbase64(x.encode("ascii"))
        except (TokenRefused, UnicodeEncodeError):
            raw = b""
        if len(raw) != 32:
            raise ValueError("a public key is 32 bytes in unpadded base64url")
        self.x = x
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @property
    def kid(self) -> str:
        """The key's RFC 7638 thumbprint."""
        text = f'{{"crv":"Ed25519","kty":"OKP","x":"{self.x}"}}'
        return to_base64(hashlib.sha256(text.encode()).digest())

    def holds(self, signature: bytes, signed: bytes) -> bool:
        """Whether the signature is this key's over these bytes. Never raises."""
        if len(signature) != 64:
            return False
        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


Keys = Mapping[str, PublicKey]


def verify(
    token: str | bytes, *, typ: str, keys: Keys, iss: str, aud: str, now: int, require_exp: bool = True
) -> dict[str, Any]:
    """Verify a license token or a lease completely and return its claims.

    Args:
        token: as received, with nothing around it.
        typ: the one type that counts here.
        keys: the pinned keys by `kid`; nothing in the token can add to them.
        iss, aud: the one issuer and the one product that count here.
        now: unix seconds; 60 seconds of difference are allowed.
        require_exp: False lets a token without `exp` pass; an `exp` that is there counts.

    Raises:
        TokenRefused: the only exception, for any text.
    """
    claims = read(token, typ=typ, keys=keys, iss=iss, aud=aud, require_exp=require_exp)
    check_times(claims, now)
    return claims


def read(
    token: str | bytes, *, typ: str, keys: Keys, iss: str, aud: str, require_exp: bool = True
) -> dict[str, Any]:
    """All of `verify` but the comparison with a clock, which the caller makes by `check_times` or rules of
    its own.

    Raises:
        TokenRefused: see `verify`.
    """
    claims = _open(token, typ, keys, LONGEST)
    if claims.get("iss") != iss:
        raise TokenRefused("iss")
    if claims.get("aud") != aud:
        raise TokenRefused("aud")
    if not _is_text(claims.get("sub")):
        raise TokenRefused("sub")
    _check_time_claims(claims, require_exp)
    _check_content(claims)
    if typ == LEASE:
        _check_lease(claims)
    return claims


def read_list(token: str | bytes, *, typ: str, keys: Keys, iss: str) -> dict[str, Any]:
    """Verify a signed key set or a revocation list.

    Its `exp` is not compared with a clock: a list stays in force until a newer one is there, because
    forgetting what was revoked would help only those on it. The caller sees to it that `seq` never falls.

    Raises:
        TokenRefused: the only exception.
    """
    claims = _open(token, typ, keys, LONGEST_LIST)
    if claims.get("iss") != iss:
        raise TokenRefused("iss")
    _check_time_claims(claims, require_exp=False)
    _check_version(claims)
    _demand(claims, "seq", _is_number)
    return claims


def check_times(claims: Mapping[str, Any], now: int) -> None:
    """Compare the claims with a clock.

    Raises:
        TokenRefused: `not_yet_valid`, `expired` or `lease_ended`.
    """
    if max(claims["iat"], claims.get("nbf", 0)) > now + SKEW:
        raise TokenRefused("not_yet_valid")
    if "exp" in claims and now >= claims["exp"] + SKEW:
        raise TokenRefused("expired")
    if "lexp" in claims and now >= claims["lexp"] + SKEW:
        raise TokenRefused("lease_ended")


def mid(product: str, fingerprint: str) -> str:
    """What a lease calls this machine: base64url of 16 bytes of SHA-256(product slug, 0x00, fingerprint).

    Raises:
        ValueError: the fingerprint is not 8 to 256 printable ASCII characters.
    """
    if _FINGERPRINT.fullmatch(fingerprint) is None or "\0" in product:
        raise ValueError("a fingerprint is 8 to 256 printable ASCII characters")
    return to_base64(hashlib.sha256(product.encode() + b"\0" + fingerprint.encode()).digest()[:16])


def to_base64(data: bytes) -> str:
    """Unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unbase64(part: bytes) -> bytes:
    """Only the one canonical spelling counts: decoders drop foreign characters and spare bits.

    Raises:
        TokenRefused: `encoding`.
    """
    try:
        data = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise TokenRefused("encoding") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part:
        raise TokenRefused("encoding")
    return data


def _open(token: str | bytes, typ: str, keys: Keys, longest: int) -> dict[str, Any]:
    if len(token) > longest:
        raise TokenRefused("size")
    if isinstance(token, str):
        if not token.isascii():
            raise TokenRefused("encoding")
        token = token.encode("ascii")
    parts = token.split(b".")
    if len(parts) != 3:
        raise TokenRefused("shape")
    key = _key_for(_object(unbase64(parts[0])), typ, keys)
    # The signature stands over the text as received, not over anything that was encoded again.
    if not key.holds(unbase64(parts[2]), parts[0] + b"." + parts[1]):
        raise TokenRefused("signature")
    return _object(unbase64(parts[1]))


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(raw)
    except strict_json.NotJSON:
        value = None
    if not isinstance(value, dict):
        raise TokenRefused("json")
    return value


def _key_for(header: dict[str, Any], typ: str, keys: Keys) -> PublicKey:
    if set(header) != _HEADER or not all(type(value) is str for value in header.values()):
        raise TokenRefused("header")
    if header["alg"] not in _ALGORITHMS:
        raise TokenRefused("alg")
    if header["typ"] != typ:
        raise TokenRefused("typ")
    key = keys.get(header["kid"])
    if key is None:
        raise TokenRefused("kid")
    return key


def _check_time_claims(claims: dict[str, Any], require_exp: bool) -> None:
    _demand(claims, "iat", _is_time)
    if require_exp:
        _demand(claims, "exp", _is_time)
    for name in ("nbf", "exp"):
        _allow(claims, name, _is_time)


def _check_version(claims: dict[str, Any]) -> None:
    version = claims.get("v", 1)
    if type(version) is not int or version != 1:
        raise TokenRefused("version")


def _check_content(claims: dict[str, Any]) -> None:
    _check_version(claims)
    for name in ("jti", "plan", "status", "firm"):
        _allow(claims, name, _is_text)
    _allow(claims, "seats", _is_count)
    _allow(claims, "entitlements", lambda value: type(value) is list and all(map(_is_text, value)))
    _allow(claims, "limits", lambda value: type(value) is dict and all(map(_is_count, value.values())))
    _allow(claims, "mid", lambda value: type(value) is str and _MID.fullmatch(value) is not None)
    for name in ("entitled_until", "grace_until", "off"):
        _allow(claims, name, lambda value: value is None or _is_time(value))


def _check_lease(claims: dict[str, Any]) -> None:
    for name in ("lexp", "srv"):
        _demand(claims, name, _is_time)
    _demand(claims, "seq", _is_number)
    for name in ("mid", "code"):
        _demand(claims, name, _is_text)
    _allow(claims, "out", lambda value: value is True)
    _allow(claims, "nonce", _is_text)


def _demand(claims: dict[str, Any], name: str, holds: Callable[[Any], bool]) -> None:
    if name not in claims or not holds(claims[name]):
        raise TokenRefused("claim", name)


def _allow(claims: dict[str, Any], name: str, holds: Callable[[Any], bool]) -> None:
    if name in claims and not holds(claims[name]):
        raise TokenRefused("claim", name)


# type() and not isinstance(): True is an int to Python, and never a number of seats or a time.
def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LATEST


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_text(value: Any) -> bool:
    return type(value) is str and value != ""
