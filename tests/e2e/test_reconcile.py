"""Five hundred webhooks are lost; one `reconcile --fix` beside the running server makes it good, once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from keywright.domain.license import status
from keywright.domain.plan import Terms
from keywright.flows import tokens
from keywright.providers.stripe.hook import StripeEvents
from keywright.store.tables import announcements, inbox, reconciliations
from tests.conftest import SECRET
from tests.e2e.conftest import Shop
from tests.e2e.server import wait_until
from tests.life import world

BUYERS = 124  # four events each that we read
GROWING = 3  # and one more of each that changes its seats, with one that was heard of
WITHHELD = 500


class Till:
    """Buys at the sandbox, whose webhooks go to the server or, when they are lost, nowhere."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.http = httpx.Client(base_url=shop.sandbox.url, trust_env=False, timeout=30)
        hook = f"http://127.0.0.1:{shop.port}/api/webhooks/stripe"
        self.pull("webhook", url=hook, secret=SECRET)

    def pull(self, lever: str, **wish: Any) -> Any:
        answer = self.http.post(f"/_sandbox/{lever}", json=wish)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def call(self, path: str, **params: str) -> Any:
        answer = self.http.post(f"/v1/{path}", data=params, auth=(self.shop.sandbox.api_key, ""))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def price(self) -> str:
        made: str = self.call(
            "prices",
            currency="usd",
            unit_amount="5000",
            **{"recurring[interval]": "month", "product_data[name]": "DashCaddy"},
        )["id"]
        return made

    def buy(self, price: str, number: int, quantity: int = 1) -> str:
        """A subscription of a new customer. Returns its id."""
        session = self.call(
            "checkout/sessions",
            mode="subscription",
            success_url="https://shop.example/thanks",
            **{"line_items[0][price]": price, "line_items[0][quantity]": str(quantity)},
        )
        self.pull("stripe/pay", session=session["id"], email=f"buyer{number}@example.com")
        found = self.http.get(
            f"/v1/checkout/sessions/{session['id']}", auth=(self.shop.sandbox.api_key, "")
        ).json()
        subscription: str = found["subscription"]
        return subscription

    def told(self) -> int:
        """How many events there were that we read."""
        events = self.shop.sandbox.sandbox.state.every("event")
        return sum(StripeEvents().project(json.dumps(one).encode()).standing == "read" for one in events)

    def settle(self) -> None:
        wait_until(lambda: self.http.get("/_sandbox/deliveries").json()["idle"], 60, "deliveries settle")


@pytest.fixture(scope="module")
def till(shop: Shop) -> Iterator[Till]:
    till = Till(shop)
    yield till
    till.http.close()


