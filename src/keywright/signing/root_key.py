"""The offline root of a seller's keys, in a file that its owner keeps away from the server."""

from __future__ import annotations

import os
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import msgspec

from keywright.domain.errors import Misconfigured
from keywright.signing import ed25519

_LARGEST = 4096
_KEY_BYTES = 32


class _RootJwk(msgspec.Struct, frozen=True):
    """A private JWK (RFC 8037 section 2). `d` is the secret."""

    kty: str
    crv: str
    x: str
    d: str
    kid: str

    def __repr__(self) -> str:  # the secret never reaches a log
        return f"_RootJwk({self.kid!r})"


def create(path: Path) -> ed25519.Signer:
    """A new root, written to a file of mode 0600 that must not exist yet.

    Raises:
        Misconfigured: there is such a file, or it cannot be written.
    """
    private, public = ed25519.generate()
    root = ed25519.Signer(private)
    told = _RootJwk("OKP", "Ed25519", _b64(public), _b64(private), root.kid)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise Misconfigured(f"There is a file {path} already: a root is never written over.") from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}.") from None
    return root


def read(path: Path) -> ed25519.Signer:
    """The root from its file.

    Raises:
        Misconfigured: it can be read by group or others, is not there, or holds no root.
    """
    try:
        # Mode and content are of the same open file, so that nobody can exchange it in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}.") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
            raise Misconfigured(f"Others can read {path}, or it is no file: chmod 600 it.")
        content = os.read(descriptor, _LARGEST)
    finally:
        os.close(descriptor)
    root = _root_in(content)
    if root is None:
        raise Misconfigured(f"{path} holds no root key.")
    return root


def _root_in(content: bytes) -> ed25519.Signer | None:
    try:
        told = msgspec.json.decode(content, type=_RootJwk)
        private = urlsafe_b64decode(told.d + "=" * (-len(told.d) % 4))
    except (ValueError, msgspec.MsgspecError):
        return None
    if (told.kty, told.crv, len(private)) != ("OKP", "Ed25519", _KEY_BYTES):
        return None
    root = ed25519.Signer(private)
    return root if _b64(root.public) == told.x else None


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
