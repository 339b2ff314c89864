"""A seller's server in a few lines: real keys, real HTTP, and every mood that a server and a network can be
in."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keywright.client import Client, Machine, Trust

PRODUCT = "dashcaddy"
ISSUER = "https://licenses.acme.example/t/ten_1"
KEY = "DC-7Q2MX-AAAAA-BBBBB-CCCCC-DDDDD"
DAY = 86_400
START = 1_800_000_000
BASELINE = {"limits": {"projects": 3}, "entitlements": ["export.txt"]}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Pair:
    """A signing key."""

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        self.x = b64(self.private.public_key().public_bytes_raw())
        text = f'{{"crv":"Ed25519","kty":"OKP","x":"{self.x}"}}'
        self.kid = b64(hashlib.sha256(text.encode()).digest())

    def sign(self, typ: str, claims: dict[str, Any], /, **header: Any) -> str:
        head = {"alg": "EdDSA", "kid": self.kid, "typ": typ, **header}
        text = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{b64(self.private.sign(text.encode()))}"


class Time:
    """A clock that stands still until it is turned."""

    def __init__(self, start: float = START) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += seconds


Answer = tuple[int, dict[str, str], bytes]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Says nothing: a client that hangs up is one of the things that are tried."""


class Seller:
    """Serves one license. `mood` answers instead of it, `delay` makes it slow; `asked` is what it was
    asked."""

    def __init__(self) -> None:
        self.time = Time()
        self.root, self.license_key, self.lease_key, self.list_key = Pair(), Pair(), Pair(), Pair()
        self.offline = 7 * DAY
        self.code = "VALID"
        self.machines: set[str] = set()
        self.most = 5
        self.entitled_until: int | None = None
        self.grace_until: int | None = None
        self.mood: Callable[[str, dict[str, Any]], Answer | None] = lambda *_: None
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.documents: dict[str, str] = {}
        self.lease_claims: dict[str, Any] = {}
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Seller:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # -- what the seller signs ------------------------------------------------------------------------

    def jwks(self) -> dict[str, str]:
        return {pair.kid: pair.x for pair in (self.license_key, self.lease_key, self.list_key)}

    def trust(self, *, root: bool = False) -> Trust:
        if root:
            return Trust(ISSUER, root=self.root.x, key_set=self.key_set(1))
        return Trust(ISSUER, keys=self.jwks())

    def key_set(self, number: int, *, revoked: tuple[str, ...] = (), **more: Any) -> str:
        pairs = (("lic+jwt", self.license_key), ("lease+jwt", self.lease_key), ("crl+jwt", self.list_key))
        keys = [{"kid": p.kid, "x": p.x, "typ": typ, "state": "active"} for typ, p in pairs]
        now = int(self.time.now)
        claims = {"iss": ISSUER, "iat": now, "exp": now + 400 * DAY, "seq": number, "v": 1, "keys": keys}
        return self.root.sign("keys+jwt", {**claims, "revoked": list(revoked), **more})

    def revocations(self, seq: int, **named: list[str]) -> str:
        now = int(self.time.now)
        claims = {"iss": ISSUER, "iat": now, "exp": now + 30 * DAY, "seq": seq, "v": 1}
        return self.list_key.sign("crl+jwt", {**claims, "licenses": [], "tokens": [], "keys": [], **named})

    def lease(self, asked: dict[str, Any], **more: Any) -> str:
        now = int(self.time.now)
        mid = b64(hashlib.sha256(f"{PRODUCT}\0{asked['fingerprint']}".encode()).digest()[:16])
        claims = {
            **self._claims(now),
            "exp": now + self.offline,
            "mid": mid,
            "lexp": now + self.offline,
            "srv": now,
            "seq": int(self.time.now * 1000),
            "nonce": asked.get("nonce"),
            "code": self.code,
        }
        for name in ("entitled_until", "grace_until"):
            if getattr(self, name) is not None:
                claims[name] = getattr(self, name)
        told = {
            name: value
            for name, value in {**claims, **self.lease_claims, **more}.items()
            if value is not None
        }
        return self.lease_key.sign("lease+jwt", told)

    def file(self, **more: Any) -> str:
        """A license file."""
        now = int(self.time.now)
        claims = {
            **self._claims(now),
            "exp": now + 30 * DAY,
            "off": 30 * DAY,
            "entitled_until": None,
            "grace_until": None,
        }
        token = self.license_key.sign("lic+jwt", {**claims, **more})
        lines = [token[start : start + 64] for start in range(0, len(token), 64)]
        return "\n".join(["-----BEGIN KEYWRIGHT LICENSE-----", *lines, "-----END KEYWRIGHT LICENSE-----", ""])

    def _claims(self, now: int) -> dict[str, Any]:
        return {
            "iss": ISSUER,
            "sub": "lic_1",
            "aud": PRODUCT,
            "iat": now,
            "nbf": now,
            "jti": f"lse_{time.time_ns()}",
            "v": 1,
            "plan": "pro",
            "seats": 5,
            "entitlements": ["export.pdf"],
            "limits": {"projects": 100},
            "status": "grace" if self.code == "GRACE" else "active",
        }

    # -- what the seller answers ----------------------------------------------------------------------

    def answer(self, path: str, asked: dict[str, Any]) -> Answer:
        moody = self.mood(path, asked)
        if moody is not None:
            return moody
        if path in self.documents:
            return 200, {}, self.documents[path].encode()
        if path.startswith("/api/license/"):
            return self.verdict(path.rsplit("/", 1)[1], asked)
        return 404, {"Content-Type": "application/problem+json"}, b'{"code": "NOT_FOUND", "status": 404}'

    def verdict(self, call: str, asked: dict[str, Any]) -> Answer:
        code, status, machine = self.code, 200, asked.get("fingerprint")
        if asked.get("key") != KEY:
            code, status = "NOT_FOUND", 404
        elif code in ("VALID", "GRACE") and call == "activate":
            if machine not in self.machines and len(self.machines) >= self.most:
                code, status = "TOO_MANY_ACTIVATIONS", 409
            else:
                self.machines.add(str(machine))
        elif call == "deactivate":
            self.machines.discard(str(machine))
            code = "NOT_ACTIVATED"
        elif code in ("VALID", "GRACE") and machine not in self.machines:
            code = "NOT_ACTIVATED"
        valid = code in ("VALID", "GRACE")
        told = {
            "valid": valid,
            "code": code,
            "detail": f"It is {code}.",
            "next_action": "continue",
            "cache_until": self.rfc3339(600),
            "server_time": self.rfc3339(),
            "nonce": asked.get("nonce"),
            "license": {"id": "lic_1", "plan": "pro", "seats": 5, "trial": False, "canceling": False},
            "lease": self.lease(asked) if valid else None,
        }
        return (200 if call == "validate" else status), {}, json.dumps(told).encode()

    def rfc3339(self, later: int = 0) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.time.now + later))

    def calls(self, name: str = "") -> int:
        """How often it was asked."""
        return sum(path.endswith(name) for path, _ in self.asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        seller = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # the name is the base class's
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self._reply(json.loads(body))

            def do_GET(self) -> None:
                self._reply({})

            def _reply(self, asked: dict[str, Any]) -> None:
                seller.asked.append((self.path, asked))
                seller.headers.append({name.lower(): value for name, value in self.headers.items()})
                status, headers, body = seller.answer(self.path, asked)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing: what was asked is kept."""

        return Handler


MACHINE = Machine("machine-0001", {"machine": "A" * 22, "kind": "metal"}, "ann-laptop")


def client_of(
    seller: Seller | None, folder: Path, clock: Callable[[], float] | None = None, **more: Any
) -> Client:
    """A client of this seller, with its state below `folder`."""
    given: dict[str, Any] = {
        "product": PRODUCT,
        "server": seller.url if seller is not None else None,
        "state_dir": folder / "first",
        "second_dir": folder / "second",
        "baseline": BASELINE,
        "machine": MACHINE,
        "clock": clock if clock is not None else seller.time if seller is not None else Time(),
        "timeout": 2.0,
    }
    if "trust" not in more and seller is not None:
        given["trust"] = seller.trust()
    return Client(**{**given, **more})
