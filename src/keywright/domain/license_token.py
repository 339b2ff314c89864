"""License tokens and leases: JWS compact (RFC 7515) under Ed25519 (RFC 8037), strictly verified.

Libraries that check the signature alone accept tokens with repeated members, foreign types or negative seats,
so the rules are spelled out here. Every rule fails closed and names itself in `TokenRefused.reason`.
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NotRequired, TypedDict, Unpack

import msgspec

from keywright.domain import strict_json

LICENSE: Final = "lic+jwt"
LEASE: Final = "lease+jwt"
REVOKED: Final = "crl+jwt"
KEY_SET: Final = "keys+jwt"

CLAIMS_VERSION: Final = 1
MAX_TOKEN: Final = 8192
SKEW: Final = 60  # seconds a verifier's clock may differ from ours

# RFC 9864 renames the algorithm; the old name is what every library knows. Both mean the pinned Ed25519 key.
_ALG_EMITTED: Final = "EdDSA"
_ALG_ACCEPTED: Final = frozenset({"EdDSA", "Ed25519"})
_HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ"})
_MAX_SECONDS: Final = 253_402_300_799  # end of the year 9999, the last that datetime can hold
_MAX_COUNT: Final = 2**31 - 1
_SIGNATURE_BYTES: Final = 64
_MID: Final = re.compile(r"[A-Za-z0-9_-]{22}")

Sign = Callable[[bytes], bytes]
VerifyFn = Callable[[bytes, bytes], bool]
"""Called with (signature, signed data); answers, never raises."""

Reason = Literal[
    "size", "shape", "encoding", "json", "header", "alg", "typ", "kid", "signature", "iss", "aud", "sub",
    "not_yet_valid", "expired", "lease_ended", "version", "claim", "older", "revoked",
]  # fmt: skip


class TokenRefused(ValueError):
    """The token does not count. `reason` is a stable word; `claim` names the claim when one is at fault."""

    def __init__(self, reason: Reason, claim: str | None = None) -> None:
        super().__init__(reason if claim is None else f"{reason}: {claim}")
        self.reason: Reason = reason
        self.claim = claim


class LicenseClaims(TypedDict):
    """What a license token says. Times are unix seconds. None leaves the claim out."""

    iss: str
    sub: str
    """License id."""
    aud: str
    """Product id."""
    iat: int
    nbf: int
    exp: int | None
    """None for a token without end; absent and not null, because stock JWT libraries refuse null."""
    jti: str
    plan: str
    seats: int
    entitlements: Sequence[str]
    limits: Mapping[str, int]
    status: str
    firm: str | None


class LeaseClaims(LicenseClaims):
    """What a lease says beyond its license: for one machine, until `lexp`, with the verdict."""

    mid: str
    """See `fingerprint.mid`."""
    lexp: int
    srv: int
    """The server's time."""
    seq: int
    """Rises with every lease of an activation, so that an older one can be told."""
    nonce: str | None
    code: str
    """Verdict code."""
    entitled_until: int | None
    grace_until: int | None
    out: NotRequired[bool | None]
    """True where the machine is checked out for days without contact; else left out."""


class FileClaims(LicenseClaims):
    """What the token in a license file says beyond its license."""

    off: int
    """For how many seconds at most a file of this plan speaks without the server."""
    entitled_until: int | None
    """None, and then null: it never ends. A stock library does not look at this one."""
    grace_until: int | None
    mid: str | None
    """See `fingerprint.mid`. None for a file that is bound to no machine."""


def license_claims(**claims: Unpack[LicenseClaims]) -> dict[str, Any]:
    """Claims of a license token, version 1, without those that are None."""
    return _present(claims)


def file_claims(**claims: Unpack[FileClaims]) -> dict[str, Any]:
    """Claims of the token in a license file, version 1. Of those that are None only the clocks are told."""
    clocks = {"entitled_until": claims["entitled_until"], "grace_until": claims["grace_until"]}
    return _present(claims) | clocks


def lease_claims(**claims: Unpack[LeaseClaims]) -> dict[str, Any]:
    """Claims of a lease, version 1, without those that are None."""
    return _present(claims)


