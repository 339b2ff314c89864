"""Who may speak: the `stripe-signature` header over the raw bytes."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.errors import BadSignature, Misconfigured
from keywright.providers.stripe.hook import TOLERANCE, StripeEvents

FIXTURES = Path(__file__).parents[2] / "fixtures"
CASES: dict[str, Any] = json.loads((FIXTURES / "crypto/webhooks/psp_signatures.json").read_text())["stripe"]
DELIVERIES = sorted((FIXTURES / "stripe").glob("signed_*.json"))

SECRET = "whsec_test"
RAW = b'{"id":"evt_1"}'
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def sign(raw: bytes, secret: str, at: datetime = NOW) -> str:
    stamp = str(int(at.timestamp())).encode()
    return hmac.digest(secret.encode(), stamp + b"." + raw, "sha256").hex()


def header(*signatures: str, at: datetime = NOW) -> dict[str, str]:
    return {"stripe-signature": ",".join([f"t={int(at.timestamp())}", *(f"v1={one}" for one in signatures)])}


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_every_published_case_comes_out_as_labelled(case: dict[str, Any]) -> None:
    rotating = [CASES["secret"], CASES["previous_secret"]]
    expected = {"accept": [True, True], "accept-while-rotating": [False, True], "reject": [False, False]}
    outcomes = []
    for secrets in ([CASES["secret"]], rotating):
        try:
            StripeEvents().authenticate(
                case["body"].encode(),
                {"stripe-signature": case["header"]},
                secrets,
                datetime.fromtimestamp(case["now"], UTC),
            )
            outcomes.append(True)
        except BadSignature:
            outcomes.append(False)
    assert outcomes == expected[case["expect"]]


@pytest.mark.parametrize("path", DELIVERIES, ids=lambda path: path.stem)
def test_real_deliveries_are_genuine_at_their_time_and_not_today(path: Path) -> None:
    delivery = json.loads(path.read_text())
    headers = {name.lower(): value for name, value in delivery["headers"].items()}
    raw = delivery["body"].encode()
    then = datetime.fromtimestamp(1795204477, UTC)
    StripeEvents().authenticate(raw, headers, [delivery["secret"]], then)
    with pytest.raises(BadSignature):
        StripeEvents().authenticate(raw + b" ", headers, [delivery["secret"]], then)
    with pytest.raises(BadSignature):
        StripeEvents().authenticate(raw, headers, [delivery["secret"]], then + timedelta(days=1))


@pytest.mark.parametrize("seconds", [-TOLERANCE, 0, TOLERANCE])
def test_a_signature_within_the_tolerance_is_taken(seconds: int) -> None:
    at = NOW + timedelta(seconds=seconds)
    StripeEvents().authenticate(RAW, header(sign(RAW, SECRET, at), at=at), [SECRET], NOW)
    far = NOW + timedelta(seconds=TOLERANCE + 1 if seconds > 0 else -TOLERANCE - 1)
    with pytest.raises(BadSignature):
        StripeEvents().authenticate(RAW, header(sign(RAW, SECRET, far), at=far), [SECRET], NOW)


def test_any_secret_may_make_any_of_the_signatures() -> None:
    signed = header("0" * 64, sign(RAW, "whsec_old"))
    StripeEvents().authenticate(RAW, signed, ["whsec_new", "whsec_old"], NOW)
    with pytest.raises(BadSignature):
        StripeEvents().authenticate(RAW, signed, ["whsec_new"], NOW)


@pytest.mark.parametrize("secrets", [[], [""], ["whsec_good", ""], ["  "]])
def test_an_endpoint_without_a_real_secret_is_misconfigured(secrets: list[str]) -> None:
    with pytest.raises(Misconfigured):
        StripeEvents().authenticate(RAW, header(sign(RAW, "")), secrets, NOW)


GENUINE = sign(RAW, SECRET)
STAMP = int(NOW.timestamp())


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        "=",
        "t",
        f"t={STAMP}",
        f"v1={GENUINE}",
        f"t=,v1={GENUINE}",
        f"t=-{STAMP},v1={GENUINE}",
        f"t=+{STAMP},v1={GENUINE}",
        f"t={STAMP}.0,v1={GENUINE}",
        f"t=1e9,v1={GENUINE}",
        f"t=\u0661\u0662,v1={GENUINE}",
        f"t={'9' * 5000},v1={GENUINE}",
        f"t={STAMP},t={STAMP},v1={GENUINE}",
        f"t={STAMP}, v1={GENUINE}",
        f"t={STAMP},v1= {GENUINE}",
        f"t={STAMP},v1={GENUINE[:-1]}",
        f"t={STAMP},v1={GENUINE}0",
        f"t={STAMP},v1={GENUINE}\n",
        f"t={STAMP},v1={GENUINE.upper()}",
        f"t={STAMP},v1=\u00e9",
        f"t={STAMP},v1=\ud800",
        f"t={STAMP},V1={GENUINE}",
        f"t={STAMP},v0={GENUINE}",
        f"t={STAMP}," + ",".join(["v1=" + "0" * 64] * 17) + f",v1={GENUINE}",
        f"t={STAMP},v1={GENUINE}," + "x" * 5000,
    ],
)
def test_a_malformed_header_is_a_bad_signature_and_nothing_worse(value: str) -> None:
    with pytest.raises(BadSignature):
        StripeEvents().authenticate(RAW, {"stripe-signature": value}, [SECRET], NOW)


def test_a_missing_header_is_a_bad_signature() -> None:
    with pytest.raises(BadSignature):
        StripeEvents().authenticate(RAW, {}, [SECRET], NOW)


@given(st.binary(max_size=200), st.text(max_size=200))
def test_nobody_gets_in_with_noise(raw: bytes, value: str) -> None:
    for noise in (value, f"t={STAMP},v1={value}", f"t={value},v1={GENUINE}"):
        with pytest.raises(BadSignature):
            StripeEvents().authenticate(raw + b"x", {"stripe-signature": noise}, [SECRET], NOW)


def test_the_refusal_names_neither_secret_nor_signature() -> None:
    with pytest.raises(BadSignature) as caught:
        StripeEvents().authenticate(RAW, header("f" * 64), [SECRET], NOW)
    assert SECRET not in str(caught.value)
    assert "f" * 64 not in str(caught.value)
    assert GENUINE not in str(caught.value)
