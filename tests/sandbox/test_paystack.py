"""The Paystack stand-in: its pages, its signed webhooks, its objects held against Paystack's own samples."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from keywright.sandbox.app import SandboxServer
from keywright.sandbox.paystack_triggers import RECIPES

FIXTURES = Path(__file__).parents[1] / "fixtures" / "paystack"
PAYS, DECLINES = "4084 0840 8408 4081", "4084 0800 0000 5408"
Json = dict[str, Any]
Control = Callable[..., Any]
Settled = Callable[[], list[Json]]


class Receiver:
    """Takes Paystack's webhooks, checks each signature, and answers as it is told."""

    def __init__(self, secret: str) -> None:
        self.events: list[Json] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                expected = hmac.new(secret.encode(), body, hashlib.sha512).hexdigest()
                genuine = self.headers["X-Paystack-Signature"] == expected
                status = receiver.answers.pop(0) if receiver.answers else 200
                status = status if genuine else 400
                if status == 200:
                    receiver.events.append(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Say nothing: the test asserts on what was received."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hooked(server: SandboxServer, control: Control) -> Iterator[Receiver]:
    receiver = Receiver(server.sandbox.paystack.secret_key)
    control("paystack/webhook", url=receiver.url)
    yield receiver
    receiver.close()


@pytest.fixture
def paystack(server: SandboxServer) -> Iterator[httpx.Client]:
    key = server.sandbox.paystack.secret_key
    with httpx.Client(
        base_url=f"{server.url}/paystack", headers={"Authorization": f"Bearer {key}"}, trust_env=False
    ) as client:
        yield client


def initialized(paystack: httpx.Client, **members: Any) -> Json:
    wish = {"email": "ada@example.com", "amount": "500000", "callback_url": "https://shop.example/thanks?a=1"}
    answer = paystack.post("/transaction/initialize", json={**wish, **members})
    assert answer.status_code == 200, answer.text
    data: Json = answer.json()["data"]
    return data


def made_plan(paystack: httpx.Client) -> Json:
    terms = {"name": "Pro", "amount": 500_000, "interval": "monthly"}
    plan: Json = paystack.post("/plan", json=terms).json()["data"]
    return plan


def test_a_buyer_is_declined_and_pays_with_another_card(
    hooked: Receiver, paystack: httpx.Client, settled: Settled
) -> None:
    page = initialized(paystack, reference="KW-AAAA", metadata='{"cancel_action":"https://shop.example/no"}')
    url = page["authorization_url"]
    shown = httpx.get(url, trust_env=False, follow_redirects=True)
    assert "5,000.00 NGN" in shown.text
    assert "https://shop.example/no" in shown.text
    assert "form-action 'self' https://shop.example" in shown.headers["content-security-policy"]
    for number, said in ((DECLINES, "Declined"), ("4242 4242 4242 4242", "test cards and no other")):
        refused = httpx.post(url, data={"card_number": number}, trust_env=False)
        assert refused.status_code == 402
        assert said in refused.text
        assert number not in refused.text.replace(" placeholder", "")
    assert paystack.get("/transaction/verify/KW-AAAA").json()["data"]["status"] == "failed"
    paid = httpx.post(url, data={"card_number": PAYS}, trust_env=False)
    assert paid.status_code == 303
    assert paid.headers["location"] == "https://shop.example/thanks?a=1&trxref=KW-AAAA&reference=KW-AAAA"
    settled()
    (event,) = hooked.events
    assert event["event"] == "charge.success"
    assert event["data"]["reference"] == "KW-AAAA"
    assert "nothing left to pay" in httpx.post(url, data={"card_number": PAYS}, trust_env=False).text
    assert len(hooked.events) == 1


def test_no_card_number_is_anywhere(server: SandboxServer, paystack: httpx.Client) -> None:
    url = initialized(paystack)["authorization_url"]
    httpx.post(url, data={"card_number": PAYS, "card_code": "408"}, trust_env=False)
    kept = repr(vars(server.sandbox.paystack.state))
    assert "4084084084084081" not in kept.replace(" ", "")


def test_a_turned_clock_renews_and_dates_its_answers(
    hooked: Receiver, paystack: httpx.Client, control: Control, settled: Settled
) -> None:
    plan = paystack.post("/plan", json={"name": "Pro", "amount": 500_000, "interval": "monthly"}).json()[
        "data"
    ]
    reference = initialized(paystack, plan=plan["plan_code"])["reference"]
    control("paystack/pay", reference=reference)
    turned = control("clock/advance", seconds=32 * 86_400)
    assert turned["events"] == 3
    settled()
    assert hooked.kinds() == [
        "charge.success",
        "subscription.create",
        "invoice.create",
        "charge.success",
        "invoice.update",
    ]
    dated = paystack.get("/transaction").headers.get_list("date")
    assert len(dated) == 1, "one date, the sandbox's own"
    assert httpx.Headers({"date": dated[0]})["date"].endswith("GMT")
    invoice = hooked.events[-1]["data"]
    assert invoice["paid"] is True
    assert invoice["transaction"]["reference"] == hooked.events[-2]["data"]["reference"]


def test_deliveries_misbehave_as_they_are_told(
    hooked: Receiver, control: Control, paystack: httpx.Client, settled: Settled
) -> None:
    hooked.answers = [500, 201]
    control("trigger", event="charge.success")
    (delivery,) = settled()
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [500, 201, 200], (
        "only 200 is taken"
    )
    control("switches", duplicates=2, order="shuffle")
    control("hold")
    for _ in range(4):
        control("trigger", event="charge.success")
    time.sleep(0.1)
    assert len(hooked.events) == 1
    control("release")
    settled()
    assert len(hooked.events) == 13
    assert len({json.dumps(event) for event in hooked.events}) == 5
    control("switches", duplicates=0, loss=1)
    control("trigger", event="charge.success")
    settled()
    assert len(hooked.events) == 13
    control("switches", loss=0)
    assert control("redeliver")["queued"] == 1
    settled()
    assert len(hooked.events) == 14


@pytest.mark.parametrize("kind", sorted(RECIPES))
def test_every_trigger_makes_its_event(
    hooked: Receiver, control: Control, settled: Settled, kind: str
) -> None:
    made = control("trigger", event=f"paystack:{kind}")
    assert kind in [event["type"] for event in made["events"]]
    settled()
    assert kind in hooked.kinds()


def test_a_wrong_key_a_wrong_path_and_a_used_reference(paystack: httpx.Client) -> None:
    wrong = paystack.get("/transaction", headers={"Authorization": "Bearer sk_test_other"})
    assert (wrong.status_code, wrong.json()["message"]) == (401, "Invalid key")
    assert paystack.get("/nowhere").status_code == 404
    assert paystack.get("/transaction/verify/nobody").json()["code"] == "transaction_not_found"
    initialized(paystack, reference="KW-AAAA")
    again = paystack.post(
        "/transaction/initialize", json={"email": "a@b.example", "amount": 1, "reference": "KW-AAAA"}
    )
    assert (again.status_code, again.json()["code"]) == (400, "duplicate_reference")
    for odd in ({"email": "nobody"}, {"amount": 0}, {"reference": "a/b"}, {"plan": "PLN_none"}, {"email": 1}):
        refused = paystack.post("/transaction/initialize", json={"email": "a@b.example", "amount": 1, **odd})
        assert refused.status_code in (400, 404)
        assert refused.json()["status"] is False


# -- against Paystack's own samples -------------------------------------------------------------------


def sample(name: str) -> Json:
    told = json.loads((FIXTURES / f"{name}.json").read_text())
    data: Any = told["200"]["data"] if "200" in told else told
    data = data["data"]
    found: Json = data[0] if isinstance(data, list) else data
    return found


def kind_of(value: Any) -> str:
    return {
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }.get(type(value), "null")


def differences(made: Json, known: Json, path: str = "") -> list[str]:
    """Members of a sample that the stand-in lacks, or has with another type. Null fits everything."""
    found = []
    for name, value in known.items():
        where = f"{path}.{name}" if path else name
        if name not in made:
            found.append(f"{where} is missing")
        elif "null" not in (kind_of(made[name]), kind_of(value)) and kind_of(made[name]) != kind_of(value):
            found.append(f"{where} is {kind_of(made[name])}, not {kind_of(value)}")
        elif isinstance(value, dict) and isinstance(made[name], dict) and made[name]:
            found += differences(made[name], value, where)
    return found


EVENTS = {
    "charge.success": ("evt_transaction-successful__docs", {"log", "metadata", "plan"}),
    "subscription.create": ("evt_subscription-created__docs", set[str]()),
    "subscription.not_renew": (
        "evt_subscription-not-renew__docs",
        {"invoices_history is missing", "split_code is missing"},
    ),
    "invoice.create": ("evt_invoice-created__docs", set[str]()),
    "invoice.payment_failed": ("evt_invoice-failed__docs", set[str]()),
    "refund.pending": ("evt_refund-pending__docs", set[str]()),
    "refund.processed": ("evt_refund-processed__docs", set[str]()),
    "charge.dispute.create": ("evt_charge-dispute-create__docs", {"transaction.metadata"}),
}


@pytest.mark.parametrize("kind", EVENTS)
def test_events_look_like_paystacks_own(server: SandboxServer, control: Control, kind: str) -> None:
    name, known = EVENTS[kind]
    control("trigger", event=f"paystack:{kind}")
    told = next(one["told"] for one in server.sandbox.paystack.state.every("event") if one["type"] == kind)
    found = differences(told["data"], sample(name))
    assert [one for one in found if one not in known and one.split(" ")[0] not in known] == []


def test_answers_look_like_paystacks_own(paystack: httpx.Client, control: Control) -> None:
    plan = paystack.post("/plan", json={"name": "Pro", "amount": 500_000, "interval": "monthly"}).json()[
        "data"
    ]
    opened = initialized(paystack, plan=plan["plan_code"])
    control("paystack/pay", reference=opened["reference"])
    code = paystack.get("/subscription").json()["data"][0]["subscription_code"]
    listed = paystack.get("/transaction").json()
    verified = paystack.get(f"/transaction/verify/{opened['reference']}").json()["data"]
    answers = {
        "api_plans_create__docs": plan,
        "api_transactions_initialize__docs": opened,
        "api_transactions_verify__docs": verified,
        "api_transactions_list__docs": listed["data"][0],
        "api_subscriptions_fetch__docs": paystack.get(f"/subscription/{code}").json()["data"],
        "api_refunds_create__docs": paystack.post(
            "/refund", json={"transaction": opened["reference"], "amount": 100}
        ).json()["data"],
    }
    of_the_object = ("domain", "integration", "createdAt", "updatedAt")
    left_out = {
        "api_subscriptions_fetch__docs": {
            *(f"{inside}.{name} is missing" for inside in ("plan", "customer") for name in of_the_object),
            *(f"plan.hosted_page{name} is missing" for name in ("", "_url", "_summary")),
        },
        "api_transactions_verify__docs": {"metadata is object, not string"},
    }
    for name, made in answers.items():
        found = set(differences(made, sample(name))) - left_out.get(name, set())
        assert found == set(), name
    assert listed["meta"]["total"] == 1
