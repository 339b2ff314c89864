"""What `Client.check` costs a program, with a license and without a network."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keywright.client import Client, Machine, Trust
from keywright.client.tokens import PublicKey, mid, to_base64

_ISSUER = "https://licenses.acme.example/t/ten_1"
_PRODUCT = "dashcaddy"
_FINGERPRINT = "machine-0001"


def measure(rounds: int = 2000) -> dict[str, float]:
    """Milliseconds: `check` again and again, the first `check` of a program, and a new `Client` with it.

    The median of each, and the 99th percentile of the first. The state has two places on the
    disk, and a lease in them.
    """
    with tempfile.TemporaryDirectory(prefix="keywright-client-") as folder:
        make, lease = _maker(Path(folder))
        _license(make(), lease)
        client = make()
        client.check()
        again = _times(client.check, rounds)
        fresh = [_first_check(make) for _ in range(max(rounds // 20, 10))]
        return {
            "check_p50_ms": statistics.median(again),
            "check_p99_ms": statistics.quantiles(again, n=100)[-1],
            "first_check_p50_ms": statistics.median(check for _, check in fresh),
            "start_p50_ms": statistics.median(start + check for start, check in fresh),
        }


def _maker(folder: Path) -> tuple[Callable[[], Client], str]:
    """What makes clients over one folder, and a lease for them."""
    key = Ed25519PrivateKey.generate()
    x = to_base64(key.public_key().public_bytes_raw())
    trust = Trust(_ISSUER, keys={PublicKey(x).kid: x})

    def make() -> Client:
        return Client(
            product=_PRODUCT,
            server="https://licenses.acme.example",
            trust=trust,
            machine=Machine(_FINGERPRINT),
            state_dir=folder / "first",
            second_dir=folder / "second",
            baseline={},
        )

    return make, _lease(key, PublicKey(x).kid)


def _license(client: Client, lease: str) -> None:
    """Give it a state as it is after an activation, without a server."""
    now = int(time.time())
    members = {"key": "DC-0", "lease": lease, "mark": now, "asked_at": now, "ask_at": now + 86_400}
    # What `activate` does.
    client._store.change(lambda old: type(old)(**{**vars(old), **members}))  # noqa: SLF001 - without a server
    if not client.check().valid:
        raise RuntimeError("the license that is measured does not hold")


def _lease(key: Ed25519PrivateKey, kid: str) -> str:
    now = int(time.time())
    claims = {
        "iss": _ISSUER, "sub": "lic_1", "aud": _PRODUCT, "iat": now, "nbf": now, "exp": now + 604_800,
        "jti": "lse_1", "v": 1, "plan": "pro", "seats": 5, "entitlements": ["export.pdf"],
        "limits": {"projects": 100}, "status": "active", "mid": mid(_PRODUCT, _FINGERPRINT),
        "lexp": now + 604_800, "srv": now, "seq": now * 1000, "code": "VALID",
    }  # fmt: skip
    parts = ({"alg": "EdDSA", "kid": kid, "typ": "lease+jwt"}, claims)
    signed = ".".join(to_base64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{to_base64(key.sign(signed.encode()))}"


def _times(call: Callable[[], Any], rounds: int) -> list[float]:
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) * 1000)
    return found


def _first_check(make: Callable[[], Client]) -> tuple[float, float]:
    began = time.perf_counter()
    client = make()
    made = time.perf_counter()
    client.check()
    return (made - began) * 1000, (time.perf_counter() - made) * 1000
