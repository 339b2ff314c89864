"""Who may speak: `x-paystack-signature` over the raw bytes."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.errors import BadSignature, Misconfigured
from keywright.providers.paystack.hook import PaystackEvents

FIXTURES = Path(__file__).parents[2] / "fixtures"
CASE: dict[str, Any] = json.loads((FIXTURES / "crypto/webhooks/psp_signatures.json").read_text())["paystack"]
RAW = CASE["body"].encode()
SECRET = CASE["secret"]
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def check(raw: bytes, told: str | None, *secrets: str, now: datetime = NOW) -> None:
    headers = {} if told is None else {"x-paystack-signature": told}
    PaystackEvents().authenticate(raw, headers, secrets, now)


def test_the_published_case_is_accepted_however_old() -> None:
    check(RAW, CASE["header"], SECRET)
    check(RAW, CASE["header"], SECRET, now=NOW.replace(year=2036))
    assert CASE["header"] == hmac.digest(SECRET.encode(), RAW, "sha512").hex()


@pytest.mark.parametrize("secrets", [(SECRET, "sk_test_old"), ("sk_test_new", SECRET)])
def test_both_keys_count_while_they_change(secrets: tuple[str, ...]) -> None:
    check(RAW, CASE["header"], *secrets)
    with pytest.raises(BadSignature):
        check(RAW, CASE["header"], "sk_test_new", "sk_test_old")


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        CASE["header"].upper(),
        CASE["header"] + " ",
        CASE["header"][:-1],
        f"{CASE['header']}, {CASE['header']}",
        f"sha512={CASE['header']}",
        hmac.digest(SECRET.encode(), RAW, "sha256").hex(),
        "é" * 128,
        "\u0660" * 128,
        "0" * 128,
    ],
)
def test_nothing_else_is_a_signature(told: str | None) -> None:
    with pytest.raises(BadSignature):
        check(RAW, told, SECRET)


def test_a_body_that_was_serialized_anew_is_refused() -> None:
    with pytest.raises(BadSignature):
        check(json.dumps(json.loads(RAW)).encode(), CASE["header"], SECRET)


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_every_altered_byte_is_refused(place: int, by: int) -> None:
    altered = bytearray(RAW)
    altered[place] ^= by
    with pytest.raises(BadSignature):
        check(bytes(altered), CASE["header"], SECRET)


@given(st.binary(max_size=200), st.text(max_size=200))
def test_no_input_is_anything_but_refused(raw: bytes, told: str) -> None:
    with pytest.raises(BadSignature):
        check(raw, told, SECRET)


@pytest.mark.parametrize("secrets", [(), ("",), (SECRET, " ")])
def test_an_empty_secret_signs_nothing(secrets: tuple[str, ...]) -> None:
    with pytest.raises(Misconfigured):
        check(RAW, CASE["header"], *secrets)
