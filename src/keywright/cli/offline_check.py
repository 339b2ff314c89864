"""What `verify` does: a token against keys, as a program far from the server would check it."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from keywright.domain.errors import Refused

if TYPE_CHECKING:
    from keywright.domain.license_token import VerifyFn
    from keywright.flows.context import Context
    from keywright.store.tenants import Tenant

_LARGEST_FILE = 8 * 1024 * 1024  # the longest list of what was revoked
_TYPES = ("lic+jwt", "lease+jwt")


class TokenNotValid(Refused):
    code = "TOKEN_REFUSED"


class Wanted(msgspec.Struct, frozen=True):
    """What is to be held against a token beside keys; None: nothing in particular."""

    product: str | None = None
    issuer: str | None = None
    fingerprint: str | None = None
    revoked: Path | None = None


class Keys(Protocol):
    """Where the keys come from."""

    @property
    def issuer(self) -> str | None:
        """Whose keys they are; None where they do not say."""
        ...

    def of_type(self, typ: str) -> Mapping[str, VerifyFn]:
        """The keys for one type of token, by key id."""
        ...


class OwnKeys:
    """The keys of a tenant in the database, without those that were revoked."""

    def __init__(self, context: Context, tenant: Tenant) -> None:
        self.issuer: str | None = context.issuer(tenant.id)
        self._context = context
        self._tenant = tenant.id

    def of_type(self, typ: str) -> Mapping[str, VerifyFn]:
        for known in ("lic+jwt", "lease+jwt", "crl+jwt"):
            if typ == known:
                return self._context.signer.verifiers(self._tenant, known)
        return {}


class FileKeys:
    """Keys from a file: a JWKS, or a key set that the root has signed."""

    def __init__(self, issuer: str | None, keys: list[tuple[str, str]]) -> None:
        """`keys`: the type that a key is for (empty: any), and its public half, base64url."""
        self.issuer = issuer
        self._keys = keys

    def of_type(self, typ: str) -> Mapping[str, VerifyFn]:
        from keywright.signing import ed25519

        found = {}
        for kind, x in self._keys:
            if kind in ("", typ):
                raw = public_key(x)
                # By its own name: under another one a key could stand in for a revoked one.
                found[ed25519.thumbprint(raw)] = ed25519.verifier(raw)
        return found


def public_key(x: str) -> bytes:
    """The 32 bytes of a public key. Raises TokenNotValid."""
    try:
        raw = urlsafe_b64decode(x + "=" * (-len(x) % 4))
    except ValueError:
        raw = b""
    if len(raw) != 32 or urlsafe_b64encode(raw).rstrip(b"=").decode() != x:
        raise TokenNotValid("A key is not 32 bytes in base64url.")
    return raw


def read_keys(path: Path, root: str | None, now: int) -> FileKeys:
    """The keys in a file; with `root`, only if that has signed them. Raises TokenNotValid."""
    text = read_text(path)
    if text.startswith("{"):
        if root is not None:
            raise TokenNotValid("These keys are not signed; --root wants a signed key set.")
        return FileKeys(None, _jwks(text))
    if root is None:
        raise TokenNotValid("This is a signed key set: give the root that signed it, with --root.")
    from keywright.domain import key_documents
    from keywright.domain.license_token import TokenRefused
    from keywright.signing import ed25519

    raw = public_key(root)
    try:
        told = key_documents.read_key_set(
            text, root={ed25519.thumbprint(raw): ed25519.verifier(raw)}, now=now
        )
    except TokenRefused as error:
        raise TokenNotValid(f"The key set is refused: {error}.") from None
    return FileKeys(told.iss, [(key.typ, key.x) for key in told.keys if key.kid not in told.revoked])


def _jwks(text: str) -> list[tuple[str, str]]:
    from keywright.domain import strict_json

    try:
        told = strict_json.loads(text.encode())["keys"]
        found = [(k.get("typ", ""), k["x"]) for k in told if (k["kty"], k["crv"]) == ("OKP", "Ed25519")]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise TokenNotValid("The file of keys is no JWKS.") from None
    if not all(isinstance(kind, str) and isinstance(x, str) for kind, x in found):
        raise TokenNotValid("The file of keys is no JWKS.")
    return found


def read_text(path: Path) -> str:
    """A file's text, without blanks around it. Raises TokenNotValid."""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE).decode("utf-8", "replace").strip()
    except OSError as error:
        raise TokenNotValid(f"{path} cannot be read: {error.strerror}.") from None


def check(token: str, keys: Keys, wanted: Wanted, now: int) -> dict[str, Any]:
    """The claims of a token that holds. Raises TokenNotValid with the reason."""
    from keywright.domain import license_token

    typ, claimed = claimed_by(token)
    if typ not in _TYPES:
        raise TokenNotValid("This is neither a license token nor a lease.")
    # What nothing else is known of is taken as the token says it: the signature stands over it.
    issuer = wanted.issuer or keys.issuer or str(claimed.get("iss", ""))
    product = wanted.product if wanted.product is not None else str(claimed.get("aud", ""))
    lease = typ == license_token.LEASE
    try:
        claims = license_token.verify(
            token, typ=typ, keys=keys.of_type(typ), iss=issuer, aud=product, now=now, require_exp=lease
        )
        if wanted.revoked is not None:
            _check_not_revoked(token, claims, keys, wanted.revoked, now)
    except license_token.TokenRefused as error:
        raise TokenNotValid(f"Refused: {error}.") from None
    _check_machine(claims, wanted.fingerprint)
    return claims


def _check_not_revoked(token: str, claims: dict[str, Any], keys: Keys, path: Path, now: int) -> None:
    from keywright.domain import key_documents
    from keywright.domain.license_token import TokenRefused, key_id

    crl = keys.of_type("crl+jwt")
    try:
        listed = key_documents.read_revocations(read_text(path), keys=crl, now=now, iss=claims["iss"])
    except TokenRefused as error:
        raise TokenNotValid(f"The revocation list is refused: {error}.") from None
    gone = (
        claims["sub"] in listed.licenses,
        claims.get("jti") in listed.tokens,
        key_id(token) in listed.keys,
    )
    if any(gone):
        raise TokenRefused("revoked")


def _check_machine(claims: dict[str, Any], named: str | None) -> None:
    from keywright.domain import fingerprint

    if named is None or "mid" not in claims:
        return
    if not fingerprint.check(named) or fingerprint.mid(claims["aud"], named) != claims["mid"]:
        raise TokenNotValid("Refused: it is for another machine.")


def claimed_by(token: str) -> tuple[Any, dict[str, Any]]:
    """Type and claims as the token says them. Believed only to choose what it is checked against."""
    from keywright.domain import strict_json

    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise TokenNotValid("This is no token: it has not three parts.")
    found = []
    for part in parts[:2]:
        try:
            value = strict_json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except ValueError:
            raise TokenNotValid("This is no token: its parts are not JSON.") from None
        found.append(value if isinstance(value, dict) else {})
    return found[0].get("typ"), found[1]