def encode(claims: Mapping[str, Any], *, typ: str, kid: str, sign: Sign, longest: int = MAX_TOKEN) -> str:
    """Sign claims as a JWS in compact form.

    Args:
        claims: as made by `license_claims`, `file_claims` or `lease_claims`, or of a document.
        typ: `lic+jwt`, `lease+jwt`, `crl+jwt` or `keys+jwt`; one key per type.
        kid: id of the key that `sign` holds (RFC 7638 thumbprint).
        sign: raw Ed25519 over the bytes it is given.
        longest: how many characters a verifier accepts.

    Raises:
        ValueError: the token would be longer than a verifier accepts.
    """
    signed = _header(typ, kid) + b"." + _b64(msgspec.json.encode(claims))
    token = (signed + b"." + _b64(sign(signed))).decode("ascii")
    if len(token) > longest:
        raise ValueError(f"a token may be {longest} characters long; these claims need {len(token)}")
    return token


def verify(
    token: str | bytes,
    *,
    typ: str,
    keys: Mapping[str, VerifyFn],
    iss: str,
    aud: str,
    now: int,
    require_exp: bool = True,
) -> dict[str, Any]:
    """Verify a token completely and return its claims.

    Args:
        token: as received, with nothing around it.
        typ: the one type that counts here.
        keys: the pinned keys by `kid`. No token can add to them: `jku`, `jwk` and `x5u` are refused.
        iss: the one issuer that counts here.
        aud: the product id that counts here.
        now: unix seconds; 60 s of clock difference are allowed.
        require_exp: False lets a token without `exp` pass (perpetual); an `exp` that is there counts.

    Raises:
        TokenRefused: the only exception, for any text.
    """
    claims = open_signed(token, typ=typ, keys=keys)
    _check_parties(claims, iss, aud)
    check_times(claims, now, require_exp=require_exp)
    _check_content(claims)
    if typ == LEASE:
        _check_lease(claims, now)
    else:
        _check_file(claims)
    return claims


def open_signed(
    token: str | bytes, *, typ: str, keys: Mapping[str, VerifyFn], longest: int = MAX_TOKEN
) -> dict[str, Any]:
    """The claims under a signature that holds. What they say is still to be checked.

    Args:
        token: as received, with nothing around it.
        typ: the one type that counts here.
        keys: the pinned keys by `kid`.
        longest: how many characters are looked at.

    Raises:
        TokenRefused: the only exception, for any text.
    """
    header_part, payload_part, signature_part = _split(token, longest)
    header = _json_object(_unb64(header_part))
    key = _key_for(header, typ, keys)
    signature = _unb64(signature_part)
    # The signature stands over the text as received, not over anything re-encoded.
    if len(signature) != _SIGNATURE_BYTES or not key(signature, header_part + b"." + payload_part):
        raise TokenRefused("signature")
    return _json_object(_unb64(payload_part))


def key_id(token: str) -> str:
    """The id of the key that a token of ours names. Nothing is verified.

    Raises:
        TokenRefused: it is no token.
    """
    return _named_in(token.partition(".")[0])


@lru_cache(maxsize=256)  # the header is the same for all tokens of a key
def _named_in(header_part: str) -> str:
    named = _json_object(_unb64(header_part.encode("ascii", "replace"))).get("kid")
    if not _is_text(named):
        raise TokenRefused("kid")
    return str(named)


def _present(claims: Mapping[str, Any]) -> dict[str, Any]:
    present = {name: value for name, value in claims.items() if value is not None}
    present["v"] = CLAIMS_VERSION
    return present


@lru_cache(maxsize=256)  # a few keys per tenant; saves a tenth of the time of signing a lease
def _header(typ: str, kid: str) -> bytes:
    return _b64(msgspec.json.encode({"alg": _ALG_EMITTED, "kid": kid, "typ": typ}))


def _b64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _unb64(part: bytes) -> bytes:
    """Only the one canonical spelling counts: decoders drop foreign characters and spare bits."""
    try:
        data = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error:
        raise TokenRefused("encoding") from None
    if _b64(data) != part:
        raise TokenRefused("encoding")
    return data


