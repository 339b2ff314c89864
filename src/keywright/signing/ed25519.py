"""Ed25519 keys (RFC 8032) as JOSE sees them (RFC 8037): make, name, publish, sign, verify."""

import hashlib
from base64 import urlsafe_b64encode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keywright.domain.license_token import VerifyFn


def generate() -> tuple[bytes, bytes]:
    """A new key pair: private and public key, 32 bytes each."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def thumbprint(public: bytes) -> str:
    """The key id: RFC 7638 thumbprint, SHA-256, over the members RFC 8037 section 2 requires."""
    # The hash is over exactly this text: members sorted, no blanks.
    text = f'{{"crv":"Ed25519","kty":"OKP","x":"{_b64(public)}"}}'
    return _b64(hashlib.sha256(text.encode("ascii")).digest())


def jwk(public: bytes, kid: str) -> dict[str, str]:
    """The public key as a member of a JWK set. `alg` has the name that every JOSE library knows."""
    return {"kty": "OKP", "crv": "Ed25519", "x": _b64(public), "kid": kid, "alg": "EdDSA", "use": "sig"}


class Signer:
    """Holds a private key and signs with it. Shows the key in no representation."""

    __slots__ = ("_key", "kid", "public")

    def __init__(self, private: bytes) -> None:
        """Take the 32 private bytes; ValueError when there are more or fewer."""
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.public: bytes = self._key.public_key().public_bytes_raw()
        self.kid: str = thumbprint(self.public)

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of signature over the data."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"Signer(kid={self.kid!r})"


def verifier(public: bytes) -> VerifyFn:
    """A function that says whether a signature over some data was made by this key's owner.

    Raises:
        ValueError: the public key is not 32 bytes long.
    """
    key = Ed25519PublicKey.from_public_bytes(public)

    def holds(signature: bytes, data: bytes) -> bool:
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    return holds


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
