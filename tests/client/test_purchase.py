"""Bought from inside the program, and told at once what changes: over the stream, and where there is none."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keywright.client import Result
from keywright.client.events import Line, Reader
from keywright.client.wire import Away, Wire
from tests.client.seller import KEY, Answer, Seller, client_of

CLAIM = "claim-token-of-256-bits"
REFERENCE = "KW-ABCDEFGHIJKLMNOP"
SESSION = f"/api/checkout/session/{REFERENCE}"


class Till:
    """A checkout in front of a seller: how it stands, and a stream when one is wanted. `root`: its place."""

    def __init__(self, seller: Seller, *, streams: bool = True, root: str = "") -> None:
        self.seller, self.streams, self.root = seller, streams, root
        self.status = "open"
        self.url = "https://licenses.acme.example/checkout/x/pay"
        self.opened: list[dict[str, Any]] = []
        self.said: list[bytes] = []
        seller.mood = self.answer

    def answer(self, path: str, asked: dict[str, Any]) -> Answer | None:
        if not path.startswith(self.root):
            return None
        path = path.removeprefix(self.root)
        if path == "/api/checkout/session":
            self.opened.append(asked)
            told = {
                "reference": REFERENCE,
                "claim_token": CLAIM,
                "provider": "stripe",
                "url": self.url,
                "expires_at": "",
            }
            return 201, {}, json.dumps(told).encode()
        if path == SESSION:
            shown: dict[str, Any] = {"reference": REFERENCE, "status": self.status}
            if self.seller.headers[-1].get("authorization") != f"Claim {CLAIM}":
                return 401, {}, b'{"code": "UNAUTHORIZED"}'
            if self.status == "paid":
                shown["licenses"] = [
                    {"id": "lic_1", "key": KEY, "plan": "dashcaddy/pro", "status": "active", "seats": 5}
                ]
            return 200, {}, json.dumps(shown).encode()
        if path == "/api/license/stream":
            if not self.streams:
                return 404, {}, b'{"code": "NOT_FOUND"}'
            return (
                200,
                {"Content-Type": "text/event-stream", "Connection": "close"},
                b"".join(self.said) or b"retry: 10\n\nevent: pending\ndata: {}\n\n",
            )
        return None

    def pay(self) -> None:
        """The payment settles, and the license is activated for the device."""
        self.seller.machines.add("machine-0001")
        self.status = "paid"
        self.said = [b"retry: 10\n\nevent: license\nid: 1\ndata: {}\n\n"]


@pytest.mark.parametrize("streams", [True, False])
def test_bought_from_inside_without_typing_a_key(seller: Seller, tmp_path: Path, streams: bool) -> None:
    till = Till(seller, streams=streams)
    client = client_of(seller, tmp_path)
    pages: list[str] = []
    wanted = {"price": "monthly", "interval": "month", "provider": "stripe"}
    purchase = client.buy("pro", open_page=pages.append, **wanted)
    assert (purchase.reference, purchase.problem, pages) == (REFERENCE, "", [till.url])
    assert till.opened == [
        {"plan": "dashcaddy/pro", **wanted, "device": "machine-0001", "device_name": "ann-laptop"}
    ]
    waiting = client.check()
    assert (waiting.state, waiting.reason) == ("pending", "waiting_for_payment")
    till.pay()
    result = purchase.wait(20)
    assert (result.state, result.plan) == ("valid", "pro")
    assert client.check().valid
    assert client.resume_purchase() is None
    assert seller.calls("/activate") == 0
    assert CLAIM not in repr(purchase)


@pytest.mark.parametrize("streams", [True, False])
def test_bought_at_a_tenant_beneath_his_root(seller: Seller, tmp_path: Path, streams: bool) -> None:
    till = Till(seller, streams=streams, root="/t/acme")
    client = client_of(seller, tmp_path, tenant="acme")
    purchase = client.buy("pro", open_page=lambda _: None)
    assert (purchase.reference, purchase.problem) == (REFERENCE, "")
    till.pay()
    assert purchase.wait(20).valid
    # Questions about a license need no tenant: the key tells whose it is.
    assert client.validate().valid
    assert seller.calls("/api/license/validate") > 0
    assert not [path for path, _ in seller.asked if path.startswith("/t/acme/api/license/v")]


def test_a_payment_that_needs_an_activation(seller: Seller, tmp_path: Path) -> None:
    till = Till(seller)
    client = client_of(seller, tmp_path)
    purchase = client.buy("pro", open_page=lambda _: None)
    till.pay()
    seller.machines.clear()
    assert purchase.wait(20).valid
    assert seller.machines == {"machine-0001"}


def test_a_program_that_was_closed_meanwhile(seller: Seller, tmp_path: Path) -> None:
    till = Till(seller)
    client_of(seller, tmp_path).buy("pro", open_page=lambda _: None)
    till.pay()
    seller.time.turn(120)
    resumed = client_of(seller, tmp_path)
    assert resumed.resume_purchase() is not None
    assert resumed.check().valid
    assert resumed.resume_purchase() is None


def test_bought_anew_after_the_license_had_expired(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    client.activate(KEY)
    seller.code = "EXPIRED"
    assert client.validate().state == "expired"
    till = Till(seller)
    client.buy("pro", open_page=lambda _: None)
    assert client._credentials() == f"Claim {CLAIM}"
    till.pay()
    seller.code = "VALID"
    seller.time.turn(31)
    # The program was closed meanwhile.
    resumed = client_of(seller, tmp_path)
    assert resumed.check().valid
    assert resumed.resume_purchase() is None
    assert resumed._credentials() == f"License {KEY}"


def test_an_open_purchase_is_asked_about_now_and_then(seller: Seller, tmp_path: Path) -> None:
    Till(seller)
    client = client_of(seller, tmp_path)
    client.buy("pro", open_page=lambda _: None)
    seller.asked.clear()
    for _ in range(60):
        seller.time.turn(5)
        assert client.check().state == "pending"
    assert 8 <= seller.calls(REFERENCE) <= 11
    assert seller.calls("/validate") == 0


@pytest.mark.parametrize("status", ["failed", "expired"])
def test_a_payment_that_came_to_nothing(seller: Seller, tmp_path: Path, status: str) -> None:
    till = Till(seller)
    client = client_of(seller, tmp_path)
    purchase = client.buy("pro", open_page=lambda _: None)
    till.status = status
    assert purchase.wait(20).reason == "no_license"
    assert purchase.status == status
    assert client.resume_purchase() is None


def test_waiting_ends_with_its_time_and_with_cancel(seller: Seller, tmp_path: Path) -> None:
    Till(seller)
    client = client_of(seller, tmp_path)
    purchase = client.buy("pro", open_page=lambda _: None)
    assert purchase.wait(0.2).state == "pending"
    timer = threading.Timer(0.2, purchase.cancel)
    timer.start()
    assert purchase.wait(30).reason == "no_license"
    timer.join()


def test_a_purchase_that_cannot_be_opened(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    cases: list[tuple[Answer, str]] = [
        ((404, {}, b'{"code": "PLAN_UNKNOWN"}'), "PLAN_UNKNOWN"),
        ((503, {}, b"no"), "AWAY"),
        ((429, {"Retry-After": "5"}, b"{}"), "THROTTLED"),
        ((201, {}, b'{"reference": 1}'), "AWAY"),
    ]
    for answer, problem in cases:
        seller.mood = lambda *_, answer=answer: answer
        purchase = client.buy("gold", open_page=pytest.fail)
        assert (purchase.reference, purchase.problem) == ("", problem)
        assert purchase.wait(1).reason == "no_license"
    without = client_of(None, tmp_path, seller.time, trust=seller.trust())
    assert without.buy("pro", open_page=pytest.fail).problem == "AWAY"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://evil.example/", "calculator:", "", "javascript:alert(1)"]
)
def test_only_pages_of_the_web_are_opened(seller: Seller, tmp_path: Path, url: str) -> None:
    Till(seller).url = url
    assert client_of(seller, tmp_path).buy("pro", open_page=pytest.fail).reference == REFERENCE


def test_a_claim_that_the_server_no_longer_knows(seller: Seller, tmp_path: Path) -> None:
    till = Till(seller)
    client = client_of(seller, tmp_path)
    purchase = client.buy("pro", open_page=lambda _: None)
    seller.mood = lambda path, asked: (
        (404, {}, b'{"code": "X"}') if path == SESSION else till.answer(path, asked)
    )
    assert purchase.wait(20).reason == "no_license"


# --- watching ---


def next_of(heard: queue.Queue[Result], wanted: Callable[[Result], bool]) -> Result:
    """The first result that is wanted."""
    while True:
        found = heard.get(timeout=20)
        if wanted(found):
            return found


def test_a_watch_tells_what_changes(seller: Seller, tmp_path: Path) -> None:
    till = Till(seller)
    client = client_of(seller, tmp_path)
    client.activate(KEY)
    heard: queue.Queue[Result] = queue.Queue()
    verdict = {"code": "REVOKED", "valid": False, "license": {"plan": "pro", "seats": 5}}
    with client.watch(heard.put) as watch:
        assert heard.get(timeout=20).valid
        seller.code = "REVOKED"
        till.said = [b"id: 7.x\nretry: 10\nevent: verdict\ndata: " + json.dumps(verdict).encode() + b"\n\n"]
        assert next_of(heard, lambda one: not one.valid).reason == "revoked"
        seller.code, till.said = "VALID", [b"event: verdict\ndata: {}\n\n"]
        assert next_of(heard, lambda one: one.valid).valid
    assert watch.error is None
    streams = [
        h for (path, _), h in zip(seller.asked, seller.headers, strict=True) if path.endswith("/stream")
    ]
    assert streams[0]["authorization"] == f"License {KEY}"
    assert streams[0]["keywright-fingerprint"] == "machine-0001"
    assert streams[0]["keywright-product"] == "dashcaddy"
    assert "last-event-id" not in streams[0]
    assert streams[-1]["last-event-id"] == "7.x"


def test_a_callback_that_raises_ends_the_watch_and_not_the_program(seller: Seller, tmp_path: Path) -> None:
    Till(seller)
    client = client_of(seller, tmp_path)

    def broken(_: Result) -> None:
        raise RuntimeError("a mistake in the program")

    watch = client.watch(broken)
    watch._thread.join(20)
    assert str(watch.error) == "a mistake in the program"
    watch.close()
    assert client.check().state == "unlicensed"


def test_a_watch_can_be_closed_while_it_waits(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    client.activate(KEY)
    heard: queue.Queue[Result] = queue.Queue()
    watch = client.watch(heard.put)
    heard.get(timeout=20)
    watch.close()
    assert not watch._thread.is_alive()


def test_events_are_put_together() -> None:
    reader = Reader()
    text = (
        ":hello\n\nevent: verdict\r\nid: 1\r\ndata: {\r\ndata:  }\r\n\r\ndata:plain\n\n"
        "id: \0\nretry: 2500\nretry: x\n\n"
        "event: lost\n\nunknown: x\ndata\n\n"
    )
    found = [
        event for line in text.splitlines(keepends=True) if (event := reader.feed(line.encode())) is not None
    ]
    assert [(one.name, one.data) for one in found] == [
        ("verdict", "{\n }"),
        ("message", "plain"),
        ("message", ""),
    ]
    assert (reader.last_id, reader.retry) == ("1", 2.5)
    for _ in range(25):
        assert reader.feed(b"data: " + b"x" * 10_000 + b"\n") is None
    with pytest.raises(Away):
        reader.feed(b"data: " + b"x" * 50_000 + b"\n")


def test_a_line_waits_longer_after_each_failure(seller: Seller) -> None:
    seller.mood = lambda *_: (503, {}, b"")
    line = Line(Wire(seller.url, timeout=2, agent="test"), lambda: "License x", {}, threading.Event())
    waits = []
    for _ in range(4):
        line._not_before = 0
        assert line.next(0.1) is None
        assert line.next(0.1) is None
        waits.append(line._failures)
    assert waits == [1, 2, 3, 4]
    assert seller.calls("/stream") == 4
    silent = Line(None, lambda: "License x", {}, threading.Event())
    assert silent.next(0.1) is None
