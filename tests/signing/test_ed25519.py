"""Ed25519 against Wycheproof, RFC 8032 and RFC 8037."""

import json
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest

from keywright.domain.license_token import LICENSE, encode, verify
from keywright.signing.ed25519 import Signer, generate, jwk, thumbprint, verifier

_CRYPTO = Path(__file__).parents[1] / "fixtures" / "crypto"
_WYCHEPROOF = json.loads((_CRYPTO / "wycheproof" / "ed25519_test.json").read_bytes())
_RFC8032 = json.loads((_CRYPTO / "rfc" / "rfc8032_ed25519.json").read_bytes())["vectors"]
_RFC8037 = json.loads((_CRYPTO / "rfc" / "rfc8037_ed25519_jws.json").read_bytes())
_VECTORS = [
    (group["publicKey"]["pk"], test) for group in _WYCHEPROOF["testGroups"] for test in group["tests"]
]


def _unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_wycheproof_is_complete() -> None:
    assert len(_VECTORS) == 151
    assert sum(test["result"] == "valid" for _, test in _VECTORS) == 88


@pytest.mark.parametrize(("public", "test"), _VECTORS, ids=[str(test["tcId"]) for _, test in _VECTORS])
def test_wycheproof(public: str, test: dict[str, Any]) -> None:
    holds = verifier(bytes.fromhex(public))
    assert holds(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"])) is (test["result"] == "valid")


@pytest.mark.parametrize("vector", _RFC8032, ids=lambda vector: vector["name"])
def test_rfc8032(vector: dict[str, str]) -> None:
    signer = Signer(bytes.fromhex(vector["secret_hex"]))
    message, signature = bytes.fromhex(vector["msg_hex"]), bytes.fromhex(vector["sig_hex"])
    assert signer.public == bytes.fromhex(vector["public_hex"])
    assert signer.sign(message) == signature
    assert verifier(signer.public)(signature, message)
    assert not verifier(signer.public)(signature, message + b"x")


def test_rfc8037() -> None:
    signer = Signer(_unb64(_RFC8037["jwk"]["d"]))
    assert signer.public == _unb64(_RFC8037["jwk"]["x"])
    assert thumbprint(signer.public) == signer.kid == _RFC8037["thumbprint_sha256"]
    signed, _, signature = _RFC8037["jws_compact"].rpartition(".")
    assert signer.sign(signed.encode()) == _unb64(signature)


def test_jwk_is_public_and_complete() -> None:
    _, public = generate()
    published = jwk(public, thumbprint(public))
    assert published.keys() == {"kty", "crv", "x", "kid", "alg", "use"}
    assert (published["kty"], published["crv"], published["alg"]) == ("OKP", "Ed25519", "EdDSA")
    assert _unb64(published["x"]) == public
    assert published["kid"] == thumbprint(public)


def test_generated_pairs_are_pairs_and_differ() -> None:
    pairs = [generate() for _ in range(5)]
    assert len({private for private, _ in pairs}) == 5
    for private, public in pairs:
        assert len(private) == len(public) == 32
        assert Signer(private).public == public


def test_signer_shows_no_private_key() -> None:
    private, _ = generate()
    signer = Signer(private)
    assert signer.kid in repr(signer)
    assert private.hex() not in repr(signer)
    assert not hasattr(signer, "__dict__")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_keys_have_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Signer(bytes(length))
    with pytest.raises(ValueError, match="32 bytes"):
        verifier(bytes(length))


@pytest.mark.parametrize("signature", [b"", b"\x00" * 63, b"\x00" * 64, b"\x00" * 65, b"\xff" * 64])
def test_malformed_signatures_are_false_and_no_error(signature: bytes) -> None:
    assert verifier(generate()[1])(signature, b"data") is False


def test_signs_license_tokens() -> None:
    signer = Signer(generate()[0])
    claims = {"iss": "i", "sub": "lic_1", "aud": "p", "iat": 1, "exp": 100}
    token = encode(claims, typ=LICENSE, kid=signer.kid, sign=signer.sign)
    keys = {signer.kid: verifier(signer.public)}
    assert verify(token, typ=LICENSE, keys=keys, iss="i", aud="p", now=50) == claims
