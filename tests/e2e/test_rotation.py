"""Signing keys are rotated under load, and then one is revoked: against running servers, on both databases.

Short by default; `make rotation` runs for KEYWRIGHT_ROTATION_SECONDS.
"""

from __future__ import annotations

import os
import random
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from keywright.domain import key_documents, license_token
from keywright.domain.license_token import TokenRefused
from keywright.domain.plan import Terms
from keywright.flows import operate, signing_keys
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.flows.signing_keys import KeyAct
from keywright.signing import ed25519
from tests.e2e.conftest import database_of
from tests.e2e.server import Server, environment, opened, wait_until
from tests.life import world

SECONDS = float(os.environ.get("KEYWRIGHT_ROTATION_SECONDS", "3"))
EVERY = 0.6 if SECONDS < 10 else 3.0
LICENSES = 100 if SECONDS < 10 else 300  # a key may be asked for sixty times a minute
THREADS = 3
ACT = KeyAct("test")
PRODUCT = "dashcaddy"


class Town:
    """One server on SQLite, two on PostgreSQL, and licenses that are activated."""

    def __init__(self, context: Context, ports: list[int]) -> None:
        self.context = context
        self.ports = ports
        self.issuer = context.issuer(context.master.id)
        world.stock(context, price_pro=Terms(term="perpetual"))
        order = Order(f"{PRODUCT}/plan-0", "ann@example.com", seats=1)
        self.keys = [
            operate.issue(context, context.master.id, order, Act("test"))[1] for _ in range(LICENSES)
        ]

    def url(self) -> str:
        return f"http://127.0.0.1:{random.choice(self.ports)}"


@pytest.fixture(params=["sqlite", "postgresql"])
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    url = database_of(request.param, request, tmp_path)
    with ExitStack() as stack:
        context = stack.enter_context(opened(url, tmp_path))
        env = environment(url, tmp_path)
        names = ["one"] if request.param == "sqlite" else ["one", "two"]
        servers = [stack.enter_context(Server(env, tmp_path, name)) for name in names]
        yield Town(context, [server.port for server in servers])


class Program:
    """Knows the keys that it has fetched, and fetches them again when it meets one that it does not know."""

    def __init__(self, town: Town, client: httpx.Client) -> None:
        self.town = town
        self.client = client
        self.fetches = 0
        self.keys: dict[str, dict[str, license_token.VerifyFn]] = {}
        self.fetch()

    def fetch(self) -> None:
        found: dict[str, dict[str, license_token.VerifyFn]] = {}
        for key in self.client.get(f"{self.town.url()}/.well-known/jwks.json").json()["keys"]:
            assert "d" not in key
            check = ed25519.verifier(urlsafe_b64decode(key["x"] + "="))
            found.setdefault(key["typ"], {})[key["kid"]] = check
        self.keys, self.fetches = found, self.fetches + 1

    def believes(self, token: str, typ: str) -> bool:
        if license_token.key_id(token) not in self.keys[typ]:
            self.fetch()
        try:
            license_token.verify(
                token,
                typ=typ,
                keys=self.keys[typ],
                iss=self.town.issuer,
                aud=PRODUCT,
                now=int(time.time()),
            )
        except TokenRefused as refusal:
            if refusal.reason == "kid":
                return False
            raise
        return True


class Customers(threading.Thread):
    """Activates, validates and fetches files, and has each answer's token checked by its program."""

    def __init__(self, town: Town, number: int, until: float) -> None:
        super().__init__(name=f"customers-{number}")
        self.town, self.number, self.until = town, number, until
        self.tokens: list[tuple[str, str]] = []
        self.refused: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.trouble: list[BaseException] = []

    def run(self) -> None:
        try:
            with httpx.Client(trust_env=False, timeout=20) as client:
                self.live(client, Program(self.town, client))
        except BaseException as error:  # noqa: BLE001  # told to the test, which fails by it
            self.trouble.append(error)

    def live(self, client: httpx.Client, program: Program) -> None:
        turn = self.number
        while time.monotonic() < self.until:
            key = self.town.keys[turn % LICENSES]
            turn += THREADS
            for call, more in (
                ("activate", {}),
                ("validate", {}),
                ("validate", {"nonce": "n"}),
                ("file", {"days": 3}),
            ):
                token, typ = self.ask(client, call, key, more)
                self.tokens.append((token, typ))
                if not program.believes(token, typ):
                    self.refused.append(token)

    def ask(self, client: httpx.Client, call: str, key: str, more: dict[str, Any]) -> tuple[str, str]:
        body = {"key": key, "fingerprint": "machine-number-1", **more}
        answer = client.post(f"{self.town.url()}/api/license/{call}", json=body)
        self.statuses[answer.status_code] += 1
        assert answer.status_code == 200, answer.text
        told = answer.json()
        return (told["token"], "lic+jwt") if call == "file" else (told["lease"], "lease+jwt")


