"""The Node examples: every vector, every token, every key, and the exit status of the commands."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keywright.domain import hmac_key, license_key, license_token
from keywright.domain.license_token import TokenRefused
from keywright.signing import ed25519
from keywright.signing.hmac_key import DerivedSecrets
from tests.examples import cases
from tests.examples.tools import ask_node, need, run

NODE = cases.EXAMPLES / "node"


def test_every_ed25519_vector() -> None:
    vectors = cases.ed25519_vectors()
    said = ask_node(signatures=vectors)["signatures"]
    assert len(said) == 151
    assert [one["id"] for one, held in zip(vectors, said, strict=True) if held is not one["holds"]] == []


def test_every_token() -> None:
    asked = [*cases.labelled(), *cases.good(), *cases.hostile(), *cases.flipped(3)]
    said = ask_node(tokens=[one._asdict() for one in asked])["tokens"]
    wrong = {
        one.name: word for one, word in zip(asked, said, strict=True) if (word == "counts") is not one.counts
    }
    assert wrong == {}
    assert not [word for word in said if word.startswith("BROKEN")]
    assert len(cases.labelled()) == 50


def test_the_server_agrees_about_every_token() -> None:
    """What an example may take is never more than what the server takes, and what is ours both take."""
    for one in (*cases.labelled(), *cases.good(), *cases.hostile()):
        told = json.loads(one.keys)["keys"]
        keys = {jwk["kid"]: ed25519.verifier(cases.unb64(jwk["x"])) for jwk in told if jwk["kty"] == "OKP"}
        rules = {name: one.rules[name] for name in ("iss", "aud", "typ", "now")}
        try:
            license_token.verify(one.token, keys=keys, **rules, require_exp="perpetual" not in one.rules)
            taken = True
        except TokenRefused:
            taken = False
        assert taken or not one.counts, one.name


# -- HMAC keys ----------------------------------------------------------------------------------------

FIRM = "Größe & Söhne"
SECRETS = DerivedSecrets("a master secret of the tests")
SECRET = SECRETS.secret_of("ten_1", 7, FIRM, 0)
LAST_DAY = cases.NOW // 86_400
BODY = hmac_key.Body(tier=2, product=7, seats=25, last_day=LAST_DAY, epoch=0, serial=b"\x01\x02\x03\x04\x05")


def question(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "firm": FIRM, "secrets": printed(SECRET), "now": cases.NOW, **more}


def printed(*secrets: bytes, first: int = 0) -> str:
    """Secrets as `license secret` prints them, of epoch after epoch."""
    return "".join(f"{epoch}.{cases.b64(one)}\n" for epoch, one in enumerate(secrets, first))


def test_every_hmac_vector() -> None:
    told = json.loads((cases.CRYPTO / "wycheproof/hmac_sha512_test.json").read_text())
    vectors = [(group["tagSize"] // 4, one) for group in told["testGroups"] for one in group["tests"]]
    said = ask_node(macs=[{"key": one["key"], "message": one["msg"]} for _, one in vectors])["macs"]
    wrong = [
        one["tcId"]
        for (digits, one), mac in zip(vectors, said, strict=True)
        if (mac[:digits] == one["tag"]) is not (one["result"] == "valid")
    ]
    assert wrong == []
    assert len(vectors) == 174


def test_hmac_keys_that_count() -> None:
    full = hmac_key.make(SECRET, FIRM, BODY)
    short = hmac_key.shortened(full)
    ever = hmac_key.make(SECRET, FIRM, hmac_key.Body(2, 7, 25, hmac_key.NEVER, 0, b"12345", trial=True))
    other = SECRETS.secret_of("ten_1", 7, FIRM, 1)
    asked = [
        question(full),
        question(short),
        question(hmac_key.grouped(short)),
        question(f" {hmac_key.grouped(short).lower().replace('0', 'o').replace('1', 'l')}\n"),
        question(hmac_key.to_file(full)),
        question(hmac_key.to_file(full).replace("\n", "\r\n")),
        question(short, secrets=printed(SECRET, other)),
        question(short, product=7),
        question(short, now=(LAST_DAY + 1) * 86_400 - 1),
        question(ever, now=cases.NOW * 2),
        # The same name in characters that are put together by whoever reads them.
        question(short, firm="Gro\u0308\u00dfe & So\u0308hne "),
    ]
    assert ask_node(keys=asked)["keys"] == ["counts"] * len(asked)


def test_hmac_keys_that_do_not_count() -> None:
    full = hmac_key.make(SECRET, FIRM, BODY)
    short = hmac_key.shortened(full)
    raw = hmac_key.pack(BODY)
    known = hmac_key.read(full)
    assert known is not None
    alphabet = license_key.ALPHABET
    turned = [
        text[:at] + alphabet[alphabet.index(text[at]) ^ bit] + text[at + 1 :]
        for text in (short, full)
        for at in range(len(text))
        for bit in (1, 2, 4, 8, 16)
    ]
    moved = hmac_key.make(SECRET, FIRM[1:], BODY)
    secret = SECRETS.secret_of("ten_1", 7, "Another", 0)
    asked = [
        *(question(text) for text in turned),
        question(short, firm="Another"),
        question(short, firm=""),
        question(short, secrets=printed(secret)),
        question(short, secrets=""),
        question(short, secrets=SECRET.hex()),
        question(short, secrets=printed(SECRET, first=1)),
        question(short, secrets=printed(SECRETS.secret_of("ten_1", 7, FIRM, 1))),
        question(short, secrets=printed(SECRETS.secret_of("ten_1", 8, FIRM, 0))),
        question(short, product=8),
        question(short, now=(LAST_DAY + 1) * 86_400),
        question(moved),
        question(short[:-1]),
        question(short + "0"),
        question(full[:50]),
        question(full[:-1]),
        question(""),
        question("A" * 10_000),
        question(hmac_key.to_file(full)[:-5]),
        question("\u017f" + short[1:]),
        question(raw.hex()),
    ]
    said = ask_node(keys=asked)["keys"]
    assert [one for one in said if one not in ("tag", "shape", "epoch", "expired", "product", "secret")] == []
    assert len(said) == len(turned) + 20


# -- the commands -------------------------------------------------------------------------------------


@pytest.fixture
def verify(tmp_path: Path) -> list[str]:
    """The command up to its options, with a key set."""
    (tmp_path / "keys.json").write_text(cases.KEY_SET)
    command = [need("node", 18), str(NODE / "verify.mjs"), "--keys", str(tmp_path / "keys.json")]
    return [*command, "--iss", cases.ISS, "--aud", cases.AUD]


def test_the_command_judges_a_license_file(tmp_path: Path, verify: list[str]) -> None:
    given = tmp_path / "license.txt"
    given.write_text(cases.file_of(cases.good()[0].token, "\r\n"))
    code, said, _ = run([*verify, "--now", str(cases.NOW), str(given)])
    assert (code, said) == (0, "valid: dashcaddy/pro, 5 seats, until 2027-01-16T08:00:00.000Z\n")
    _, claims, _ = run([*verify, "--json", "--now", str(cases.NOW), str(given)])
    assert json.loads(claims) == cases.CLAIMS
    # By the clock of this machine it is not valid yet, or no more.
    code, _, why = run([*verify, str(given)])
    today = datetime.now(UTC).timestamp()
    assert (code, why) == (1, "refused: not_yet_valid\n" if today < cases.NOW else "refused: expired\n")


def test_the_command_judges_a_lease(tmp_path: Path, verify: list[str]) -> None:
    given = tmp_path / "lease"
    given.write_text(next(one.token for one in cases.good() if one.name == "a lease"))
    told = [*verify, "--now", str(cases.NOW), "--lease", "--fingerprint", cases.MACHINE]
    assert run([*told, "--nonce", "n-1", str(given)])[0] == 0
    assert run([*told, "--nonce", "n-2", str(given)])[::2] == (1, "refused: nonce\n")


def test_the_command_says_when_it_cannot_judge(tmp_path: Path, verify: list[str]) -> None:
    given = tmp_path / "license.txt"
    given.write_text(cases.good()[0].token)
    (tmp_path / "none.json").write_text("{}")
    for wrong in (
        [*verify[:2], str(given)],
        [*verify, str(tmp_path / "absent")],
        [*verify, str(given), str(given)],
        [*verify, "--now", "soon", str(given)],
        [*verify, "--no-such-option", str(given)],
        [*verify, "--keys", str(tmp_path / "none.json"), str(given)],
    ):
        code, said, why = run(wrong)
        assert (code, said) == (2, ""), wrong
        assert why
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_text("a" * 100_000)
    assert run([*verify, str(tmp_path / "binary")])[::2] == (1, "refused: encoding\n")
    assert run([*verify, str(tmp_path / "large")])[::2] == (1, "refused: size\n")


def test_the_command_judges_an_hmac_key(tmp_path: Path) -> None:
    full = hmac_key.make(SECRET, FIRM, BODY)
    secret, given = tmp_path / "secret", tmp_path / "key.txt"
    secret.write_text(printed(SECRET))
    given.write_text(hmac_key.to_file(full))
    told = [need("node", 18), str(NODE / "verify-hmac.mjs"), "--secret", str(secret), "--now", str(cases.NOW)]
    valid = "valid: tier 2, 25 seats, until 2027-01-16T00:00:00.000Z\n"
    assert run([*told, "--firm", FIRM, str(given)]) == (0, valid, "")
    secret.write_text(printed(SECRET, bytes(64)).replace("\n", "\r\n"))
    assert run([*told, "--firm", FIRM, hmac_key.grouped(hmac_key.shortened(full))]) == (0, valid, "")
    assert run([*told, "--firm", "Another", str(given)]) == (1, "", "refused: tag\n")
    assert run([*told, str(given)])[0] == 2
    secret.write_text("short")
    assert run([*told, "--firm", FIRM, str(given)])[0] == 2
