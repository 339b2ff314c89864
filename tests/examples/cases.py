"""What every example verifier is asked: the labelled cases, and good and hostile tokens of keys made here."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from keywright.domain import fingerprint, license_token
from keywright.signing import ed25519

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "verify"
CRYPTO = ROOT / "tests" / "fixtures" / "crypto"

NOW = 1_800_000_000
ISS = "https://licenses.acme.example/t/ten_1"
AUD = "dashcaddy"
MACHINE = "machine-0001"
KEY = ed25519.Signer(bytes(range(32)))
STRANGER = ed25519.Signer(bytes(range(1, 33)))
KEY_SET = json.dumps({"keys": [ed25519.jwk(STRANGER.public, "lease"), ed25519.jwk(KEY.public, KEY.kid)]})

HEADER = json.dumps({"alg": "EdDSA", "kid": KEY.kid, "typ": "lic+jwt"}, separators=(",", ":"))
CLAIMS: dict[str, Any] = license_token.license_claims(
    iss=ISS,
    sub="lic_1",
    aud=AUD,
    iat=NOW,
    nbf=NOW,
    exp=NOW + 86_400,
    jti="tok_1",
    plan="pro",
    seats=5,
    entitlements=["export.pdf", "größer"],
    limits={"projects": 100, "10": 1, "2": 2},
    status="active",
    firm="Größe & Söhne \u2603 \U0001f511",
)
MID = fingerprint.mid(AUD, MACHINE)
LEASE_CLAIMS: dict[str, Any] = {
    **CLAIMS,
    "mid": MID,
    "lexp": NOW + 3_600,
    "srv": NOW,
    "seq": 1_800_000_000_123,
    "nonce": "n-1",
    "code": "VALID",
    "entitled_until": NOW + 86_400,
}


class Case(NamedTuple):
    """A token and how it is to be judged. `counts` is what a strict verifier says."""

    name: str
    token: str
    rules: dict[str, Any]
    keys: str
    counts: bool


def rules(**more: Any) -> dict[str, Any]:
    return {"iss": ISS, "aud": AUD, "typ": "lic+jwt", "now": NOW, **more}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: str | bytes, header: str | bytes = HEADER, key: ed25519.Signer = KEY) -> str:
    parts = [part if isinstance(part, bytes) else part.encode() for part in (header, payload)]
    text = ".".join(map(b64, parts))
    return f"{text}.{b64(key.sign(text.encode()))}"


def written(claims: dict[str, Any]) -> str:
    return json.dumps(claims, separators=(",", ":"), ensure_ascii=False)


# -- the labelled cases -------------------------------------------------------------------------------


@cache
def labelled() -> list[Case]:
    """The 50 cases of the fixture; "policy" is a token without end, refused unless that is asked for."""
    told = json.loads((CRYPTO / "jws/jws_ed25519_cases.json").read_text())
    judge = told["verifier"]
    asked = {name: judge[name] for name in ("iss", "aud", "typ", "now")}
    keys = [ed25519.jwk(urlsafe_b64decode(x + "="), kid) for kid, x in judge["keyset"].items()]
    key_set = json.dumps({"keys": keys}, indent=2)
    mebibyte = "A" * (2**20 - 200)
    return [
        Case(
            one["name"],
            one["token"].replace("(repeat to 1 MiB at run time)", mebibyte),
            asked,
            key_set,
            one["expect"] == "accept",
        )
        for one in told["cases"]
    ]


# -- our own ------------------------------------------------------------------------------------------


def good() -> list[Case]:
    """What must be taken: else an example that refuses everything would pass."""
    bound = {**CLAIMS, "mid": MID}
    lease_header = HEADER.replace("lic+jwt", "lease+jwt")
    lease = signed(written(LEASE_CLAIMS), lease_header)
    no_end = {name: value for name, value in CLAIMS.items() if name != "exp"}
    told = {
        "as the server writes it": (signed(written(CLAIMS)), rules()),
        "the newer name of the algorithm": (
            signed(written(CLAIMS), HEADER.replace("EdDSA", "Ed25519")),
            rules(),
        ),
        "blanks in the JSON": (signed(json.dumps(CLAIMS, indent=1), HEADER.replace(",", ", ")), rules()),
        "escapes in a value": (signed(json.dumps({**CLAIMS, "firm": 'a"\\\u00e4\n'})), rules()),
        "clocks, and none": (
            signed(written({**CLAIMS, "off": 604_800, "entitled_until": NOW + 5, "grace_until": None})),
            rules(),
        ),
        "a claim of a later version": (signed(written({**CLAIMS, "later": {"a": [1, None, True]}})), rules()),
        "the clock 60 s behind": (signed(written(CLAIMS)), rules(now=NOW - 60)),
        "the last second": (signed(written(CLAIMS)), rules(now=NOW + 86_400 + 59)),
        "bound to this machine": (signed(written(bound)), rules(fingerprint=MACHINE)),
        "bound to none, and the machine told": (signed(written(CLAIMS)), rules(fingerprint=MACHINE)),
        "without end, where that is allowed": (signed(written(no_end)), rules(perpetual=True)),
        "a lease": (lease, rules(typ="lease+jwt", fingerprint=MACHINE)),
        "a lease with its nonce": (lease, rules(typ="lease+jwt", fingerprint=MACHINE, nonce="n-1")),
    }
    return [Case(name, token, asked, KEY_SET, True) for name, (token, asked) in told.items()]


def hostile() -> list[Case]:
    """Well signed by the right key and yet wrong, or signed by somebody else."""
    return [
        *_other_places(),
        *_other_leases(),
        *_other_headers(),
        *_other_claims(),
        *_other_texts(),
        *_other_key_sets(),
    ]


def _refused(name: str, token: str, keys: str = KEY_SET, /, **more: Any) -> Case:
    return Case(name, token, rules(**more), keys, False)


def _other_places() -> list[Case]:
    token = signed(written(CLAIMS))
    bound = signed(written({**CLAIMS, "mid": MID}))
    return [
        _refused("other issuer", token, iss=ISS + "/"),
        _refused("other product", token, aud="dashcaddy2"),
        _refused("too early", token, now=NOW - 61),
        _refused("too late", token, now=NOW + 86_460),
        _refused("bound, and no machine told", bound),
        _refused("bound to another machine", bound, fingerprint="machine-0002"),
        _refused("bound, for another product", signed(written({**CLAIMS, "aud": "x", "mid": MID})), aud="x"),
        _refused("signed by a stranger", signed(written(CLAIMS), key=STRANGER)),
        _refused("a license as a lease", token, typ="lease+jwt", fingerprint=MACHINE),
    ]


def _other_leases() -> list[Case]:
    header = HEADER.replace("lic+jwt", "lease+jwt")
    asked = {"typ": "lease+jwt", "fingerprint": MACHINE}
    lease = signed(written(LEASE_CLAIMS), header)
    changes: dict[str, dict[str, Any]] = {
        "without a machine": {"mid": None},
        "with an odd machine": {"mid": MID + "A"},
        "with seats below none": {"seats": -1},
        "that ended": {"lexp": NOW - 60},
        "without an end": {"lexp": None},
        "with an end that is a text": {"lexp": str(NOW + 5)},
        "with a number below none": {"seq": -1},
        "with half a number": {"seq": 1.5},
        "with an empty code": {"code": ""},
    }
    made = [
        _refused(f"a lease {name}", signed(written(_changed(LEASE_CLAIMS, change)), header), **asked)
        for name, change in changes.items()
    ]
    return [
        *made,
        _refused("a lease as a license", lease, fingerprint=MACHINE),
        _refused("a lease of another machine", lease, **{**asked, "fingerprint": "machine-0002"}),
        _refused("a lease of another call", lease, **asked, nonce="n-2"),
    ]


def _other_headers() -> list[Case]:
    body = written(CLAIMS)
    headers = {
        "a member more": HEADER[:-1] + ',"x":1}',
        "crit": HEADER[:-1] + ',"crit":["x"]}',
        "jwk": HEADER[:-1] + f',"jwk":{json.dumps(ed25519.jwk(STRANGER.public, "k"))}}}',
        "kid twice": HEADER.replace('"kid":', '"kid":"x","kid":'),
        "kid twice, once escaped": HEADER.replace('"kid":', '"\\u006bid":"x","kid":'),
        "a number as kid": '{"alg":"EdDSA","kid":1,"typ":"lic+jwt"}',
        "an empty kid": '{"alg":"EdDSA","kid":"","typ":"lic+jwt"}',
        "the name of a property": '{"alg":"EdDSA","kid":"__proto__","typ":"lic+jwt"}',
        "a property of objects": '{"alg":"EdDSA","kid":"constructor","typ":"lic+jwt"}',
        "no typ": f'{{"alg":"EdDSA","kid":"{KEY.kid}"}}',
        "other case": HEADER.replace("EdDSA", "eddsa"),
        "none": HEADER.replace("EdDSA", "none"),
        "HS256": HEADER.replace("EdDSA", "HS256"),
        "JWT": HEADER.replace("lic+jwt", "JWT"),
        "typ with a media type": HEADER.replace("lic+jwt", "application/lic+jwt"),
        "a list": f"[{HEADER}]",
        "nothing": "",
        "something behind": HEADER + " x",
        "BOM": "\ufeff" + HEADER,
    }
    return [_refused(f"header: {name}", signed(body, header)) for name, header in headers.items()]


def _other_claims() -> list[Case]:
    values: dict[str, list[Any]] = {
        "iss": [None, 1, [ISS], ISS.upper()],
        "aud": [None, [AUD], {"0": AUD}, 0],
        "sub": [None, "", 1],
        "iat": [None, str(NOW), NOW + 61, -1, True, NOW + 0.5, 2**53, 10**12],
        "nbf": [str(NOW), NOW + 61, False, [NOW]],
        "exp": [None, str(NOW + 9), NOW - 60, True, NOW + 9.5, 253_402_300_800, {}],
        "v": [2, 0, "1", True],
        "seats": [-1, "5", True, 5.5, 2**31, [], 2**63],
        "entitlements": ["export.pdf", {}, [1], [""], [["a"]], 0],
        "limits": [[], {"projects": -1}, {"projects": "9"}, {"projects": True}, 5, {"a": {}}],
        "firm": ["", 5, []],
        "plan": [0, "", []],
        "status": [1, ""],
        "off": [-1, "7", 1.5],
        "entitled_until": ["null", -1, True, []],
        "grace_until": ["soon", 2**53],
        "mid": ["", "short", 5, MID + "="],
    }
    return [
        _refused(
            f"{claim} is {value!r}", signed(written(_changed(CLAIMS, {claim: value}))), fingerprint=MACHINE
        )
        for claim, several in values.items()
        for value in several
    ]


def _changed(claims: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The claims with these in place of theirs; None takes one out."""
    return {name: value for name, value in {**claims, **change}.items() if value is not None}


