"""The client's own verifier: every labelled case, every rule, every character."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.client import strict_json, tokens
from keywright.client.tokens import LEASE, LICENSE, PublicKey, TokenRefused
from tests.client.seller import ISSUER, PRODUCT, START, Pair, b64

CRYPTO = Path(__file__).parents[1] / "fixtures" / "crypto"
JWS = json.loads((CRYPTO / "jws" / "jws_ed25519_cases.json").read_bytes())
CASES = {case["name"]: case for case in JWS["cases"]}
WYCHEPROOF = json.loads((CRYPTO / "wycheproof" / "ed25519_test.json").read_bytes())
VECTORS = [(group["publicKey"]["pk"], test) for group in WYCHEPROOF["testGroups"] for test in group["tests"]]
RFC8037 = json.loads((CRYPTO / "rfc" / "rfc8037_ed25519_jws.json").read_bytes())
JSON_TESTS = json.loads((CRYPTO / "json" / "jsontestsuite.json").read_bytes())

PAIR = Pair()
KEYS = {PAIR.kid: PublicKey(PAIR.x)}
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "lic_1",
    "aud": PRODUCT,
    "iat": START,
    "nbf": START,
    "exp": START + 86_400,
    "v": 1,
    "plan": "pro",
    "seats": 5,
    "entitlements": ["export.pdf"],
    "limits": {"projects": 100},
    "status": "active",
}
LEASED = CLAIMS | {
    "mid": "oHmiTbS_ZTGDTxPECwMmtw",
    "lexp": START + 3600,
    "srv": START,
    "seq": 1,
    "code": "VALID",
    "nonce": "n-1",
}


def verified(token: str | bytes, typ: str = LICENSE, now: int = START, **more: Any) -> dict[str, Any]:
    return tokens.verify(token, typ=typ, keys=KEYS, iss=ISSUER, aud=PRODUCT, now=now, **more)


def refusal(token: str | bytes, typ: str = LICENSE, now: int = START, **more: Any) -> str:
    with pytest.raises(TokenRefused) as caught:
        verified(token, typ, now, **more)
    assert caught.value.__cause__ is None
    return str(caught.value)


def signed_raw(header: str, payload: bytes) -> str:
    text = f"{b64(header.encode())}.{b64(payload)}"
    return f"{text}.{b64(PAIR.private.sign(text.encode()))}"


def test_all_cases_are_there() -> None:
    assert (len(CASES), len(VECTORS)) == (50, 151)


@pytest.mark.parametrize("name", CASES)
def test_labelled_token(name: str) -> None:
    case, setting = CASES[name], JWS["verifier"]
    token = case["token"].replace("(repeat to 1 MiB at run time)", "A" * (2**20 - 200))
    keys = {kid: PublicKey(x) for kid, x in setting["keyset"].items()}

    def accepted(require_exp: bool) -> bool:
        try:
            claims = tokens.verify(
                token,
                typ=setting["typ"],
                keys=keys,
                iss=setting["iss"],
                aud=setting["aud"],
                now=setting["now"],
                require_exp=require_exp,
            )
        except TokenRefused:
            return False
        return bool(claims["seats"] == 5)

    assert accepted(True) is (case["expect"] == "accept")
    assert accepted(False) is (case["expect"] in ("accept", "policy"))


def test_signatures_of_wycheproof() -> None:
    wrong = [
        test["tcId"]
        for public, test in VECTORS
        if PublicKey(b64(bytes.fromhex(public))).holds(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
        is not (test["result"] == "valid")
    ]
    assert wrong == []


def test_thumbprint_of_rfc8037() -> None:
    assert PublicKey(RFC8037["jwk"]["x"]).kid == RFC8037["thumbprint_sha256"]


def test_texts_of_the_json_test_suite() -> None:
    accepted = refused = 0
    for case in JSON_TESTS["cases"]:
        if "b64" not in case:
            continue
        try:
            strict_json.loads(b64decode(case["b64"]))
        except strict_json.NotJSON:
            refused += 1
        else:
            accepted += 1
            assert not case["name"].startswith("n_"), case["name"]
    assert refused > 180
    assert accepted > 80


def test_a_token_that_is_right() -> None:
    assert verified(PAIR.sign(LICENSE, CLAIMS)) == CLAIMS
    assert verified(PAIR.sign(LICENSE, CLAIMS, alg="Ed25519").encode()) == CLAIMS
    assert verified(PAIR.sign(LEASE, LEASED), LEASE) == LEASED


def test_types_are_not_exchangeable() -> None:
    assert refusal(PAIR.sign(LEASE, LEASED)) == "typ"
    assert refusal(PAIR.sign(LICENSE, LEASED), LEASE) == "typ"
    assert refusal(PAIR.sign(LEASE, CLAIMS), LEASE) == "claim: lexp"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"jwk": {}}, "header"),
        ({"crit": []}, "header"),
        ({"alg": "none"}, "alg"),
        ({"alg": "ES256"}, "alg"),
        ({"typ": "JWT"}, "typ"),
        ({"kid": "k2"}, "kid"),
        ({"kid": None}, "header"),
        ({"alg": ["EdDSA"]}, "header"),
    ],
)
def test_header_is_exact(header: dict[str, Any], reason: str) -> None:
    assert refusal(PAIR.sign(LICENSE, CLAIMS, **header)) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://other.example/t/ten_1"}, "iss"),
        ({"aud": [PRODUCT]}, "aud"),
        ({"aud": "x"}, "aud"),
        ({"sub": ""}, "sub"),
        ({"iat": True}, "claim: iat"),
        ({"iat": 1.5}, "claim: iat"),
        ({"exp": None}, "claim: exp"),
        ({"exp": "9"}, "claim: exp"),
        ({"exp": 2**70}, "json"),
        ({"nbf": -1}, "claim: nbf"),
        ({"v": 2}, "version"),
        ({"v": True}, "version"),
        ({"seats": -1}, "claim: seats"),
        ({"seats": True}, "claim: seats"),
        ({"seats": 2**31}, "claim: seats"),
        ({"entitlements": [1]}, "claim: entitlements"),
        ({"limits": {"projects": -1}}, "claim: limits"),
        ({"mid": "short"}, "claim: mid"),
        ({"plan": 1}, "claim: plan"),
        ({"off": "x"}, "claim: off"),
        ({"grace_until": 1.5}, "claim: grace_until"),
        ({"firm": ["\ud800"]}, "json"),
        ({"pad": "a\0b"}, "json"),
        ({"pad": "x" * 9000}, "size"),
    ],
    ids=str,
)
def test_claims_are_checked(change: dict[str, Any], reason: str) -> None:
    assert refusal(PAIR.sign(LICENSE, CLAIMS | change), require_exp=True) == reason
    assert refusal(PAIR.sign(LICENSE, CLAIMS | change), require_exp=False) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lexp": "1"}, "claim: lexp"),
        ({"srv": -1}, "claim: srv"),
        ({"seq": True}, "claim: seq"),
        ({"seq": -1}, "claim: seq"),
        ({"code": ""}, "claim: code"),
        ({"nonce": 1}, "claim: nonce"),
        ({"mid": 7}, "claim: mid"),
        ({"out": 1}, "claim: out"),
        ({"out": False}, "claim: out"),
    ],
    ids=str,
)
def test_lease_claims_are_checked(change: dict[str, Any], reason: str) -> None:
    assert refusal(PAIR.sign(LEASE, LEASED | change), LEASE) == reason


def test_times_have_a_minute_of_tolerance() -> None:
    token, lease = PAIR.sign(LICENSE, CLAIMS), PAIR.sign(LEASE, LEASED)
    assert verified(token, now=START - 60)
    assert refusal(token, now=START - 61) == "not_yet_valid"
    assert verified(token, now=START + 86_400 + 59)
    assert refusal(token, now=START + 86_400 + 60) == "expired"
    assert verified(lease, LEASE, now=START + 3600 + 59)
    assert refusal(lease, LEASE, now=START + 3600 + 60) == "lease_ended"


def test_every_changed_character_is_refused() -> None:
    token = PAIR.sign(LICENSE, CLAIMS)
    for place, character in enumerate(token):
        for wrong in {"A", "-", "=", ".", "\n", "\u00e4"} - {character}:
            assert refusal(token[:place] + wrong + token[place + 1 :])
    for more in ("=", "==", "\n", ".", ".x", " "):
        assert refusal(token + more)
        assert refusal(more + token)


def test_repeated_members_are_refused() -> None:
    header = f'{{"alg":"EdDSA","kid":"{PAIR.kid}","typ":"lic+jwt"}}'
    body = json.dumps(CLAIMS)
    assert verified(signed_raw(header, body.encode()))
    assert refusal(signed_raw(header, (body[:-1] + ', "seats": 500}').encode())) == "json"
    assert refusal(signed_raw(header[:-1] + ',"typ":"lic+jwt"}', body.encode())) == "json"
    assert refusal(signed_raw(header, b"\xef\xbb\xbf" + body.encode())) == "json"
    assert refusal(signed_raw(header, b"[" * 40 + b"]" * 40)) == "json"


def test_another_key_under_the_pinned_id() -> None:
    other = Pair()
    assert refusal(other.sign(LICENSE, CLAIMS, kid=PAIR.kid)) == "signature"


@given(st.text() | st.binary() | st.text(alphabet="ey.AJ9-_=", max_size=40))
def test_any_text_is_refused_and_nothing_else_is_raised(text: str | bytes) -> None:
    assert refusal(text)


@given(st.binary(max_size=80))
def test_any_signed_content_is_refused_and_nothing_else_is_raised(payload: bytes) -> None:
    assert refusal(signed_raw(f'{{"alg":"EdDSA","kid":"{PAIR.kid}","typ":"lic+jwt"}}', payload))


@pytest.mark.parametrize("x", ["", "AA", "!" * 43, "A" * 42, "A" * 44, "\u00e4" * 43, "B" * 43])
def test_what_is_no_public_key(x: str) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PublicKey(x)