def _split(token: str | bytes, longest: int) -> tuple[bytes, bytes, bytes]:
    if len(token) > longest:
        raise TokenRefused("size")
    if isinstance(token, str):
        if not token.isascii():
            raise TokenRefused("encoding")
        token = token.encode("ascii")
    parts = token.split(b".")
    if len(parts) != 3:
        raise TokenRefused("shape")
    return parts[0], parts[1], parts[2]


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(raw)
    except strict_json.StrictJSONError:
        raise TokenRefused("json") from None
    if not isinstance(value, dict):
        raise TokenRefused("json")
    return value


def _key_for(header: dict[str, Any], typ: str, keys: Mapping[str, VerifyFn]) -> VerifyFn:
    if header.keys() != _HEADER_MEMBERS or not all(isinstance(value, str) for value in header.values()):
        raise TokenRefused("header")
    if header["alg"] not in _ALG_ACCEPTED:
        raise TokenRefused("alg")
    if header["typ"] != typ:
        raise TokenRefused("typ")
    key = keys.get(header["kid"])
    if key is None:
        raise TokenRefused("kid")
    return key


def _check_parties(claims: dict[str, Any], iss: str, aud: str) -> None:
    if claims.get("iss") != iss:
        raise TokenRefused("iss")
    if claims.get("aud") != aud:
        raise TokenRefused("aud")
    if not _is_text(claims.get("sub")):
        raise TokenRefused("sub")


def check_times(claims: dict[str, Any], now: int, *, require_exp: bool) -> None:
    """Whether it is already, and still, valid. Raises TokenRefused."""
    _demand(claims, "iat", _is_time)
    if require_exp:
        _demand(claims, "exp", _is_time)
    for name in ("nbf", "exp"):
        _allow(claims, name, _is_time)
    if max(claims["iat"], claims.get("nbf", 0)) > now + SKEW:
        raise TokenRefused("not_yet_valid")
    if "exp" in claims and now >= claims["exp"] + SKEW:
        raise TokenRefused("expired")


def check_version(claims: dict[str, Any]) -> None:
    """Raises TokenRefused for claims of a version that this code does not know."""
    version = claims.get("v", CLAIMS_VERSION)
    if type(version) is not int or version != CLAIMS_VERSION:
        raise TokenRefused("version")


def _check_content(claims: dict[str, Any]) -> None:
    check_version(claims)
    for name in ("jti", "plan", "status", "firm"):
        _allow(claims, name, _is_text)
    _allow(claims, "seats", _is_count)
    _allow(claims, "entitlements", lambda value: type(value) is list and all(map(_is_text, value)))
    _allow(claims, "limits", lambda value: type(value) is dict and all(map(_is_count, value.values())))


def _check_file(claims: dict[str, Any]) -> None:
    _allow(claims, "off", _is_count)
    _allow(claims, "mid", _is_mid)
    for name in ("entitled_until", "grace_until"):
        _allow(claims, name, lambda value: value is None or _is_time(value))


def _check_lease(claims: dict[str, Any], now: int) -> None:
    _demand(claims, "mid", _is_mid)
    for name in ("lexp", "srv"):
        _demand(claims, name, _is_time)
    _demand(claims, "seq", lambda value: type(value) is int and value >= 0)
    _demand(claims, "code", _is_text)
    _allow(claims, "nonce", _is_text)
    for name in ("entitled_until", "grace_until"):
        _allow(claims, name, _is_time)
    _allow(claims, "out", lambda value: value is True)
    if now >= claims["lexp"] + SKEW:
        raise TokenRefused("lease_ended")


def _demand(claims: dict[str, Any], name: str, holds: Callable[[Any], bool]) -> None:
    if name not in claims or not holds(claims[name]):
        raise TokenRefused("claim", name)


def _allow(claims: dict[str, Any], name: str, holds: Callable[[Any], bool]) -> None:
    if name in claims and not holds(claims[name]):
        raise TokenRefused("claim", name)


# type() and not isinstance(): True is an int to Python, and never a number of seats or a time.
def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_SECONDS


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_COUNT


def _is_text(value: Any) -> bool:
    return type(value) is str and value != ""


def _is_mid(value: Any) -> bool:
    return type(value) is str and _MID.fullmatch(value) is not None