def _other_texts() -> list[Case]:
    body = written(CLAIMS)
    raw = body.encode()
    texts: dict[str, str | bytes] = {
        "seats twice": body.replace('"seats":5', '"seats":1,"seats":5'),
        "seats twice, once escaped": body.replace('"seats":5', '"se\\u0061ts":1,"seats":5'),
        "a limit twice": body.replace('"projects":100', '"projects":1,"projects":100'),
        "seats as 5.0": body.replace('"seats":5', '"seats":5.0'),
        "seats as 5e0": body.replace('"seats":5', '"seats":5e0'),
        "seats as 05": body.replace('"seats":5', '"seats":05'),
        "seats as +5": body.replace('"seats":5', '"seats":+5'),
        "seats as hexadecimal": body.replace('"seats":5', '"seats":0x5'),
        "seats as NaN": body.replace('"seats":5', '"seats":NaN'),
        "exp as 1e999": body.replace(f'"exp":{NOW + 86_400}', '"exp":1e999'),
        "exp of many digits": body.replace(f'"exp":{NOW + 86_400}', '"exp":' + "9" * 400),
        "NUL by escape": body.replace('"pro"', '"p\\u0000ro"'),
        "NUL": body.replace('"pro"', '"p\x00ro"'),
        "a line end in a string": body.replace('"pro"', '"p\nro"'),
        "a tab in a string": body.replace('"pro"', '"p\tro"'),
        "lone surrogate": body.replace('"pro"', '"\\ud800"'),
        "raw surrogate": raw.replace(b'"pro"', b'"\xed\xa0\x80"'),
        "overlong": raw.replace(b'"pro"', b'"\xc0\xaf"'),
        "beyond Unicode": raw.replace(b'"pro"', b'"\xf4\x90\x80\x80"'),
        "cut in a character": raw.replace(b'"pro"', b'"\xe2\x82"'),
        "Latin-1": raw.replace(b'"pro"', b'"\xe4"'),
        "UTF-16": body.encode("utf-16"),
        "BOM": "\ufeff" + body,
        "a comma too many": body[:-1] + ",}",
        "a comment": body[:-1] + "/* */}",
        "single quotes": body.replace('"', "'"),
        "an odd escape": body.replace('"pro"', '"\\x70ro"'),
        "not closed": body[:-1],
        "twice": body + body,
        "a list": f"[{body}]",
        "a text": json.dumps(body),
        "nothing": "",
        "too deep": body[:-1] + ',"deep":' + "[" * 80 + "]" * 80 + "}",
        "far too deep": body[:-1] + ',"deep":' + "[" * 2000 + "]" * 2000 + "}",
    }
    made = [_refused(f"text: {name}", signed(text)) for name, text in texts.items()]
    token = signed(body)
    head, middle, tail = token.split(".")
    others = {
        "a signature of nothing": f"{head}.{middle}.",
        "no payload": f"{head}..{tail}",
        "no header": f".{middle}.{tail}",
        "dots alone": "..",
        "a blank in it": f"{head}.{middle} .{tail}",
        "a line end in it": f"{head}.{middle}\n.{tail}",
        "two tokens": f"{token}\n{token}",
        "not ASCII": token.replace("e", "é", 1),
        "9 KB": signed(written({**CLAIMS, "more": "x" * 6000})),
    }
    return [*made, *(_refused(f"token: {name}", other) for name, other in others.items())]


