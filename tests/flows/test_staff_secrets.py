"""Password hashes, codes of authenticator apps, recovery codes, and where passkeys are for."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from argon2 import extract_parameters

from keywright.flows import staff_passkeys, staff_secrets

VECTORS = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "crypto" / "rfc" / "rfc6238_totp.json").read_text()
)["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['alg']}-{v['time']}")
def test_the_codes_are_those_of_the_standard(vector: dict[str, Any]) -> None:
    secret = base64.b32encode(vector["seed_ascii"].encode()).decode()
    step, digest = vector["time"] // vector["step"], getattr(hashlib, vector["alg"])
    made = staff_secrets.code_of(secret, step, digits=vector["digits"], digest=digest)
    assert made == vector["code"]
    if vector["alg"] == "sha1":
        assert staff_secrets.find_step(secret, vector["code"][-6:], vector["time"]) == step


def test_all_vectors_are_there() -> None:
    assert len(VECTORS) == 18


@pytest.mark.parametrize(("beside", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_is_found_in_its_step_and_beside(beside: int, good: bool) -> None:
    secret, now = staff_secrets.new_totp_secret(), 1_800_000_015.0
    step = int(now // 30) + beside
    found = staff_secrets.find_step(secret, staff_secrets.code_of(secret, step), now)
    assert found == (step if good else None)


@pytest.mark.parametrize(
    "typed",
    ["", "12345", "1234567", "abcdef", "\uff11\uff12\uff13\uff14\uff15\uff16", "0" * 6 + "\n\n0", "\ud800"],
)
def test_what_is_no_code_is_none(typed: str) -> None:
    assert staff_secrets.find_step("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", typed, 59.0) is None


def test_a_code_may_be_typed_in_groups() -> None:
    secret = staff_secrets.new_totp_secret()
    code = staff_secrets.code_of(secret, 2)
    assert staff_secrets.find_step(secret, f" {code[:3]} {code[3:]} ", 60.0) == 2


def test_a_password_has_its_hash_and_nobody_has_nobodys() -> None:
    encoded = staff_secrets.hashed("four words nobody says")
    assert staff_secrets.is_right(encoded, "four words nobody says")
    assert not staff_secrets.is_right(encoded, "four words nobody said")
    assert not staff_secrets.is_right(staff_secrets.nobodys_hash(), "four words nobody says")
    assert not staff_secrets.is_right("no hash at all", "four words nobody says")
    assert staff_secrets.hashed("four words nobody says") != encoded
    # The same characters in another spelling are the same password.
    assert staff_secrets.is_right(staff_secrets.hashed("caf\u00e9 au lait"), "cafe\u0301 au lait")


@pytest.mark.parametrize(
    "encoded", [staff_secrets.hashed("x"), staff_secrets.nobodys_hash()], ids=["somebody", "nobody"]
)
def test_hashes_cost_at_least_what_they_should(encoded: str) -> None:
    cost = extract_parameters(encoded)
    assert cost.type.name == "ID"
    assert cost.memory_cost >= 19 * 1024
    assert cost.time_cost >= 2
    assert cost.parallelism == 1
    assert cost.salt_len >= 16
    assert cost.hash_len == 32


def test_recovery_codes_are_many_bits_and_read_however_typed() -> None:
    codes = staff_secrets.new_recovery_codes()
    assert len(set(codes)) == 10
    for code in codes:
        plain = code.replace("-", "")
        assert len(plain) * 5 >= 112
        assert staff_secrets.recovery_text(code) == plain
        assert staff_secrets.recovery_text(f" {code.lower().replace('-', ' ')} ") == plain
        assert staff_secrets.recovery_text(code.replace("0", "O").replace("1", "l")) == plain
    for other in ("", "123456", codes[0][:-1], f"{codes[0]}X", "U" * 25, "é" * 25, "\ud800" * 25):
        assert staff_secrets.recovery_text(other) is None


@pytest.mark.parametrize(
    ("base", "domain"),
    [
        ("https://licenses.example.com", "licenses.example.com"),
        ("https://licenses.example.com:8443", "licenses.example.com"),
        ("http://localhost:8000", "localhost"),
        ("http://127.0.0.1:8000", None),
        ("https://203.0.113.7", None),
        ("http://[::1]:8000", None),
        ("http://licenses.example.com", None),
    ],
)
def test_passkeys_are_where_browsers_know_them(base: str, domain: str | None) -> None:
    site = staff_passkeys.site_of(base)
    assert (site.domain if site is not None else None) == domain
    assert site is None or site.origin == base


@pytest.mark.parametrize(
    "answer", ["", "{}", "[]", "null", "x" * 7000, '{"id": "AA", "response": 7}', "\ud800"]
)
def test_what_is_no_answer_proves_nothing(answer: str) -> None:
    site = staff_passkeys.Site("localhost", "http://localhost")
    challenge = staff_passkeys.new_challenge()
    assert staff_passkeys.made(site, challenge, answer) is None
    passkey = staff_passkeys.Passkey("AAAA", "AAAA")
    assert staff_passkeys.proven(site, challenge, answer, passkey, 0) is None
    assert staff_passkeys.credential_of(answer) in (None, "AA")
