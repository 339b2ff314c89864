"""License tokens and leases: every labelled case, every rule, every bit."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.license_token import (
    LEASE,
    LICENSE,
    MAX_TOKEN,
    SKEW,
    TokenRefused,
    VerifyFn,
    encode,
    lease_claims,
    license_claims,
    verify,
)

_FIXTURE = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "crypto" / "jws" / "jws_ed25519_cases.json").read_bytes()
)
_SETTING = _FIXTURE["verifier"]
_CASES = {case["name"]: case for case in _FIXTURE["cases"]}

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_NOW = 1_800_000_000
_LICENSE: dict[str, Any] = license_claims(
    iss="https://example.test/t/ten_1",
    sub="lic_1",
    aud="prod_1",
    iat=_NOW,
    nbf=_NOW,
    exp=_NOW + 86_400,
    jti="tok_1",
    plan="pro",
    seats=5,
    entitlements=["export.pdf"],
    limits={"projects": 100},
    status="active",
    firm=None,
)
_LEASE_ONLY: dict[str, Any] = {
    "mid": "oHmiTbS_ZTGDTxPECwMmtw",
    "lexp": _NOW + 3_600,
    "srv": _NOW,
    "seq": 1,
    "nonce": "n-1",
    "code": "VALID",
    "entitled_until": _NOW + 86_400,
    "grace_until": None,
}
_BASE = {name: value for name, value in _LICENSE.items() if name != "v"} | {"firm": None}
_LEASE: dict[str, Any] = lease_claims(**_BASE, **_LEASE_ONLY)


def _verifier(public: bytes) -> VerifyFn:
    key = Ed25519PublicKey.from_public_bytes(public)

    def holds(signature: bytes, data: bytes) -> bool:
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    return holds


_KEYS = {"k1": _verifier(_KEY.public_key().public_bytes_raw())}


def _verify(token: str | bytes, *, typ: str = LICENSE, now: int = _NOW, **more: Any) -> dict[str, Any]:
    return verify(token, typ=typ, keys=_KEYS, iss=_BASE["iss"], aud=_BASE["aud"], now=now, **more)


def _token(claims: dict[str, Any], typ: str = LICENSE) -> str:
    return encode(claims, typ=typ, kid="k1", sign=_KEY.sign)


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _signed(header: str | bytes, payload: str | bytes) -> str:
    parts = [_b64(part if isinstance(part, bytes) else part.encode()) for part in (header, payload)]
    text = ".".join(parts)
    return f"{text}.{_b64(_KEY.sign(text.encode()))}"


def _refusal(call: Callable[[], object]) -> str:
    with pytest.raises(TokenRefused) as caught:
        call()
    assert type(caught.value) is TokenRefused
    assert caught.value.__cause__ is None
    return str(caught.value)


def _labelled(name: str, **more: Any) -> dict[str, Any]:
    token = _CASES[name]["token"]
    if "(repeat to 1 MiB at run time)" in token:
        token = token.replace("(repeat to 1 MiB at run time)", "A" * (2**20 - 200))
    keys = {kid: _verifier(urlsafe_b64decode(x + "=")) for kid, x in _SETTING["keyset"].items()}
    return verify(
        token,
        typ=_SETTING["typ"],
        keys=keys,
        iss=_SETTING["iss"],
        aud=_SETTING["aud"],
        now=_SETTING["now"],
        **more,
    )


def test_labelled_cases_are_all_there() -> None:
    assert len(_CASES) == len(_FIXTURE["cases"]) == 50


@pytest.mark.parametrize("require_exp", [True, False])
@pytest.mark.parametrize("name", _CASES)
def test_labelled_case(name: str, require_exp: bool) -> None:
    expect = _CASES[name]["expect"]
    if expect == "accept" or (expect == "policy" and not require_exp):
        assert _labelled(name, require_exp=require_exp)["seats"] == 5
    else:
        assert _refusal(lambda: _labelled(name, require_exp=require_exp))


def test_license_round_trip() -> None:
    token = _token(_LICENSE)
    assert _verify(token) == _LICENSE
    assert _verify(token.encode()) == _LICENSE
    assert _LICENSE["v"] == 1
    assert "firm" not in _LICENSE
    assert token.count(".") == 2
    assert json.loads(urlsafe_b64decode(token.split(".")[0] + "==")) == {
        "alg": "EdDSA",
        "kid": "k1",
        "typ": "lic+jwt",
    }


def test_lease_round_trip() -> None:
    assert _verify(_token(_LEASE, LEASE), typ=LEASE) == _LEASE
    assert _LEASE["v"] == 1
    assert "grace_until" not in _LEASE
    assert set(_LEASE) > set(_LICENSE)


def test_types_are_not_exchangeable() -> None:
    assert _refusal(lambda: _verify(_token(_LEASE, LEASE))) == "typ"
    assert _refusal(lambda: _verify(_token(_LICENSE), typ=LEASE)) == "typ"
    assert _refusal(lambda: _verify(_token(_LICENSE, LEASE), typ=LEASE)) == "claim: mid"


@pytest.mark.parametrize(
    ("alg", "taken"), [("EdDSA", True), ("Ed25519", True), ("eddsa", False), ("Ed448", False)]
)
def test_algorithm_names(alg: str, taken: bool) -> None:
    token = _signed(json.dumps({"alg": alg, "kid": "k1", "typ": LICENSE}), json.dumps(_LICENSE))
    if taken:
        assert _verify(token) == _LICENSE
    else:
        assert _refusal(lambda: _verify(token)) == "alg"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ('{"alg":"EdDSA","kid":"k1","typ":"lic+jwt","jwk":{}}', "header"),
        ('{"alg":"EdDSA","kid":"k1","typ":"lic+jwt","crit":[]}', "header"),
        ('{"alg":"EdDSA","kid":"k1"}', "header"),
        ('{"alg":"EdDSA","kid":1,"typ":"lic+jwt"}', "header"),
        ('{"alg":"EdDSA","kid":["k1"],"typ":"lic+jwt"}', "header"),
        ('{"alg":"EdDSA","kid":null,"typ":"lic+jwt"}', "header"),
        ('{"alg":"EdDSA","kid":"k2","typ":"lic+jwt"}', "kid"),
        ('{"alg":"EdDSA","kid":"K1","typ":"lic+jwt"}', "kid"),
        ('{"alg":"EdDSA","kid":"k1","typ":"LIC+JWT"}', "typ"),
        ('{"alg":"EdDSA","kid":"k1","typ":"JWT"}', "typ"),
        ('{"alg":"EdDSA","alg":"EdDSA","kid":"k1","typ":"lic+jwt"}', "json"),
        ('\ufeff{"alg":"EdDSA","kid":"k1","typ":"lic+jwt"}', "json"),
        ("[]", "json"),
        ("", "json"),
        (b"\xff", "json"),
    ],
)
def test_header_is_exact(header: str | bytes, reason: str) -> None:
    assert _refusal(lambda: _verify(_signed(header, json.dumps(_LICENSE)))) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://example.test/t/ten_2"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "prod_2"}, "aud"),
        ({"aud": ["prod_1"]}, "aud"),
        ({"sub": ""}, "sub"),
        ({"sub": 1}, "sub"),
        ({"iat": None}, "claim: iat"),
        ({"iat": 1.5}, "claim: iat"),
        ({"iat": True}, "claim: iat"),
        ({"iat": -1}, "claim: iat"),
        ({"nbf": "1"}, "claim: nbf"),
        ({"exp": None}, "claim: exp"),
        ({"exp": str(_NOW + 9)}, "claim: exp"),
        ({"exp": _NOW + 0.5}, "claim: exp"),
        ({"exp": True}, "claim: exp"),
        ({"exp": 253_402_300_800}, "claim: exp"),
        ({"exp": 2**70}, "json"),
        ({"v": 2}, "version"),
        ({"v": True}, "version"),
        ({"v": "1"}, "version"),
        ({"v": None}, "version"),
        ({"jti": 7}, "claim: jti"),
        ({"plan": None}, "claim: plan"),
        ({"status": []}, "claim: status"),
        ({"firm": 1}, "claim: firm"),
        ({"seats": -1}, "claim: seats"),
        ({"seats": True}, "claim: seats"),
        ({"seats": 1.0}, "claim: seats"),
        ({"seats": "5"}, "claim: seats"),
        ({"seats": None}, "claim: seats"),
        ({"seats": 2**31}, "claim: seats"),
        ({"entitlements": "export.pdf"}, "claim: entitlements"),
        ({"entitlements": [1]}, "claim: entitlements"),
        ({"limits": ["projects"]}, "claim: limits"),
        ({"limits": {"projects": -1}}, "claim: limits"),
        ({"limits": {"projects": True}}, "claim: limits"),
    ],
    ids=str,
)
def test_claims_are_checked(change: dict[str, Any], reason: str) -> None:
    header = '{"alg":"EdDSA","kid":"k1","typ":"lic+jwt"}'
    for require_exp in (True, False):
        token = _signed(header, json.dumps(_LICENSE | change))
        assert _refusal(lambda: _verify(token, require_exp=require_exp)) == reason  # noqa: B023 - called at once


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "iat", "exp"])
def test_needed_claims(name: str) -> None:
    claims = {key: value for key, value in _LICENSE.items() if key != name}
    assert _refusal(lambda: _verify(_token(claims))).endswith(name)


@pytest.mark.parametrize("name", ["mid", "lexp", "srv", "seq", "code"])
def test_needed_lease_claims(name: str) -> None:
    claims = {key: value for key, value in _LEASE.items() if key != name}
    assert _refusal(lambda: _verify(_token(claims, LEASE), typ=LEASE)) == f"claim: {name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mid", "short"), ("mid", 1), ("mid", "oHmiTbS/ZTGDTxPECwMmtw"), ("lexp", "1"), ("lexp", True),
        ("srv", -1), ("seq", -1), ("seq", True), ("seq", 1.0), ("nonce", 1), ("nonce", ""),
        ("code", ""), ("code", 1), ("entitled_until", "never"), ("grace_until", 1.5),
    ],
)  # fmt: skip
def test_lease_claims_are_checked(name: str, value: Any) -> None:
    assert _refusal(lambda: _verify(_token(_LEASE | {name: value}, LEASE), typ=LEASE)) == f"claim: {name}"


def test_a_token_without_end_passes_only_where_allowed() -> None:
    token = _token(license_claims(**(_BASE | {"exp": None})))
    assert "exp" not in _verify(token, require_exp=False, now=_NOW * 2)
    assert _refusal(lambda: _verify(token)) == "claim: exp"


def test_times_have_sixty_seconds_of_tolerance() -> None:
    token = _token(_LICENSE)
    assert _verify(token, now=_NOW - SKEW)
    assert _refusal(lambda: _verify(token, now=_NOW - SKEW - 1)) == "not_yet_valid"
    assert _verify(token, now=_LICENSE["exp"] + SKEW - 1)
    assert _refusal(lambda: _verify(token, now=_LICENSE["exp"] + SKEW)) == "expired"
    assert _refusal(lambda: _verify(token, now=_LICENSE["exp"] + SKEW, require_exp=False)) == "expired"
    early = _token(_LICENSE | {"nbf": _NOW + 100})
    assert _refusal(lambda: _verify(early, now=_NOW + 100 - SKEW - 1)) == "not_yet_valid"
    assert _verify(early, now=_NOW + 100 - SKEW)


def test_a_lease_ends_before_its_license() -> None:
    token = _token(_LEASE, LEASE)
    assert _verify(token, typ=LEASE, now=_LEASE["lexp"] + SKEW - 1)
    assert _refusal(lambda: _verify(token, typ=LEASE, now=_LEASE["lexp"] + SKEW)) == "lease_ended"


def test_unknown_claims_are_left_to_later_versions() -> None:
    assert _verify(_token(_LICENSE | {"new": {"a": [1]}}))["new"] == {"a": [1]}


def test_size_limit() -> None:
    with pytest.raises(ValueError, match="8192"):
        _token(_LICENSE | {"entitlements": ["x" * 8000]})
    header = '{"alg":"EdDSA","kid":"k1","typ":"lic+jwt"}'
    at_limit = max(
        (_signed(header, json.dumps(_LICENSE | {"pad": "x" * size})) for size in range(5700, 5800)),
        key=lambda token: len(token) if len(token) <= MAX_TOKEN else 0,
    )
    assert MAX_TOKEN - 2 <= len(at_limit) <= MAX_TOKEN
    assert _verify(at_limit)
    assert _refusal(lambda: _verify(_signed(header, json.dumps(_LICENSE | {"pad": "x" * 6000})))) == "size"


def test_only_the_pinned_key_counts() -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    token = encode(_LICENSE, typ=LICENSE, kid="k1", sign=other.sign)
    assert _refusal(lambda: _verify(token)) == "signature"


def test_every_changed_character_is_refused() -> None:
    token = _token(_LICENSE)
    for place, character in enumerate(token):
        for wrong in {"A", "B", "-", "=", ".", "\n", "\u00e4"} - {character}:
            assert _refusal(lambda: _verify(token[:place] + wrong + token[place + 1 :]))  # noqa: B023 - called at once


@given(st.text() | st.binary() | st.text(alphabet="ey.AJ9-_=", max_size=40))
def test_any_text_is_refused_and_nothing_else_is_raised(text: str | bytes) -> None:
    assert _refusal(lambda: _verify(text))


@given(st.binary(max_size=40), st.binary(max_size=80))
def test_any_signed_content_is_refused_and_nothing_else_is_raised(header: bytes, payload: bytes) -> None:
    assert _refusal(lambda: _verify(_signed(header, payload)))
    assert _refusal(lambda: _verify(_signed('{"alg":"EdDSA","kid":"k1","typ":"lic+jwt"}', payload)))
