"""The signed key set and the list of what was revoked: read strictly, or not at all."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain import key_documents
from keywright.domain.key_documents import (
    LARGEST_LIST,
    KeySet,
    PublishedKey,
    Revocations,
    claims_of,
    read_key_set,
    read_revocations,
    told_in,
)
from keywright.domain.license_token import KEY_SET, LICENSE, REVOKED, SKEW, TokenRefused, encode
from keywright.signing.ed25519 import Signer, verifier

ROOT = Signer(bytes(range(32)))
ROOTS = {ROOT.kid: verifier(ROOT.public)}
NOW = 1_800_000_000
ISS = "https://example.test/t/ten_1"
X = urlsafe_b64encode(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key().public_bytes_raw())
KEY = PublishedKey("kid_1", X.rstrip(b"=").decode(), "lic+jwt", "active")
SET = KeySet(ISS, NOW, NOW + 1000, 7, (KEY,), ("kid_0",))
LIST = Revocations(ISS, NOW, NOW + 1000, 7, ("lic_1",), ("fil_1",), ("kid_0",))


def signed(claims: dict[str, Any], typ: str = KEY_SET) -> str:
    return encode(claims, typ=typ, kid=ROOT.kid, sign=ROOT.sign, longest=LARGEST_LIST)


def of_set(**changes: Any) -> str:
    return signed(claims_of(SET) | changes)


def refusal(text: str | bytes, *, now: int = NOW, **more: Any) -> str:
    with pytest.raises(TokenRefused) as caught:
        read_key_set(text, root=ROOTS, now=now, **more)
    return str(caught.value)


def test_a_key_set_is_read_as_it_was_signed() -> None:
    text = signed(claims_of(SET))
    assert read_key_set(text, root=ROOTS, now=NOW, iss=ISS, oldest=7) == SET
    assert told_in(text) == SET
    assert (
        SET.keys[0].public
        == Ed25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key().public_bytes_raw()
    )


def test_a_list_is_read_as_it_was_signed() -> None:
    text = signed(claims_of(LIST), REVOKED)
    assert read_revocations(text, keys=ROOTS, now=NOW, iss=ISS, oldest=7) == LIST
    assert refusal(text) == "typ"


def test_it_holds_from_its_day_to_its_end_and_no_older_one_counts() -> None:
    text = signed(claims_of(SET))
    assert read_key_set(text, root=ROOTS, now=NOW + 1000 + SKEW - 1)
    assert refusal(text, now=NOW + 1000 + SKEW) == "expired"
    assert refusal(text, now=NOW - SKEW - 1) == "not_yet_valid"
    assert refusal(text, oldest=8) == "older"
    assert refusal(text, iss="https://example.test/t/ten_2") == "iss"


def test_only_the_root_counts() -> None:
    other = Signer(b"\x01" * 32)
    forged = encode(claims_of(SET), typ=KEY_SET, kid=ROOT.kid, sign=other.sign)
    assert refusal(forged) == "signature"
    assert refusal(encode(claims_of(SET), typ=KEY_SET, kid=other.kid, sign=other.sign)) == "kid"
    assert refusal(signed(claims_of(SET), LICENSE)) == "typ"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": ""}, "iss"),
        ({"iss": 1}, "iss"),
        ({"seq": "7"}, "claim: seq"),
        ({"seq": True}, "claim: seq"),
        ({"seq": -1}, "claim: seq"),
        ({"v": 2}, "version"),
        ({"exp": None}, "claim: exp"),
        ({"keys": {}}, "claim: keys"),
        ({"keys": [1]}, "claim: keys"),
        ({"keys": [{"kid": "a"}]}, "claim: keys"),
        ({"keys": [{"kid": "a", "x": KEY.x, "typ": "lic+jwt", "state": "revoked"}]}, "claim: keys"),
        ({"keys": [{"kid": "a", "x": KEY.x, "typ": "lic+jwt", "state": 1}]}, "claim: keys"),
        ({"keys": [{"kid": "a", "x": KEY.x[:-1] + "B", "typ": "lic+jwt", "state": "next"}]}, "claim: keys"),
        ({"keys": [{"kid": "a", "x": KEY.x + "A", "typ": "lic+jwt", "state": "next"}]}, "claim: keys"),
        ({"keys": [{"kid": "a b", "x": KEY.x, "typ": "lic+jwt", "state": "next"}]}, "claim: keys"),
        (
            {"keys": [{"kid": "a", "x": KEY.x, "typ": t, "state": "next"} for t in ("lic+jwt", "lease+jwt")]},
            "claim: keys",
        ),
        ({"revoked": "kid_0"}, "claim: revoked"),
        ({"revoked": [1]}, "claim: revoked"),
        ({"revoked": None}, "claim: revoked"),
    ],
    ids=str,
)
def test_every_claim_is_checked(changes: dict[str, Any], reason: str) -> None:
    assert refusal(of_set(**changes)) == reason


def test_members_of_later_versions_are_left_alone() -> None:
    key = {"kid": KEY.kid, "x": KEY.x, "typ": KEY.typ, "state": KEY.state, "note": "new"}
    assert read_key_set(of_set(keys=[key], more={"a": 1}), root=ROOTS, now=NOW) == SET


def test_a_list_has_room_for_fifty_thousand() -> None:
    ids = tuple(f"lic_{n:030}" for n in range(50_000))
    text = signed(claims_of(Revocations(ISS, NOW, NOW + 9, 7, ids, (), ())), REVOKED)
    assert 2_400_000 < len(text) < LARGEST_LIST / 2
    assert read_revocations(text, keys=ROOTS, now=NOW, iss=ISS).licenses == ids


@given(st.text() | st.text(alphabet="ey.AJ9-_=", max_size=40))
def test_any_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    assert refusal(text)
    with pytest.raises(TokenRefused):
        key_documents.told_in(text)
