"""Ports of everything that has keys: the vault, who signs, and the offline root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
from sqlalchemy import Connection

from keywright.domain.license_token import VerifyFn


class MasterKeys(msgspec.Struct, frozen=True):
    """What became of the master key. `id` and `generation`: of the one that wraps what is made from now on.

    `rewrapped`: how many keys were put under it. `left_out`: ids that may be taken from where the keys are
    kept, because nothing is wrapped by them any longer. `source`: where the keys come from. `begun`: a new
    key is there, and wraps nothing yet.
    """

    id: str
    generation: int
    rewrapped: int
    left_out: tuple[str, ...]
    source: str
    begun: bool = False


class MasterKeyUse(msgspec.Struct, frozen=True):
    """A master key as the database knows it, never the key.

    It wraps what is made from `since` to `until`. `wraps`: how many keys it wraps now. From `retired_at` on
    it opens backups of before, and nothing else.
    """

    id: str
    generation: int
    since: datetime
    until: datetime | None
    retired_at: datetime | None
    wraps: int
    at_hand: bool


class Vault(Protocol):
    """Secrets at rest. Each ciphertext is bound to its tenant, kind and owner."""

    def seal(self, tenant: str, kind: str, owner: str, plaintext: str) -> str: ...

    def unseal(self, tenant: str, kind: str, owner: str, sealed: str) -> str:
        """Raises VaultRefused when the text was altered or belongs somewhere else."""
        ...

    def row_key(self, tenant: str) -> bytes:
        """The key of the MAC on this tenant's license rows."""
        ...

    def blind(
        self,
        purpose: Literal["license-key-lookup", "fingerprint", "signal", "claim", "portal", "staff"],
        text: str,
    ) -> str:
        """A keyed hash for look-ups: equal texts give equal hashes, and nothing leads back."""
        ...

    def shred(self, connection: Connection, tenant: str) -> None:
        """Destroy a tenant's data key, in the caller's transaction: nothing sealed under it opens any more.

        Other processes forget the key within seconds of the commit. Nothing happens where there is none.
        """
        ...

    def forget(self, tenant: str) -> None:
        """Forget in this process what was opened of a tenant. After the commit of `shred`."""
        ...

    def list_master_keys(self) -> list[MasterKeyUse]:
        """The newest first."""
        ...

    def rotate_master_key(
        self, now: datetime, *, prepare: bool, keep: Path | None, tell: Callable[[int], None]
    ) -> MasterKeys:
        """Wrap every key by the newest master key, and leave the one before out; or finish that.

        Args:
            now: the moment, aware, UTC.
            prepare: only make the new key, in the file, and have nothing wrapped by it yet.
            keep: where the former key is written, mode 0600, before it is taken from the file.
            tell: how many keys are rewrapped so far.

        Raises:
            Misconfigured: there is no new key to take, or it was used before.
            Conflict: another command is at it.
            VaultRefused: a key does not open, or the present master key is not at hand.
            OSError: the file system refuses.
        """
        ...


TokenType = Literal["lic+jwt", "lease+jwt", "crl+jwt"]


class Signer(Protocol):
    """Signing keys, one active pair per tenant and token type."""

    def refresh(self) -> None:
        """Take up what became of the keys since they were opened, here or in another process.

        One small read when nothing did. Every server process calls it every few seconds.
        """
        ...

    def create(self, connection: Connection, tenant: str, now: datetime) -> None:
        """A new tenant's data key, and its signing pairs, in the caller's transaction."""
        ...

    def publish_next(self, connection: Connection, tenant: str, token_type: TokenType, now: datetime) -> None:
        """Make the pair that signs after the active one, in the caller's transaction."""
        ...

    def sign(self, tenant: str, token_type: TokenType, claims: Mapping[str, Any]) -> str: ...

    def active_key(self, tenant: str, token_type: TokenType) -> str:
        """The key id that signs now; a lease signed by another one is renewed."""
        ...

    def verifiers(self, tenant: str, token_type: TokenType) -> Mapping[str, VerifyFn]:
        """Key id -> check, for every key whose tokens are still good."""
        ...

    def key_set(self, tenant: str) -> dict[str, Any]:
        """The public JWKS document. Each key has `typ`, the one type of token that it may sign."""
        ...


class RootKey(Protocol):
    """The offline root of a seller's keys, while its owner signs with it. It is never stored."""

    @property
    def kid(self) -> str: ...

    @property
    def public(self) -> bytes: ...

    def sign(self, data: bytes) -> bytes: ...
