"""The routes anybody may call."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from keywright.domain.errors import ProviderUnavailable
from keywright.flows.context import Context
from keywright.store.tables import checkouts
from tests.life import world
from tests.life.payments import PayDesk
from tests.web.conftest import Client, Serve

SITE = "https://www.shop.example"
KEY = {"idempotency-key": "an-idempotency-key-0001"}


def open_one(client: Client, **more: Any) -> dict[str, Any]:
    answer = client.post("/api/checkout/session", json={"plan": "dashcaddy/plan-0", **more})
    assert answer.status_code == 201, answer.text
    opened: dict[str, Any] = answer.json()
    return opened


def claim(client: Client, opened: dict[str, Any], scheme: str = "Claim") -> Any:
    return client.get(
        f"/api/checkout/session/{opened['reference']}",
        headers={"authorization": f"{scheme} {opened['claim_token']}"},
    )


def test_opening_answers_201_with_what_the_contract_names(client: Client) -> None:
    answer = client.post("/api/checkout/session", json={"plan": "dashcaddy/plan-0", "quantity": 2})
    assert answer.status_code == 201
    opened = answer.json()
    assert set(opened) == {"reference", "claim_token", "provider", "url", "expires_at"}
    assert opened["expires_at"] == "2026-11-02T11:00:00Z"
    assert answer.headers["cache-control"] == "no-store"


def test_from_order_to_key(shop: Context, client: Client, desk: PayDesk) -> None:
    opened = open_one(client)
    path = f"/api/checkout/session/{opened['reference']}"
    assert client.get(path).json() == {"reference": opened["reference"], "status": "open"}
    desk.paid(opened["reference"])
    assert client.post(f"{path}/verify").json() == {"reference": opened["reference"], "status": "paid"}
    assert "licenses" not in client.get(path).json()
    (shown,) = claim(client, opened).json()["licenses"]
    held = world.the_license(shop)
    assert shown == {
        "id": held.id,
        "key": world.key_of(shop, held),
        "plan": "dashcaddy/plan-0",
        "status": "active",
        "seats": 1,
    }
    validated = client.post("/api/license/validate", json={"key": shown["key"]}).json()
    assert validated["license"]["id"] == held.id


def test_a_wrong_claim_is_401(client: Client) -> None:
    opened = open_one(client)
    other = open_one(client)
    assert claim(client, {**opened, "claim_token": other["claim_token"]}).status_code == 401
    assert claim(client, opened, scheme="Bearer").status_code == 401
    assert claim(client, {**opened, "claim_token": ""}).status_code == 401
    assert claim(client, opened, scheme="claim").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"plan": 1}',
        b'{"plan": null}',
        b'{"plan": "dashcaddy/plan-0", "surprise": 1}',
        b'{"plan": "dashcaddy/plan-0", "quantity": "1"}',
        b'{"plan": "dashcaddy/plan-0", "quantity": 1.5}',
        b'{"plan": "dashcaddy/plan-0", "quantity": true}',
        b'{"plan": "dashcaddy/plan-0", "quantity": 1e400}',
        b'{"plan": "dashcaddy/plan-0", "plan": "dashcaddy/plan-1"}',
        b'{"plan": "dashcaddy/plan-0"',
        b'{"plan": "\\ud800"}',
        b'{"plan": "\\u0000"}',
        b'\xff\xfe{"plan": "x"}',
        b"[" * 5000,
    ],
)
def test_a_body_that_is_no_order_is_422(shop: Context, client: Client, body: bytes) -> None:
    answer = client.post("/api/checkout/session", content=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "INVALID"
    assert world.count(shop, checkouts) == 0


def test_a_huge_body_is_413(client: Client) -> None:
    body = b'{"plan": "' + b"a" * 20_000 + b'"}'
    assert client.post("/api/checkout/session", content=body).status_code == 413


def test_an_idempotency_key_is_read_from_its_header(shop: Context, client: Client) -> None:
    body = {"plan": "dashcaddy/plan-0"}
    first = client.post("/api/checkout/session", json=body, headers=KEY)
    again = client.post("/api/checkout/session", json=body, headers=KEY)
    other = client.post("/api/checkout/session", json={**body, "quantity": 2}, headers=KEY)
    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_MISMATCH")
    assert world.count(shop, checkouts) == 1


def test_a_silent_provider_is_502(client: Client, desk: PayDesk) -> None:
    desk.trouble = ProviderUnavailable("no answer")
    answer = client.post("/api/checkout/session", json={"plan": "dashcaddy/plan-0"})
    assert (answer.status_code, answer.json()["code"]) == (502, "PROVIDER_UNAVAILABLE")


@pytest.mark.parametrize("reference", ["KW-AAAAAAAAAAAAAAAA", "x", "%00", "..%2f..", "KW-%F0%9F%94%91"])
def test_an_unknown_checkout_is_404(client: Client, reference: str) -> None:
    assert client.get(f"/api/checkout/session/{reference}").status_code == 404
    assert client.post(f"/api/checkout/session/{reference}/verify").status_code == 404


def test_verifying_one_checkout_again_and_again_is_429(client: Client, desk: PayDesk) -> None:
    opened = open_one(client)
    desk.trouble = ProviderUnavailable("no answer")
    path = f"/api/checkout/session/{opened['reference']}/verify"
    answers = [client.post(path) for _ in range(14)]
    assert {answer.status_code for answer in answers} == {502, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert len(desk.asked) <= 12  # six a minute; the test may meet the turn of one


def test_config_names_issuer_providers_and_publishable_keys_only(serve: Serve) -> None:
    client = serve(sandbox=True, publishable_keys={"stripe": "pk_test_1"})
    answer = client.get("/api/public/config").json()
    assert re.fullmatch(r"http://127.0.0.1:8000/t/ten_[0-9a-f]{30}", answer.pop("issuer"))
    assert answer == {
        "mode": "sandbox",
        "providers": [{"provider": "stripe", "mode": "test", "publishable_key": "pk_test_1"}],
    }


def test_plans_show_what_is_sold_and_for_how_much(client: Client) -> None:
    (product,) = client.get("/api/public/plans").json()["products"]
    assert (product["slug"], product["name"]) == ("dashcaddy", "DashCaddy")
    once, monthly = product["plans"]
    assert (once["plan"], once["term"]) == ("dashcaddy/plan-0", "perpetual")
    assert (monthly["limits"], monthly["entitlements"]) == ({"projects": 100}, ["export.pdf"])
    assert monthly["prices"] == [
        {
            "key": "monthly",
            "provider": "stripe",
            "id": "price_monthly",
            "amount": 5000,
            "currency": "USD",
            "interval": "month",
        }
    ]


@pytest.mark.parametrize("name", ["master", "{id}"])
def test_the_signing_keys_are_public_for_an_hour(shop: Context, client: Client, name: str) -> None:
    ours = client.get("/.well-known/jwks.json")
    theirs = client.get(f"/t/{name.format(id=shop.master.id)}/.well-known/jwks.json")
    assert ours.json() == theirs.json() == msgspec.to_builtins(shop.signer.key_set(shop.master.id))
    # One that signs and one that signs after it, for licenses, leases and the list of what was revoked.
    assert len(ours.json()["keys"]) == 6
    for answer in (ours, theirs):
        assert answer.headers["cache-control"] == "public, max-age=3600"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert all("d" not in key for key in answer.json()["keys"])


@pytest.mark.parametrize("slug", ["nobody", "%00", "a%20b", "x" * 100])
def test_an_unknown_seller_has_no_keys(client: Client, slug: str) -> None:
    assert client.get(f"/t/{slug}/.well-known/jwks.json").status_code == 404


# -- other origins ------------------------------------------------------------------------------------


def test_the_sellers_website_may_call(serve: Serve) -> None:
    client = serve(website_origins=(SITE,))
    answer = client.get("/api/public/plans", headers={"origin": SITE})
    assert answer.headers["access-control-allow-origin"] == SITE
    assert answer.headers["vary"] == "Origin"
    refused = client.post("/api/checkout/session", json={"plan": "x/y"}, headers={"origin": SITE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (404, SITE)


def test_a_preflight_names_methods_and_headers(serve: Serve) -> None:
    client = serve(website_origins=(SITE,))
    for path in ("", "/KW-AAAAAAAAAAAAAAAA", "/KW-AAAAAAAAAAAAAAAA/verify"):
        answer = client.options(
            f"/api/checkout/session{path}",
            headers={"origin": SITE, "access-control-request-method": "POST"},
        )
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == SITE
        assert "idempotency-key" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://www.shop.example.evil.example"])
def test_other_origins_may_not(serve: Serve, origin: str) -> None:
    client = serve(website_origins=(SITE,))
    for answer in (
        client.get("/api/public/plans", headers={"origin": origin}),
        client.options("/api/checkout/session", headers={"origin": origin}),
    ):
        assert "access-control-allow-origin" not in answer.headers


def test_nobody_may_where_no_website_is_set(client: Client) -> None:
    answer = client.get("/api/public/plans", headers={"origin": SITE})
    assert "access-control-allow-origin" not in answer.headers


def test_the_licensing_and_webhook_routes_are_not_opened_to_websites(serve: Serve) -> None:
    client = serve(website_origins=(SITE,))
    answer = client.post("/api/license/validate", json={"key": "x"}, headers={"origin": SITE})
    assert "access-control-allow-origin" not in answer.headers