def keywright(shop: Shop, *words: str, fails: int = 0) -> Any:
    """The command in a process of its own, beside the server."""
    done = subprocess.run(
        [sys.executable, "-m", "keywright.cli.main", *words],
        cwd=shop.folder,
        env=shop.env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == fails, (done.stdout[-2000:], done.stderr[-2000:])
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


def test_five_hundred_lost_events_are_applied_by_one_run_and_none_by_the_second(
    shop: Shop, till: Till
) -> None:
    price = till.price()
    with shop.opened() as context:
        world.add_plan(context, "lost", price, Terms())
    # One purchase is heard of, so that the comparison has something to agree with.
    heard = till.buy(price, 0)
    till.settle()
    with shop.opened() as context:
        assert len(world.all_licenses(context)) == 1
        known = world.count(context, inbox)
    first = till.told()

    till.pull("switches", loss=1)
    lost = [till.buy(price, number + 1, quantity=1 + number % 3) for number in range(BUYERS)]
    time.sleep(1.1)  # two snapshots of one second would need a third look to tell which is newer
    for growing in (heard, *lost[:GROWING]):
        till.call(f"subscriptions/{growing}", **_seats(till, growing, 4))
    till.settle()
    assert till.told() - first == WITHHELD

    dry = keywright(shop, "reconcile", "--json")["accounts"][0]
    assert (dry["missing"], dry["applied"]) == (WITHHELD, 0)
    assert dry["counts"]["paid-without-license"] == BUYERS
    assert dry["counts"]["wrong-seats"] == 1
    with shop.opened() as context:
        assert world.count(context, inbox) == known
        assert len(world.all_licenses(context)) == 1

    fixed = keywright(shop, "reconcile", "--fix", "--json")["accounts"][0]
    assert (fixed["missing"], fixed["applied"], fixed["error"]) == (WITHHELD, WITHHELD, None)
    assert fixed["counts"] == dry["counts"]

    again = keywright(shop, "reconcile", "--fix", "--json")["accounts"][0]
    assert (again["missing"], again["applied"], again["found"]) == (0, 0, 0)
    assert again["looked_at"] >= 0

    with shop.opened() as context:
        held = world.all_licenses(context)
        assert len(held) == BUYERS + 1
        assert {status(one, context.clock.now()) for one in held} == {"active"}
        assert sum(one.seats for one in held) == 4 + 4 * GROWING + sum(
            1 + number % 3 for number in range(GROWING, BUYERS)
        )

    def mailed() -> bool:
        with shop.opened() as context, context.database.read() as connection:
            left = connection.execute(sa.select(announcements.c.status)).scalars()
            return set(left) == {"sent"}

    wait_until(mailed, 60, "the server sends the mails that the command owed")


def _seats(till: Till, subscription: str, seats: int) -> dict[str, str]:
    found = till.http.get(f"/v1/subscriptions/{subscription}", auth=(till.shop.sandbox.api_key, "")).json()
    return {"items[0][id]": found["items"]["data"][0]["id"], "items[0][quantity]": str(seats)}


def test_the_server_compares_when_it_is_asked_to(shop: Shop, till: Till) -> None:
    till.pull("switches", loss=1)
    with shop.opened() as context:
        _, token = tokens.create(context, context.master, "robot", "write")
    price = shop.once
    session = till.call(
        "checkout/sessions",
        mode="payment",
        success_url="https://shop.example/thanks",
        **{"line_items[0][price]": price, "line_items[0][quantity]": "1"},
    )
    till.pull("stripe/pay", session=session["id"], email="last@example.com")
    till.settle()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{shop.port}/api/admin",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    ) as api:
        _ask_for_a_run(api)


def _ask_for_a_run(api: httpx.Client) -> None:
    before = len(api.get("reconciliations").json()["items"])
    answer = api.post("reconcile", json={"provider": "stripe", "fix": True})
    assert answer.status_code == 202, answer.text
    assert answer.json()["workflow_id"].startswith("reconcile-")

    def done() -> bool:
        items = api.get("reconciliations?provider=stripe").json()["items"]
        return len(items) == before + 1 and items[0]["finished_at"] is not None

    wait_until(done, 30, "the workflow compares")
    newest = api.get("reconciliations?provider=stripe&limit=1").json()
    (run,) = newest["items"]
    assert run["error"] is None
    assert run["fixed"] is True
    assert run["applied"] == run["missing"] > 0
    assert api.get(f"reconciliations/{run['id']}").json() == run
    for path, code in (
        ("reconciliations/rec_none", 404),
        ("reconciliations?provder=stripe", 422),
    ):
        assert api.get(path).status_code == code
    for body, code in (
        ({"provider": "paypal"}, 404),
        ({"fixed": True}, 422),
        ({"since": "2999-01-01T00:00:00Z"}, 422),
    ):
        assert api.post("reconcile", json=body).status_code == code
    assert httpx.post(f"{api.base_url}reconcile", trust_env=False).status_code == 401


def test_the_command_says_what_it_found_and_what_would_repair_it(shop: Shop, till: Till) -> None:
    keywright(shop, "reconcile", "--fix")
    assert ", 0 found, 0 applied" in keywright(shop, "reconcile", "--fix", "--since", "1h")
    price = till.price()
    till.pull("switches", loss=1)
    till.buy(price, 900)
    till.settle()
    shown = keywright(shop, "reconcile", "--provider", "stripe", "--since", "2d")
    assert "price-unmapped" in shown
    assert "keywright catalog apply" in shown
    assert "Nothing was changed. To repair: keywright reconcile --fix" in shown
    keywright(shop, "reconcile", "--provider", "paypal", fails=1)
    keywright(shop, "reconcile", "--since", "yesterday", fails=2)


def test_a_provider_that_cannot_be_asked_is_one_line_and_exit_1(shop: Shop, till: Till) -> None:
    silent = {**shop.env, "STRIPE_API_BASE": "http://127.0.0.1:9"}
    with shop.opened() as context:
        rows = world.count(context, reconciliations)
    done = subprocess.run(
        [sys.executable, "-m", "keywright.cli.main", "reconcile", "--fix"],
        cwd=shop.folder,
        env=silent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "keywright: stripe: Stripe does not answer" in done.stderr
    with shop.opened() as context:
        assert world.count(context, reconciliations) == rows + 1
