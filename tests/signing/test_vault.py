"""The vault: what is sealed for one place opens there and nowhere else."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from keywright.signing.vault import (
    Label,
    Place,
    VaultRefused,
    derive,
    new_data_key,
    open_,
    seal,
    unwrap_blind_key,
    unwrap_data_key,
    wrap_blind_key,
    wrap_data_key,
)

_WYCHEPROOF = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "crypto" / "wycheproof" / "aes_gcm_test.json").read_bytes()
)
_GCM = [
    test
    for group in _WYCHEPROOF["testGroups"]
    if group["ivSize"] == 96 and group["tagSize"] == 128
    for test in group["tests"]
]
_KEY = bytes(range(32))
_PLACE = Place("ten_1", "provider", "stripe_secret_key", 1)
_SECRET = b"sk_test_not_a_real_one"


class _AnyAad:
    """A place whose encoding is given: Wycheproof chooses the associated data itself."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded

    def encode(self) -> bytes:
        return self._encoded


def _text(sealed: bytes) -> str:
    return "v1." + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    part = text.removeprefix("v1.")
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_wycheproof_is_complete() -> None:
    assert len(_GCM) == 67 + 66 + 64


@pytest.mark.parametrize("test", _GCM, ids=[str(test["tcId"]) for test in _GCM])
def test_wycheproof(test: dict[str, Any]) -> None:
    key, iv, aad, message, ciphertext, tag = (
        bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
    )
    if len(key) == 32:
        place: Any = _AnyAad(aad)
        if test["result"] == "valid":
            assert open_(key, _text(iv + ciphertext + tag), place) == message
        else:
            with pytest.raises(VaultRefused):
                open_(key, _text(iv + ciphertext + tag), place)
        return
    # The vault takes 256-bit keys alone; the primitive under it is held to the shorter ones too.
    with pytest.raises(VaultRefused):
        open_(key, _text(iv + ciphertext + tag), _PLACE)
    if test["result"] == "valid":
        assert AESGCM(key).decrypt(iv, ciphertext + tag, aad) == message
    else:
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(iv, ciphertext + tag, aad)


@given(st.binary(max_size=200), st.text(max_size=20), st.integers(0, 2**31))
def test_round_trip(secret: bytes, tenant: str, version: int) -> None:
    tenant = tenant.encode("utf-8", "replace").decode()
    place = Place(tenant, "kind", "field", version)
    assert open_(_KEY, seal(_KEY, secret, place), place) == secret


