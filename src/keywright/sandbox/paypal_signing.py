"""A certificate authority of the stand-in's own, and signatures made as PayPal makes them."""

from __future__ import annotations

import os
import zlib
from base64 import b64encode
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_FILE_NAME = "paypal-ca.pem"
_KEY_FILE_NAME = "paypal-ca.key"
_NAME = "messageverificationcerts.sandbox.paypal.com"
# The clock of a sandbox may be turned fifty years ahead.
_FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
_LAST_DAY = datetime(2120, 1, 1, tzinfo=UTC)


class Authority:
    """The root, kept in `data_dir` so that a restarted sandbox is still trusted, and its one leaf."""

    def __init__(self, data_dir: Path) -> None:
        self.ca_file = data_dir / CA_FILE_NAME
        self.certificate_id = f"CERT-{os.urandom(8).hex()}"
        self._key = _root_key(data_dir / _KEY_FILE_NAME)
        if not self.ca_file.exists():
            self.ca_file.write_bytes(_root(self._key).public_bytes(serialization.Encoding.PEM))
        self._root = x509.load_pem_x509_certificate(self.ca_file.read_bytes())

    @cached_property
    def _leaf_key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def leaf(self) -> bytes:
        """The certificate that signs, as PEM."""
        made = (
            x509.CertificateBuilder()
            .subject_name(_named(_NAME))
            .issuer_name(self._root.subject)
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_FIRST_DAY)
            .not_valid_after(_LAST_DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    def sign(self, transmission: str, time: str, webhook_id: str, body: bytes) -> str:
        """The signature of a delivery, in base64."""
        message = _message(transmission, time, webhook_id, body)
        return b64encode(self._leaf_key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()

    def verify(self, signature: bytes, transmission: str, time: str, webhook_id: str, body: bytes) -> bool:
        """Whether this was signed here."""
        message = _message(transmission, time, webhook_id, body)
        try:
            self._leaf_key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


def _message(transmission: str, time: str, webhook_id: str, body: bytes) -> bytes:
    return f"{transmission}|{time}|{webhook_id}|{zlib.crc32(body)}".encode()


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _root_key(file: Path) -> ec.EllipticCurvePrivateKey:
    if file.exists():
        kept = serialization.load_pem_private_key(file.read_bytes(), password=None)
        if isinstance(kept, ec.EllipticCurvePrivateKey):
            return kept
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(pem)
    file.with_name(CA_FILE_NAME).unlink(missing_ok=True)  # a root of another key is nobody's
    return key


def _root(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _named("Keywright sandbox root")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FIRST_DAY)
        .not_valid_after(_LAST_DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
