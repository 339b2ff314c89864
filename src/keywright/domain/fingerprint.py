"""The fingerprint: an opaque name a program gives the machine it runs on."""

import hashlib
import re
from base64 import urlsafe_b64encode
from typing import Final

_FINGERPRINT: Final = re.compile(r"[ -~]{8,256}")
_MID_BYTES: Final = 16


def check(fingerprint: str) -> bool:
    """True when the text may be a fingerprint: 8 to 256 printable ASCII characters, space included."""
    return _FINGERPRINT.fullmatch(fingerprint) is not None


def mid(product_id: str, fingerprint: str) -> str:
    """The machine id in a lease: unpadded base64url of 16 bytes of SHA-256(product id, 0x00, fingerprint).

    The product id keeps one machine from being recognized across products; 0x00 cannot occur in either part,
    so no two pairs share an input.

    Raises:
        ValueError: the fingerprint does not pass `check`, or the product id contains 0x00.
    """
    if not check(fingerprint) or "\x00" in product_id:
        raise ValueError("not a fingerprint of a product")
    digest = hashlib.sha256(product_id.encode() + b"\x00" + fingerprint.encode()).digest()
    return urlsafe_b64encode(digest[:_MID_BYTES]).rstrip(b"=").decode()
