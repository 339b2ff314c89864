"""The keys of all tenants: opens data keys with the master key, seals, signs, and keeps what it opened."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec
import sqlalchemy as sa

from keywright.domain import license_token
from keywright.domain.license_token import VerifyFn
from keywright.ports import TokenType
from keywright.signing import ed25519, vault
from keywright.store import keys
from keywright.store.engine import Database
from keywright.store.keys import SigningKey

_USABLE = ("active", "next", "verify-only")


class _Tenant(msgspec.Struct, frozen=True):
    data_key: bytes
    row_key: bytes
    signers: dict[str, tuple[str, ed25519.Signer]]
    verifiers: dict[str, dict[str, VerifyFn]]
    public: tuple[dict[str, str], ...]

    def __repr__(self) -> str:  # keys never reach a log
        return "_Tenant(...)"


class Keyring:
    """Implements the ports Vault and Signer over the master key and the database."""

    def __init__(self, master_key: bytes, database: Database) -> None:
        self._master_key = master_key
        self._database = database
        self._tenants: dict[str, _Tenant] = {}
        self._blinds = {
            "license-key-lookup": vault.derive(master_key, "license-key-lookup"),
            "fingerprint": vault.derive(master_key, "fingerprint"),
            "signal": vault.derive(master_key, "signal"),
            "claim": vault.derive(master_key, "claim"),
            "portal": vault.derive(master_key, "portal"),
            "staff": vault.derive(master_key, "staff"),
        }

    # -- Vault --------------------------------------------------------------------------------------

    def seal(self, tenant: str, kind: str, owner: str, plaintext: str) -> str:
        return vault.seal(self._of(tenant).data_key, plaintext.encode(), _place(tenant, kind, owner))

    def unseal(self, tenant: str, kind: str, owner: str, sealed: str) -> str:
        return vault.open_(self._of(tenant).data_key, sealed, _place(tenant, kind, owner)).decode()

    def row_key(self, tenant: str) -> bytes:
        return self._of(tenant).row_key

    def blind(
        self,
        purpose: Literal["license-key-lookup", "fingerprint", "signal", "claim", "portal", "staff"],
        text: str,
    ) -> str:
        digest = hmac.digest(self._blinds[purpose], text.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    # -- Signer -------------------------------------------------------------------------------------

    def sign(self, tenant: str, token_type: TokenType, claims: Mapping[str, Any]) -> str:
        kid, signer = self._of(tenant).signers[token_type]
        return license_token.encode(claims, typ=token_type, kid=kid, sign=signer.sign)

    def active_key(self, tenant: str, token_type: TokenType) -> str:
        return self._of(tenant).signers[token_type][0]

    def verifiers(self, tenant: str, token_type: TokenType) -> Mapping[str, VerifyFn]:
        return self._of(tenant).verifiers[token_type]

    def key_set(self, tenant: str) -> dict[str, Any]:
        return {"keys": list(self._of(tenant).public)}

    # -- keys ---------------------------------------------------------------------------------------

    def create(self, connection: sa.Connection, tenant: str, now: datetime) -> None:
        """A new tenant's data key and one signing pair a token type, in the caller's transaction."""
        data_key = vault.new_data_key()
        wrapped = vault.wrap_data_key(self._master_key, data_key, tenant=tenant)
        keys.insert_data_key(connection, tenant, wrapped, now)
        for token_type in get_args(TokenType):
            private, public = ed25519.generate()
            kid = ed25519.thumbprint(public)
            sealed = vault.seal(data_key, _b64(private).encode(), _place(tenant, "signing-key", kid))
            keys.insert_signing_key(
                connection, SigningKey(kid, tenant, token_type, _b64(public), sealed, "active", now)
            )

    def _of(self, tenant: str) -> _Tenant:
        found = self._tenants.get(tenant)
        if found is None:
            found = self._tenants[tenant] = self._open(tenant)
        return found

    def _open(self, tenant: str) -> _Tenant:
        with self._database.read() as connection:
            wrapped = keys.find_data_key(connection, tenant)
            stored = keys.list_signing_keys(connection, tenant)
        if wrapped is None:
            raise vault.VaultRefused("this tenant has no data key")
        data_key = vault.unwrap_data_key(self._master_key, wrapped, tenant=tenant)
        signers: dict[str, tuple[str, ed25519.Signer]] = {}
        verifiers: dict[str, dict[str, VerifyFn]] = {one: {} for one in get_args(TokenType)}
        public = []
        for key in stored:
            if key.state not in _USABLE:
                continue
            raw = _unb64(key.public)
            verifiers[key.token_type][key.kid] = ed25519.verifier(raw)
            public.append(ed25519.jwk(raw, key.kid))
            if key.state == "active":
                place = _place(tenant, "signing-key", key.kid)
                private = _unb64(vault.open_(data_key, key.private_sealed, place).decode())
                signers[key.token_type] = (key.kid, ed25519.Signer(private))
        row_key = vault.derive(data_key, "license-row-mac")
        return _Tenant(data_key, row_key, signers, verifiers, tuple(public))


def _place(tenant: str, kind: str, owner: str) -> vault.Place:
    return vault.Place(tenant, kind, owner, 1)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
