"""Fingerprints and machine ids."""

import hashlib
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.fingerprint import check, mid

_FINGERPRINTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=8, max_size=256)


@given(_FINGERPRINTS)
def test_printable_ascii_of_the_right_length_passes(fingerprint: str) -> None:
    assert check(fingerprint)


@pytest.mark.parametrize(
    "text", ["", "1234567", "x" * 257, "12345678\n", "1234\x00678", "1234567\u00e4", "1234\t678"]
)
def test_anything_else_does_not(text: str) -> None:
    assert not check(text)
    with pytest.raises(ValueError, match="not a fingerprint"):
        mid("prod_1", text)


@given(_FINGERPRINTS, st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_mid_is_half_a_digest_of_both(fingerprint: str, product_id: str) -> None:
    made = mid(product_id, fingerprint)
    digest = hashlib.sha256(product_id.encode() + b"\x00" + fingerprint.encode()).digest()
    assert len(made) == 22
    assert urlsafe_b64decode(made + "==") == digest[:16]


def test_mid_differs_by_product() -> None:
    assert mid("prod_1", "machine-1") != mid("prod_2", "machine-1")
    assert mid("prod_1", "machine-1") == "rxH9NaJFp508tiph5SAB9Q"


def test_mid_refuses_a_product_id_with_nul() -> None:
    with pytest.raises(ValueError, match="not a fingerprint"):
        mid("prod\x001", "machine-1")
