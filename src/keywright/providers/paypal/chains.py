"""Chains: whether a certificate is one that PayPal may sign with, and whether its issuers lead to a root.

Apart from the fetching, because X.509 takes a tenth of a second to import: who hears nothing from PayPal does
not wait for it when the server starts.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import certifi
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from keywright.domain.errors import BadSignature, Misconfigured

_SMALLEST_KEY = 2048
_MOST_ISSUERS = 5
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Chain(msgspec.Struct, frozen=True):
    """A certificate that is good by itself, with the issuers that came along."""

    leaf: x509.Certificate
    issuers: tuple[x509.Certificate, ...]
    key: rsa.RSAPublicKey
    name: str

    def leads_to(
        self, roots: Sequence[x509.Certificate], more: Sequence[x509.Certificate], now: datetime
    ) -> bool:
        """Whether its issuers, and those of `more`, lead to one of the roots."""
        builder = PolicyBuilder().store(Store(list(roots))).time(now)
        verifier = builder.build_server_verifier(x509.DNSName(self.name))
        try:
            verifier.verify(self.leaf, [*self.issuers, *more])
        except VerificationError:
            return False
        return True


def read(pem: bytes, name: str, now: datetime) -> Chain:
    """The chain in a PEM text, whose first certificate is made for `name`.

    Raises BadSignature when it is none, or may not sign now.
    """
    try:
        delivered = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise BadSignature("that is no certificate") from None
    leaf = delivered[0]
    key = leaf.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _SMALLEST_KEY:
        raise BadSignature("the certificate's key is not RSA of 2048 bits or more")
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise BadSignature("the certificate is not valid at this time")
    if name not in _names(leaf):
        raise BadSignature("the certificate was made for another purpose")
    return Chain(leaf, tuple(delivered[1 : 1 + _MOST_ISSUERS]), key, name)


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]


def public_roots() -> tuple[x509.Certificate, ...]:
    """The roots that browsers trust."""
    return _loaded(Path(certifi.where()).read_bytes(), x509.load_pem_x509_certificate)


def roots_in(file: Path) -> tuple[x509.Certificate, ...]:
    """The roots in a PEM file. Raises Misconfigured when there are none."""
    try:
        found = _loaded(file.read_bytes(), x509.load_pem_x509_certificate)
    except OSError as error:
        raise Misconfigured(f"PAYPAL_CA_FILE {file} cannot be read: {error.strerror}.") from None
    if not found:
        raise Misconfigured(f"PAYPAL_CA_FILE {file} holds no certificate.")
    return found


def _loaded(pem: bytes, load: Callable[[bytes], x509.Certificate]) -> tuple[x509.Certificate, ...]:
    roots = []
    with warnings.catch_warnings():
        # A few public roots have serial numbers that newer rules do not allow. They are nobody's here.
        warnings.simplefilter("ignore")
        for part in _PEM.findall(pem):
            try:
                roots.append(load(part))
            except ValueError:
                continue
    return tuple(roots)