def test_keys_rotate_under_load_and_a_revoked_one_counts_no_more(town: Town) -> None:
    crowd = [Customers(town, n, time.monotonic() + SECONDS) for n in range(THREADS)]
    for customers in crowd:
        customers.start()
    rotations = 0
    while any(customers.is_alive() for customers in crowd):
        time.sleep(EVERY)
        signing_keys.rotate(town.context, town.context.master.id, ACT)
        rotations += 1
    for customers in crowd:
        customers.join()
        assert customers.trouble == []
        assert customers.refused == [], "a token that counts was refused"
    tokens = [one for customers in crowd for one in customers.tokens]
    signed_by = {license_token.key_id(token) for token, _ in tokens}
    assert len(signed_by) >= 2 * min(rotations, 3), "keys did not change while tokens were made"
    with httpx.Client(trust_env=False, timeout=20) as client:
        program = Program(town, client)
        assert all(program.believes(token, typ) for token, typ in tokens)
        assert program.fetches == 1
        seconds = check_revocation(town, client, tokens)
    print(  # noqa: T201  # the figures of a long run are its result; pytest shows them with -s
        f"\n{len(tokens)} tokens, {rotations} rotations, {len(signed_by)} keys; revoked after {seconds:.1f} s"
    )


def check_revocation(town: Town, client: httpx.Client, tokens: list[tuple[str, str]]) -> float:
    """Revoke the keys that sign, and one that did. Returns after how long none of their tokens counted."""
    context, tenant = town.context, town.context.master.id
    last = [ask_all(town, client, port) for port in town.ports]
    gone = {license_token.key_id(token) for token, _ in (*tokens[:1], *[t for two in last for t in two])}
    began = time.monotonic()
    for kid in gone:
        signing_keys.revoke(context, tenant, kid, ACT)
    # New leases and files, and stored leases that are handed out again: none of them is of such a key.
    for port in town.ports:
        wait_until(
            lambda: not gone & {license_token.key_id(t) for t, _ in ask_all(town, client, port)},  # noqa: B023  # called at once
            20,
            "no token of a revoked key is given out",
        )
    program = Program(town, client)
    for token, typ in (*tokens, *[t for two in last for t in two]):
        assert program.believes(token, typ) is (license_token.key_id(token) not in gone)
    for port in town.ports:
        wait_until(lambda: gone <= listed(town, client, port), 20, "the list names the keys")  # noqa: B023  # as above
    return time.monotonic() - began


def ask_all(town: Town, client: httpx.Client, port: int) -> list[tuple[str, str]]:
    key = random.choice(town.keys)
    body = {"key": key, "fingerprint": "machine-number-1"}
    url = f"http://127.0.0.1:{port}/api/license"
    client.post(f"{url}/activate", json=body)
    lease = client.post(f"{url}/validate", json=body).json()["lease"]
    file = client.post(f"{url}/file", json=body).json()["token"]
    return [(lease, "lease+jwt"), (file, "lic+jwt")]


def listed(town: Town, client: httpx.Client, port: int) -> set[str]:
    program = Program(town, client)
    text = client.get(f"http://127.0.0.1:{port}/.well-known/keywright-revoked.jwt").text
    keys = program.keys["crl+jwt"]
    return set(key_documents.read_revocations(text, keys=keys, now=int(time.time()), iss=town.issuer).keys)
