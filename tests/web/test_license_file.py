"""`/api/license/file` and the signed documents under `/.well-known/`, through the application."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import Any

import pytest

from keywright.domain import fingerprint, key_documents, license_file, license_token
from keywright.flows import key_sets, operate, signing_keys
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.flows.signing_keys import KeyAct
from keywright.signing import ed25519
from keywright.web.api import well_known
from tests.life import world
from tests.web.conftest import Client, Serve

MACHINE = "machine-number-1"


@pytest.fixture
def key(shop: Context) -> str:
    order = Order("dashcaddy/plan-0", "ann@example.com", seats=1)
    return operate.issue(shop, shop.master.id, order, Act("test"))[1]


def ask(client: Client, call: str, key: str, machine: str | None = MACHINE, **more: Any) -> Any:
    return client.post(f"/api/license/{call}", json={"key": key, "fingerprint": machine, **more})


def verifiers(client: Client, typ: str) -> dict[str, license_token.VerifyFn]:
    """From the JWKS, as any program would."""
    found = client.get("/.well-known/jwks.json").json()["keys"]
    mine = [k for k in found if k["typ"] == typ]
    return {k["kid"]: ed25519.verifier(urlsafe_b64decode(k["x"] + "=")) for k in mine}


def test_a_file_over_http(shop: Context, client: Client, key: str) -> None:
    refused = ask(client, "file", key)
    assert (refused.status_code, refused.json()["code"]) == (403, "NOT_ACTIVATED")
    assert refused.json()["license"]["status"] == "active"
    assert ask(client, "activate", key).status_code == 200
    answer = ask(client, "file", key, days=7, unknown="ignored")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert set(told) == {"file", "token", "expires_at"}
    assert told["expires_at"] == "2026-11-08T12:00:00Z"
    token = license_file.unwrap(told["file"])
    claims = license_token.verify(
        token,
        typ="lic+jwt",
        keys=verifiers(client, "lic+jwt"),
        iss=shop.issuer(shop.master.id),
        aud="dashcaddy",
        now=int(shop.clock.now().timestamp()),
    )
    assert (claims["mid"], claims["sub"]) == (
        fingerprint.mid("dashcaddy", MACHINE),
        world.the_license(shop).id,
    )
    for wrong in ({"days": 0}, {"days": "7"}, {"days": 1.5}, {"fingerprint": "short"}):
        assert ask(client, "file", key, **wrong).status_code == 422, wrong
    assert client.get("/api/license/file").status_code == 405


def test_files_are_limited_as_activations_are(serve: Serve, key: str) -> None:
    client = serve(per_key_a_minute=4, failures_a_minute=3)
    assert ask(client, "activate", key).status_code == 200
    assert [ask(client, "file", key).status_code for _ in range(4)] == [200, 200, 200, 429]
    unknown = [f"DC-{'0' * 23}{n}" for n in range(5)]
    codes = [ask(client, "file", one).status_code for one in unknown]
    assert codes == [404, 404, 404, 429, 429]


def test_the_signed_documents(
    shop: Context, client: Client, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(well_known, "_LIST_SECONDS_MOST", 0.0)
    tenant, now = shop.master.id, int(shop.clock.now().timestamp())
    none = client.get("/.well-known/keywright-keys.jwt")
    assert (none.status_code, none.json()["code"]) == (404, "KEY_SET_UNSIGNED")
    root = ed25519.Signer(bytes(32))
    key_sets.pin_root(shop, tenant, root, by="test")
    key_sets.sign_key_set(shop, tenant, root, by="test")
    for slug in ("", f"/t/{shop.master.slug}", f"/t/{tenant}"):
        answer = client.get(f"{slug}/.well-known/keywright-keys.jwt")
        assert answer.headers["cache-control"] == "public, max-age=3600"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["content-type"] == "application/jose"
        pinned = {root.kid: ed25519.verifier(root.public)}
        told = key_documents.read_key_set(answer.text, root=pinned, now=now, iss=shop.issuer(tenant))
        assert {k.kid for k in told.keys} == {k["kid"] for k in shop.signer.key_set(tenant)["keys"]}

    def revoked() -> key_documents.Revocations:
        answer = client.get("/.well-known/keywright-revoked.jwt")
        assert answer.headers["cache-control"] == "public, max-age=60"
        assert client.get(f"/t/{shop.master.slug}/.well-known/keywright-revoked.jwt").text == answer.text
        keys = verifiers(client, "crl+jwt")
        return key_documents.read_revocations(answer.text, keys=keys, now=now, iss=shop.issuer(tenant))

    ask(client, "activate", key)
    ask(client, "file", key)
    assert revoked().licenses == ()
    operate.decide(shop, tenant, world.the_license(shop).id, Act("test"), "revoke")
    assert revoked().licenses == (world.the_license(shop).id,)
    gone = shop.signer.active_key(tenant, "lic+jwt")
    signing_keys.revoke(shop, tenant, gone, KeyAct("test"))
    assert revoked().keys == (gone,)
    for path in ("keywright-keys.jwt", "keywright-revoked.jwt"):
        assert client.get(f"/t/nobody/.well-known/{path}").status_code == 404


def test_a_stored_lease_of_a_revoked_key_is_not_handed_out_again(
    shop: Context, client: Client, key: str
) -> None:
    first = ask(client, "activate", key).json()["lease"]
    assert ask(client, "validate", key).json()["lease"] == first
    gone = license_token.key_id(first)
    signing_keys.revoke(shop, shop.master.id, gone, KeyAct("test"))
    second = ask(client, "validate", key).json()["lease"]
    assert license_token.key_id(second) != gone
    assert set(verifiers(client, "lease+jwt")) >= {license_token.key_id(second)}
    assert gone not in verifiers(client, "lease+jwt")
