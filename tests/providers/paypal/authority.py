"""A certificate authority of the tests' own, to make what PayPal never would."""

from __future__ import annotations

import zlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAME = "messageverificationcerts.sandbox.paypal.com"
BORN = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def _key(number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Authority:
    """A root and what it signs."""

    def __init__(self) -> None:
        self._key = _key(1)
        self.leaf_key = _key(2)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test root")])
        self.root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(BORN)
            .not_valid_after(BORN + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )

    def leaf(self, name: str = NAME, *, days: int = 365) -> str:
        """A leaf for this name, as PEM."""
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.root.subject)
            .public_key(self.leaf_key.public_key())
            .serial_number(2)
            .not_valid_before(BORN)
            .not_valid_after(BORN + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def headers(
        self, raw: bytes, url: str, webhook_id: str, at: datetime, id_: str = "t-1"
    ) -> dict[str, str]:
        """The headers of a delivery of this body, signed."""
        time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        message = f"{id_}|{time}|{webhook_id}|{zlib.crc32(raw)}".encode()
        signature = self.leaf_key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return {
            "paypal-transmission-id": id_,
            "paypal-transmission-time": time,
            "paypal-transmission-sig": b64encode(signature).decode(),
            "paypal-cert-url": url,
            "paypal-auth-algo": "SHA256withRSA",
        }
