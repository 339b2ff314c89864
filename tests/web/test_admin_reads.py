"""What scripts read beside licenses, acts on many over HTTP, and keys of others through the desk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from keywright.domain.plan import Terms
from keywright.flows import catalog, tokens
from keywright.flows.catalog_file import parse
from keywright.flows.context import Context
from keywright.flows.key_import import import_keys
from keywright.flows.license_keys import Schemes
from keywright.flows.operate import Act
from keywright.web.app import create_app
from keywright.workflows.views import Works
from tests.life import world
from tests.web.conftest import IdleEngine

Client = TestClient[Litestar]
FILE = """key,plan,email,seats,until,fingerprints,name
key-of-old-1,dashcaddy/plan-0,ann@example.com,2,2027-06-01,machine-number-1,Ann
p-777777777777,dashcaddy/plan-0,bob@example.com,1,never,,
"""
SECRETS = ("ann@example.com", "Ann", "key-of-old", "kw_", "scripts")


class Dashless:
    """Keys of digits, in which dashes do not count."""

    def make(self, random: bytes) -> str:
        return f"p-{int.from_bytes(random, 'big')}"

    def canonical(self, text: str) -> str | None:
        bare = text.lower().replace("-", "")
        return bare if bare[:1] == "p" and bare[1:].isdigit() else None


class Office:
    """A server beside which keys were brought in by another process."""

    def __init__(self, context: Context, client: Client) -> None:
        self.context = context
        self.client = client
        self.token = tokens.create(context, context.master, "Ann's scripts", "admin")[1]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {self.token}"}
        answer = self.client.request(method, f"/api/admin/{path}", headers=headers, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def license(self, call: str, key: str, fingerprint: str | None = None) -> Any:
        body = {"key": key, **({"fingerprint": fingerprint} if fingerprint else {})}
        return self.client.post(f"/api/license/{call}", json=body)


@pytest.fixture
def office(context: Context, tmp_path: Path) -> Iterator[Office]:
    world.stock(context, price_pro=Terms(), price_digits=Terms(key_scheme="dashless"))
    served = replace(context, schemes=Schemes({"dashless": Dashless()}))
    path = tmp_path / "keys.csv"
    path.write_text(FILE)
    import_keys(context, context.master.id, path, Act("command line"))
    path.write_text("key,plan,email,seats,until\np-888888888888,dashcaddy/plan-1,,3,never\n")
    import_keys(served, context.master.id, path, Act("command line"))
    served.schemes.learn(served.database)
    with TestClient(create_app(served, IdleEngine())) as client:
        yield Office(served, client)


def test_keys_of_others_are_answered_like_ours(office: Office) -> None:
    for call in ("validate", "activate", "deactivate"):
        answer = office.license(call, " key-of-old-1 ", "machine-number-1")
        assert (answer.status_code, answer.json()["license"]["plan"]) == (200, "plan-0"), answer.text
    # Both may be a key of the scheme, and a key that was taken over as it is.
    for key, seats in (("p-777777777777", 1), ("p-888888888888", 3), ("P888-888-888-888", 3)):
        answer = office.license("activate", key, "machine-number-2").json()
        assert (answer["code"], answer["license"]["seats"]) == ("VALID", seats)
        assert key not in str(answer)
    for unknown in ("P777777777777", "KEY-OF-OLD-1", "p-1", "x" * 300, "\u0000\u0000\u0000\u0000"):
        answer = office.license("activate", unknown, "machine-number-2")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


def test_who_did_what_is_read_newest_first(office: Office) -> None:
    made = office.ask("POST", "tokens", {"name": "robot"})
    page = office.ask("GET", "audit?limit=2")
    assert [item["act"] for item in page["items"]] == ["token.created", "token.created"]
    assert page["items"][0]["subject"] == made["id"]
    assert page["items"][0]["actor"].startswith("token tok_")
    assert page["items"][1]["actor"] == "command line"
    rest = office.ask("GET", f"audit?cursor={page['next_cursor']}")
    assert [item["act"] for item in rest["items"]] == ["keys.imported", "keys.imported"]
    assert rest["next_cursor"] is None
    assert len(office.ask("GET", "audit?act=keys")["items"]) == 2
    assert office.ask("GET", f"audit?subject={made['id']}&act=token.revoked")["items"] == []
    for odd in ("cursor=x", "cursor=-1", "limit=0", "limit=201", f"cursor={'9' * 19}"):
        headers = {"authorization": f"Bearer {office.token}"}
        assert office.client.get(f"/api/admin/audit?{odd}", headers=headers).status_code == 422


def test_the_store_is_shown_without_secrets_and_persons(office: Office) -> None:
    seen = {one["table"]: one for one in office.ask("GET", "debug/store")["tables"]}
    assert (seen["licenses"]["rows"], len(seen["licenses"]["newest"])) == (3, 3)
    assert seen["customers"]["rows"] == 2
    assert seen["data_keys"] == {"table": "data_keys", "rows": 1, "newest": []}
    assert set(seen["customers"]["newest"][0]) == {"id", "created_at", "email_told_at"}
    text = str(seen)
    for secret in SECRETS:
        assert secret not in text
    for table in seen.values():
        for row in table["newest"]:
            assert not [
                name for name in row if "hash" in name or "sealed" in name or name in ("mac", "detail")
            ]


def test_customers_and_the_catalog_are_read(office: Office) -> None:
    (ann,) = office.ask("GET", "customers?email=ANN@example.com")["items"]
    assert (ann["email"], ann["name"], ann["licenses"]) == ("ann@example.com", "Ann", 1)
    shown = office.ask("GET", f"customers/{ann['id']}")
    assert [one["origin"] for one in shown["licenses"]] == ["import"]
    page = office.ask("GET", "customers?limit=1")
    assert len(office.ask("GET", f"customers?cursor={page['next_cursor']}")["items"]) == 1
    (product,) = office.ask("GET", "products")["items"]
    assert (product["slug"], product["key_prefix"]) == ("dashcaddy", "DC")
    assert [plan["terms"] for plan in office.ask("GET", "plans")["items"]] == [{}, {"key_scheme": "dashless"}]
    assert office.ask("GET", "prices")["items"][0]["plan"] == "dashcaddy/plan-0"
    (account,) = office.ask("GET", "provider-accounts")["items"]
    assert (account["provider"], account["mode"]) == ("stripe", "test")


def test_one_act_on_many_goes_page_by_page(office: Office) -> None:
    wish = {"act": "suspend", "filter": {"origin": "import"}, "reason": "the old shop", "limit": 2}
    dry = office.ask("POST", "licenses/bulk", {**wish, "dry_run": True})
    assert (dry["changed"], dry["items"][0]["after"]) == (2, None)
    first = office.ask("POST", "licenses/bulk", wish)
    second = office.ask("POST", "licenses/bulk", {**wish, "cursor": first["next_cursor"]})
    assert (first["changed"], second["changed"], second["next_cursor"]) == (2, 1, None)
    assert {item["after"] for item in first["items"]} == {"suspended"}
    trial = office.ask(
        "POST", "licenses", {"plan": "dashcaddy/plan-0", "email": "c@example.com", "kind": "trial", "days": 3}
    )
    assert (trial["origin"], trial["trial"]) == ("trial", True)
    assert len(office.ask("GET", "licenses?origin=trial")["items"]) == 1
    for body in (
        {"act": "suspend", "filter": {}},
        {"act": "x", "filter": {"origin": "import"}},
        {"act": "note", "filter": {"colour": "red"}},
    ):
        headers = {"authorization": f"Bearer {office.token}"}
        assert office.client.post("/api/admin/licenses/bulk", headers=headers, json=body).status_code == 422


def test_background_work_is_read_ended_and_taken_up(office: Office) -> None:
    office.ask("POST", "licenses", {"plan": "dashcaddy/plan-0", "email": "c@example.com"})
    work = office.ask("GET", "workflows?status=ENQUEUED")["items"][0]
    assert (work["name"], work["queue"], work["error"]) == ("announce.1", "followups", None)
    assert office.ask("GET", f"workflows/{work['id']}") == work
    assert office.ask("POST", f"workflows/{work['id']}/cancel")["status"] == "CANCELLED"
    assert office.ask("POST", f"workflows/{work['id']}/retry")["status"] == "ENQUEUED"
    assert office.ask("GET", "audit?act=workflow")["items"][0]["subject"] == work["id"]
    assert Works(office.context.database).list_page(name="nothing").items == []


def test_what_runs_without_a_license_is_told_to_anybody(office: Office) -> None:
    text = """
[[product]]
slug = "old"
name = "Old"
baseline = { limits = { projects = 3 }, entitlements = ["read"] }
[[product.plan]]
slug = "pro"
name = "Pro"
term = "perpetual"
"""
    catalog.apply(office.context, parse(text, source="catalog.toml", environment={}))
    (product,) = office.client.get("/api/public/plans").json()["products"]
    assert product["baseline"] == {"limits": {"projects": 3}, "entitlements": ["read"]}
