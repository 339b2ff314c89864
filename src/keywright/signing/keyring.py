"""The keys of all tenants: opens data keys with the master key, seals, signs, and keeps what it opened."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec
import sqlalchemy as sa

from keywright.domain import key_documents, license_token
from keywright.domain.license_token import VerifyFn
from keywright.domain.signing_key import PUBLISHED
from keywright.ports import TokenType
from keywright.signing import ed25519, vault
from keywright.store import keys
from keywright.store.engine import Database
from keywright.store.keys import SigningKey

_TYPES: tuple[TokenType, ...] = get_args(TokenType)
_AT_ONCE: tuple[Literal["active", "next"], ...] = ("active", "next")


class _Tenant(msgspec.Struct, frozen=True):
    version: int
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
        self._opening = threading.Lock()
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
        longest = (
            key_documents.LARGEST_LIST if token_type == license_token.REVOKED else license_token.MAX_TOKEN
        )
        return license_token.encode(claims, typ=token_type, kid=kid, sign=signer.sign, longest=longest)

    def active_key(self, tenant: str, token_type: TokenType) -> str:
        return self._of(tenant).signers[token_type][0]

    def verifiers(self, tenant: str, token_type: TokenType) -> Mapping[str, VerifyFn]:
        return self._of(tenant).verifiers[token_type]

    def key_set(self, tenant: str) -> dict[str, Any]:
        return {"keys": list(self._of(tenant).public)}

    def refresh(self) -> None:
        opened = dict(self._tenants)
        if not opened:
            return
        with self._database.read() as connection:
            versions = keys.versions(connection, opened)
        for tenant, known in opened.items():
            if versions.get(tenant, known.version) != known.version:
                self._reopen(tenant)

    def publish_next(
        self, connection: sa.Connection, tenant: str, token_type: TokenType, now: datetime
    ) -> None:
        _add_pair(connection, self._of(tenant).data_key, tenant, token_type, "next", now)

    # -- keys ---------------------------------------------------------------------------------------

    def create(self, connection: sa.Connection, tenant: str, now: datetime) -> None:
        """A new tenant's data key and two signing pairs a token type, in the caller's transaction."""
        data_key = vault.new_data_key()
        wrapped = vault.wrap_data_key(self._master_key, data_key, tenant=tenant)
        keys.insert_data_key(connection, tenant, wrapped, now)
        keys.begin_key_set(connection, tenant)
        for token_type in _TYPES:
            for state in _AT_ONCE:
                _add_pair(connection, data_key, tenant, token_type, state, now)

    def complete(self, connection: sa.Connection, now: datetime) -> None:
        """Give every tenant the pairs he lacks, in the caller's transaction: there were fewer once."""
        held = keys.signing_and_next(connection)
        for tenant in keys.tenants_with_keys(connection):
            wanted = [(kind, state) for kind in _TYPES for state in _AT_ONCE]
            lacking = [one for one in wanted if (tenant, *one) not in held]
            if not lacking:
                continue
            keys.begin_key_set(connection, tenant)
            keys.changed(connection, tenant)
            data_key = self._of(tenant).data_key
            for token_type, state in lacking:
                _add_pair(connection, data_key, tenant, token_type, state, now)

    def _of(self, tenant: str) -> _Tenant:
        found = self._tenants.get(tenant)
        return self._reopen(tenant) if found is None else found

    def _reopen(self, tenant: str) -> _Tenant:
        # One at a time: a slower look must not take the place of a later one.
        with self._opening:
            opened = self._tenants[tenant] = self._open(tenant)
        return opened

    def _open(self, tenant: str) -> _Tenant:
        with self._database.read() as connection:
            # The version first: keys that change meanwhile are then looked at once more.
            version = keys.versions(connection, [tenant]).get(tenant, 0)
            wrapped = keys.find_data_key(connection, tenant)
            stored = keys.list_signing_keys(connection, tenant)
        if wrapped is None:
            raise vault.VaultRefused("this tenant has no data key")
        data_key = vault.unwrap_data_key(self._master_key, wrapped, tenant=tenant)
        signers: dict[str, tuple[str, ed25519.Signer]] = {}
        verifiers: dict[str, dict[str, VerifyFn]] = {one: {} for one in _TYPES}
        public = []
        for key in stored:
            if key.state not in PUBLISHED:
                continue
            raw = _unb64(key.public)
            verifiers[key.token_type][key.kid] = ed25519.verifier(raw)
            public.append({**ed25519.jwk(raw, key.kid), "typ": key.token_type})
            if key.state == "active":
                place = _place(tenant, "signing-key", key.kid)
                private = _unb64(vault.open_(data_key, key.private_sealed, place).decode())
                signers[key.token_type] = (key.kid, ed25519.Signer(private))
        row_key = vault.derive(data_key, "license-row-mac")
        return _Tenant(version, data_key, row_key, signers, verifiers, tuple(public))


def _add_pair(
    connection: sa.Connection,
    data_key: bytes,
    tenant: str,
    token_type: TokenType,
    state: Literal["active", "next"],
    now: datetime,
) -> None:
    private, public = ed25519.generate()
    kid = ed25519.thumbprint(public)
    sealed = vault.seal(data_key, _b64(private).encode(), _place(tenant, "signing-key", kid))
    begun = now if state == "active" else None
    keys.insert_signing_key(
        connection, SigningKey(kid, tenant, token_type, _b64(public), sealed, state, now, begun)
    )


def _place(tenant: str, kind: str, owner: str) -> vault.Place:
    return vault.Place(tenant, kind, owner, 1)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
