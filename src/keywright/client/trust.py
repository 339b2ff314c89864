"""Whom the program believes: one issuer, and the keys that were built into it.

Either the public half of the seller's offline root key, which signs the set of keys that count (they may
change while the program is out there), or the keys themselves (then a new key needs a new version of the
program).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import strict_json
from .tokens import KEY_SET, REVOCATIONS, Keys, PublicKey, TokenRefused, read_list

_USABLE = ("next", "active", "verify-only")


@dataclass(frozen=True)
class KeySet:
    """A signed key set that was verified: for each type of token its keys, and what was revoked."""

    seq: int
    keys: Mapping[str, Keys]
    revoked: frozenset[str]


@dataclass(frozen=True)
class Revocations:
    """A signed revocation list that was verified: ids of licenses, of tokens (`jti`) and of keys."""

    seq: int = -1
    iat: int = 0
    licenses: frozenset[str] = field(default_factory=frozenset)
    tokens: frozenset[str] = field(default_factory=frozenset)
    keys: frozenset[str] = field(default_factory=frozenset)

    def names(self, claims: Mapping[str, Any]) -> bool:
        """Whether these claims no longer count. Those that were signed after the list do: what it names is
        over."""
        return claims["iat"] <= self.iat and (
            claims["sub"] in self.licenses or claims.get("jti") in self.tokens
        )


NOTHING_REVOKED = Revocations()


class Trust:
    """The issuer and the keys that a program pins. Made once, from constants in the program.

    Args:
        issuer: what every token of the seller names as `iss`: `https://licenses.acme.example/t/<tenant id>`.
        root: the offline root's public key (the member `x` of its JWK), or several while one follows another.
        key_set: the signed key set as it was when the program was built (`/.well-known/keywright-keys.jwt`),
            so that a computer that was never online can check a license file. Needs `root`.
        keys: without a root, the keys themselves: a JWKS as `/.well-known/jwks.json` answers it (object or
            text), or a mapping of key ids to the member `x`.

    Raises:
        ValueError: nothing is pinned, or something is not a key.
    """

    def __init__(
        self,
        issuer: str,
        *,
        root: str | Sequence[str] = (),
        key_set: str | None = None,
        keys: Mapping[str, Any] | str | None = None,
    ) -> None:
        roots = (root,) if isinstance(root, str) else tuple(root)
        self.issuer = issuer
        self._roots = {key.kid: key for key in map(PublicKey, roots)}
        self._pinned = _pinned(keys)
        if not issuer or not (self._roots or self._pinned):
            raise ValueError("a program trusts an issuer, and either a root key or keys")
        self._shipped = None if key_set is None else self._must_read(key_set)

    @property
    def has_root(self) -> bool:
        """Whether the keys may change by a signed key set."""
        return bool(self._roots)

    def read_key_set(self, text: str) -> KeySet:
        """Verify a signed key set.

        Raises:
            TokenRefused: not signed by the root, or not as it must be.
        """
        claims = read_list(text, typ=KEY_SET, keys=self._roots, iss=self.issuer)
        entries, revoked = claims.get("keys"), _names(claims, "revoked")
        if not isinstance(entries, list):
            raise TokenRefused("claim", "keys")
        by_type: dict[str, dict[str, PublicKey]] = {}
        for entry in entries:
            found = _entry(entry)
            if found is not None and found[1].kid not in revoked:
                by_type.setdefault(found[0], {})[found[1].kid] = found[1]
        return KeySet(claims["seq"], by_type, revoked)

    def newer(self, known: KeySet | None) -> KeySet | None:
        """The key set that counts: the newer one of what was fetched and what the program shipped with."""
        if known is None or (self._shipped is not None and self._shipped.seq > known.seq):
            return self._shipped
        return known

    def keys_for(self, typ: str, known: KeySet | None, revoked: frozenset[str] = frozenset()) -> Keys:
        """The keys that may sign this type of token now.

        Args:
            typ: `lic+jwt`, `lease+jwt` or `crl+jwt`.
            known: the newest key set that was fetched, if one was.
            revoked: ids of keys that a revocation list names.
        """
        counting = self.newer(known)
        if counting is None:
            return {kid: key for kid, key in self._pinned.items() if kid not in revoked}
        keys = counting.keys.get(typ, {})
        return {kid: key for kid, key in keys.items() if kid not in revoked}

    def read_revocations(self, text: str, known: KeySet | None) -> Revocations:
        """Verify a signed revocation list.

        Raises:
            TokenRefused: not signed by a key for such lists, or not as it must be.
        """
        keys = self.keys_for(REVOCATIONS, known)
        claims = read_list(text, typ=REVOCATIONS, keys=keys, iss=self.issuer)
        return Revocations(
            claims["seq"],
            claims["iat"],
            _names(claims, "licenses"),
            _names(claims, "tokens"),
            _names(claims, "keys"),
        )

    def _must_read(self, text: str) -> KeySet:
        try:
            return self.read_key_set(text.strip())
        except TokenRefused as refusal:
            raise ValueError(f"the key set is not signed by the root: {refusal}") from None


def _pinned(given: Mapping[str, Any] | str | None) -> dict[str, PublicKey]:
    if given is None:
        return {}
    members = strict_json.loads(given.encode()) if isinstance(given, str) else given
    if not isinstance(members, Mapping):
        members = {}  # nothing is pinned, and the caller says so
    listed = members.get("keys")
    if not isinstance(listed, list):
        return {kid: PublicKey(x) for kid, x in members.items()}
    found = {}
    for key in listed:
        if not isinstance(key, Mapping) or (key.get("kty"), key.get("crv")) != ("OKP", "Ed25519"):
            raise ValueError("a key of the JWKS is not an Ed25519 key")
        found[str(key["kid"])] = PublicKey(str(key["x"]))
    return found


def _entry(entry: Any) -> tuple[str, PublicKey] | None:
    """One key of a signed set with the type it is for. None for what a later version of the server may
    add."""
    if not isinstance(entry, dict) or entry.get("state") not in _USABLE:
        return None
    typ, kid, x = entry.get("typ"), entry.get("kid"), entry.get("x")
    if not isinstance(typ, str) or not isinstance(x, str):
        raise TokenRefused("claim", "keys")
    try:
        key = PublicKey(x)
    except ValueError:
        raise TokenRefused("claim", "keys") from None
    if key.kid != kid:
        # A key id is the thumbprint of its key; under another name a key could stand in for a revoked one.
        raise TokenRefused("claim", "keys")
    return typ, key


def _names(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    names = claims.get(name, [])
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise TokenRefused("claim", name)
    return frozenset(names)
