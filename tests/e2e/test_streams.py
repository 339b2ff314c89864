"""Bought from inside the program: the running program is told with the commit, and no key was typed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.flows import operate
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.store import catalog, catalog_rows
from tests.conftest import SECRET
from tests.e2e.conftest import Shop, database_of
from tests.e2e.listening import PATH, Ended, Listener
from tests.e2e.server import Server, wait_until
from tests.life import world

MACHINE = "ann-laptop-0123456789abcdef"
NAME = "Ann's laptop"
BY = Act(by="test")


class Live:
    """A shop whose provider delivers its webhooks, and a program that sells it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{shop.port}", trust_env=False, timeout=20)
        hook = {"url": f"http://127.0.0.1:{shop.port}/api/webhooks/stripe", "secret": SECRET}
        self.pull("webhook", hook)

    def pull(self, lever: str, body: Any = None) -> Any:
        url = f"{self.shop.sandbox.url}/_sandbox/{lever}"
        return httpx.post(url, json=body or {}, trust_env=False, timeout=20).raise_for_status().json()

    def open(self, **more: Any) -> Any:
        ask = {"plan": "dashcaddy/plan-2", "device": MACHINE, "device_name": NAME, **more}
        answer = self.http.post("/api/checkout/session", json=ask)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def pay(self, opened: Any) -> float:
        """Pay as the buyer does, by the page that the program opened. Returns when it was begun."""
        page = self.http.get(opened["url"].removeprefix("http://127.0.0.1:8000"))
        (url,) = re.findall(r'href="(http[^"]+/c/pay/[^"]+)"', page.text)
        session = url.rsplit("/", 1)[-1].split("?")[0].split("#")[0]
        began = time.monotonic()
        self.pull("stripe/pay", {"session": session, "card": "4242424242424242", "email": "ann@example.com"})
        return began

    def refund_newest(self) -> None:
        auth = (self.shop.sandbox.api_key, "")
        newest = httpx.get(f"{self.shop.sandbox.url}/v1/payment_intents", auth=auth, trust_env=False).json()
        form = {"payment_intent": newest["data"][0]["id"]}
        httpx.post(f"{self.shop.sandbox.url}/v1/refunds", auth=auth, data=form, trust_env=False)

    def issue(self, plan: str = "dashcaddy/plan-2", **more: Any) -> tuple[str, str]:
        """A license by staff, made by a process that is not the server's: id and key."""
        with self.shop.opened() as context:
            order = Order(plan=plan, email="ann@example.com", **more)
            row, key = operate.issue(context, context.master.id, order, BY)
            return row.id, key

    def command(self, *arguments: str) -> None:
        run = [sys.executable, "-m", "keywright.cli.main", *arguments]
        done = subprocess.run(
            run, env=self.shop.env, cwd=self.shop.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    with ExitStack() as stack:
        made = Live(Shop(database_of(request.param, request, folder), folder, stack))
        stack.callback(made.http.close)
        yield made


def by_claim(opened: Any) -> dict[str, str]:
    return {"Authorization": f"Claim {opened['claim_token']}", "Keywright-Fingerprint": MACHINE}


def by_key(key: str, machine: str | None = None) -> dict[str, str]:
    named = {} if machine is None else {"Keywright-Fingerprint": machine}
    return {"Authorization": f"License {key}", **named}


# -- bought from inside ---------------------------------------------------------------------------------


def test_a_purchase_unlocks_the_running_program_and_a_refund_locks_it(live: Live) -> None:
    opened = live.open()
    with Listener(live.shop.port, by_claim(opened)) as program:
        assert (program.status, program.headers["content-type"]) == (200, "text/event-stream")
        assert program.headers["cache-control"] == "no-store"
        pending = program.next("pending").data
        assert pending == {"reference": opened["reference"], "status": "open"}
        live.pay(opened)
        brought = program.next("license")
        (sold,) = brought.data["licenses"]
        assert (brought.data["status"], sold["plan"], sold["status"]) == (
            "paid",
            "dashcaddy/plan-2",
            "active",
        )
        verdict = program.next()
        assert (verdict.data["code"], verdict.data["activation"]["name"]) == ("VALID", NAME)
        assert verdict.data["lease"].count(".") == 2
        assert verdict.at - brought.at < 0.1
        told = live.http.post(
            "/api/license/validate", json={"key": sold["key"], "fingerprint": MACHINE}
        ).json()
        assert told["activation"]["id"] == verdict.data["activation"]["id"]
        assert told["lease"] is not None
        another = live.http.post(
            "/api/license/activate", json={"key": sold["key"], "fingerprint": "another-machine-1"}
        )
        assert another.json()["code"] == "TOO_MANY_ACTIVATIONS"
        live.refund_newest()
        assert program.until("REVOKED").data["lease"] is None


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_the_mail_and_the_pay_page_name_the_machine(live: Live) -> None:
    opened = live.open(device="somebody-elses-machine", device_name="Bob's tower <b>http://evil.example</b>")
    page = live.http.get(f"/checkout/{opened['reference']}/pay")
    assert "Bob&#39;s tower" in page.text
    assert "evil.example" not in page.text.replace("evil example", "")
    assert "set-cookie" not in page.headers
    live.pay(opened)
    shown = "Bob's tower b http evil example b"

    def told() -> bool:
        found = [path.read_text() for path in live.shop.outbox.glob("*.eml")]
        return any(shown in mail.replace("=\n", "").replace("=E2=80=99", "'") for mail in found)

    wait_until(told, 15, "a mail that names the machine")
    assert "Nothing is left to pay" in live.http.get(f"/checkout/{opened['reference']}/pay").text


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_the_machine_is_activated_once(live: Live) -> None:
    opened = live.open(device="a-machine-that-is-freed")
    with Listener(
        live.shop.port, by_claim(opened) | {"Keywright-Fingerprint": "a-machine-that-is-freed"}
    ) as program:
        program.next("pending")
        live.pay(opened)
        (sold,) = program.next("license").data["licenses"]
        program.until("VALID")
        body = {"key": sold["key"], "fingerprint": "a-machine-that-is-freed"}
        assert live.http.post("/api/license/deactivate", json=body).status_code == 200
        program.until("NOT_ACTIVATED")
        answer = live.http.post(f"/api/checkout/session/{opened['reference']}/verify")
        assert answer.json()["status"] == "paid"
        assert program.is_silent(1.5)


# -- woken by the commit --------------------------------------------------------------------------------


def test_an_activation_and_a_freed_machine_are_told(live: Live) -> None:
    _, key = live.issue()
    body = {"key": key, "fingerprint": MACHINE}
    with Listener(live.shop.port, by_key(key, MACHINE)) as program:
        assert program.next().data["code"] == "NOT_ACTIVATED"
        sent = time.monotonic()
        live.http.post("/api/license/activate", json=body)
        event = program.next()
        assert event.data["code"] == "VALID"
        assert event.at - sent < 1.0
        live.http.post("/api/license/deactivate", json=body)
        assert program.next().data["code"] == "NOT_ACTIVATED"


def test_another_process_wakes_the_streams(live: Live) -> None:
    id_, key = live.issue()
    with Listener(live.shop.port, by_key(key)) as program:
        assert program.next().data["code"] == "VALID"
        with live.shop.opened() as context:
            operate.decide(context, context.master.id, id_, BY, "suspend")
            committed = time.monotonic()
        assert program.next().at - committed < 1.0
        if live.shop.database_url.startswith("sqlite"):
            live.command("license", "reinstate", id_)
            assert program.next().data["code"] == "VALID"


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_a_mail_that_goes_out_is_no_news(live: Live) -> None:
    id_, key = live.issue()
    with Listener(live.shop.port, by_key(key)) as program:
        program.next()
        with live.shop.opened() as context:
            operate.resend(context, context.master.id, id_, BY)
        assert program.is_silent(1.5)


def raise_limits(context: Context, slug: str) -> None:
    with context.database.write() as connection:
        (plan,) = [p for p in catalog_rows.list_plans(connection, context.master.id) if p.slug == slug]
        terms = catalog.encode_terms(Terms(term="perpetual", limits={"projects": 7})).decode()
        fields = {name: getattr(plan, name) for name in plan.__struct_fields__}
        changed = type(plan)(**{**fields, "terms": terms, "version": plan.version + 1})
        catalog_rows.update_plans(connection, [changed])


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_a_clock_that_runs_out_is_told(live: Live) -> None:
    _, key = live.issue(until=datetime.now(UTC) + timedelta(seconds=2))
    with Listener(live.shop.port, by_key(key)) as program:
        assert program.next().data["code"] == "VALID"
        assert program.next(within=6).data["code"] in ("EXPIRED", "GRACE")


def test_fifty_programs_are_told_of_one_commit(live: Live) -> None:
    """The short form of `make streams`."""
    with live.shop.opened() as context:
        world.add_plan(context, "crowd", "price_crowd", Terms(term="perpetual"))
    with live.shop.opened() as context:
        order = Order(plan="dashcaddy/crowd", email="ann@example.com")
        keys = [operate.issue(context, context.master.id, order, BY)[1] for _ in range(50)]
    with ExitStack() as stack:
        programs = [stack.enter_context(Listener(live.shop.port, by_key(key))) for key in keys]
        for program in programs:
            program.next()
        with live.shop.opened() as context:
            raise_limits(context, "crowd")
            committed = time.monotonic()
        told = [program.next() for program in programs]
    assert all(one.data["license"]["limits"] == {"projects": 7} for one in told)
    assert max(one.at for one in told) - committed < 1.0


# -- coming and going -----------------------------------------------------------------------------------


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_a_reconnect_resumes(live: Live) -> None:
    opened = live.open(device="a-machine-with-bad-wifi")
    headers = by_claim(opened) | {"Keywright-Fingerprint": "a-machine-with-bad-wifi"}
    with Listener(live.shop.port, headers) as program:
        first = program.next("pending")
    with Listener(live.shop.port, {**headers, "Last-Event-ID": first.id}) as program:
        assert program.is_silent(0.5), "nothing is new"
    live.pay(opened)
    wait_until(lambda: is_paid(live, opened), 15, "the payment")
    with Listener(live.shop.port, {**headers, "Last-Event-ID": first.id}) as program:
        brought = program.next("license")
        verdict = program.next()
        assert verdict.id.startswith(brought.id)
    with Listener(live.shop.port, {**headers, "Last-Event-ID": verdict.id}) as program:
        assert program.next().id == verdict.id, "a verdict now, and no license again"


def is_paid(live: Live, opened: Any) -> bool:
    answer = live.http.get(f"/api/checkout/session/{opened['reference']}", headers=by_claim(opened)).json()
    return answer["status"] == "paid" and bool(answer["licenses"])


def test_a_key_that_is_rotated_closes_its_streams(live: Live) -> None:
    id_, key = live.issue()
    with Listener(live.shop.port, by_key(key)) as program:
        program.next()
        with live.shop.opened() as context:
            operate.rotate_key(context, context.master.id, id_, BY)
        assert program.next("end").data == {"reason": "key"}
        with pytest.raises(Ended):
            program.next()
    with Listener(live.shop.port, by_key(key)) as program:
        assert (program.status, program.body()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_a_server_that_stops_ends_its_streams_at_once(live: Live) -> None:
    _, key = live.issue()
    with ExitStack() as stack:
        programs = [stack.enter_context(Listener(live.shop.port, by_key(key))) for _ in range(20)]
        for program in programs:
            program.next()
        began = time.monotonic()
        live.shop.server.stop()
        stopped = time.monotonic()
        for program in programs:
            assert program.next("end", within=1).data == {"reason": "server"}
    live.shop.server.start()
    assert stopped - began < 4.0, "an open stream holds nothing up"
    with Listener(live.shop.port, by_key(key)) as program:
        assert program.next().data["code"] == "VALID"


@pytest.mark.parametrize("live", ["postgresql"], indirect=True)
def test_a_change_through_one_server_wakes_the_streams_of_another(live: Live) -> None:
    _, key = live.issue()
    with (
        Server(live.shop.env, live.shop.folder, "second") as second,
        Listener(second.port, by_key(key, MACHINE)) as program,
    ):
        assert program.next().data["code"] == "NOT_ACTIVATED"
        sent = time.monotonic()
        live.http.post("/api/license/activate", json={"key": key, "fingerprint": MACHINE})
        event = program.next()
        assert event.data["code"] == "VALID"
        assert event.at - sent < 1.0


@pytest.mark.parametrize("live", ["postgresql"], indirect=True)
def test_a_listening_connection_that_was_cut_is_made_again_and_nothing_is_missed(live: Live) -> None:
    id_, key = live.issue()
    cut = sa.text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN keywright_changes%'"
    )
    with Listener(live.shop.port, by_key(key)) as program:
        program.next()
        with live.shop.opened() as context:
            with context.database.read() as connection:
                assert connection.execute(cut).scalar_one() >= 1
            operate.decide(context, context.master.id, id_, BY, "suspend")
        assert program.next(within=5).data["code"] == "SUSPENDED"


# -- who may listen -------------------------------------------------------------------------------------


def test_who_shows_nothing_or_something_wrong_learns_nothing(live: Live) -> None:
    opened, other = live.open(), live.open(device="another-device")
    _, key = live.issue()
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    cases: list[tuple[dict[str, str], str, int]] = [
        ({}, PATH, 401),
        ({"Authorization": "License"}, PATH, 401),
        ({"Authorization": f"Bearer {key}"}, PATH, 401),
        ({"Authorization": f"License {wrong}"}, PATH, 404),
        ({"Authorization": f"Claim {opened['claim_token'][:-1]}x"}, PATH, 401),
        ({"Authorization": f"Claim {opened['reference']}"}, PATH, 401),
        ({"Authorization": f"Claim {key}"}, PATH, 401),
        # In the address nothing counts: it would be in every log on the way.
        ({}, f"{PATH}?claim_token={opened['claim_token']}&key={key}", 401),
        # A claim is of its own checkout.
        ({"Authorization": f"Claim {other['claim_token']}"}, f"/checkout/{opened['reference']}/stream", 401),
        # A cookie counts only where the address names its checkout: a planted one shows nobody's order.
        ({"Cookie": f"keywright_claim={opened['claim_token']}"}, PATH, 401),
        (
            {"Cookie": f"keywright_claim={other['claim_token']}"},
            f"{PATH}?checkout={opened['reference']}",
            401,
        ),
        (
            {"Cookie": f"keywright_claim={other['claim_token']}"},
            f"/checkout/{opened['reference']}/stream",
            401,
        ),
        # A key opens no checkout.
        ({"Authorization": f"License {key}"}, f"/checkout/{opened['reference']}/stream", 401),
        ({"Authorization": f"License {key}", "Keywright-Fingerprint": "short"}, PATH, 422),
    ]
    for headers, path, status in cases:
        with Listener(live.shop.port, headers, path) as program:
            assert program.status == status, (headers, path)
            assert opened["reference"] not in str(program.body())


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_the_claim_cookie_opens_the_stream_of_its_own_checkout(live: Live) -> None:
    opened = live.open(device="a-browser-machine")
    cookie = {"Cookie": f"keywright_claim={opened['claim_token']}"}
    for path in (f"/checkout/{opened['reference']}/stream", f"{PATH}?checkout={opened['reference']}"):
        with Listener(live.shop.port, cookie, path) as page:
            assert page.next("pending").data["status"] == "open"


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_many_wrong_keys_are_held_up_and_a_right_one_is_not(live: Live) -> None:
    _, key = live.issue()
    statuses = []
    for number in range(40):
        with Listener(live.shop.port, by_key(f"DC-{number:05d}"), source="127.0.0.77") as program:
            statuses.append(program.status)
    assert statuses[0] == 404
    assert statuses[-1] == 429
    with Listener(live.shop.port, by_key(key), source="127.0.0.77") as program:
        assert program.next().data["code"] == "VALID"


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_only_get_is_answered(live: Live) -> None:
    _, key = live.issue()
    assert live.http.post(PATH, headers=by_key(key)).status_code == 405
