"""The keys of all tenants: opens data keys with the master key, seals, signs, and keeps what it opened."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec
import sqlalchemy as sa

from keywright.domain import key_documents, license_token
from keywright.domain.license_token import VerifyFn
from keywright.domain.signing_key import PUBLISHED
from keywright.key_ports import MasterKeys as MasterKeysChanged
from keywright.key_ports import MasterKeyUse, TokenType
from keywright.signing import ed25519, rewrap, vault
from keywright.signing.master_key import MasterKey, MasterKeys
from keywright.store import keys, master_keys
from keywright.store.engine import Database
from keywright.store.keys import SigningKey
from keywright.store.master_keys import MasterKeyRow, Wrapped

_TYPES: tuple[TokenType, ...] = get_args(TokenType)
_AT_ONCE: tuple[Literal["active", "next"], ...] = ("active", "next")
Blind = Literal["license-key-lookup", "fingerprint", "signal", "claim", "portal", "staff"]
_BLINDS: Final[tuple[Blind, ...]] = get_args(Blind)


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
    """Implements the ports Vault and Signer over the master keys and the database."""

    def __init__(self, masters: MasterKeys, database: Database) -> None:
        self._masters = masters
        self._database = database
        self._tenants: dict[str, _Tenant] = {}
        self._opening = threading.Lock()
        self._blinds: dict[str, bytes] = {}

    # -- Vault --------------------------------------------------------------------------------------

    def seal(self, tenant: str, kind: str, owner: str, plaintext: str) -> str:
        return vault.seal(self._of(tenant).data_key, plaintext.encode(), _place(tenant, kind, owner))

    def unseal(self, tenant: str, kind: str, owner: str, sealed: str) -> str:
        return vault.open_(self._of(tenant).data_key, sealed, _place(tenant, kind, owner)).decode()

    def row_key(self, tenant: str) -> bytes:
        return self._of(tenant).row_key

    def blind(self, purpose: Blind, text: str) -> str:
        key = self._blinds.get(purpose) or self._blind_key(purpose)
        digest = hmac.digest(key, text.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def shred(self, connection: sa.Connection, tenant: str) -> None:
        keys.changed(connection, tenant)
        keys.delete_data_key(connection, tenant)

    def forget(self, tenant: str) -> None:
        # Under the lock: one that was being opened meanwhile must not be put back.
        with self._opening:
            self._tenants.pop(tenant, None)

    def list_master_keys(self) -> list[MasterKeyUse]:
        return rewrap.list_uses(self._database, self._masters)

    def rotate_master_key(
        self, now: datetime, *, prepare: bool, keep: Path | None, tell: Callable[[int], None]
    ) -> MasterKeysChanged:
        return rewrap.rotate(self._database, self._masters, now, prepare=prepare, keep=keep, tell=tell)

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
            if versions.get(tenant, known.version) == known.version:
                continue
            try:
                self._reopen(tenant)
            except vault.NoDataKey:
                self.forget(tenant)  # shredded: what this process still holds must not outlive it

    def publish_next(
        self, connection: sa.Connection, tenant: str, token_type: TokenType, now: datetime
    ) -> None:
        _add_pair(connection, self._of(tenant).data_key, tenant, token_type, "next", now)

    # -- keys ---------------------------------------------------------------------------------------

    def create(self, connection: sa.Connection, tenant: str, now: datetime) -> None:
        """A new tenant's data key and two signing pairs a token type, in the caller's transaction."""
        data_key = vault.new_data_key()
        made = rewrap.wrap(self._current(connection, now), "data", tenant, data_key)
        keys.insert_data_key(connection, tenant, made.wrapped, made.master_id, now)
        keys.begin_key_set(connection, tenant)
        for token_type in _TYPES:
            for state in _AT_ONCE:
                _add_pair(connection, data_key, tenant, token_type, state, now)

    def complete(self, connection: sa.Connection, now: datetime) -> None:
        """Give every tenant the pairs he lacks, in the caller's transaction: there were fewer once.

        And the installation its look-up keys, with those of a database from before they were stored.
        """
        self._current(connection, now)
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

    def _current(self, connection: sa.Connection, now: datetime) -> MasterKey:
        """The master key that wraps what is made in this transaction."""
        current = master_keys.find_current(connection)
        before: Sequence[Wrapped] = ()
        if current is None:
            before = master_keys.list_wrapped(connection)
            master = self._first(before)
            master_keys.begin(connection, master.id, now)
            current = master_keys.find_current(connection) or MasterKeyRow(master.id, 1, now)
            master_keys.note_master(connection, current.id)
        master = self._masters.get(current.id)
        lacking = set(_BLINDS) - set(master_keys.list_blind_keys(connection))
        made = [
            # Before they were stored they were derived from the master key, and there are hashes of those.
            vault.derive(master.key, purpose) if before else secrets.token_bytes(vault.KEY_BYTES)
            for purpose in sorted(lacking)
        ]
        wrapped = [rewrap.wrap(master, "blind", *pair) for pair in zip(sorted(lacking), made, strict=True)]
        master_keys.insert_blind_keys(connection, wrapped, now)
        return master

    def _first(self, before: Sequence[Wrapped]) -> MasterKey:
        """The newest master key at hand that opens all of these."""
        for id_ in self._masters.ids:
            try:
                for one in before:
                    vault.unwrap_data_key(self._masters.get(id_).key, one.wrapped, tenant=one.owner)
            except vault.VaultRefused:
                continue
            return self._masters.get(id_)
        raise vault.VaultRefused("the master key at hand is not the one that sealed what is in this database")

    def _blind_key(self, purpose: str) -> bytes:
        with self._database.read() as connection:
            stored = master_keys.list_blind_keys(connection)
        if purpose not in stored:
            raise vault.VaultRefused("this database was never prepared: run keywright migrate")
        opened = self._blinds[purpose] = rewrap.open_any(self._masters, stored[purpose])
        return opened

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
            wrapped = master_keys.find_data_key(connection, tenant)
            stored = keys.list_signing_keys(connection, tenant)
        if wrapped is None:
            raise vault.NoDataKey("this tenant has no data key")
        data_key = rewrap.open_any(self._masters, wrapped)
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