def test_text_is_versioned_url_safe_and_fresh() -> None:
    texts = {seal(_KEY, _SECRET, _PLACE) for _ in range(50)}
    assert len(texts) == 50
    assert len({_bytes(text)[:12] for text in texts}) == 50
    for text in texts:
        assert text.startswith("v1.")
        assert set(text[3:]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        assert len(_bytes(text)) == 12 + len(_SECRET) + 16


@pytest.mark.parametrize(
    "place",
    [
        Place("ten_2", "provider", "stripe_secret_key", 1),
        Place("ten_1", "webhook", "stripe_secret_key", 1),
        Place("ten_1", "provider", "stripe_webhook_secret", 1),
        Place("ten_1", "provider", "stripe_secret_key", 2),
        Place("ten_1p", "rovider", "stripe_secret_key", 1),
        Place("ten_1", "", "providerstripe_secret_key", 1),
        Place("", "", "", 0),
    ],
    ids=repr,
)
def test_another_place_is_refused(place: Place) -> None:
    with pytest.raises(VaultRefused, match="does not open here"):
        open_(_KEY, seal(_KEY, _SECRET, _PLACE), place)


@given(st.tuples(*[st.text(max_size=6)] * 3), st.tuples(*[st.text(max_size=6)] * 3))
def test_no_two_places_share_an_encoding(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (Place(*one, 1).encode() == Place(*other, 1).encode()) is (one == other)


def test_another_key_is_refused() -> None:
    with pytest.raises(VaultRefused, match="does not open here"):
        open_(new_data_key(), seal(_KEY, _SECRET, _PLACE), _PLACE)


def test_every_flipped_bit_is_refused() -> None:
    sealed = _bytes(seal(_KEY, _SECRET, _PLACE))
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VaultRefused):
            open_(_KEY, _text(bytes(flipped)), _PLACE)


def test_every_truncation_and_extension_is_refused() -> None:
    text = seal(_KEY, _SECRET, _PLACE)
    for other in [text[:length] for length in range(len(text))] + [
        text + more for more in ("A", "=", "==", "\n", "AAAA")
    ]:
        with pytest.raises(VaultRefused):
            open_(_KEY, other, _PLACE)


@given(st.text() | st.text(alphabet="v1.AZaz09-_=", max_size=80).map("v1.".__add__))
def test_foreign_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    with pytest.raises(VaultRefused):
        open_(_KEY, text, _PLACE)


def test_other_formats_are_refused() -> None:
    text = seal(_KEY, _SECRET, _PLACE)
    for other in ("v2." + text[3:], "V1." + text[3:], text[3:], " " + text):
        with pytest.raises(VaultRefused, match="format"):
            open_(_KEY, other, _PLACE)


def test_refusal_carries_neither_secret_nor_ciphertext() -> None:
    text = seal(_KEY, _SECRET, _PLACE)
    with pytest.raises(VaultRefused) as caught:
        open_(new_data_key(), text, _PLACE)
    assert text[3:20] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_keys_have_32_bytes(length: int) -> None:
    for call in (
        lambda key: seal(key, b"", _PLACE),
        lambda key: open_(key, "v1.", _PLACE),
        lambda key: wrap_data_key(_KEY, key, tenant="ten_1"),
        lambda key: wrap_data_key(key, _KEY, tenant="ten_1"),
        lambda key: derive(key, "fingerprint"),
    ):
        with pytest.raises(VaultRefused, match="32 bytes"):
            call(bytes(length))


def test_data_keys_are_wrapped_for_one_tenant_and_version() -> None:
    data_key = new_data_key()
    wrapped = wrap_data_key(_KEY, data_key, tenant="ten_1")
    assert unwrap_data_key(_KEY, wrapped, tenant="ten_1") == data_key
    with pytest.raises(VaultRefused):
        unwrap_data_key(_KEY, wrapped, tenant="ten_2")
    with pytest.raises(VaultRefused):
        unwrap_data_key(_KEY, wrapped, tenant="ten_1", version=2)
    with pytest.raises(VaultRefused):
        unwrap_data_key(new_data_key(), wrapped, tenant="ten_1")


def test_look_up_keys_are_wrapped_for_one_purpose() -> None:
    master, key = new_data_key(), new_data_key()
    wrapped = wrap_blind_key(master, key, purpose="claim")
    assert unwrap_blind_key(master, wrapped, purpose="claim") == key
    for other_master, purpose in ((new_data_key(), "claim"), (master, "portal"), (master, "")):
        with pytest.raises(VaultRefused):
            unwrap_blind_key(other_master, wrapped, purpose=purpose)
    # Neither passes for a data key, nor the other way round.
    for tenant in ("", "claim"):
        with pytest.raises(VaultRefused):
            unwrap_data_key(master, wrapped, tenant=tenant)
    with pytest.raises(VaultRefused):
        unwrap_blind_key(master, wrap_data_key(master, key, tenant="claim"), purpose="claim")


def test_a_sealed_secret_is_no_data_key() -> None:
    with pytest.raises(VaultRefused):
        unwrap_data_key(_KEY, seal(_KEY, bytes(32), _PLACE), tenant="ten_1")


def _hkdf(key: bytes, info: bytes) -> bytes:
    """RFC 5869 for one block, by hand: an independent computation."""
    extracted = hmac.digest(bytes(32), key, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def test_hkdf_sha256_vectors() -> None:
    path = Path(__file__).parents[1] / "fixtures" / "crypto" / "wycheproof" / "hkdf_sha256_test.json"
    cases = [case for group in json.loads(path.read_bytes())["testGroups"] for case in group["tests"]]
    assert len(cases) == 86
    for case in cases:
        salt, key, info = (bytes.fromhex(case[name]) for name in ("salt", "ikm", "info"))
        if case["result"] == "invalid":
            with pytest.raises(ValueError, match="larger"):
                HKDF(algorithm=SHA256(), length=case["size"], salt=salt, info=info)
        else:
            made = HKDF(algorithm=SHA256(), length=case["size"], salt=salt, info=info).derive(key)
            assert made.hex() == case["okm"], case["tcId"]


def test_derived_keys_are_hkdf_and_distinct() -> None:
    labels: tuple[Label, ...] = get_args(Label)
    keys = {label: derive(_KEY, label) for label in labels}
    assert {"license-key-lookup", "license-row-mac", "fingerprint", "claim", "portal"} < set(keys)
    assert len(set(keys.values())) == len(keys)
    for label, key in keys.items():
        assert key == _hkdf(_KEY, b"keywright/v1/" + label.encode())
        assert derive(new_data_key(), label) != key


def test_unknown_labels_are_refused() -> None:
    label: Any = "something-else"
    with pytest.raises(VaultRefused, match="purpose"):
        derive(_KEY, label)
