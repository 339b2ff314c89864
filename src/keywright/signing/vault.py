"""The vault: secrets at rest under AES-256-GCM, one data key per tenant, wrapped by the master key.

A stored secret is bound to its place (tenant, kind, field, version): moved to another place it does not open.
Deleting a tenant's wrapped data key destroys everything sealed under it. Refusals say that something did not
open, never what it was.
"""

import binascii
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, Literal, get_args

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keywright.domain.errors import KeywrightError

KEY_BYTES: Final = 32

_FORMAT: Final = "v1."
_NONCE_BYTES: Final = 12  # random 96 bit: safe for 2^32 texts under one data key (NIST SP 800-38D 8.3)
_TAG_BYTES: Final = 16
_DATA_KEY: Final = ("data-key", "wrapped")
_BLIND_KEY: Final = "blind-key"

Label = Literal[
    "license-key-lookup",
    "license-row-mac",
    "fingerprint",
    "signal",
    "timeline-salt",
    "claim",
    "portal",
    "staff",
    "master-key-id",
]
_LABELS: Final = frozenset(get_args(Label))


class VaultRefused(KeywrightError):
    """A secret did not open, or a key cannot be used. Carries no secret and no ciphertext."""

    code = "VAULT_REFUSED"


class NoDataKey(VaultRefused):
    """A tenant has no data key: it was never made, or it was shredded."""


class Place(msgspec.Struct, frozen=True):
    """Where a sealed secret belongs; the associated data of its encryption.

    Where several rows have the same field, `field` names the row too (`key:lic_...`); else two rows of one
    tenant could swap their secrets unnoticed.
    """

    tenant: str
    kind: str
    field: str
    version: int

    def encode(self) -> bytes:
        """Unambiguous bytes: each part after its length, so that no two places share an encoding."""
        parts = (self.tenant, self.kind, self.field, str(self.version))
        encoded = [part.encode() for part in parts]
        return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def new_data_key() -> bytes:
    """A fresh data key for a tenant."""
    return secrets.token_bytes(KEY_BYTES)


def wrap_data_key(master_key: bytes, data_key: bytes, *, tenant: str, version: int = 1) -> str:
    """Encrypt a tenant's data key for storage.

    Raises:
        VaultRefused: a key is not 32 bytes long.
    """
    _demand_key(data_key)
    return seal(master_key, data_key, Place(tenant, *_DATA_KEY, version))


def unwrap_data_key(master_key: bytes, text: str, *, tenant: str, version: int = 1) -> bytes:
    """Decrypt a tenant's data key.

    Raises:
        VaultRefused: wrong master key, other tenant or version, or an altered text.
    """
    data_key = open_(master_key, text, Place(tenant, *_DATA_KEY, version))
    _demand_key(data_key)
    return data_key


def wrap_blind_key(master_key: bytes, blind_key: bytes, *, purpose: str) -> str:
    """Encrypt a key of the look-up hashes for storage. It belongs to the installation, to no tenant.

    Raises:
        VaultRefused: a key is not 32 bytes long.
    """
    _demand_key(blind_key)
    return seal(master_key, blind_key, Place("", _BLIND_KEY, purpose, 1))


def unwrap_blind_key(master_key: bytes, text: str, *, purpose: str) -> bytes:
    """Decrypt a key of the look-up hashes.

    Raises:
        VaultRefused: wrong master key, other purpose, or an altered text.
    """
    blind_key = open_(master_key, text, Place("", _BLIND_KEY, purpose, 1))
    _demand_key(blind_key)
    return blind_key


def seal(data_key: bytes, plaintext: bytes, aad: Place) -> str:
    """Encrypt a secret for its place: `v1.` and base64url of nonce, ciphertext and tag.

    Raises:
        VaultRefused: the key is not 32 bytes long.
    """
    _demand_key(data_key)
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + AESGCM(data_key).encrypt(nonce, plaintext, aad.encode())
    return _FORMAT + urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def open_(data_key: bytes, text: str, aad: Place) -> bytes:
    """Decrypt what `seal` made for the same place under the same key.

    Raises:
        VaultRefused: the only exception, for any text: wrong key, other place, altered or foreign text.
    """
    _demand_key(data_key)
    sealed = _sealed_bytes(text)
    try:
        return AESGCM(data_key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad.encode())
    except InvalidTag:
        raise VaultRefused("the sealed text does not open here: wrong key, wrong place, or altered") from None


def derive(data_key: bytes, label: Label) -> bytes:
    """A 32-byte key for one purpose, from a tenant's data key or a master key (HKDF-SHA256, RFC 5869).

    Raises:
        VaultRefused: the label is not one of the known purposes, or the key is not 32 bytes long.
    """
    if label not in _LABELS:
        raise VaultRefused("no such purpose for a derived key")
    _demand_key(data_key)
    # No salt: the data key is uniform already (RFC 5869 3.1); the label separates the purposes.
    info = b"keywright/v1/" + label.encode("ascii")
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(data_key)


def _sealed_bytes(text: str) -> bytes:
    if not text.startswith(_FORMAT) or not text.isascii():
        raise VaultRefused("not a sealed text of a known format")
    part = text[len(_FORMAT) :].encode("ascii")
    try:
        sealed = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error:
        sealed = b""
    # Re-encoding refuses what the decoder forgives, so that one secret has one text.
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES or urlsafe_b64encode(sealed).rstrip(b"=") != part:
        raise VaultRefused("not a sealed text of a known format")
    return sealed


def _demand_key(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise VaultRefused("a vault key has exactly 32 bytes")
