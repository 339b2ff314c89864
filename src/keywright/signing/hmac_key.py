"""Firms' secrets, derived from `LICENSE_SECRET`. An installation gets its firm's secret; the master stays."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keywright.domain.hmac_key import SECRET_BYTES

_LABEL = b"lic-hmac/1"


def derive(master: bytes, salt: bytes, info: bytes, size: int = SECRET_BYTES) -> bytes:
    """HKDF-SHA512 (RFC 5869)."""
    return HKDF(algorithm=SHA512(), length=size, salt=salt, info=info).derive(master)


class DerivedSecrets:
    """Implements the port FirmSecrets over one master secret."""

    def __init__(self, master: str) -> None:
        self._master = master.encode()

    def __repr__(self) -> str:  # the master never reaches a log
        return "DerivedSecrets(...)"

    def secret_of(self, tenant: str, product: int, firm: str, epoch: int) -> bytes:
        named = firm.encode()
        info = b"".join(
            (
                _LABEL,
                product.to_bytes(2, "big"),
                # With its length, so that no two firms and epochs share a text.
                len(named).to_bytes(2, "big"),
                named,
                epoch.to_bytes(1, "big"),
            )
        )
        return derive(self._master, tenant.encode(), info)
