"""What a seller publishes of his keys: the set that an offline root signs, and the list of what was revoked.

Both carry a number that only rises, so that nobody can pass off an older one, and both are strictly read:
they decide which tokens count.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from keywright.domain.license_token import (
    CLAIMS_VERSION,
    KEY_SET,
    REVOKED,
    TokenRefused,
    VerifyFn,
    check_times,
    check_version,
    open_signed,
)
from keywright.domain.signing_key import KeyState

LARGEST_KEY_SET: Final = 64 * 1024
"""Characters. Room for some 200 keys."""

LARGEST_LIST: Final = 8 * 1024 * 1024
"""Characters. 50,000 ids make 2.5 million."""

_HIGHEST: Final = 253_402_300_799  # a `seq` may be made of a time, and this is the last there is
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PUBLIC: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes
_PUBLISHED: Final = frozenset(get_args(KeyState)) - {"revoked"}


class PublishedKey(msgspec.Struct, frozen=True):
    """A key whose tokens count. `x` is the public half, base64url; `typ` the one type it may sign."""

    kid: str
    x: str
    typ: str
    state: KeyState

    @property
    def public(self) -> bytes:
        return urlsafe_b64decode(self.x + "=")


class KeySet(msgspec.Struct, frozen=True):
    """Times are unix seconds. `revoked` are the ids of keys whose tokens no longer count."""

    iss: str
    iat: int
    exp: int
    seq: int
    keys: tuple[PublishedKey, ...]
    revoked: tuple[str, ...]


class Revocations(msgspec.Struct, frozen=True):
    """What no longer counts: license ids, token ids (`jti`) and key ids. Times are unix seconds."""

    iss: str
    iat: int
    exp: int
    seq: int
    licenses: tuple[str, ...]
    tokens: tuple[str, ...]
    keys: tuple[str, ...]


def claims_of(document: KeySet | Revocations) -> dict[str, Any]:
    """The claims that say it, to be signed."""
    return {**msgspec.to_builtins(document), "v": CLAIMS_VERSION}


def read_key_set(
    token: str | bytes,
    *,
    root: Mapping[str, VerifyFn],
    now: int,
    iss: str | None = None,
    oldest: int = 0,
) -> KeySet:
    """The key set in a document that the offline root signed.

    Args:
        token: the document as received.
        root: the pinned root by its `kid`.
        now: unix seconds.
        iss: the one issuer that counts; None takes the one that the root has signed.
        oldest: the highest `seq` seen so far; a lower one is refused.

    Raises:
        TokenRefused: the only exception, for any text.
    """
    claims = open_signed(token, typ=KEY_SET, keys=root, longest=LARGEST_KEY_SET)
    _check(claims, iss=iss, now=now, oldest=oldest)
    told = claims.get("keys")
    if type(told) is not list:
        raise TokenRefused("claim", "keys")
    keys = tuple(_key(one) for one in told)
    if len({one.kid for one in keys}) != len(keys):
        raise TokenRefused("claim", "keys")
    revoked = _texts(claims, "revoked")
    return KeySet(claims["iss"], claims["iat"], claims["exp"], claims["seq"], keys, revoked)


def told_in(document: str) -> KeySet:
    """What a key set says, without a look at its signature: for a server's own, which it serves.

    Raises:
        TokenRefused: it is none.
    """
    try:
        part = document.split(".")[1]
        raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        return msgspec.json.decode(raw, type=KeySet)
    except (IndexError, ValueError):  # msgspec's and binascii's errors are ValueErrors
        raise TokenRefused("shape") from None


def read_revocations(
    token: str | bytes,
    *,
    keys: Mapping[str, VerifyFn],
    now: int,
    iss: str,
    oldest: int = 0,
) -> Revocations:
    """The list of what was revoked.

    Args:
        token: the list as received.
        keys: the keys for `crl+jwt` by `kid`.
        now: unix seconds.
        iss: the one issuer that counts.
        oldest: the highest `seq` seen so far; a lower one is refused.

    Raises:
        TokenRefused: the only exception, for any text.
    """
    claims = open_signed(token, typ=REVOKED, keys=keys, longest=LARGEST_LIST)
    _check(claims, iss=iss, now=now, oldest=oldest)
    told = {name: _texts(claims, name) for name in ("licenses", "tokens", "keys")}
    return Revocations(claims["iss"], claims["iat"], claims["exp"], claims["seq"], **told)


def _check(claims: dict[str, Any], *, iss: str | None, now: int, oldest: int) -> None:
    issuer = claims.get("iss")
    if type(issuer) is not str or not issuer or (iss is not None and issuer != iss):
        raise TokenRefused("iss")
    check_times(claims, now, require_exp=True)
    check_version(claims)
    seq = claims.get("seq")
    if type(seq) is not int or not 0 <= seq <= _HIGHEST:
        raise TokenRefused("claim", "seq")
    if seq < oldest:
        raise TokenRefused("older")


def _key(told: Any) -> PublishedKey:
    if type(told) is not dict or not all(type(value) is str for value in told.values()):
        raise TokenRefused("claim", "keys")
    kid, x, typ, state = (told.get(name, "") for name in ("kid", "x", "typ", "state"))
    if not _KEY_ID.fullmatch(kid) or not typ or state not in _PUBLISHED or not _is_public(x):
        raise TokenRefused("claim", "keys")
    return PublishedKey(kid, x, typ, state)


def _is_public(x: str) -> bool:
    if not _PUBLIC.fullmatch(x):
        return False
    # Two bits of the last character are spare: one key has one spelling.
    return urlsafe_b64encode(urlsafe_b64decode(x + "=")).decode() == x + "="


def _texts(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    told: Sequence[Any] | Any = claims.get(name)
    if type(told) is not list or not all(type(one) is str and one for one in told):
        raise TokenRefused("claim", name)
    return tuple(told)
