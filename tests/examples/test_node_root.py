"""The Node example under a seller's offline root: the signed key set, and the list of what was revoked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keywright.domain import license_token
from keywright.domain.key_documents import KeySet, PublishedKey, Revocations, claims_of
from keywright.signing import ed25519
from tests.examples import cases
from tests.examples.tools import ask_node, need, run

ROOT, LISTS = ed25519.Signer(bytes(range(2, 34))), ed25519.Signer(bytes(range(3, 35)))
NOW, ISS = cases.NOW, cases.ISS


def published(key: ed25519.Signer, typ: str, state: Any = "active") -> PublishedKey:
    return PublishedKey(key.kid, cases.b64(key.public), typ, state)


KEYS = (published(cases.KEY, "lic+jwt"), published(LISTS, "crl+jwt"))


def key_set(signer: ed25519.Signer = ROOT, typ: str = license_token.KEY_SET, **changed: Any) -> str:
    told = claims_of(KeySet(ISS, NOW, NOW + 86_400, 7, KEYS, ()))
    return license_token.encode({**told, **changed}, typ=typ, kid=signer.kid, sign=signer.sign)


def revoked(signer: ed25519.Signer = LISTS, **changed: Any) -> str:
    told = claims_of(Revocations(ISS, NOW, NOW + 86_400, 7, (), (), ()))
    return license_token.encode(
        {**told, **changed}, typ=license_token.REVOKED, kid=signer.kid, sign=signer.sign
    )


def chain(made: str, listed: str | None = None, **more: Any) -> dict[str, Any]:
    token = more.pop("token", cases.signed(cases.written(cases.CLAIMS)))
    root = more.pop("root", cases.b64(ROOT.public))
    return {"set": made, "list": listed, "root": root, "token": token, "rules": cases.rules(**more)}


def member(**changed: Any) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = claims_of(KeySet(ISS, 0, 0, 0, KEYS, ()))["keys"]
    return [{**told[0], **changed}, told[1]]


def test_what_counts_under_the_root() -> None:
    asked = [
        chain(key_set()),
        chain(key_set(), revoked()),
        chain(key_set(), revoked(licenses=["lic_2"], tokens=["tok_2"], keys=["another"])),
        chain(key_set(), oldest=7),
        chain(key_set(keys=member(state="verify-only"))),
        chain(key_set(), revoked(tokens=[f"tok_{number}" for number in range(2, 400)])),
    ]
    assert ask_node(chains=asked)["chains"] == ["counts"] * len(asked)


def test_what_does_not() -> None:
    lease = cases.signed(cases.written(cases.LEASE_CLAIMS), cases.HEADER.replace("lic+", "lease+"))
    expected = {
        "kid": [
            chain(key_set(cases.STRANGER)),
            chain(key_set(), root=cases.b64(cases.STRANGER.public)),
            chain(key_set(keys=[])),
            chain(key_set(keys=member(typ="lease+jwt"))),
            chain(key_set(), revoked(cases.KEY)),
            chain(key_set(), token=lease, typ="lease+jwt", fingerprint=cases.MACHINE),
        ],
        "signature": [chain(key_set()[:-4] + "AAAA"), chain(key_set(), revoked()[:-4] + "AAAA")],
        "typ": [chain(key_set(typ="lic+jwt")), chain(key_set(), key_set())],
        "iss": [chain(key_set(iss="other")), chain(key_set(), revoked(iss="other"))],
        "older": [chain(key_set(), oldest=8), chain(key_set(seq=8), revoked(), oldest=8)],
        "expired": [chain(key_set(exp=NOW - 60)), chain(key_set(), revoked(exp=NOW - 60))],
        "not_yet_valid": [chain(key_set(iat=NOW + 61))],
        "version": [chain(key_set(v=2)), chain(key_set(), revoked(v="1"))],
        "claim: keys": [
            chain(key_set(keys=member(state="revoked"))),
            chain(key_set(keys=member(state="new"))),
            chain(key_set(keys=member(kid=LISTS.kid))),
            chain(key_set(keys=member(typ=5))),
            chain(key_set(revoked=[cases.KEY.kid])),
            chain(key_set(keys={})),
            chain(key_set(keys=[5])),
        ],
        "claim: seq": [chain(key_set(seq=-1)), chain(key_set(), revoked(seq="9"))],
        "claim: licenses": [chain(key_set(), revoked(licenses=[1]))],
        "claim: revoked": [chain(key_set(revoked=None))],
        "revoked": [
            chain(key_set(), revoked(licenses=["lic_1"])),
            chain(key_set(), revoked(tokens=["a", "tok_1"])),
            chain(key_set(), revoked(keys=[cases.KEY.kid])),
        ],
    }
    asked = [(reason, one) for reason, several in expected.items() for one in several]
    said = ask_node(chains=[one for _, one in asked])["chains"]
    assert said == [reason for reason, _ in asked]


def test_the_command_under_the_root(tmp_path: Path) -> None:
    given, keys, listed = (tmp_path / name for name in ("license.txt", "keys.jwt", "revoked.jwt"))
    given.write_text(cases.file_of(cases.signed(cases.written(cases.CLAIMS))))
    keys.write_text(key_set())
    listed.write_text(revoked())
    script = str(cases.EXAMPLES / "node" / "verify.mjs")
    told = [need("node", 18), script, "--keys", str(keys), "--iss", ISS, "--aud", cases.AUD]
    told += ["--now", str(NOW), "--root", cases.b64(ROOT.public), "--revoked", str(listed), str(given)]
    assert run(told)[0] == 0
    listed.write_text(revoked(licenses=["lic_1"]))
    assert run(told)[::2] == (1, "refused: revoked\n")
    # A list that is not the seller's says nothing about the license.
    listed.write_text(revoked(cases.STRANGER))
    assert run(told)[0] == 2
