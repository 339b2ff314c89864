"""Firms' secrets, and the vectors for what they are made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keywright.domain import hmac_key
from keywright.signing.hmac_key import DerivedSecrets, derive

FIXTURES = Path(__file__).parents[1] / "fixtures" / "crypto"
MASTER = "a master secret of more than thirty-two characters"


def groups(name: str) -> list[Any]:
    told = json.loads((FIXTURES / "wycheproof" / name).read_text())
    return list(told["testGroups"])


def test_hmac_sha512_vectors() -> None:
    run = 0
    for group in groups("hmac_sha512_test.json"):
        size = group["tagSize"] // 8
        for case in group["tests"]:
            tag = hmac_key.mac(bytes.fromhex(case["key"]), bytes.fromhex(case["msg"]))[:size]
            assert (tag.hex() == case["tag"]) == (case["result"] == "valid"), case["tcId"]
            run += 1
    assert run == 174


def test_rfc_4231_vectors() -> None:
    told = json.loads((FIXTURES / "rfc" / "rfc4231_hmac_sha512.json").read_text())
    assert told["vectors"]
    for case in told["vectors"]:
        tag = hmac_key.mac(bytes.fromhex(case["key_hex"]), bytes.fromhex(case["msg_hex"]))
        assert tag.hex() == case["tag_hex"], case["name"]


def test_hkdf_sha512_vectors() -> None:
    run = 0
    for group in groups("hkdf_sha512_test.json"):
        for case in group["tests"]:
            ikm, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
            if case["result"] == "invalid":
                with pytest.raises(ValueError, match="larger"):
                    derive(ikm, salt, info, case["size"])
            else:
                assert derive(ikm, salt, info, case["size"]).hex() == case["okm"], case["tcId"]
            run += 1
    assert run == 83


def test_every_part_makes_another_secret() -> None:
    secrets = DerivedSecrets(MASTER)
    wanted = [
        ("ten_1", 1, "Acme", 1),
        ("ten_2", 1, "Acme", 1),
        ("ten_1", 2, "Acme", 1),
        ("ten_1", 1, "acme", 1),
        ("ten_1", 1, "Acme", 2),
        ("ten_1", 1, "Acme\x01", 1),
    ]
    made = {secrets.secret_of(*one) for one in wanted}
    made.add(DerivedSecrets(MASTER + "x").secret_of(*wanted[0]))
    assert len(made) == len(wanted) + 1
    assert {len(one) for one in made} == {hmac_key.SECRET_BYTES}


def test_a_secret_stays_what_it_is() -> None:
    # Installations hold it: what derives it may never change.
    assert DerivedSecrets(MASTER).secret_of("ten_1", 1, "Acme", 1).hex() == KNOWN


KNOWN = (
    "3f2f1f2a67334884b8d55671ee2fcdbecf7f9c4654168fe4332fe5a8cfa2319f"
    "de600129567a342a2f7fd84c5708983651af78ef2bc535362673a2b49faaffa3"
)


def test_the_master_is_not_shown() -> None:
    secrets = DerivedSecrets(MASTER)
    assert MASTER not in repr(secrets)
    assert MASTER.encode() not in secrets.secret_of("ten_1", 1, "Acme", 1)