def _other_key_sets() -> list[Case]:
    token = signed(written(CLAIMS))
    ours: dict[str, Any] = ed25519.jwk(KEY.public, KEY.kid)
    theirs = ed25519.jwk(STRANGER.public, STRANGER.kid)
    sets: dict[str, list[dict[str, Any]]] = {
        "without keys": [],
        "of a stranger": [theirs],
        "of a stranger under our id": [{**theirs, "kid": KEY.kid}],
        "of another kind": [{**ours, "kty": "EC", "crv": "P-256"}],
        "of another curve": [{**ours, "crv": "X25519"}],
        "whose key is for leases": [{**ours, "typ": "lease+jwt"}],
        "with the key of a stranger beside it": [theirs, {**ours, "x": theirs["x"]}],
    }
    return [
        _refused(f"key set {name}", token, json.dumps({"keys": several})) for name, several in sets.items()
    ]


def flipped(step: int) -> list[Case]:
    """A good token with every `step`th bit turned."""
    token = signed(written(CLAIMS)).encode()
    made = []
    for bit in range(0, len(token) * 8, step):
        other = bytearray(token)
        other[bit // 8] ^= 1 << bit % 8
        made.append(_refused(f"bit {bit}", other.decode("latin-1")))
    return made


def ed25519_vectors() -> list[dict[str, Any]]:
    """Wycheproof's: key, message and signature in hex, and whether it holds."""
    told = json.loads((CRYPTO / "wycheproof/ed25519_test.json").read_text())
    return [
        {
            "id": one["tcId"],
            "key": group["publicKey"]["pk"],
            "message": one["msg"],
            "signature": one["sig"],
            "holds": one["result"] == "valid",
        }
        for group in told["testGroups"]
        for one in group["tests"]
    ]


def file_of(token: str, end: str = "\n") -> str:
    """The token as a license file."""
    lines = [token[at : at + 64] for at in range(0, len(token), 64)]
    return end.join(["-----BEGIN KEYWRIGHT LICENSE-----", *lines, "-----END KEYWRIGHT LICENSE-----", ""])


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
